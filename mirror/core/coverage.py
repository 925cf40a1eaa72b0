"""Coverage: what of a partition is stored, lost for a named reason, or missing; and which run to read for each offset.

Invariants:

- *Each offset once.* Overlapping copies are harmless, since within one incarnation a committed offset has one content for ever. For every
  offset exactly one run is chosen: the highest level, then runs with batches before those without, then the one sealed first
  (compaction may have emptied what was fetched later).
- *Forks.* Bytes at or after a fork's offset whose leader epoch is at most the fork's are the cut tail of a truncated log: never chosen.
  Where a run names no epoch (no batch was fetched at all), the time decides: it was sealed before the fork was detected.
- *Gaps* count only where no run covers.
- *A position is the end of contiguous coverage*, never a maximum.
"""

from bisect import bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from mirror.core.covered_run import CoveredRun
from mirror.core.positions import OffsetRange, PartitionId
from mirror.core.run_pieces import RunPieces
from mirror.core.segment.index import ForkEntry, GapEntry, RunEntry, SegmentIndex, StartEntry

__all__ = [
    "CoveredRun",
    "NamedGap",
    "PartitionCoverage",
    "build_coverage",
    "by_topic",
    "choose_pieces",
    "cover_partition",
    "coverage_of",
    "free_ranges",
    "split_at_forks",
]


@dataclass(frozen=True, slots=True)
class NamedGap:
    """Lost offsets and why."""

    start_offset: int
    next_offset: int
    reason: str
    detected_at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionCoverage:
    """The coverage of one partition incarnation.

    Attributes:
        start_offset: the first offset that the backup is responsible for.
        next_offset: the offset after the last one stored or lost for a named reason.
        position: end of contiguous coverage from ``start_offset``: where a worker goes on.
        leader_epoch: leader epoch of the last batch before ``position``, −1 where unknown.
        runs: what to read, ascending and disjoint.
        gaps: lost offsets, clipped to what no run covers.
        missing: offsets inside the coverage that nothing explains: an object is gone.
        cut_tails: ranges that an unclean election removed from the log, as stored.
        overlap_offsets: offsets stored more than once, counted once per extra copy.
    """

    topic: str
    partition_id: PartitionId
    start_offset: int
    next_offset: int
    position: int
    leader_epoch: int
    start: StartEntry | None
    runs: Sequence[CoveredRun]
    gaps: Sequence[NamedGap]
    missing: Sequence[OffsetRange]
    cut_tails: Sequence[CoveredRun]
    overlap_offsets: int

    @property
    def stored_bytes(self) -> int:
        """Bytes in the store of the runs that are read (a run that is read in part counts whole)."""
        if isinstance(self.runs, RunPieces):
            return self.runs.total_once("stored_bytes")
        return sum({id(piece.run): piece.run.stored_bytes for piece in self.runs}.values())

    @property
    def fetched_bytes(self) -> int:
        """Bytes of the same runs as they were fetched."""
        if isinstance(self.runs, RunPieces):
            return self.runs.total_once("fetched_bytes")
        return sum({id(piece.run): piece.run.fetched_bytes for piece in self.runs}.values())


@dataclass(slots=True)
class _Parts:
    topic: str
    runs: list[tuple[str, int, int, RunEntry]]  # object key, level, sealed_at_ms, run
    starts: list[StartEntry]
    gaps: list[GapEntry]
    forks: list[ForkEntry]


def build_coverage(objects: Iterable[tuple[str, SegmentIndex]]) -> dict[PartitionId, PartitionCoverage]:
    """The coverage of every partition incarnation in a set of segment objects.

    Args:
        objects: ``(object key, its index)``, in any order; an object may appear twice.
    """
    parts: dict[PartitionId, _Parts] = {}
    seen: set[str] = set()

    def of(entry: RunEntry | StartEntry | GapEntry | ForkEntry) -> _Parts:
        found = parts.get(PartitionId(entry.topic_id, entry.partition))
        if found is None:
            found = parts[PartitionId(entry.topic_id, entry.partition)] = _Parts(entry.topic, [], [], [], [])
        return found

    for key, index in objects:
        if key in seen:
            continue
        seen.add(key)
        for run in index.runs:
            of(run).runs.append((key, index.level, index.sealed_at_ms, run))
        for start in index.starts:
            of(start).starts.append(start)
        for gap in index.gaps:
            of(gap).gaps.append(gap)
        for fork in index.forks:
            of(fork).forks.append(fork)
    return {
        partition_id: cover_partition(partition_id, p.topic, p.runs, p.starts, p.gaps, p.forks)
        for partition_id, p in parts.items()
    }


