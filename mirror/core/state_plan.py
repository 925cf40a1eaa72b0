"""ACLs and client quotas in a restore's plan: which of a capture are wanted, and how they differ from what the target has.

Only what is missing is added, only quotas that differ are set; nothing of the target is ever taken away.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from mirror.core.cluster_state import ClusterState, StateAcl, StateQuota, entity_key
from mirror.core.restore_scope import StateChoice

__all__ = ["AclPlan", "QuotaPlan", "StatePlan", "TargetState", "plan_state"]

_UNKNOWN = "UNKNOWN_"
_USER = "User:"


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """What the target has now; ``users`` are its SCRAM users, None where they may not be listed."""

    alias: str
    acls: Collection[StateAcl] = ()
    quotas: Sequence[StateQuota] = ()
    users: Collection[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AclPlan:
    """One ACL, as it will be on the target."""

    acl: StateAcl
    is_there: bool

    @property
    def sign(self) -> Literal["+", "="]:
        """``+`` will be added, ``=`` is there."""
        return "=" if self.is_there else "+"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaPlan:
    """One limit of one entity; ``present`` is None where the target has none."""

    entity: Mapping[str, str | None]
    name: str
    wanted: float
    present: float | None

    @property
    def sign(self) -> Literal["+", "~", "="]:
        """``+`` will be added, ``~`` changed, ``=`` is there."""
        if self.present is None:
            return "+"
        return "=" if self.present == self.wanted else "~"


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlan:
    """What is put, by the capture of ``captured_at_ms``.

    ``groups`` are the consumer groups that were looked at, by their source names.
    """

    choice: StateChoice
    captured_at_ms: int
    acls: tuple[AclPlan, ...] = ()
    quotas: tuple[QuotaPlan, ...] = ()
    notes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    @property
    def new_acls(self) -> list[StateAcl]:
        """Those that the target lacks."""
        return [planned.acl for planned in self.acls if not planned.is_there]

    @property
    def new_quotas(self) -> list[QuotaPlan]:
        """Those that the target lacks, or has otherwise."""
        return [planned for planned in self.quotas if planned.sign != "="]


def plan_state(
    choice: StateChoice,
    captured: ClusterState,
    target: TargetState,
    *,
    topics: Mapping[str, str],
    groups: Mapping[str, str],
) -> StatePlan:
    """The plan of what is wanted of a capture, in which ACLs and quotas are known as far as they are wanted.

    Args:
        choice: what is wanted.
        captured: the capture.
        target: what is there now.
        topics, groups: source name → target name of all that is restored.
    """
    notes: list[str] = []
    acls: list[StateAcl] = []
    if choice.wants_acls:
        acls = _wanted_acls(choice, captured.acls or [], topics, groups, notes)
        notes += _users(acls, captured, target)
    present = {entity_key(quota.entity): quota.values for quota in target.quotas}
    return StatePlan(
        choice=choice,
        captured_at_ms=captured.captured_at_ms,
        acls=tuple(AclPlan(acl=acl, is_there=acl in target.acls) for acl in acls),
        quotas=tuple(
            QuotaPlan(
                entity=quota.entity,
                name=name,
                wanted=value,
                present=present.get(entity_key(quota.entity), {}).get(name),
            )
            for quota in (captured.quotas or [] if choice.quotas else [])
            for name, value in quota.values.items()
        ),
        notes=tuple(notes),
        groups=tuple(sorted(groups)),
    )


def _wanted_acls(
    choice: StateChoice,
    captured: Sequence[StateAcl],
    topics: Mapping[str, str],
    groups: Mapping[str, str],
    notes: list[str],
) -> list[StateAcl]:
    known = [acl for acl in captured if not _is_unknown(acl)]
    if len(known) < len(captured):
        notes.append(f"{len(captured) - len(known)} ACLs are of a kind that this mirror cannot name: left out")
    wanted: dict[StateAcl, None] = {}
    left: Counter[str] = Counter()
    for acl in known:
        names = {"TOPIC": topics, "GROUP": groups}.get(acl.resource_type, {})
        concerned = list(_concerned(acl, names))
        if choice.all_acls:
            concerned.append(acl)
        if not concerned:
            left[f"{acl.resource_type} *" if acl.resource_name == "*" else acl.resource_type] += 1
        wanted.update(dict.fromkeys(concerned))
    if left:
        kinds = ", ".join(f"{count} of {kind}" for kind, count in sorted(left.items()))
        notes.append(f"ACLs that name nothing of what is restored are left out ({kinds}): --all-acls takes them too")
    return sorted(wanted, key=msgspec.structs.astuple)


def _is_unknown(acl: StateAcl) -> bool:
    return any(
        text.startswith(_UNKNOWN) for text in (acl.resource_type, acl.pattern_type, acl.operation, acl.permission)
    )


def _concerned(acl: StateAcl, names: Mapping[str, str]) -> Iterator[StateAcl]:
    """The ACL as it is on the target, for each name that it covers.

    A prefix stays one where it covers the new name too; else it becomes the new name: never wider than at the source.
    """
    for source, target in names.items():
        if acl.pattern_type == "LITERAL" and acl.resource_name == source:
            yield msgspec.structs.replace(acl, resource_name=target)
        elif acl.pattern_type == "PREFIXED" and source.startswith(acl.resource_name):
            if target.startswith(acl.resource_name):
                yield acl
            else:
                yield msgspec.structs.replace(acl, resource_name=target, pattern_type="LITERAL")


def _users(acls: Iterable[StateAcl], captured: ClusterState, target: TargetState) -> Iterator[str]:
    named = {acl.principal.removeprefix(_USER) for acl in acls if acl.principal.startswith(_USER)} - {"*"}
    if not named:
        return
    if target.users is None:
        yield f"whether {target.alias} has the users of these ACLs may not be asked: DESCRIBE on the cluster is missing"
        return
    at_source = None if captured.users is None else {user.user for user in captured.users}
    missing = sorted((named if at_source is None else named & at_source) - set(target.users))
    if missing:
        yield (
            f"SCRAM users that {target.alias} does not have: {', '.join(missing)} (make them there: passwords are never stored)"
            if at_source is not None
            else f"{target.alias} has no SCRAM users of these names, make those that log in so: {', '.join(missing)}"
        )
