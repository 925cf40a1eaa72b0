"""Whether a restore has its rights on the target: asked before anything is changed, so that none is found missing in the middle."""

from collections import defaultdict

from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_rights import MissingRight, RestoreNeeds, lacking, needs_of, text_of
from mirror.errors import AccessError
from mirror.kafka.client import MirrorClient
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.marker_filler import may_write_markers
from mirror.kafka.rights_probes import groups_without_read, may_end_transactions, topic_operations
from mirror.service.restore.fillers import TRANSACTIONAL_ID_PREFIX

__all__ = ["find_missing_rights", "require_rights"]

_PROBE_ID = f"{TRANSACTIONAL_ID_PREFIX}check"


async def find_missing_rights(
    client: MirrorClient, connection: ClusterConnection, needs: RestoreNeeds
) -> list[MissingRight]:
    """What is missing, same operations together. Changes nothing.

    Holes need CLUSTER_ACTION on the cluster, or WRITE on the transactional ids: the first is named where there is neither.

    Raises:
        UnreachableError, AccessError (the login is refused), ClusterError: the target could not be asked.
    """
    granted = await topic_operations(client, connection, needs.topics) if needs.topics else {}
    by_operations: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for topic, needed in sorted(needs.topics.items()):
        missing = lacking(needed, granted[topic])
        if missing:
            by_operations[tuple(sorted(missing))].append(topic)
    found = [
        MissingRight(resource="topic", names=tuple(names), operations=operations)
        for operations, names in by_operations.items()
    ]
    if needs.groups and (refused := await groups_without_read(client, needs.groups)):
        found.append(MissingRight(resource="group", names=tuple(refused), operations=("READ",)))
    if needs.fills_holes and not await may_write_markers(client) and not await may_end_transactions(client, _PROBE_ID):
        found.append(MissingRight(resource="cluster", names=(), operations=("CLUSTER_ACTION",)))
    return found


async def require_rights(client: MirrorClient, connection: ClusterConnection, plan: RestorePlan) -> None:
    """All of the plan's, before its first change.

    Raises:
        AccessError: names every right that is missing.
        UnreachableError, ClusterError: the target could not be asked.
    """
    missing = await find_missing_rights(client, connection, needs_of(plan))
    if missing:
        raise AccessError(
            f"rights are missing on {plan.target_alias}: {'; '.join(text_of(one) for one in missing)}",
            hint=f"nothing was changed; `mirror check --target {plan.target_alias}` (--prefix as here) prints the commands that grant them",
        )
