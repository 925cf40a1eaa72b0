"""Consumer groups of a restore: where they stood at its moment, and putting them there, last of all.

A position is put as it was committed (exact offsets), or translated: the number of restored records before it. Never past the log's end:
a group may read again, it never skips. The committed leader epoch is left out, since the target counts its own.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from mirror.core.coverage import PartitionCoverage
from mirror.core.group_log import GROUP_LOG_TOPIC, CommittedOffset
from mirror.core.group_plan import GroupPlan
from mirror.core.polled_groups import is_polled
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.recovery_point import OffsetMode, PointKind
from mirror.core.restore_groups import plan_groups
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicState
from mirror.core.restore_record import RecordedGroup, RecordedPosition
from mirror.core.restore_selection import RestoreSelection
from mirror.core.seal_times import SealTimes
from mirror.core.whole_transactions import TransactionVerdicts
from mirror.errors import MirrorError, NoMatchError, RefusedError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, log_offsets
from mirror.kafka.group_admin import GroupPosition, active_members, commit_positions, committed_positions
from mirror.kafka.group_positions import group_names
from mirror.service.groups import choose_group_log, read_groups
from mirror.service.restore.cutting import find_cuts
from mirror.service.restore.resume_exact import count_before
from mirror.service.restore.samples import SampleReader
from mirror.storage.repository import Repository

__all__ = ["GroupResult", "OnBefore", "add_groups", "put_groups", "refuse_active", "wanted_positions"]

_NAMED_PROBLEMS = 5

OnBefore = Callable[[Sequence[RecordedGroup]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupResult:
    """One group after the restore: the positions it got.

    ``before`` are those that it had there and that were other ones, ``moved`` names those that lay outside of what is restored, ``left``
    those that were not put, since the group has gone on in a topic that was complete already.
    """

    group: str
    target_group: str
    positions: Mapping[TopicPartition, GroupPosition]
    before: Mapping[TopicPartition, GroupPosition]
    moved: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    problem: str = ""


def add_groups(
    repository: Repository,
    selection: RestoreSelection,
    plan: RestorePlan,
    coverages: Mapping[PartitionId, PartitionCoverage],
    sealed_at_ms: SealTimes,
    *,
    snapshot_groups: Mapping[str, Mapping[TopicPartition, CommittedOffset]] | None,
    now_ms: int,
    verdicts: TransactionVerdicts | None = None,
) -> RestorePlan:
    """The plan with the groups of the same moment: those of the snapshot, or what the group log says.

    ``verdicts`` say of transactions whether their records are restored: their positions then are too, else not.

    Raises:
        NoMatchError: groups are named and none is stored.
        DamageError, UnreachableError, AccessError, StoreError: the group log cannot be read.
    """
    choice, point = selection.groups, selection.point
    if not choice.is_wanted:
        return plan
    if snapshot_groups is not None:
        if verdicts is not None and verdicts.oldest_outside_ms is not None:
            snapshot_groups = _behind_transactions(repository, coverages, snapshot_groups, point.time_ms, verdicts)
        groups, notes = plan_groups(snapshot_groups, plan.topics, choice=choice)
        return replace(plan, groups=groups, group_notes=notes)
    at_ms = point.time_ms
    group_log = choose_group_log(coverages, at_ms)
    if not group_log:
        return _without(plan, selection, "not captured: no group log is stored")
    next_offsets = None
    late: tuple[str, ...] = ()
    was_polled = is_polled(next(iter(group_log)).topic_id)
    if was_polled:
        late = ("groups were polled: each stood where it is put, or a little further on, and reads that again",)
    elif point.kind is PointKind.AT:
        topic_id = next(iter(group_log)).topic_id
        chosen = {GROUP_LOG_TOPIC: topic_id}
        whole = replace(selection, point=replace(point, since_ms=None), allow_short=True)
        try:
            cuts = find_cuts(SampleReader(repository), whole, chosen, group_log, [], sealed_at_ms, now_ms=now_ms)
        except RefusedError:
            return _without(plan, selection, "not captured yet at that moment")
        next_offsets = {pid: cut.next_offset for pid, cut in cuts.by_partition.items()}
        if any(cut.is_short for cut in cuts.by_partition.values()):
            late = ("commits right before that moment may not be stored: groups may read a little more again",)
        at_ms = None  # the prefix of the log says it better than the brokers' clocks
    view = read_groups(repository, group_log, at_ms=at_ms, next_offsets=next_offsets, verdicts=verdicts)
    if (
        was_polled
        and point.kind is PointKind.AT
        and view.known_from_ms is not None
        and view.known_from_ms > (at_ms or 0)
    ):
        return _without(plan, selection, "not captured yet at that moment")
    groups, notes = plan_groups(view.groups, plan.topics, choice=choice)
    problems = [problem.message for problem in view.problems]
    if view.has_missing and not selection.allow_missing:
        raise RefusedError(
            "a part of the group log is gone from the repository, so groups may be missing or stand too low: "
            + "; ".join(problems[:_NAMED_PROBLEMS]),
            hint="`mirror verify` names the objects; --allow-missing restores what is known of groups, --no-groups leaves them all",
        )
    return replace(plan, groups=groups, group_notes=(*notes, *late, *problems))


def _behind_transactions(
    repository: Repository,
    coverages: Mapping[PartitionId, PartitionCoverage],
    stood: Mapping[str, Mapping[TopicPartition, CommittedOffset]],
    at_ms: int | None,
    verdicts: TransactionVerdicts,
) -> Mapping[str, Mapping[TopicPartition, CommittedOffset]]:
    """The positions of a snapshot, but none that a transaction committed which does not come back: the broker told these too."""
    group_log = choose_group_log(coverages, at_ms)
    if not group_log:
        return stood
    logged = read_groups(repository, group_log, at_ms=at_ms, verdicts=verdicts).groups
    return {
        group: {
            tp: min(position, logged.get(group, {}).get(tp, position), key=lambda one: one.offset)
            for tp, position in positions.items()
        }
        for group, positions in stood.items()
    }


def _without(plan: RestorePlan, selection: RestoreSelection, why: str) -> RestorePlan:
    if selection.groups.names_any:
        raise NoMatchError(f"consumer groups are {why}", hint="--no-groups restores the topics alone")
    return replace(plan, group_notes=(why,))


async def refuse_active(client: MirrorClient, admin: Admin, plan: RestorePlan) -> None:
    """Nothing is put under the feet of running consumers. Only groups that are there are asked for: asking for another makes a coordinator.

    Raises:
        RefusedError: names the groups that have members on the target.
        AccessError, UnreachableError, ClusterError: they cannot be asked for.
    """
    wanted = {group.target_group for group in plan.groups}
    active = await active_members(admin, wanted.intersection(await group_names(client))) if wanted else {}
    running = [f"{name} ({members} members)" for name, members in active.items() if members]
    if running:
        raise RefusedError(
            f"consumer groups are active on {plan.target_alias}: {', '.join(running)}",
            hint="stop their consumers first, or leave them out: --group names the ones to put, --no-groups none",
        )


async def put_groups(
    repository: Repository,
    client: MirrorClient,
    plan: RestorePlan,
    *,
    on_before: OnBefore | None = None,
    complete: Collection[str] | None = None,
) -> list[GroupResult]:
    """Commit, read back and compare; one group's trouble does not keep the others from theirs.

    Where a topic was complete before this run, a position that a group has there is its own by now: it is not put back.

    Args:
        repository: where from.
        client: of the target.
        plan: what is restored.
        on_before: told which positions will change, and what was there, before anything is put.
        complete: target topics that were complete before this run; None: those of the plan.

    Raises:
        UnreachableError, ClusterError: the target's logs cannot be asked for.
        DamageError: the repository cannot be read.
    """
    positions = await wanted_positions(repository, client, plan)
    if complete is None:
        complete = {topic.target_topic for topic in plan.topics if topic.state is TopicState.COMPLETE}
    wishes = [await _look(client, group, positions[group.target_group], complete) for group in plan.groups]
    if on_before is not None:
        await on_before([recorded for wish in wishes if (recorded := wish.recorded()) is not None])
    return [await _put(client, plan, wish) for wish in wishes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wish:
    """One group before it is put: what it shall have, what it has, and what of it is left as it is."""

    group: GroupPlan
    wanted: Mapping[TopicPartition, GroupPosition]
    present: Mapping[TopicPartition, GroupPosition]
    left: tuple[str, ...] = ()
    problem: str = ""

    @property
    def changed(self) -> dict[TopicPartition, GroupPosition]:
        """Positions that are not there yet."""
        return {tp: position for tp, position in self.wanted.items() if self.present.get(tp) != position}

    def recorded(self) -> RecordedGroup | None:
        """For the record; None where nothing will change."""
        if self.problem or not self.changed:
            return None
        positions = [
            RecordedPosition(
                topic=tp.topic,
                partition=tp.partition,
                offset=position.offset,
                metadata=position.metadata,
                before_offset=None if (before := self.present.get(tp)) is None else before.offset,
                before_metadata="" if before is None else before.metadata,
            )
            for tp, position in sorted(self.changed.items())
        ]
        return RecordedGroup(group=self.group.target_group, positions=positions)


async def _look(
    client: MirrorClient, group: GroupPlan, wanted: Mapping[TopicPartition, GroupPosition], complete: Collection[str]
) -> _Wish:
    try:
        present = await committed_positions(client, group.target_group)
    except MirrorError as error:
        return _Wish(group=group, wanted=wanted, present={}, problem=error.message)
    others = {tp for tp in wanted if tp in present and present[tp] != wanted[tp] and tp.topic in complete}
    left = tuple(
        f"{group.target_group} in {tp}: at {present[tp].offset:,}, not {wanted[tp].offset:,}" for tp in sorted(others)
    )
    kept = {tp: position for tp, position in wanted.items() if tp not in others}
    return _Wish(group=group, wanted=kept, present=present, left=left)


async def _put(client: MirrorClient, plan: RestorePlan, wish: _Wish) -> GroupResult:
    name, problem = wish.group.target_group, wish.problem
    try:
        if wish.changed and not problem:
            await commit_positions(client, name, wish.changed)
            there = await committed_positions(client, name)
            wrong = sorted(str(tp) for tp in wish.wanted if there.get(tp) != wish.wanted[tp])
            problem = f"read back otherwise: {', '.join(wrong[:5])}" if wrong else ""
    except MirrorError as error:
        problem = error.message
    return GroupResult(
        group=wish.group.group,
        target_group=name,
        positions=wish.wanted,
        before={tp: wish.present[tp] for tp in wish.changed if tp in wish.present},
        moved=_moved(plan, wish.group, wish.wanted),
        left=wish.left,
        problem=problem,
    )


def _moved(plan: RestorePlan, group: GroupPlan, wanted: Mapping[TopicPartition, GroupPosition]) -> tuple[str, ...]:
    """Positions before the first restored record, or beyond the last: put to where the log begins or ends."""
    if plan.offsets is OffsetMode.TRANSLATED:
        return ()
    return tuple(
        f"{group.target_group} in {planned.target}: {planned.source_offset:,} -> {wanted[planned.target].offset:,}"
        for planned in group.positions
        if planned.target in wanted and wanted[planned.target].offset != planned.source_offset
    )


async def wanted_positions(
    repository: Repository, client: MirrorClient, plan: RestorePlan
) -> dict[str, dict[TopicPartition, GroupPosition]]:
    """Where each group of a plan must stand on the target, whose topics are restored: group there → partition → position.

    Raises:
        UnreachableError, ClusterError: the target's logs cannot be asked for.
        DamageError: the repository cannot be read.
    """
    targets = sorted({position.target for group in plan.groups for position in group.positions})
    logs = await log_offsets(client, targets)
    partitions = {
        TopicPartition(topic.topic, partition.partition): partition
        for topic in plan.topics
        for partition in topic.partitions
    }
    return {
        group.target_group: await asyncio.to_thread(_positions, repository, plan, group, partitions, logs)
        for group in plan.groups
    }


def _positions(
    repository: Repository,
    plan: RestorePlan,
    group: GroupPlan,
    partitions: Mapping[TopicPartition, PartitionPlan],
    logs: Mapping[TopicPartition, LogOffsets],
) -> dict[TopicPartition, GroupPosition]:
    positions: dict[TopicPartition, GroupPosition] = {}
    for planned in group.positions:
        offset = planned.source_offset
        coverage = partitions[planned.source].coverage
        if plan.offsets is OffsetMode.TRANSLATED and coverage is not None:
            offset = partitions[planned.source].base_offset + count_before(
                repository, coverage, plan.point.bounds, offset
            )
        log = logs[planned.target]
        positions[planned.target] = GroupPosition(
            max(log.log_start_offset, min(offset, log.high_watermark)), planned.metadata
        )
    return positions
