"""Which rights a restore needs on its target, and which of them are missing.

Kafka's own authorizer lets whoever may read, write, delete or alter a thing also describe it, and whoever may alter settings read
them. Other authorizers do not: so the lesser rights are asked for too, and named only where the greater one does not bring them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_plan import RestorePlan, TopicPlan, TopicState
from mirror.core.restore_scope import RestoreScope

__all__ = ["LOADING", "MissingRight", "RestoreNeeds", "lacking", "needs_of", "text_of"]

LOADING: Final = frozenset({"ALTER_CONFIGS", "DESCRIBE", "DESCRIBE_CONFIGS", "READ", "WRITE"})
"""On every topic that is loaded: READ to go on after an interruption, to prove, and for the positions of groups."""

_CONFIGURING: Final = frozenset({"ALTER_CONFIGS", "DESCRIBE", "DESCRIBE_CONFIGS"})
_READING: Final = frozenset({"DESCRIBE", "DESCRIBE_CONFIGS", "READ"})
_BRINGS: Final[Mapping[str, frozenset[str]]] = {
    "DESCRIBE": frozenset({"READ", "WRITE", "DELETE", "ALTER"}),
    "DESCRIBE_CONFIGS": frozenset({"ALTER_CONFIGS"}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreNeeds:
    """What a restore will do: operations by target topic, the groups that it puts, and whether it may have holes to fill."""

    topics: Mapping[str, frozenset[str]]
    groups: tuple[str, ...]
    fills_holes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingRight:
    """Operations that are missing on things of one kind; the cluster has no name."""

    resource: Literal["topic", "group", "cluster"]
    names: tuple[str, ...]
    operations: tuple[str, ...]


def needs_of(plan: RestorePlan) -> RestoreNeeds:
    """What the plan will do."""
    has_records = plan.scope is not RestoreScope.STATE
    exact = plan.offsets is OffsetMode.EXACT and has_records
    return RestoreNeeds(
        topics={topic.target_topic: _topic_needs(topic, has_records=has_records, exact=exact) for topic in plan.topics},
        groups=tuple(group.target_group for group in plan.groups),
        fills_holes=exact and any(topic.state is not TopicState.COMPLETE for topic in plan.topics),
    )


def _topic_needs(topic: TopicPlan, *, has_records: bool, exact: bool) -> frozenset[str]:
    if topic.state is TopicState.COMPLETE:
        return _READING
    creates = {"CREATE"} if topic.state in (TopicState.ABSENT, TopicState.REPLACED, TopicState.MISFIT) else set()
    if topic.state in (TopicState.REPLACED, TopicState.MISFIT):
        creates.add("DELETE")
    trims = {"DELETE"} if exact and any(partition.lead_offset for partition in topic.partitions) else set()
    return (LOADING if has_records else _CONFIGURING) | creates | trims


def lacking(needed: frozenset[str], granted: frozenset[str]) -> frozenset[str]:
    """What must be granted: what is needed and not there, without what comes along with the rest of it."""
    missing = needed - granted
    return frozenset(one for one in missing if not _BRINGS.get(one, frozenset()) & missing)


def text_of(missing: MissingRight, *, most: int = 5) -> str:
    """For a message: ``WRITE on topics a, b and 3 more``."""
    operations = ", ".join(missing.operations)
    if missing.resource == "cluster":
        return f"{operations} on the cluster"
    return f"{operations} on {missing.resource}{'s' if len(missing.names) > 1 else ''} {_some(missing.names, most)}"


def _some(names: Iterable[str], most: int) -> str:
    listed = list(names)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more
