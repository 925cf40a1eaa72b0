"""Both readings of a plan's moment, ``--at`` and ``--until``: decided by the indexes, opening only what they leave open.

What is opened is bounded, whatever the repository holds; beyond that counts say that they are not exact.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.readings import Counted, PartitionReadings, Piece, Share, counts_of, pieces_of
from mirror.core.recovery_point import PointKind, TimeBounds
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_selection import RestoreSelection
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import TopicObject
from mirror.core.topic_filter import TopicFilter
from mirror.errors import DamageError, RefusedError
from mirror.service.reading import ReadTask, load_task
from mirror.service.restore.cutting import find_cuts
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


@dataclass(slots=True)
class _Partition:
    name: TopicPartition
    pieces: list[Piece]

    @property
    def turn(self) -> int:
        """The number of the first piece after the cut."""
        return max((number + 1 for number, piece in enumerate(self.pieces) if piece.is_in_at), default=0)


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
    partitions = [
        _Partition(TopicPartition(topic.topic, partition.partition), pieces_of(coverages[pid], ranges.get(pid), bounds))
        for topic in plan.topics
        for partition in topic.partitions
        for pid in (PartitionId(topic.topic_id, partition.partition),)
        if partition.cut is not None and pid in coverages
    ]
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
    cuts = find_cuts(repository, selection, chosen, coverages, captures, sealed_at_ms, now_ms=now_ms)
    return {pid: (cut.start_offset, cut.next_offset) for pid, cut in cuts.by_partition.items()}


def _count(repository: Repository, partitions: Sequence[_Partition], bounds: TimeBounds, most_runs: int) -> Readings:
    opener = _Opener(repository, bounds, most_runs)
    undecided = [
        (abs(number - turn), partition, number)
        for partition in partitions
        for turn in (partition.turn,)
        for number, piece in enumerate(partition.pieces)
        if piece.share is Share.SOME
    ]
    undecided.sort(key=lambda one: one[0])  # of every partition what lies next to the cut first
    opened = opener.open([one[1:] for one in undecided])
    found = [counts_of(p.name, p.pieces, opened.get(p.name, {})) for p in partitions]
    # Where the two differ, parts of runs are counted too; elsewhere nobody needs to know.
    parts = [
        (partition, number)
        for partition, one in zip(partitions, found, strict=True)
        if _may_differ(partition, one)
        for number, piece in enumerate(partition.pieces)
        if not piece.is_counted and number not in opened.get(partition.name, {})
    ]
    for name, more in opener.open(parts).items():
        opened.setdefault(name, {}).update(more)
    found = [counts_of(p.name, p.pieces, opened.get(p.name, {})) for p in partitions]
    return Readings(
        differing=tuple(one for one in found if one.differ),
        unsure=tuple(
            one.name
            for partition, one in zip(partitions, found, strict=True)
            if not one.differ and not one.is_exact and _may_differ(partition, one)
        ),
        opened_runs=opener.opened_runs,
    )


def _may_differ(partition: _Partition, found: PartitionReadings) -> bool:
    """Whether something that is on the side of one reading alone may be in a piece that is not opened."""
    return found.differ or any(
        piece.share is not (Share.ALL if piece.is_in_at else Share.NONE) for piece in partition.pieces
    )


class _Opener:
    """Counts records in pieces, a run read once for all of its pieces, until it has opened enough."""

    def __init__(self, repository: Repository, bounds: TimeBounds, most_runs: int) -> None:
        self._repository = repository
        self._bounds = bounds
        self._most_runs = most_runs
        self._left_bytes = _MOST_BYTES
        self.opened_runs = 0

    def open(self, wanted: Sequence[tuple[_Partition, int]]) -> dict[TopicPartition, dict[int, Counted]]:
        """What was counted, by partition and number of the piece; pieces that are missing were too many."""
        runs: dict[tuple[str, int, TopicPartition], list[tuple[_Partition, int]]] = {}
        for partition, number in wanted:
            covered = partition.pieces[number].covered
            runs.setdefault((covered.object_key, covered.run.position, partition.name), []).append((partition, number))
        chosen: list[list[tuple[_Partition, int]]] = []
        for same_run in runs.values():
            partition, number = same_run[0]
            size_bytes = partition.pieces[number].covered.run.raw_bytes
            if self.opened_runs >= self._most_runs or size_bytes > self._left_bytes:
                continue
            self.opened_runs += 1
            self._left_bytes -= size_bytes
            chosen.append(same_run)
        found: dict[TopicPartition, dict[int, Counted]] = {}
        with ThreadPoolExecutor(_READERS, thread_name_prefix="readings") as pool:
            for same_run, counted in zip(chosen, pool.map(self._read, chosen), strict=True):
                if counted is None:
                    continue
                for (partition, number), one in zip(same_run, counted, strict=True):
                    found.setdefault(partition.name, {})[number] = one
        return found

    def _read(self, same_run: Sequence[tuple[_Partition, int]]) -> list[Counted] | None:
        """None where the run is damaged: that is for the restore to say, if it needs the run at all."""
        try:
            return self._counted(same_run)
        except DamageError:
            return None

    def _counted(self, same_run: Sequence[tuple[_Partition, int]]) -> list[Counted]:
        pieces: tuple[CoveredRun, ...] = tuple(partition.pieces[number].covered for partition, number in same_run)
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
