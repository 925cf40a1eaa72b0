"""What must fit together. Each check takes whole tables and returns its problems as sentences.

A setting that would be ignored is a problem too: silence would let a person believe it works.
"""

from collections.abc import Collection, Mapping

from mirror.config.model import ClusterConfig, RepositoryConfig, SaslConfig, WorkerConfig
from mirror.config.nearest import did_you_mean
from mirror.config.units import format_size

__all__ = ["check_cluster", "check_references", "check_repository", "check_worker"]


def check_worker(worker: WorkerConfig) -> list[str]:
    """Rules within ``[worker]``."""
    problems = []
    if worker.memory_bytes < 2 * worker.flush_bytes:
        problems.append(
            f"[worker] memory_bytes = {format_size(worker.memory_bytes)} is less than twice flush_bytes = "
            f"{format_size(worker.flush_bytes)}: while one flush is uploaded the next one fills; "
            f"set memory_bytes to at least {format_size(2 * worker.flush_bytes)}"
        )
    if not worker.topics and not worker.topics_regex:
        problems.append(
            '[worker] topics and topics_regex are both empty: nothing would be backed up; topics = ["*"] takes all'
        )
    return problems


def check_references(
    *, source: str, repository: str, roles: Mapping[str, str | None], repositories: Collection[str]
) -> list[str]:
    """Whether the aliases in ``[worker]`` exist and have the right role.

    Args:
        source: the alias of a cluster, or empty.
        repository: the alias of a repository, or empty.
        roles: the role of every cluster of the file; None where it could not be read.
        repositories: all aliases the file has.
    """
    problems = []
    if source and source not in roles:
        problems.append(f"[worker] source = {source!r}: no such cluster" + did_you_mean(source, roles))
    elif source and roles[source] == "target":
        problems.append(
            f"[worker] source = {source!r}: that cluster has role = 'target', only one with role = 'source' is backed up"
        )
    if repository and repository not in repositories:
        problems.append(
            f"[worker] repository = {repository!r}: no such repository" + did_you_mean(repository, repositories)
        )
    return problems


def check_cluster(alias: str, cluster: ClusterConfig) -> list[str]:
    """Rules within one cluster."""
    where = f"[clusters.{alias}]"
    problems = []
    with_sasl = cluster.security_protocol.startswith("SASL_")
    if cluster.ssl is not None and not cluster.encrypted:
        problems.append(f"{where} has an ssl table, which security_protocol = {cluster.security_protocol} ignores")
    if cluster.ssl is not None and cluster.ssl.cert_file is None:
        if cluster.ssl.key_file is not None:
            problems.append(f"[clusters.{alias}.ssl] key_file needs cert_file")
        if cluster.ssl.key_password is not None:
            problems.append(f"[clusters.{alias}.ssl] key_password needs cert_file")
    if cluster.sasl is not None and not with_sasl:
        problems.append(f"{where} has a sasl table, which security_protocol = {cluster.security_protocol} ignores")
    if cluster.sasl is None and with_sasl:
        problems.append(
            f"{where} security_protocol = {cluster.security_protocol} needs a [clusters.{alias}.sasl] table"
        )
    if cluster.sasl is not None:
        problems += _check_sasl(f"[clusters.{alias}.sasl]", cluster.sasl)
    return problems


def _check_sasl(where: str, sasl: SaslConfig) -> list[str]:
    by_password = {"username": sasl.username, "password": sasl.password}
    by_endpoint = {
        "token_endpoint": sasl.token_endpoint,
        "oauth_client_id": sasl.oauth_client_id,
        "oauth_client_secret": sasl.oauth_client_secret,
    }
    by_token = {**by_endpoint, "token_file": sasl.token_file, "scope": sasl.scope}
    if sasl.mechanism != "OAUTHBEARER":
        problems = [
            f"{where} {key} is missing: {sasl.mechanism} needs it" for key, value in by_password.items() if not value
        ]
        return problems + [
            f"{where} {key} belongs to OAUTHBEARER, not to {sasl.mechanism}" for key, value in by_token.items() if value
        ]
    problems = [f"{where} {key} has no use with OAUTHBEARER" for key, value in by_password.items() if value]
    if sasl.token_file is not None:
        return problems + [
            f"{where} {key} has no use beside token_file"
            for key, value in by_token.items()
            if value and key != "token_file"
        ]
    if not any(by_endpoint.values()):
        return [
            *problems,
            f"{where} OAUTHBEARER needs token_file, or token_endpoint with oauth_client_id and oauth_client_secret",
        ]
    return problems + [
        f"{where} {key} is missing beside the other oauth settings" for key, value in by_endpoint.items() if not value
    ]


def check_repository(alias: str, repository: RepositoryConfig) -> list[str]:
    """Rules within one repository."""
    where = f"[repositories.{alias}]"
    keys = {
        "access_key": repository.access_key,
        "secret_key": repository.secret_key,
        "session_token": repository.session_token,
    }
    given = [key for key, value in keys.items() if value is not None]
    if repository.url.startswith("file:"):
        useless = given + [key for key in ("endpoint", "region", "ca_file") if getattr(repository, key)]
        if repository.credentials != "auto":
            useless.append("credentials")
        return [f"{where} {key} has no use with a file:// repository" for key in useless]
    if repository.credentials not in ("auto", "static"):
        return [f"{where} {key} has no use with credentials = {repository.credentials!r}" for key in given]
    problems = []
    if given or repository.credentials == "static":
        problems = [
            f"{where} {key} is missing: static credentials need access_key and secret_key"
            for key in ("access_key", "secret_key")
            if keys[key] is None
        ]
    if repository.ca_file is not None and repository.endpoint.startswith("http:"):
        problems.append(f"{where} ca_file has no use with an http:// endpoint")
    return problems
