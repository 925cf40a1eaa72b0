"""From configuration to connections: the one place where settings become clients."""

from mirror.config import ClusterConfig, Config, RepositoryConfig
from mirror.config.secrets import Secret
from mirror.core.topic_filter import OWN_TOPIC_SUFFIXES
from mirror.kafka.connection import ClusterConnection, Sasl
from mirror.kafka.oauth import ClientCredentials, TokenFile, TokenSource
from mirror.kafka.tls import TlsFiles
from mirror.storage.object_store import ObjectStore
from mirror.storage.opening import open_store
from mirror.storage.repository import Repository, open_repository
from mirror.storage.retrying import RetryingStore, RetryPolicy

__all__ = [
    "COMMAND_PATIENCE",
    "PERSON_ANSWER_SECONDS",
    "PERSON_PATIENCE",
    "connection_for",
    "internal_topics",
    "open_configured_repository",
    "store_for",
]

COMMAND_PATIENCE = RetryPolicy(deadline_seconds=20.0)

# Somebody waits for the answer: a store that does not give any is told after two attempts, within 17 s. A long transfer does not
# end for it: the seconds are those without a byte.
PERSON_PATIENCE = RetryPolicy(deadline_seconds=10.0)
PERSON_ANSWER_SECONDS = 8.0


def connection_for(cluster: ClusterConfig) -> ClusterConnection:
    """How to reach a configured cluster.

    Raises:
        ConfigError: a combination that cannot be.
    """
    tls = None
    if cluster.encrypted:
        ssl = cluster.ssl
        tls = TlsFiles(
            ca_file=ssl.ca_file if ssl else None,
            cert_file=ssl.cert_file if ssl else None,
            key_file=ssl.key_file if ssl else None,
            key_password=ssl.key_password.reveal if ssl and ssl.key_password else None,
            check_hostname=ssl.check_hostname if ssl else True,
        )
    return ClusterConnection(
        bootstrap_servers=cluster.bootstrap_servers,
        client_id=cluster.client_id,
        client_rack=cluster.client_rack,
        security_protocol=cluster.security_protocol,  # type: ignore[arg-type]
        tls=tls,
        sasl=_sasl(cluster),
    )


def _sasl(cluster: ClusterConfig) -> Sasl | None:
    sasl = cluster.sasl
    if sasl is None or not cluster.security_protocol.startswith("SASL_"):
        return None
    token: TokenSource | None = None
    if sasl.token_file is not None:
        token = TokenFile(path=sasl.token_file)
    elif sasl.token_endpoint and sasl.oauth_client_secret is not None:
        token = ClientCredentials(
            token_url=sasl.token_endpoint,
            client_id=sasl.oauth_client_id,
            client_secret=sasl.oauth_client_secret.reveal,
            scope=sasl.scope,
        )
    return Sasl(
        mechanism=sasl.mechanism,  # type: ignore[arg-type]
        username=sasl.username or None,
        password=sasl.password.reveal if sasl.password else None,
        token=token,
    )


def store_for(repository: RepositoryConfig, *, connections: int = 32, answer_seconds: float = 60.0) -> ObjectStore:
    """The store of a configured repository, without retries.

    Args:
        repository: its settings.
        connections: at most so many requests at once.
        answer_seconds: patience for an answer, and between its bytes.

    Raises:
        ConfigError: the address or the credentials cannot be.
    """

    def reveal(secret: Secret | None) -> str | None:
        return secret.reveal() if secret is not None else None

    return open_store(
        repository.url,
        endpoint=repository.endpoint or None,
        region=repository.region or None,
        credentials=repository.credentials,  # type: ignore[arg-type]
        access_key=reveal(repository.access_key),
        secret_key=reveal(repository.secret_key),
        session_token=reveal(repository.session_token),
        ca_file=str(repository.ca_file) if repository.ca_file else None,
        connections=connections,
        answer_seconds=answer_seconds,
    )


def open_configured_repository(config: Config, alias: str = "", *, goes_on: bool = False) -> Repository:
    """Open a repository for a command. A store that gives no answer at all is told within 17 s.

    Args:
        config: the configuration.
        alias: of ``[repositories]``; empty means the worker's.
        goes_on: a long work follows, which outlives a store that stalls for a minute: after opening it has the patience for that.

    Raises:
        RepositoryNotFoundError, AccessError, UnreachableError, UnsupportedFormatError.
    """
    chosen = config.repository(alias or None)
    opened = open_repository(RetryingStore(store_for(chosen, answer_seconds=PERSON_ANSWER_SECONDS), PERSON_PATIENCE))
    if not goes_on:
        return opened
    opened.store.close()
    return Repository(RetryingStore(store_for(chosen), COMMAND_PATIENCE), opened.identity)


def internal_topics(worker_id: str) -> dict[str, str]:
    """The mirror's own topics on the source cluster: purpose → name. Workers create them; they are never backed up."""
    return {purpose: f"{worker_id}{suffix}" for purpose, suffix in OWN_TOPIC_SUFFIXES.items()}
