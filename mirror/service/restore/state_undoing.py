"""ACLs and client quotas back as they were before a restore: compared first, read back afterwards.

They go back last of all: an ACL that the restore added may be the one by which the rest is undone.
"""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from typing import Final

import msgspec

from mirror.core.cluster_state import StateAcl, StateQuota
from mirror.core.restore_record import RestoreHistory
from mirror.core.state_undo import PutState, StateUndo, plan_state_undo, put_by
from mirror.errors import AccessError, ClusterError, MirrorError, PartialError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.wire.client_quotas import alter_client_quotas, describe_client_quotas, quota_changes
from mirror.kafka.wire.delete_acls import delete_acls
from mirror.kafka.wire.describe_acls import AclEntry, describe_acls
from mirror.service.restore.cluster_right import require_on_cluster
from mirror.service.state_capture import stored_acl, stored_quota

__all__ = ["find_state_undo", "undo_state"]

_ARRIVES_S: Final = 30.0
_POLL_S: Final = 0.1
_INSTEAD: Final = "leave ACLs and quotas: --no-state"


async def find_state_undo(
    client: MirrorClient, admin: Admin, history: RestoreHistory, alias: str, *, waits_for: Collection[str] = ()
) -> StateUndo:
    """What must change so that ACLs and quotas are as before; changes nothing.

    Args:
        client, admin: of the target.
        history: of the restore.
        alias: of the target, for messages.
        waits_for: topics of the restore that are kept for want of a word; then nothing goes back.

    Raises:
        AccessError: a right to look, or one to put back what must go back, is missing; names it.
        UnreachableError, ClusterError: the target cannot be asked.
    """
    put = put_by(history)
    if not (put.acls or put.quotas):
        return StateUndo()
    if waits_for:
        return StateUndo(waits_for=tuple(waits_for))
    may = await admin.cluster_operations()

    def require(operation: str, what: str) -> None:
        require_on_cluster(operation, may, alias, needed_by=f"putting back {what}", instead=_INSTEAD)

    if put.acls:
        require("DESCRIBE", "ACLs")
    if put.quotas:
        require("DESCRIBE_CONFIGS", "client quotas")
    found = await _look(client, await client.any_broker(), put)
    if found.acls:
        require("ALTER", "ACLs")
    if found.changed_quotas:
        require("ALTER_CONFIGS", "client quotas")
    return found


async def _look(client: MirrorClient, node_id: int, put: PutState) -> StateUndo:
    acls: set[StateAcl] = set()
    quotas: list[StateQuota] = []
    if put.acls:
        acls = {stored_acl(entry) for entry in await describe_acls(client, node_id) or ()}
    if put.quotas:
        quotas = [stored_quota(entry) for entry in await describe_client_quotas(client, node_id)]
    return plan_state_undo(put, acls, quotas)


async def undo_state(client: MirrorClient, shown: StateUndo) -> StateUndo:
    """Do what was shown, but for what somebody has changed since; read back and compare. What was found then.

    Raises:
        AccessError: a right was taken away meanwhile.
        PartialError: something is not as before; the same command goes on.
    """
    if not shown.has_changes:
        return shown
    try:
        node_id = await client.any_broker()
        now = await _look(client, node_id, shown.shown)
        if now.changed_quotas:
            before = [one.recorded for one in now.changed_quotas]
            changes = quota_changes((one.entity, one.name, one.before) for one in before)
            await alter_client_quotas(client, node_id, changes)
        if now.acls:
            await delete_acls(client, node_id, [AclEntry(**msgspec.structs.asdict(acl)) for acl in now.acls])
        await _read_back(client, node_id, now.shown)
    except AccessError:
        raise
    except MirrorError as error:
        raise PartialError(
            f"all else is as it was, but ACLs or quotas are not: {error.message}", hint="the same command goes on"
        ) from error
    return replace(now, quotas=(*now.quotas, *(one for one in shown.quotas if not one.is_changed)))


async def _read_back(client: MirrorClient, node_id: int, put: PutState) -> None:
    """Brokers learn of both a moment after the answer."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _ARRIVES_S
    while (left := await _look(client, node_id, put)).has_changes:
        if loop.time() > give_up_at:
            raise ClusterError(
                f"{len(left.acls)} ACLs and {len(left.changed_quotas)} quotas are as the restore put them, "
                f"{_ARRIVES_S:.0f} s after they were put back"
            )
        await asyncio.sleep(_POLL_S)