def cover_partition(
    partition_id: PartitionId,
    topic: str,
    runs: Iterable[tuple[str, int, int, RunEntry]],
    starts: Sequence[StartEntry],
    gaps: Sequence[GapEntry],
    forks: Sequence[ForkEntry],
) -> PartitionCoverage:
    """The coverage of one partition incarnation from its stored entries.

    Args:
        partition_id: whose entries these are.
        topic: its name, for messages.
        runs: ``(object key, level, sealed_at_ms, run)``.
        starts, gaps, forks: the entries of the same partition.
    """
    pieces: list[tuple[int, bool, int, CoveredRun]] = []
    cut_tails: list[CoveredRun] = []
    for key, level, sealed_at_ms, run in runs:
        for start_offset, next_offset, is_cut in split_at_forks(run, sealed_at_ms, forks):
            piece = CoveredRun(start_offset, next_offset, key, run)
            if is_cut:
                cut_tails.append(piece)
            else:
                pieces.append((-level, not run.batch_count, sealed_at_ms, piece))
    chosen, overlap = _choose(pieces)
    tails = sorted(cut_tails, key=lambda piece: (piece.start_offset, piece.object_key))
    return coverage_of(partition_id, topic, chosen, starts, gaps, tails, overlap)


def coverage_of(
    partition_id: PartitionId,
    topic: str,
    chosen: Sequence[CoveredRun],
    starts: Sequence[StartEntry],
    gaps: Sequence[GapEntry],
    cut_tails: Sequence[CoveredRun],
    overlap_offsets: int,
) -> PartitionCoverage:
    """The coverage of a partition whose pieces are chosen: disjoint, ascending."""
    start = min(starts, key=lambda entry: (entry.start_offset, entry.recorded_at_ms)) if starts else None
    named, missing = _explain(chosen, gaps, start)
    first, following = _bounds(chosen)
    lower = [start.start_offset] if start else []
    lower += first[:1].tolist() + [gap.start_offset for gap in named[:1]]
    upper = following[-1:].tolist() + [gap.next_offset for gap in named[-1:]]
    start_offset = min(lower, default=0)
    next_offset = max(upper, default=start_offset)
    position = missing[0].start_offset if missing else next_offset
    return PartitionCoverage(
        topic=topic,
        partition_id=partition_id,
        start_offset=start_offset,
        next_offset=next_offset,
        position=position,
        leader_epoch=_epoch_before(position, chosen),
        start=start,
        runs=chosen,
        gaps=named,
        missing=missing,
        cut_tails=cut_tails,
        overlap_offsets=overlap_offsets,
    )


def split_at_forks(run: RunEntry, sealed_at_ms: int, forks: Sequence[ForkEntry]) -> list[tuple[int, int, bool]]:
    """The run as ``(start_offset, next_offset, is cut)`` pieces: one by leader epoch where a fork touches it."""
    touching = [fork for fork in forks if fork.fork_offset < run.next_offset]
    out: list[tuple[int, int, bool]] = []
    if not run.leader_epochs:
        cut = min(
            (fork.fork_offset for fork in touching if sealed_at_ms <= fork.detected_at_ms), default=run.next_offset
        )
        if cut > run.start_offset:
            out.append((run.start_offset, cut, False))
        if cut < run.next_offset:
            out.append((max(cut, run.start_offset), run.next_offset, True))
        return out
    if not touching:
        return [(run.start_offset, run.next_offset, False)]
    bounds = [offset for _, offset in run.leader_epochs[1:]] + [run.next_offset]
    for (epoch, first), following in zip(run.leader_epochs, bounds, strict=True):
        cuts = [fork.fork_offset for fork in touching if epoch <= fork.last_leader_epoch]
        keep_until = min([following, *cuts])
        if keep_until > first:
            out.append((first, keep_until, False))
        if following > max(keep_until, first):
            out.append((max(keep_until, first), following, True))
    return out


def choose_pieces(runs: Iterable[tuple[str, int, int, RunEntry]]) -> tuple[list[CoveredRun], int]:
    """Each offset once, of runs that no fork touches; and how many offsets are stored again. See :func:`cover_partition`."""
    return _choose(
        [
            (-level, not run.batch_count, sealed_at_ms, CoveredRun(run.start_offset, run.next_offset, key, run))
            for key, level, sealed_at_ms, run in runs
        ]
    )


