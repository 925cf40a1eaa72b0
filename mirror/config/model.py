"""The configuration as values. Attributes carry units; the TOML names and the accepted values stand beside them.

Every default is here and nowhere else. ``sample.toml`` explains each setting to a person.
"""

# ruff: noqa: RUF009  (setting() and table() are dataclasses.field with more metadata)

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mirror.config.fields import alias_table, setting, table
from mirror.config.kinds import Choice, Duration, FilePath, Flag, ListOf, Number, Size, Text, Whole
from mirror.config.nearest import did_you_mean
from mirror.config.secrets import Secret
from mirror.config.special_kinds import BrokerAddress, SecretValue, TopicGlob, TopicRegex, Url
from mirror.core.topic_filter import TopicFilter
from mirror.errors import ConfigError

__all__ = [
    "ClusterConfig",
    "Config",
    "ObjectivesConfig",
    "Origin",
    "PricesConfig",
    "RepositoryConfig",
    "SaslConfig",
    "SslConfig",
    "WorkerConfig",
]

_GLOBS = "a list of topic names or globs, such as orders or tmp-*"
_REGEXES = "a list of regular expressions, each for a whole topic name"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """The table ``[worker]``. An empty ``source`` or ``repository`` means the only one there is, once loaded."""

    id: str = setting(
        "id", Text("1 to 100 of A-Z a-z 0-9 . _ -", pattern=r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"), default="mirror"
    )
    source: str = setting("source", Text("an alias of [clusters]", empty=True), default="")
    repository: str = setting("repository", Text("an alias of [repositories]", empty=True), default="")
    data_dir: Path = setting("data_dir", FilePath(), default="/var/lib/mirror")
    topics: tuple[str, ...] = setting("topics", ListOf(TopicGlob(), _GLOBS), default=["*"])
    topics_regex: tuple[str, ...] = setting("topics_regex", ListOf(TopicRegex(), _REGEXES), default=[])
    exclude: tuple[str, ...] = setting("exclude", ListOf(TopicGlob(), _GLOBS), default=[])
    exclude_regex: tuple[str, ...] = setting("exclude_regex", ListOf(TopicRegex(), _REGEXES), default=[])
    groups: str = setting("groups", Choice("auto", "topic", "poll", "off"), default="auto")
    start: str = setting("start", Choice("earliest", "latest"), default="earliest")
    flush_interval_ms: int = setting("flush_interval", Duration("1s", "1h"), default="10s")
    idle_interval_ms: int = setting("idle_interval", Duration("1s", "1d"), default="1m")
    flush_bytes: int = setting("flush_bytes", Size("64KiB"), default="32MiB")
    memory_bytes: int = setting("memory_bytes", Size("1MiB"), default="128MiB")
    body_codec: str = setting("body_codec", Choice("auto", "passthrough", "zstd"), default="auto")
    zstd_level: int = setting("zstd_level", Whole(1, 19), default=3)
    upload_threads: int = setting("upload_threads", Whole(1, 64), default=4)
    max_read_bytes_per_second: int = setting(
        "max_read_bytes_per_second", Size("1KiB", zero_means="no limit"), default="0"
    )
    discovery_interval_ms: int = setting("discovery_interval", Duration("1s", "30s"), default="10s")
    drain_timeout_ms: int = setting("drain_timeout", Duration("1s", "1h"), default="25s")
    web_host: str = setting(
        "web_host", Text("a host name or address", pattern=r"[A-Za-z0-9._:%-]+"), default="127.0.0.1"
    )
    web_port: int = setting("web_port", Whole(1, 65535), default=8083)
    advertised_url: str = setting(
        "advertised_url",
        Url("a URL such as http://10.0.0.7:8083, or empty", schemes=("http", "https"), path=False, empty=True),
        default="",
    )
    log_format: str = setting("log_format", Choice("text", "json"), default="text")
    log_level: str = setting("log_level", Choice("debug", "info", "warning", "error"), default="info")
    internal_topic_replication: int = setting("internal_topic_replication", Whole(0, 32), default=0)

    def topic_filter(self, *, own_prefix: str = "", own_topics: frozenset[str] = frozenset()) -> TopicFilter:
        """The rules of this worker; the mirror's own topics are named by the caller."""
        return TopicFilter(
            include=self.topics,
            include_regex=self.topics_regex,
            exclude=self.exclude,
            exclude_regex=self.exclude_regex,
            own_prefix=own_prefix,
            own_topics=own_topics,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectivesConfig:
    """The table ``[objectives]``: what status and the alert rules measure against."""

    recovery_point_ms: int = setting("recovery_point", Duration("1s", "7d"), default="60s")
    retention_headroom_ms: int = setting("retention_headroom", Duration("1s", "365d"), default="2h")


@dataclass(frozen=True, slots=True, kw_only=True)
class PricesConfig:
    """The table ``[prices]``: what the store charges."""

    per_thousand_puts: float = setting("per_thousand_puts", Number(), default=0.005)
    per_gib_month: float = setting("per_gib_month", Number(), default=0.023)
    currency: str = setting("currency", Text("a currency code such as USD", pattern=r"[A-Z]{3}"), default="USD")


@dataclass(frozen=True, slots=True, kw_only=True)
class SslConfig:
    """The table ``[clusters.<alias>.ssl]``. The files may be replaced while the worker runs."""

    ca_file: Path | None = setting("ca_file", FilePath(), unset=None)
    cert_file: Path | None = setting("cert_file", FilePath(), unset=None)
    key_file: Path | None = setting("key_file", FilePath(), unset=None)
    key_password: Secret | None = setting("key_password", SecretValue(), unset=None)
    check_hostname: bool = setting("check_hostname", Flag(), default=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class SaslConfig:
    """The table ``[clusters.<alias>.sasl]``."""

    mechanism: str = setting("mechanism", Choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"))
    username: str = setting("username", Text("a user name", empty=True), default="")
    password: Secret | None = setting("password", SecretValue(), unset=None)
    token_file: Path | None = setting("token_file", FilePath(), unset=None)
    token_endpoint: str = setting(
        "token_endpoint", Url("a URL such as https://login/token", schemes=("http", "https"), empty=True), default=""
    )
    oauth_client_id: str = setting("oauth_client_id", Text("a client id", empty=True), default="")
    oauth_client_secret: Secret | None = setting("oauth_client_secret", SecretValue(), unset=None)
    scope: str = setting("scope", Text("a scope", empty=True), default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConfig:
    """A table ``[clusters.<alias>]``. ``ssl`` and ``sasl`` are None where the table is left out."""

    role: str = setting("role", Choice("source", "target"))
    bootstrap_servers: tuple[str, ...] = setting(
        "bootstrap_servers", ListOf(BrokerAddress(), "a list of brokers as host:port", empty=False)
    )
    client_id: str = setting("client_id", Text("a client id", pattern=r"[A-Za-z0-9._-]{1,200}"), default="mirror")
    client_rack: str = setting("client_rack", Text("a rack or zone", empty=True), default="")
    security_protocol: str = setting(
        "security_protocol", Choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"), default="PLAINTEXT"
    )
    ssl: SslConfig | None = table("ssl", SslConfig, optional=True)
    sasl: SaslConfig | None = table("sasl", SaslConfig, optional=True)

    @property
    def encrypted(self) -> bool:
        """Whether connections use TLS."""
        return self.security_protocol in ("SSL", "SASL_SSL")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryConfig:
    """A table ``[repositories.<alias>]``.

    Credentials ``auto`` are the keys if given, else the environment, else what the machine's identity offers.
    """

    url: str = setting("url", Url("s3://bucket, s3://bucket/prefix or file:///path", schemes=("s3", "file")))
    endpoint: str = setting(
        "endpoint",
        Url("a URL such as https://minio:9000, or empty for AWS", schemes=("http", "https"), path=False, empty=True),
        default="",
    )
    region: str = setting("region", Text("a region", pattern=r"[A-Za-z0-9-]+", empty=True), default="")
    ca_file: Path | None = setting("ca_file", FilePath(), unset=None)
    credentials: str = setting(
        "credentials", Choice("auto", "static", "environment", "instance", "web_identity"), default="auto"
    )
    access_key: Secret | None = setting("access_key", SecretValue(literal=True), unset=None)
    secret_key: Secret | None = setting("secret_key", SecretValue(), unset=None)
    session_token: Secret | None = setting("session_token", SecretValue(), unset=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a value came from: ``file``, ``env`` (then ``variable`` names it) or ``default``."""

    kind: str
    variable: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. ``origins`` is keyed by the path of the key, such as ``worker.flush_interval``."""

    path: Path | None = None
    worker: WorkerConfig = table("worker", WorkerConfig)
    objectives: ObjectivesConfig = table("objectives", ObjectivesConfig)
    prices: PricesConfig = table("prices", PricesConfig)
    clusters: Mapping[str, ClusterConfig] = alias_table("clusters", ClusterConfig)
    repositories: Mapping[str, RepositoryConfig] = alias_table("repositories", RepositoryConfig)
    origins: Mapping[str, Origin] = field(default_factory=dict, repr=False)

    @property
    def source_cluster(self) -> ClusterConfig:
        """The cluster that is backed up. Raises ConfigError when none is configured."""
        if not self.worker.source:
            raise ConfigError(
                "no source cluster is configured", hint='add a [clusters.<alias>] table with role = "source"'
            )
        return self.cluster(self.worker.source)

    def cluster(self, alias: str) -> ClusterConfig:
        """The cluster of that alias. Raises ConfigError naming the nearest alias when there is none."""
        if alias not in self.clusters:
            raise ConfigError(
                f"no cluster {alias!r} is configured" + did_you_mean(alias, self.clusters),
                hint=f"clusters are sections of the configuration, [clusters.{alias}]; `mirror config show` prints them",
            )
        return self.clusters[alias]

    def repository(self, alias: str | None = None) -> RepositoryConfig:
        """The repository of that alias, without one the worker's. Raises ConfigError when there is none."""
        name = self.worker.repository if alias is None else alias
        if not name:
            raise ConfigError("no repository is chosen", hint="set [worker] repository to an alias of [repositories]")
        if name not in self.repositories:
            raise ConfigError(
                f"no repository {name!r} is configured" + did_you_mean(name, self.repositories),
                hint=f"repositories are sections of the configuration, [repositories.{name}]; `mirror config show` prints them",
            )
        return self.repositories[name]
