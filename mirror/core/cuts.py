"""Where a recovery point cuts each partition: a pure function from its coverage and what leaders said of it.

Every fetch answer carries the log's last stable offset, so a watermark sample at or before T says which prefix stood in the log at T,
also where the worker lagged behind. The last stable offset never lies inside an open transaction. Between the last sample before T and
the first one after it only what was sealed is known for certain: a worker that waits at the end of a log hears of new records within
a second, one that stood still does not. The cut is at the sample before, or at the end of what was sealed; a *doubt* is told where records
that follow claim to be older than T.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mirror.core.coverage import CoveredRun, NamedGap, PartitionCoverage
from mirror.core.positions import OffsetRange
from mirror.core.run_pieces import RunPieces
from mirror.core.run_table import Int64s
from mirror.core.segment.index import WatermarkSample

__all__ = [
    "Doubt",
    "Observation",
    "PartitionCut",
    "clip",
    "cut_at",
    "hole_offsets",
    "leading_loss",
    "observe",
]


@dataclass(frozen=True, slots=True)
class Observation:
    """The samples around a moment: the last one at or before it, and the first one after it."""

    before: WatermarkSample | None
    after: WatermarkSample | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Offsets ``[start_offset, next_offset)`` may have stood in the log at T: nobody looked between ``since_ms`` and ``until_ms``."""

    start_offset: int
    next_offset: int
    since_ms: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionCut:
    """What is meant of one partition: ``[start_offset, next_offset)``.

    Attributes:
        start_offset, next_offset: bounds of what is stored and wanted.
        wanted_next_offset: where the recovery point lies; beyond ``next_offset`` where not all of it is stored (*short*).
        observed_at_ms: the sample that says so; None where no sample was needed.
        doubt: see :class:`Doubt`.
        accuracy_ms: how long before the moment the backup last looked, as far as records may have come since; 0 where none can.
        moved_from_offset: where the cut was before it was moved back, so that no transaction is split; None where it was not moved.
        moved_because: which transaction, and where else it is not whole.
    """

    start_offset: int
    next_offset: int
    wanted_next_offset: int
    observed_at_ms: int | None = None
    doubt: Doubt | None = None
    accuracy_ms: int = 0
    moved_from_offset: int | None = None
    moved_because: str = ""

    @property
    def is_short(self) -> bool:
        """Whether offsets before the recovery point are not stored (yet)."""
        return self.wanted_next_offset > self.next_offset


def observe(
    pieces: Sequence[CoveredRun],
    sealed_at_ms: Mapping[str, int],
    at_ms: int,
    samples_of: Callable[[CoveredRun], Sequence[WatermarkSample]],
) -> Observation:
    """The samples around ``at_ms``; asks for all samples of as few runs as possible, of none where the edges of each say enough.

    Args:
        pieces: of one partition, ascending.
        sealed_at_ms: of each object.
        at_ms: the moment.
        samples_of: the samples of a piece's run (roll-ups have the first and the last, so this may read a footer).
    """
    reached = np.flatnonzero(_sealed_ms(pieces, sealed_at_ms, 0) >= at_ms)
    turn = int(reached[0]) if len(reached) else len(pieces)
    before: WatermarkSample | None = None
    after: WatermarkSample | None = None
    for number in range(turn, len(pieces)):
        found = _around(pieces, number, at_ms, samples_of)
        before, after = found.before or before, found.after
        if after is not None:
            break
    for number in range(turn - 1, -1, -1):
        if before is not None:
            break
        before = _around(pieces, number, at_ms, samples_of).before
    return Observation(before, after)


def _around(
    pieces: Sequence[CoveredRun],
    number: int,
    at_ms: int,
    samples_of: Callable[[CoveredRun], Sequence[WatermarkSample]],
) -> Observation:
    """Of one run: its last sample at or before the moment, its first one after it."""
    edges = pieces.edge_samples(number) if isinstance(pieces, RunPieces) else None
    if edges is None or edges[0].fetched_at_ms <= at_ms < edges[-1].fetched_at_ms:
        edges = samples_of(pieces[number])
    before = next((sample for sample in reversed(edges) if sample.fetched_at_ms <= at_ms), None)
    return Observation(before, next((sample for sample in edges if sample.fetched_at_ms > at_ms), None))