def _choose(pieces: list[tuple[int, bool, int, CoveredRun]]) -> tuple[list[CoveredRun], int]:
    """Disjoint pieces in ascending order, and how many offsets are stored again."""
    pieces.sort(key=lambda entry: entry[3].start_offset)
    if all(a[3].next_offset <= b[3].start_offset for a, b in pairwise(pieces)):
        return [entry[3] for entry in pieces], 0
    total = sum(entry[3].next_offset - entry[3].start_offset for entry in pieces)
    pieces.sort(key=lambda entry: (*entry[:3], entry[3].object_key, entry[3].start_offset))
    chosen: list[CoveredRun] = []
    for *_, piece in pieces:
        for free in free_ranges(chosen, piece.start_offset, piece.next_offset):
            insort(chosen, CoveredRun(*free, piece.object_key, piece.run), key=lambda c: c.start_offset)
    return chosen, total - sum(piece.next_offset - piece.start_offset for piece in chosen)


def free_ranges(
    chosen: Sequence[CoveredRun | NamedGap | OffsetRange], start_offset: int, next_offset: int
) -> list[OffsetRange]:
    """What of ``[start_offset, next_offset)`` the ascending, disjoint ``chosen`` leave free."""
    free: list[OffsetRange] = []
    at = start_offset
    index = max(0, bisect_right(chosen, start_offset, key=lambda c: c.start_offset) - 1)
    for at_index in range(index, len(chosen)):  # no slice: it would copy what follows for every piece
        piece = chosen[at_index]
        if piece.start_offset >= next_offset:
            break
        if piece.start_offset > at:
            free.append(OffsetRange(at, piece.start_offset))
        at = max(at, piece.next_offset)
    if at < next_offset:
        free.append(OffsetRange(at, next_offset))
    return free


def _explain(
    chosen: Sequence[CoveredRun], gaps: Sequence[GapEntry], start: StartEntry | None
) -> tuple[list[NamedGap], list[OffsetRange]]:
    """Gaps clipped to what no run covers, and the ranges that neither explains."""
    named: list[NamedGap] = []
    for gap in sorted(gaps, key=lambda entry: (entry.detected_at_ms, entry.start_offset)):
        for lost in free_ranges(chosen, gap.start_offset, gap.next_offset):
            for unnamed in free_ranges(named, *lost):
                insort(named, NamedGap(*unnamed, gap.reason, gap.detected_at_ms), key=lambda g: g.start_offset)
    first, following = _bounds(chosen)
    if named:
        first = np.concatenate([first, np.array([gap.start_offset for gap in named], dtype=np.int64)])
        following = np.concatenate([following, np.array([gap.next_offset for gap in named], dtype=np.int64)])
        order = np.argsort(first, kind="stable")
        first, following = first[order], following[order]
    if not len(first):
        return named, []
    at = start.start_offset if start else int(first[0])
    reached = np.maximum.accumulate(np.concatenate([np.array([at], dtype=np.int64), following[:-1]]))
    holes = np.flatnonzero(first > reached)
    missing = [OffsetRange(int(reached[hole]), int(first[hole])) for hole in holes]
    return named, missing


def _epoch_before(position: int, chosen: Sequence[CoveredRun]) -> int:
    first, following = _bounds(chosen)
    for number in range(int(np.searchsorted(first, position)) - 1, -1, -1):
        epochs = chosen.leader_epochs(number) if isinstance(chosen, RunPieces) else chosen[number].run.leader_epochs
        if epochs:
            reached = min(position, int(following[number]))
            return max((epoch for epoch, offset in epochs if offset < reached), default=-1)
    return -1


def _bounds(pieces: Sequence[CoveredRun]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First and next offset of each piece."""
    if isinstance(pieces, RunPieces):
        return pieces.start_offsets, pieces.next_offsets
    bounds = np.array([(piece.start_offset, piece.next_offset) for piece in pieces], dtype=np.int64)
    bounds = bounds.reshape(len(pieces), 2)
    return bounds[:, 0], bounds[:, 1]


def by_topic(coverage: Iterable[PartitionCoverage]) -> dict[str, dict[str, list[PartitionCoverage]]]:
    """Grouped as topic → topic id → partitions in order."""
    out: dict[str, dict[str, list[PartitionCoverage]]] = defaultdict(lambda: defaultdict(list))
    for entry in sorted(coverage, key=lambda c: (c.topic, c.partition_id)):
        out[entry.topic][entry.partition_id.topic_id].append(entry)
    return out
