"""ACLs and client quotas of a restore: looked at for the plan, put last of all, read back and compared."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from mirror.core.cluster_state import ClusterState, StateAcl, StateQuota, entity_key
from mirror.core.recovery_point import PointKind
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_selection import RestoreSelection
from mirror.core.state_plan import StatePlan, TargetState, plan_state
from mirror.errors import AccessError, ClusterError, MirrorError, PartialError, RefusedError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.wire.client_quotas import alter_client_quotas, describe_client_quotas, quota_changes
from mirror.kafka.wire.create_acls import create_acls
from mirror.kafka.wire.describe_acls import AclEntry, describe_acls
from mirror.kafka.wire.describe_scram_users import describe_scram_users
from mirror.service.cluster_states import read_state, state_at
from mirror.service.restore.cluster_right import require_on_cluster
from mirror.service.state_capture import stored_acl, stored_quota
from mirror.service.state_diff import acl_text, entity_text
from mirror.storage.repository import Repository

__all__ = ["OnState", "StateResult", "add_state", "put_state", "require_change_rights", "state_differences"]

OnState = Callable[[StatePlan], Awaitable[None]]

_ARRIVES_S: Final = 30.0
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class StateResult:
    """What was put; all of the plan was read back."""

    acls: int
    quotas: int


async def add_state(
    repository: Repository, client: MirrorClient, admin: Admin, selection: RestoreSelection, plan: RestorePlan
) -> RestorePlan:
    """The plan with the ACLs and quotas that are wanted, compared with the target; changes nothing.

    Raises:
        NoMatchError, RefusedError: they were not captured by then, or the target has no authorizer.
        AccessError: a right to look is missing; names it.
        DamageError, UnreachableError, StoreError, ClusterError.
    """
    choice = selection.state
    if not choice.is_wanted:
        return plan
    captured = await asyncio.to_thread(_captured, repository, selection, plan)
    target = await _look(client, admin, plan, acls=choice.wants_acls, quotas=choice.quotas)
    found = plan_state(
        choice,
        captured,
        target,
        topics={topic.topic: topic.target_topic for topic in plan.topics},
        groups={group.group: group.target_group for group in plan.groups},
    )
    return replace(plan, state=found)


def _captured(repository: Repository, selection: RestoreSelection, plan: RestorePlan) -> ClusterState:
    choice = selection.state
    if choice.captured_at_ms is not None:
        captured = read_state(repository, choice.captured_at_ms)
    else:
        timed = plan.point.kind in (PointKind.AT, PointKind.UNTIL, PointKind.SNAPSHOT)
        captured = state_at(repository, plan.point.time_ms if timed else None)
    for is_wanted, known, what, option in (
        (choice.wants_acls, captured.acls, "ACLs", "--acls"),
        (choice.quotas, captured.quotas, "client quotas", "--quotas"),
    ):
        if is_wanted and known is None:
            why = next((note for note in captured.notes if what in note), f"{what} are not in that capture")
            raise RefusedError(f"{what} of that moment are not known: {why}", hint=f"leave out {option}")
    return captured


async def _look(client: MirrorClient, admin: Admin, plan: RestorePlan, *, acls: bool, quotas: bool) -> TargetState:
    may = await admin.cluster_operations()
    alias = plan.target_alias
    node_id = await client.any_broker()
    there: list[StateAcl] = []
    users: Collection[str] | None = None
    if acls:
        _require("DESCRIBE", may, alias, "--acls")
        entries = await describe_acls(client, node_id)
        if entries is None:
            raise RefusedError(
                f"{alias} has no authorizer: ACLs cannot be put there", hint="leave out --acls (and --all-acls)"
            )
        there = [stored_acl(entry) for entry in entries]
        try:
            users = (await describe_scram_users(client, node_id)).keys()
        except MirrorError as error:
            if error.transient:
                raise
    limits: list[StateQuota] = []
    if quotas:
        _require("DESCRIBE_CONFIGS", may, alias, "--quotas")
        limits = [stored_quota(entry) for entry in await describe_client_quotas(client, node_id)]
    return TargetState(alias=alias, acls=frozenset(there), quotas=limits, users=users)


def _require(operation: str, may: Collection[str], alias: str, option: str) -> None:
    require_on_cluster(operation, may, alias, needed_by=option, instead=f"leave out {option}")


async def require_change_rights(admin: Admin, plan: RestorePlan) -> None:
    """Before anything is changed.

    Raises:
        AccessError: the right to put what the plan adds is missing; names it.
        UnreachableError, ClusterError: the target cannot be asked.
    """
    state = plan.state
    if state is None or not (state.new_acls or state.new_quotas):
        return
    may = await admin.cluster_operations()
    if state.new_acls:
        _require("ALTER", may, plan.target_alias, "--acls")
    if state.new_quotas:
        _require("ALTER_CONFIGS", may, plan.target_alias, "--quotas")


async def put_state(client: MirrorClient, plan: StatePlan, *, on_before: OnState | None = None) -> StateResult:
    """Add the ACLs that are missing now, set the quotas that differ now, read back and compare.

    Args:
        client: of the target.
        plan: what is wanted.
        on_before: told what is missing and what differs, before anything is put.

    Raises:
        AccessError: a right was taken away meanwhile.
        PartialError: something is not there; the same command goes on.
    """
    try:
        node_id = await client.any_broker()
        plan = await _as_of_now(client, node_id, plan)  # loading may have taken hours
        if on_before is not None:
            await on_before(plan)
        if plan.new_acls:
            await create_acls(client, node_id, [AclEntry(**msgspec.structs.asdict(acl)) for acl in plan.new_acls])
        if plan.new_quotas:
            changes = quota_changes((one.entity, one.name, one.wanted) for one in plan.new_quotas)
            await alter_client_quotas(client, node_id, changes)
        await _read_back(client, node_id, plan)
    except AccessError as error:
        raise AccessError(
            f"all else is restored, but ACLs or quotas are not: {error.message}", hint=error.hint
        ) from error
    except MirrorError as error:
        raise PartialError(
            f"all else is restored, but ACLs or quotas are not: {error.message}", hint="the same command puts them"
        ) from error
    return StateResult(acls=len(plan.new_acls), quotas=len(plan.new_quotas))


async def _read_back(client: MirrorClient, node_id: int, plan: StatePlan) -> None:
    """Brokers learn of both a moment after the answer."""
    loop = asyncio.get_running_loop()
    give_up_at = loop.time() + _ARRIVES_S
    while True:
        now = await _as_of_now(client, node_id, plan)
        missing = ((len(now.new_acls), "ACLs"), (len(now.new_quotas), "quotas"))
        if not any(count for count, _ in missing):
            return
        if loop.time() > give_up_at:
            told = " and ".join(f"{count} {what}" for count, what in missing if count)
            raise ClusterError(f"{told} are not there {_ARRIVES_S:.0f} s after they were put")
        await asyncio.sleep(_POLL_S)


async def _as_of_now(client: MirrorClient, node_id: int, plan: StatePlan) -> StatePlan:
    """The same plan, compared with what the target has at this moment."""
    acls, quotas = plan.acls, plan.quotas
    if acls:
        there = {stored_acl(entry) for entry in await describe_acls(client, node_id) or ()}
        acls = tuple(replace(one, is_there=one.acl in there) for one in acls)
    if quotas:
        limits = {entity_key(one.entity): one.values for one in await describe_client_quotas(client, node_id)}
        quotas = tuple(replace(one, present=limits.get(entity_key(one.entity), {}).get(one.name)) for one in quotas)
    return replace(plan, acls=acls, quotas=quotas)


def state_differences(plan: StatePlan | None) -> list[str]:
    """What of a plan that was just compared is not on the target."""
    if plan is None:
        return []
    lacking = [f"ACL is missing: {acl_text(acl)}" for acl in plan.new_acls]
    return lacking + [
        f"quota of {entity_text(one.entity)}: {one.name} is {'missing' if one.present is None else f'{one.present:.15g}'} "
        f"instead of {one.wanted:.15g}"
        for one in plan.new_quotas
    ]
