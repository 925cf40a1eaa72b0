"""One right on the target cluster as a whole, named before anything is changed where it is missing."""

from collections.abc import Collection

from mirror.errors import AccessError

__all__ = ["require_on_cluster"]


def require_on_cluster(operation: str, may: Collection[str], alias: str, *, needed_by: str, instead: str) -> None:
    """Go on only where ``operation`` is among what we ``may`` do on the cluster.

    Raises:
        AccessError: it is not; names the command that grants it, and what to do ``instead``.
    """
    if operation not in may:
        spelled = operation.replace("_", " ").title().replace(" ", "")
        raise AccessError(
            f"the right {operation} on the cluster {alias} is missing, {needed_by} needs it",
            hint=f"kafka-acls.sh --add --allow-principal User:... --operation {spelled} --cluster, or {instead}",
        )