def cut_at(
    coverage: PartitionCoverage,
    seen: Observation,
    at_ms: int,
    *,
    sealed_at_ms: Mapping[str, int],
    last_look_ms: int = 0,
) -> PartitionCut | None:
    """The cut of a partition at a moment; None where the backup did not know the partition yet.

    Args:
        coverage: of the partition.
        seen: the samples around the moment.
        at_ms: the moment.
        sealed_at_ms: of each object: which cut tails were stored by then.
        last_look_ms: when the worker that fetched the partition last sealed an object: what it had fetched by then is stored.
    """
    start = coverage.start
    # What was sealed by then had been fetched, so it stood in the log, below the last stable offset.
    by_then = _sealed_ms(coverage.runs, sealed_at_ms, at_ms + 1) <= at_ms
    sealed = RunPieces.of(coverage.runs).next_offsets[by_then].tolist()
    # What was found to be lost by then had stood in the log too: it began behind it.
    lost = [gap.next_offset for gap in coverage.gaps if gap.detected_at_ms <= at_ms]
    fetched = max([coverage.start_offset, *sealed, *lost])
    if seen.before is not None:
        wanted, since_ms = max(seen.before.last_stable_offset, fetched), seen.before.fetched_at_ms
    elif start is not None and start.recorded_at_ms <= at_ms:
        wanted, since_ms = max(start.start_offset, fetched), start.recorded_at_ms
    else:
        return None
    # What an unclean election cut off later stood in the log at T; what replaced it did not.
    replaced = [tail.start_offset for tail in coverage.cut_tails if sealed_at_ms.get(tail.object_key, 0) <= at_ms]
    reached = min([wanted, max(coverage.next_offset, coverage.start_offset), *replaced])
    doubt = None
    if seen.after is not None and not replaced:
        doubt = _doubt(coverage, wanted, since_ms, seen.after, at_ms)
    looked_ms = at_ms
    if doubt is not None:
        looked_ms = since_ms
    elif seen.after is None:
        looked_ms = max(since_ms, last_look_ms)
    return PartitionCut(
        start_offset=coverage.start_offset,
        next_offset=reached,
        wanted_next_offset=wanted,
        observed_at_ms=since_ms,
        doubt=doubt,
        accuracy_ms=max(0, at_ms - looked_ms),
    )


def _doubt(coverage: PartitionCoverage, wanted: int, since_ms: int, after: WatermarkSample, at_ms: int) -> Doubt | None:
    until = min(after.last_stable_offset, coverage.next_offset)
    oldest_ms = RunPieces.of(coverage.runs).clipped(wanted, until).oldest_ms("min_base_timestamp_ms")
    if until <= wanted or oldest_ms is None or oldest_ms > at_ms:
        return None
    return Doubt(start_offset=wanted, next_offset=until, since_ms=since_ms, until_ms=after.fetched_at_ms)


def _sealed_ms(pieces: Sequence[CoveredRun], sealed_at_ms: Mapping[str, int], unknown_ms: int) -> Int64s:
    """When the object of each piece was sealed."""
    known = pieces.sealed_at_ms() if isinstance(pieces, RunPieces) else None
    if known is not None:
        return known
    return np.array([sealed_at_ms.get(piece.object_key, unknown_ms) for piece in pieces], dtype=np.int64)


def clip(coverage: PartitionCoverage, start_offset: int, next_offset: int) -> PartitionCoverage:
    """The coverage of ``[start_offset, next_offset)`` alone."""

    def bounds(start: int, following: int) -> tuple[int, int] | None:
        inside = max(start, start_offset), min(following, next_offset)
        return inside if inside[0] < inside[1] else None

    gaps = [
        NamedGap(*inside, gap.reason, gap.detected_at_ms)
        for gap in coverage.gaps
        if (inside := bounds(gap.start_offset, gap.next_offset))
    ]
    missing = [OffsetRange(*inside) for lost in coverage.missing if (inside := bounds(*lost))]
    first = max(coverage.start_offset, min(start_offset, next_offset))
    reached = max(first, min(coverage.next_offset, next_offset))
    return replace(
        coverage,
        start_offset=first,
        next_offset=reached,
        position=missing[0].start_offset if missing else reached,
        runs=RunPieces.of(coverage.runs).clipped(start_offset, next_offset),
        gaps=gaps,
        missing=missing,
    )


def leading_loss(coverage: PartitionCoverage) -> int:
    """The first offset that is not lost: where the log of a restored partition begins."""
    first = coverage.start_offset
    for gap in coverage.gaps:
        if gap.start_offset > first:
            break
        first = max(first, gap.next_offset)
    return first


def hole_offsets(coverage: PartitionCoverage) -> int:
    """Offsets after the log's beginning that hold no record, at least: where pieces are clipped their holes are not counted."""
    begin = leading_loss(coverage)
    pieces = RunPieces.of(coverage.runs)
    lacking = pieces.next_offsets - pieces.start_offsets - pieces.column("record_count")
    whole = np.maximum(lacking, 0)[pieces.are_whole].sum()
    begins = np.concatenate([pieces.start_offsets, np.array([coverage.next_offset])])
    ends = np.concatenate([np.array([begin]), pieces.next_offsets])
    return int(whole + np.maximum(begins - ends, 0).sum())
