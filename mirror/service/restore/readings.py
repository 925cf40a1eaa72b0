"""Both readings of a plan's moment, ``--at`` and ``--until``: decided by the indexes, opening only what they leave open.

What is opened is bounded, whatever the repository holds; beyond that counts say that they are not exact.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.readings import Counted, PartitionReadings, Side, counts_of, sides_of
from mirror.core.recovery_point import PointKind, TimeBounds
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_selection import RestoreSelection
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import TopicObject
from mirror.core.topic_filter import TopicFilter
from mirror.errors import DamageError, RefusedError
from mirror.service.reading import ReadTask, load_task
from mirror.service.restore.cutting import find_cuts
from mirror.service.restore.samples import SampleReader
from mirror.service.restore.settling import settle_transactions
from mirror.storage.repository import Repository

__all__ = ["Readings", "find_readings"]

_READERS = 8
_MOST_RUNS = 256
_MOST_BYTES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Readings:
    """Where the other reading of the plan's moment would bring something else.

    Attributes:
        differing: the partitions where it certainly does, in the plan's order.
        unsure: partitions whose runs were not all opened, and that show no difference so far.
        opened_runs: how many runs were opened to tell.
        at_is_refused: why there is no ``--at`` for this moment; empty where there is.
    """

    differing: tuple[PartitionReadings, ...] = ()
    unsure: tuple[TopicPartition, ...] = ()
    opened_runs: int = 0
    at_is_refused: str = ""


class _Wanted(NamedTuple):
    """A piece to be opened: its partition, and the numbers of side and piece there."""

    partition: TopicPartition
    place: tuple[int, int]
    piece: CoveredRun


def find_readings(
    repository: Repository,
    plan: RestorePlan,
    coverages: Mapping[PartitionId, PartitionCoverage],
    sealed_at_ms: SealTimes,
    *,
    now_ms: int,
    most_runs: int = _MOST_RUNS,
) -> Readings | None:
    """Compare the two readings of the plan's moment; None where it has none (``--latest`` and the like).

    Args:
        repository: opened.
        plan: of ``--at`` or ``--until``.
        coverages: of every partition incarnation.
        sealed_at_ms: of every object.
        now_ms: the caller's clock.
        most_runs: at most so many runs are opened.

    Raises:
        DamageError: a footer that says where ``--at`` cuts cannot be read.
        UnreachableError, AccessError, StoreError: as the store says.
    """
    point = plan.point
    if point.kind not in (PointKind.AT, PointKind.UNTIL) or point.time_ms is None:
        return None
    try:
        ranges = _at_ranges(repository, plan, coverages, sealed_at_ms, now_ms)
    except RefusedError as error:
        return Readings(at_is_refused=error.message)
    bounds = TimeBounds(point.since_ms, point.time_ms)
    partitions = {
        TopicPartition(topic.topic, partition.partition): sides_of(coverages[pid], ranges.get(pid), bounds)
        for topic in plan.topics
        for partition in topic.partitions
        for pid in (PartitionId(topic.topic_id, partition.partition),)
        if partition.cut is not None and pid in coverages
    }
    return _count(repository, partitions, bounds, most_runs)


def _at_ranges(
    repository: Repository,
    plan: RestorePlan,
    coverages: Mapping[PartitionId, PartitionCoverage],
    sealed_at_ms: SealTimes,
    now_ms: int,
) -> dict[PartitionId, tuple[int, int]]:
    """What ``--at`` takes of each partition."""
    if plan.point.kind is PointKind.AT:
        return {
            PartitionId(topic.topic_id, p.partition): (p.cut.start_offset, p.cut.next_offset)
            for topic in plan.topics
            for p in topic.partitions
            if p.cut is not None
        }
    chosen = {topic.topic: topic.topic_id for topic in plan.topics}
    selection = RestoreSelection(
        topics=TopicFilter(include=tuple(chosen)),
        point=replace(plan.point, kind=PointKind.AT, offsets={}),
        allow_short=True,
    )
    captures: Sequence[TopicObject] = ()  # a topic that was deleted by then had these records all the same
    samples = SampleReader(repository)
    cuts = find_cuts(samples, selection, chosen, coverages, captures, sealed_at_ms, now_ms=now_ms).by_partition
    settled = settle_transactions(repository, samples, selection.point, cuts, coverages, sealed_at_ms)
    return {pid: (cut.start_offset, cut.next_offset) for pid, cut in settled.by_partition.items()}


def _count(
    repository: Repository, partitions: Mapping[TopicPartition, Sequence[Side]], bounds: TimeBounds, most_runs: int
) -> Readings:
    opener = _Opener(repository, bounds, most_runs)
    ranked = [
        (rank, name, (number, piece))
        for name, sides in partitions.items()
        for number, side in enumerate(sides)
        for rank, piece in enumerate(side.undecided(most_runs + 1))
    ]
    ranked.sort(key=lambda one: one[0])  # of every partition what lies next to the cut first
    nearest = ranked[: 2 * most_runs]  # a run may be on both sides
    opened = opener.open([_wanted(partitions, name, place) for _, name, place in nearest])
    found = {name: counts_of(name, sides, opened.get(name, {})) for name, sides in partitions.items()}
    # Where the two differ, all parts of runs are counted; elsewhere nobody needs to know.
    parts = [
        _wanted(partitions, name, (number, piece))
        for name, one in found.items()
        if one.differ
        for number, side in enumerate(partitions[name])
        for piece in side.uncounted(most_runs)
        if (number, piece) not in opened.get(name, {})
    ]
    for name, more in opener.open(parts).items():
        opened.setdefault(name, {}).update(more)
        found[name] = counts_of(name, partitions[name], opened[name])
    skipped = {name for _, name, place in ranked if place not in opened.get(name, {})}
    return Readings(
        differing=tuple(one for one in found.values() if one.differ),
        unsure=tuple(name for name, one in found.items() if not one.differ and name in skipped),
        opened_runs=opener.opened_runs,
    )


def _wanted(
    partitions: Mapping[TopicPartition, Sequence[Side]], name: TopicPartition, place: tuple[int, int]
) -> _Wanted:
    return _Wanted(name, place, partitions[name][place[0]].pieces[place[1]])


class _Opener:
    """Counts records in pieces, a run read once for all of its pieces, until it has opened enough."""

    def __init__(self, repository: Repository, bounds: TimeBounds, most_runs: int) -> None:
        self._repository = repository
        self._bounds = bounds
        self._most_runs = most_runs
        self._left_bytes = _MOST_BYTES
        self.opened_runs = 0

    def open(self, wanted: Sequence[_Wanted]) -> dict[TopicPartition, dict[tuple[int, int], Counted]]:
        """What was counted, by partition and place; pieces that are missing were too many, or damaged."""
        runs: dict[tuple[str, int, TopicPartition], list[_Wanted]] = {}
        for one in wanted:
            runs.setdefault((one.piece.object_key, one.piece.run.position, one.partition), []).append(one)
        chosen: list[list[_Wanted]] = []
        for same_run in runs.values():
            size_bytes = same_run[0].piece.run.raw_bytes
            if self.opened_runs >= self._most_runs or size_bytes > self._left_bytes:
                continue
            self.opened_runs += 1
            self._left_bytes -= size_bytes
            chosen.append(same_run)
        found: dict[TopicPartition, dict[tuple[int, int], Counted]] = {}
        with ThreadPoolExecutor(_READERS, thread_name_prefix="readings") as pool:
            for same_run, counted in zip(chosen, pool.map(self._read, chosen), strict=True):
                for one, count in zip(same_run, counted or (), strict=counted is not None):
                    found.setdefault(one.partition, {})[one.place] = count
        return found

    def _read(self, same_run: Sequence[_Wanted]) -> list[Counted] | None:
        """None where the run is damaged: that is for the restore to say, if it needs the run at all."""
        try:
            return self._counted(same_run)
        except DamageError:
            return None

    def _counted(self, same_run: Sequence[_Wanted]) -> list[Counted]:
        pieces = tuple(one.piece for one in same_run)
        counted: list[Counted] = []
        for loaded in load_task(self._repository, ReadTask(pieces[0].object_key, pieces)):
            records = kept = 0
            for clipped in loaded.batches():
                header = clipped.batch.header
                if header.is_control:
                    continue
                if not clipped.is_cut and self._bounds.keeps_all(header.max_timestamp):
                    records += header.record_count
                    kept += header.record_count
                    continue
                for record in clipped.records():
                    records += 1
                    kept += self._bounds.keeps(record.timestamp_ms)
            counted.append(Counted(records, kept))
        return counted
