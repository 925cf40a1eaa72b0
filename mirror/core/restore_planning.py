"""A restore's plan: a pure function from the repository's coverage, the recovery point and the target's state to a frozen plan."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from mirror.core.coverage import PartitionCoverage
from mirror.core.cuts import PartitionCut, clip, hole_offsets, leading_loss
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import PartitionId
from mirror.core.recovery_point import ALL_TIMES, OffsetMode, RecoveryPoint, TimeBounds
from mirror.core.restore_configs import final_configs, load_configs
from mirror.core.restore_conflicts import refuse_too_many_replicas, replicas_of
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_plan import (
    PartitionPlan,
    RestorePlan,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    TopicState,
)
from mirror.core.restore_scope import RestoreScope
from mirror.core.restore_scoping import refuse_absent, scoped
from mirror.core.restore_selection import RestoreSelection, refuse_colliding
from mirror.core.run_pieces import RunPieces, are_exact
from mirror.core.segment.index import TopicObject
from mirror.errors import RefusedError, UsageError

__all__ = ["plan_restore"]

# For estimates; below what was measured with one broker on a busy machine of two cores: 9,000,000 offsets of filler, 15,000 markers
# in long holes, 85 aborted transactions one after the other.
_LEAD_OFFSETS_PER_S = 5_000_000
_HOLE_OFFSETS_PER_S = 10_000
_ABORTED_HOLES_PER_S = 60
_SHOWN = 20


def plan_restore(
    selection: RestoreSelection,
    *,
    chosen: Mapping[str, str],
    cuts: Mapping[PartitionId, PartitionCut],
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
    target: TargetCluster,
    source_cluster_id: str,
    now_ms: int,
    left_out: Sequence[str] = (),
) -> RestorePlan:
    """The plan of a restore.

    Args:
        selection: which topics, under which names, to which recovery point, and what the user allowed.
        chosen: topic → topic id of what is restored, see :func:`mirror.core.restore_selection.choose_incarnations`.
        cuts: where the recovery point cuts each partition that it knows.
        coverages: of every partition incarnation in the repository.
        topics: of every incarnation the capture that applies.
        target: its state now.
        source_cluster_id: the cluster the repository belongs to.
        now_ms: of the caller's clock: whether retention would delete what is restored.
        left_out: topics that are not restored and why.

    Raises:
        UsageError: names that cannot be.
        RefusedError: a decision is needed: offsets missing, stored too short or too long to fill, too few brokers, a target topic that is
            not empty.
    """
    if selection.if_not_empty is not IfNotEmpty.REFUSE and selection.scope is not RestoreScope.ALL:
        raise UsageError(
            f"--if-not-empty {selection.if_not_empty} goes with a whole restore: settings, records and groups"
        )
    if selection.if_not_empty is IfNotEmpty.APPEND and selection.offsets is OffsetMode.EXACT:
        raise UsageError(
            "--if-not-empty append goes with --offsets translated: behind other records none can get the offset it had",
            hint="add --offsets translated, or restore under another name with the same offsets: --prefix, --rename",
        )
    present = target.topic_names | target.topics.keys()
    names = {name: selection.target_name(name) for name in chosen}
    refuse_colliding(names, present)
    if selection.scope is RestoreScope.DATA:
        refuse_absent(names.values(), target)
    refuse_too_many_replicas(selection, chosen, topics, target)
    plans = tuple(
        _plan_topic(name, topic_id, selection, cuts, coverages, topics, target, now_ms)
        for name, topic_id in chosen.items()
    )
    if not selection.allow_missing:
        _refuse_missing(plans)
    if not selection.allow_short:
        _refuse_short(plans, selection.point)
    if selection.offsets is OffsetMode.EXACT:
        _refuse_long_fills(plans, selection.max_fill_s)
    return RestorePlan(
        target_alias=target.alias,
        target_cluster_id=target.cluster_id,
        target_bootstrap=target.bootstrap,
        target_is_source=target.cluster_id == source_cluster_id,
        topics=plans,
        point=selection.point,
        offsets=selection.offsets,
        left_out=tuple(left_out),
        if_not_empty=selection.if_not_empty,
        discard_unstored=selection.discard_unstored,
        scope=selection.scope,
        allow_missing=selection.allow_missing,
    )


def _refuse_missing(plans: Iterable[TopicPlan]) -> None:
    lines = [
        f"{plan.topic}-{partition.partition}: [{lost.start_offset}, {lost.next_offset})"
        for plan in plans
        for partition in plan.partitions
        if partition.coverage is not None
        for lost in partition.coverage.missing
    ]
    if lines:
        raise RefusedError(
            f"the repository lacks offsets that nothing explains:{_listed(lines)}",
            hint="`mirror verify` says what is damaged; --allow-missing restores the rest",
        )


def _refuse_short(plans: Iterable[TopicPlan], point: RecoveryPoint) -> None:
    lines = [
        f"{plan.topic}-{partition.partition}: stored to offset {cut.next_offset:,}, {cut.wanted_next_offset:,} is wanted"
        for plan in plans
        for partition in plan.partitions
        if (cut := partition.cut) is not None and cut.is_short
    ]
    if lines:
        raise RefusedError(
            f"{len(lines)} partitions are not stored as far as {point.option}:{_listed(lines)}",
            hint="--allow-short restores what there is of them",
        )


def _refuse_long_fills(plans: Iterable[TopicPlan], max_fill_s: float) -> None:
    lines = [
        f"{plan.topic}-{partition.partition}: {partition.lead_offset + partition.hole_offsets:,} offsets without a record, "
        f"about {partition.fill_s / 60:,.0f} minutes"
        for plan in plans
        for partition in plan.partitions
        if partition.fill_s > max_fill_s
    ]
    if lines:
        raise RefusedError(
            f"filling offsets that hold no record would take longer than {max_fill_s / 60:,.1f} minutes:{_listed(lines)}",
            hint="--offsets translated restores without holes, from offset 0; or allow it with --max-fill-time",
        )


def _listed(lines: Sequence[str]) -> str:
    more = [f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    return "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])


def _plan_topic(
    name: str,
    topic_id: str,
    selection: RestoreSelection,
    cuts: Mapping[PartitionId, PartitionCut],
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
    target: TargetCluster,
    now_ms: int,
) -> TopicPlan:
    target_name = selection.target_name(name)
    captured = next((t for t in topics if (t.topic, t.topic_id) == (name, topic_id)), None)
    notes: list[str] = []
    of_settings: list[str] = []
    if captured is None:
        of_settings.append(
            "no capture of its settings is stored: partitions as far as they hold data, default settings"
        )
    known = [pid.partition for pid in coverages if pid.topic_id == topic_id and pid in cuts]
    count = max([captured.partition_count if captured else 1, *(partition + 1 for partition in known)])
    has_records = selection.scope is not RestoreScope.STATE
    partitions = tuple(
        _plan_partition(
            number,
            coverages.get(pid) if has_records else None,
            cuts.get(pid),
            selection,
            takes_markers=target.takes_markers,
        )
        for number in range(count)
        for pid in (PartitionId(topic_id, number),)
    )
    mine = [partition.coverage for partition in partitions if partition.coverage is not None]
    present = target.topics.get(target_name)
    replication_factor, replica_notes = replicas_of(selection, captured, target, present)
    of_settings += replica_notes
    final, held, config_notes = final_configs(
        captured.configs if captured else {},
        [coverage for coverage in mine if coverage.runs],
        replication_factor=replication_factor,
        default_configs=target.default_configs,
        now_ms=now_ms,
    )
    if not target.takes_markers and any(partition.hole_offsets for partition in partitions):
        notes.append(
            "holes are filled by aborted transactions (the right ClusterAction on the cluster is missing): consumers that read "
            "uncommitted see empty records there"
        )
    appends = selection.if_not_empty is IfNotEmpty.APPEND
    mark = RestoreMark.of(selection.point, selection.offsets, topic_id, name, selection.partitions, appends=appends)
    state = _state_of(target_name, target, present, count, mark, replaces=selection.if_not_empty is IfNotEmpty.REPLACE)
    if state is TopicState.EMPTY and present and present.configs and dict(present.configs) != final:
        there = ", ".join(f"{key}={value}" for key, value in sorted(present.configs.items()))
        of_settings.append(f"the empty topic's own settings ({there}) are replaced by those of the source")
    planned = TopicPlan(
        topic=name,
        topic_id=topic_id,
        target_topic=target_name,
        state=state,
        partitions=partitions,
        replication_factor=replication_factor,
        present_configs=dict(present.configs) if present else {},
        load_configs=load_configs(final, mine, mark),
        final_configs=final,
        held=held,
        notes=tuple(notes),
        mark=mark,
    )
    return scoped(planned, selection, target, of_settings=(*of_settings, *config_notes), now_ms=now_ms)


def _plan_partition(
    partition: int,
    coverage: PartitionCoverage | None,
    cut: PartitionCut | None,
    selection: RestoreSelection,
    *,
    takes_markers: bool,
) -> PartitionPlan:
    if coverage is None or cut is None:
        return PartitionPlan(partition=partition, coverage=None, records=0, is_exact=True, stored_bytes=0)
    bounds = selection.point.bounds
    coverage = _without_older_runs(clip(coverage, cut.start_offset, cut.next_offset), bounds)
    pieces = RunPieces.of(coverage.runs)
    lead_offset = leading_loss(coverage)
    if bounds.since_ms is not None and coverage.runs:
        lead_offset = int(pieces.start_offsets[0])
    holes = hole_offsets(coverage)
    keeps_offsets = selection.offsets is OffsetMode.EXACT
    return PartitionPlan(
        partition=partition,
        coverage=coverage,
        records=pieces.total("record_count"),
        is_exact=bounds == ALL_TIMES and are_exact(pieces),
        stored_bytes=coverage.stored_bytes,
        cut=cut,
        lead_offset=lead_offset if keeps_offsets else 0,
        log_end_offset=coverage.next_offset if keeps_offsets and bounds == ALL_TIMES else None,
        hole_offsets=holes if keeps_offsets else 0,
        fill_s=lead_offset / _LEAD_OFFSETS_PER_S + _holes_s(coverage, holes, takes_markers) if keeps_offsets else 0.0,
    )


def _holes_s(coverage: PartitionCoverage, offsets: int, takes_markers: bool) -> float:
    """How long filling holes of so many offsets may take: markers count by offset, aborted transactions by hole."""
    if takes_markers:
        return offsets / _HOLE_OFFSETS_PER_S
    most_holes = min(offsets, RunPieces.of(coverage.runs).total("record_count") + 1)
    return most_holes / _ABORTED_HOLES_PER_S


def _without_older_runs(coverage: PartitionCoverage, bounds: TimeBounds) -> PartitionCoverage:
    """Without the runs that hold nothing of these times."""
    if bounds.since_ms is None:
        return coverage
    pieces = RunPieces.of(coverage.runs)
    # Where a run has no records its time is the least there is.
    return replace(coverage, runs=pieces.chosen(pieces.column("max_timestamp_ms") >= bounds.since_ms))


def _state_of(
    name: str,
    target: TargetCluster,
    present: TargetTopic | None,
    partition_count: int,
    mark: RestoreMark,
    *,
    replaces: bool,
) -> TopicState:
    if present is None:
        return TopicState.ABSENT
    if present.partition_count != partition_count:
        if replaces:
            return TopicState.MISFIT
        raise RefusedError(
            f"topic {name} exists on {target.alias} with {present.partition_count} partitions, {partition_count} are needed",
            hint=f"delete it, or restore under another name: --rename TOPIC={name}-restored",
        )
    there = RestoreMark.read(present.configs)
    if there is None:
        return TopicState.EMPTY if present.is_empty else TopicState.FILLED
    if there != mark and not present.is_empty:
        if replaces:
            return TopicState.MISFIT
        raise RefusedError(
            f"topic {name} on {target.alias} is being loaded by another restore: {there.option}",
            hint="give the command of that restore to go on with it, or delete the topic there",
        )
    return TopicState.UNFINISHED
