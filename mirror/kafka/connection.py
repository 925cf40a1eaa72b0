"""How to reach one Kafka cluster, as plain values, and what the two client libraries call them."""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mirror.errors import ConfigError
from mirror.kafka.oauth import TokenProvider, TokenSource
from mirror.kafka.tls import TlsFiles, make_ssl_context

__all__ = ["ClusterConnection", "Sasl", "SecurityProtocol", "aiokafka_options", "confluent_options", "security_stamp"]

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"]
Secret = Callable[[], str]

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sasl:
    """A SASL login: user name and password, or for OAUTHBEARER a source of tokens."""

    mechanism: SaslMechanism
    username: str | None = None
    password: Secret | None = field(default=None, repr=False)
    token: TokenSource | None = None

    def __post_init__(self) -> None:
        if self.mechanism not in _MECHANISMS:
            raise ConfigError(f"SASL mechanism {self.mechanism!r} is not one of {', '.join(_MECHANISMS)}")
        if self.mechanism == "OAUTHBEARER":
            if self.token is None:
                raise ConfigError("SASL OAUTHBEARER needs a token file or a token endpoint")
        elif self.username is None or self.password is None:
            raise ConfigError(f"SASL {self.mechanism} needs a user name and a password")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterConnection:
    """How to reach and enter one cluster.

    Args:
        bootstrap_servers: ``host:port`` each.
        client_id: what the brokers see; quotas can be set on it.
        client_rack: the zone that we run in, to fetch from the replica there; empty for none.
        tls: files of a TLS connection; None means the system's authorities where the protocol speaks TLS.
        sasl: the login; required by and only for the SASL protocols.
        request_timeout_ms: how long to wait for a broker's answer.
    """

    bootstrap_servers: tuple[str, ...]
    client_id: str = "mirror"
    client_rack: str = ""
    security_protocol: SecurityProtocol = "PLAINTEXT"
    tls: TlsFiles | None = None
    sasl: Sasl | None = None
    request_timeout_ms: int = 40_000

    def __post_init__(self) -> None:
        if not self.bootstrap_servers:
            raise ConfigError("a cluster needs at least one bootstrap server")
        for server in self.bootstrap_servers:
            host, _, port = server.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65_536:
                raise ConfigError(f"bootstrap server {server!r} is not host:port")
        if self.security_protocol not in _PROTOCOLS:
            raise ConfigError(f"security protocol {self.security_protocol!r} is not one of {', '.join(_PROTOCOLS)}")
        if self.security_protocol.startswith("SASL_") and self.sasl is None:
            raise ConfigError(f"security protocol {self.security_protocol} needs a SASL mechanism and credentials")
        if self.sasl is not None and not self.security_protocol.startswith("SASL_"):
            raise ConfigError(f"SASL settings are given, but the security protocol is {self.security_protocol}")
        if self.tls is not None and not self.security_protocol.endswith("SSL"):
            raise ConfigError(f"TLS files are given, but the security protocol is {self.security_protocol}")

    @property
    def where(self) -> str:
        """The bootstrap servers, for messages."""
        return ",".join(self.bootstrap_servers)

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.security_protocol.endswith("SSL")


def _ssl_context(conn: ClusterConnection) -> ssl.SSLContext | None:
    return make_ssl_context(conn.tls or TlsFiles()) if conn.uses_tls else None


def aiokafka_options(conn: ClusterConnection) -> dict[str, Any]:
    """Keyword arguments for every aiokafka client (those of security only; secrets are read now).

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    options: dict[str, Any] = {"security_protocol": conn.security_protocol, "ssl_context": _ssl_context(conn)}
    if conn.sasl is None:
        return options
    options["sasl_mechanism"] = conn.sasl.mechanism
    if conn.sasl.token is not None:
        options["sasl_oauth_token_provider"] = TokenProvider(conn.sasl.token)
    elif conn.sasl.password is not None:
        options["sasl_plain_username"] = conn.sasl.username
        options["sasl_plain_password"] = conn.sasl.password()
    return options


def confluent_options(conn: ClusterConnection) -> dict[str, Any]:
    """The configuration of every confluent-kafka client (secrets are read now: never log or keep it).

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    options: dict[str, Any] = {
        "bootstrap.servers": conn.where,
        "client.id": conn.client_id,
        "client.rack": conn.client_rack,
        "security.protocol": conn.security_protocol,
        "allow.auto.create.topics": False,
        "log_level": 0,  # librdkafka writes to stderr past our logging; what fails says so in its error
    }
    if conn.uses_tls:
        tls = conn.tls or TlsFiles()
        tls.check()
        for name, path in (
            ("ssl.ca.location", tls.ca_file),
            ("ssl.certificate.location", tls.cert_file),
            ("ssl.key.location", tls.key_file),
        ):
            if path is not None:
                options[name] = str(path)
        if tls.key_password is not None:
            options["ssl.key.password"] = tls.key_password()
        options["ssl.endpoint.identification.algorithm"] = "https" if tls.check_hostname else "none"
    if conn.sasl is not None:
        options["sasl.mechanism"] = conn.sasl.mechanism
        if conn.sasl.token is not None:
            source = conn.sasl.token
            options["oauth_cb"] = lambda _config: source.token().for_librdkafka()
        elif conn.sasl.password is not None:
            options["sasl.username"] = conn.sasl.username
            options["sasl.password"] = conn.sasl.password()
    return options


def security_stamp(conn: ClusterConnection) -> tuple[tuple[Path, int], ...]:
    """Changes when a certificate or key file was replaced: then a confluent-kafka client must be made anew."""
    return conn.tls.stamp() if conn.tls is not None else ()
