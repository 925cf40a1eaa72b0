"""From configuration to connections: the one place where settings become clients."""

from mirror.config import ClusterConfig, Config, RepositoryConfig
from mirror.config.secrets import Secret
from mirror.kafka.connection import ClusterConnection, Sasl
from mirror.kafka.oauth import ClientCredentials, TokenFile, TokenSource
from mirror.kafka.tls import TlsFiles
from mirror.storage.object_store import ObjectStore
from mirror.storage.opening import open_store
from mirror.storage.repository import Repository, open_repository
from mirror.storage.retrying import RetryingStore, RetryPolicy

__all__ = ["COMMAND_PATIENCE", "connection_for", "internal_topics", "open_configured_repository", "store_for"]

COMMAND_PATIENCE = RetryPolicy(deadline_seconds=20.0)


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


def store_for(repository: RepositoryConfig, *, connections: int = 32) -> ObjectStore:
    """The store of a configured repository, without patience.

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
    )


def open_configured_repository(config: Config, alias: str = "") -> Repository:
    """Open a repository for a command, with the patience of a person: passing errors are retried for 20 s.

    Args:
        config: the configuration.
        alias: of ``[repositories]``; empty means the worker's.

    Raises:
        RepositoryNotFoundError, AccessError, UnreachableError, UnsupportedFormatError.
    """
    return open_repository(RetryingStore(store_for(config.repository(alias or None)), COMMAND_PATIENCE))


def internal_topics(worker_id: str) -> dict[str, str]:
    """The mirror's own topics on the source cluster: purpose → name. Workers create them; they are never backed up."""
    return {
        "sealed": f"{worker_id}-sealed",
        "ledger": f"{worker_id}-ledger-changelog",
        "assignor": f"{worker_id}-__assignor-__leader",
    }
