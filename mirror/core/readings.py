"""The two readings of a moment T, side by side: what stood in the log at T (``--at``), and what is stamped up to T (``--until``).

They differ where records were appended after T with older stamps (a replay), or before T with later ones (a clock that runs ahead).
Most of a partition is decided by its indexes: only runs whose times lie on both sides of T, or that the cut of ``--at`` divides, must be
opened. What batch headers tell is taken for the times in them: a record that is older than the first one of its own batch is seen only in
what is opened.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.cuts import clip
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import TimeBounds
from mirror.core.restore_plan import is_exact
from mirror.core.segment.index import RunEntry

__all__ = ["Counted", "PartitionReadings", "Piece", "Share", "counts_of", "pieces_of", "share_of"]


class Share(Enum):
    """How much of a run is stamped within some times, as far as its index tells."""

    NONE = auto()
    SOME = auto()
    ALL = auto()


def share_of(run: RunEntry, bounds: TimeBounds) -> Share:
    """By the earliest and the latest time that the index has of a run."""
    first_ms, last_ms = run.min_base_timestamp_ms, run.max_timestamp_ms
    if not run.record_count or first_ms is None or last_ms is None:
        return Share.NONE
    first_ms = min(first_ms, last_ms)
    if (bounds.since_ms is not None and last_ms < bounds.since_ms) or (
        bounds.until_ms is not None and first_ms > bounds.until_ms
    ):
        return Share.NONE
    return Share.ALL if bounds.keeps(first_ms) and bounds.keeps(last_ms) else Share.SOME


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a run on one side of the cut.

    Attributes:
        covered: which offsets of which run.
        is_in_at: whether ``--at`` takes it.
        share: how much of it ``--until`` takes.
        is_counted: whether the run's record count is that of this part.
    """

    covered: CoveredRun
    is_in_at: bool
    share: Share
    is_counted: bool


@dataclass(frozen=True, slots=True)
class Counted:
    """Records of a piece that was opened, and how many of them are stamped within the times."""

    records: int
    kept: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionReadings:
    """What each reading of one moment brings of a partition, in records.

    Attributes:
        name: in the repository.
        at_records, until_records: what ``--at`` and ``--until`` bring.
        only_at, only_until: of these, what the other one does not.
        is_exact: else something was not opened: ``at_records`` is about right, the others are at least so many.
    """

    name: TopicPartition
    at_records: int
    until_records: int
    only_at: int
    only_until: int
    is_exact: bool

    @property
    def differ(self) -> bool:
        """Whether the two certainly bring something else."""
        return bool(self.only_at or self.only_until)


def pieces_of(whole: PartitionCoverage, at_range: tuple[int, int] | None, bounds: TimeBounds) -> list[Piece]:
    """A partition in parts that can be counted.

    Args:
        whole: all that is stored of it.
        at_range: the offsets ``[start, next)`` that ``--at`` takes; None for none of them.
        bounds: the times that ``--until`` takes.
    """
    first, following = at_range or (whole.start_offset, whole.start_offset)
    sides: list[tuple[bool, Sequence[CoveredRun]]] = [
        (False, clip(whole, whole.start_offset, first).runs if first > whole.start_offset else ()),
        (True, clip(whole, first, following).runs if following > first else ()),
        (False, clip(whole, following, whole.next_offset).runs),
    ]
    pieces: list[Piece] = []
    reached = -1
    for is_in_at, runs in sides:
        for covered in runs:
            counted = is_exact(covered, is_first=covered.start_offset != reached) or not covered.run.record_count
            reached = covered.next_offset
            pieces.append(Piece(covered, is_in_at, share_of(covered.run, bounds), counted))
    return pieces


def counts_of(name: TopicPartition, pieces: Iterable[Piece], opened: Mapping[int, Counted]) -> PartitionReadings:
    """The readings of a partition.

    Args:
        name: of the partition.
        pieces: see :func:`pieces_of`.
        opened: what was counted in those that were opened, by their number among the pieces.
    """
    at = until = only_at = only_until = 0
    exact = True
    for number, piece in enumerate(pieces):
        records, kept, left = _certain(piece, opened.get(number))
        exact = exact and kept + left == records
        until += kept
        if piece.is_in_at:
            at += records
            only_at += left
        else:
            only_until += kept
    return PartitionReadings(
        name=name, at_records=at, until_records=until, only_at=only_at, only_until=only_until, is_exact=exact
    )


def _certain(piece: Piece, found: Counted | None) -> tuple[int, int, int]:
    """Records of a piece, how many are certainly within the times, and how many certainly are not."""
    if found is not None:
        return found.records, found.kept, found.records - found.kept
    covered, records = piece.covered, piece.covered.run.record_count
    if not piece.is_counted:  # a part of the run: about in proportion
        offsets = max(1, covered.run.next_offset - covered.run.start_offset)
        return max(1, records * (covered.next_offset - covered.start_offset) // offsets), 0, 0
    if piece.share is Share.SOME:
        return records, 0, 0
    return (records, records, 0) if piece.share is Share.ALL else (records, 0, records)
