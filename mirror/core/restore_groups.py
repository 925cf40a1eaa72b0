"""Where consumer groups will stand after a restore: a pure function from where they stood at the moment that is restored."""

from collections.abc import Mapping, Sequence

from mirror.core.group_log import CommittedOffset
from mirror.core.group_plan import GroupChoice, GroupPlan, PlannedPosition
from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import TopicPlan
from mirror.errors import NoMatchError, UsageError

__all__ = ["plan_groups"]


def plan_groups(
    stood: Mapping[str, Mapping[TopicPartition, CommittedOffset]],
    topics: Sequence[TopicPlan],
    choice: GroupChoice,
) -> tuple[tuple[GroupPlan, ...], tuple[str, ...]]:
    """The groups that have a position in a topic that is restored.

    Args:
        stood: group → partition → position, at the moment that is restored.
        topics: what is restored.
        choice: which groups.

    Returns:
        The groups that have a position in what is restored, and notes on what is left out.

    Raises:
        NoMatchError: groups are named, and none of them has a position in what is restored; or a rename names none that is.
        UsageError: two groups would get one name.
    """
    by_name = {topic.topic: topic for topic in topics}
    groups: list[GroupPlan] = []
    notes: list[str] = []
    for group in sorted(name for name in stood if choice.matches(name)):
        positions: list[PlannedPosition] = []
        elsewhere = 0
        for source, committed in sorted(stood[group].items()):
            topic = by_name.get(source.topic)
            if topic is None or not _is_restored(topic, source.partition):
                elsewhere += 1
            elif committed.topic_id not in (None, topic.topic_id):
                notes.append(f"group {group}: its position in {source} is of another incarnation, left out")
            else:
                positions.append(
                    PlannedPosition(
                        source=source,
                        target=TopicPartition(topic.target_topic, source.partition),
                        source_offset=committed.offset,
                        metadata=committed.metadata,
                    )
                )
        if positions:
            groups.append(
                GroupPlan(
                    group=group,
                    target_group=choice.renames.get(group, group),
                    positions=tuple(positions),
                    elsewhere=elsewhere,
                )
            )
    _check(groups, choice)
    return tuple(groups), tuple(notes)


def _is_restored(topic: TopicPlan, partition: int) -> bool:
    return any(p.partition == partition and p.coverage is not None for p in topic.partitions)


def _check(groups: Sequence[GroupPlan], choice: GroupChoice) -> None:
    found = {group.group for group in groups}
    unknown = sorted(choice.renames.keys() - found)
    if unknown or (choice.names_any and not groups):
        named = ", ".join(unknown) or "those that are named"
        raise NoMatchError(
            f"no consumer group had a position in what is restored: {named}",
            hint="`mirror groups list` shows which groups are stored",
        )
    taken: dict[str, str] = {}
    for group in groups:
        other = taken.setdefault(group.target_group, group.group)
        if other != group.group:
            raise UsageError(f"groups {other} and {group.group} would both be put as {group.target_group}")
