"""The two readings of a moment T, side by side: what stood in the log at T (``--at``), and what is stamped up to T (``--until``).

They differ where records were appended after T with older stamps (a replay), or before T with later ones (a clock that runs ahead).
Most of a partition is decided by its indexes: only runs whose times lie on both sides of T, or that the cut of ``--at`` divides, must be
opened. What batch headers tell is taken for the times in them: a record that is older than the first one of its own batch is seen only in
what is opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import TimeBounds
from mirror.core.run_pieces import RunPieces
from mirror.core.run_table import Int64s

__all__ = ["Counted", "PartitionReadings", "Side", "counts_of", "sides_of"]

_Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Side:
    """The pieces of runs on one side of the cut of ``--at``, with what their indexes tell; all arrays are by piece.

    Attributes:
        is_in_at: whether ``--at`` takes them.
        pieces: ascending.
        records: how many each holds; of a clipped run about in proportion.
        are_counted: whether that is certain.
        are_within, are_outside: whether ``--until`` takes all of it, or nothing; where neither, it must be opened to tell.
    """

    is_in_at: bool
    pieces: RunPieces
    records: Int64s
    are_counted: _Bools
    are_within: _Bools
    are_outside: _Bools

    def undecided(self, most: int) -> list[int]:
        """Pieces that must be opened to tell whether the other reading takes them otherwise: next to the cut first."""
        same = self.are_within if self.is_in_at else self.are_outside
        certain = (self.are_within | self.are_outside) & (same | self.are_counted)
        found = np.flatnonzero(~certain)
        nearest = found[::-1] if self.is_in_at else found
        return [int(number) for number in nearest[:most]]

    def uncounted(self, most: int) -> list[int]:
        """Pieces that must be opened to count them."""
        return [int(number) for number in np.flatnonzero(~self.are_counted)[:most]]


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


def sides_of(whole: PartitionCoverage, at_range: tuple[int, int] | None, bounds: TimeBounds) -> list[Side]:
    """A partition in parts that can be counted: before what ``--at`` takes, that, and what follows.

    Args:
        whole: all that is stored of it.
        at_range: the offsets ``[start, next)`` that ``--at`` takes; None for none of them.
        bounds: the times that ``--until`` takes.
    """
    first, following = at_range or (whole.start_offset, whole.start_offset)
    following = max(first, following)
    pieces = RunPieces.of(whole.runs)
    sides: list[Side] = []
    reached = -1
    for is_in_at, start, end in (
        (False, whole.start_offset, first),
        (True, first, following),
        (False, following, max(whole.next_offset, following)),
    ):
        inside = pieces.clipped(start, end)
        if start < end and len(inside):
            sides.append(_side(inside, bounds, is_in_at=is_in_at, reached=reached))
            reached = int(inside.next_offsets[-1])
    return sides


def _side(pieces: RunPieces, bounds: TimeBounds, *, is_in_at: bool, reached: int) -> Side:
    records = pieces.column("record_count")
    last_ms = pieces.column("max_timestamp_ms")
    first_ms = np.minimum(pieces.column("min_base_timestamp_ms"), last_ms)
    within = records > 0
    outside = records == 0
    if bounds.since_ms is not None:
        within &= first_ms >= bounds.since_ms
        outside |= last_ms < bounds.since_ms
    if bounds.until_ms is not None:
        within &= last_ms <= bounds.until_ms
        outside |= first_ms > bounds.until_ms
    follow = pieces.follow_directly
    follow[0] = int(pieces.start_offsets[0]) == reached
    # Where nothing stored stands directly before a run, its first batch may begin below it.
    counted = (pieces.are_whole & (follow | (pieces.start_offsets == 0))) | (records == 0)
    offsets = np.maximum(pieces.column("next_offset") - pieces.column("start_offset"), 1)
    shares = np.maximum((records * ((pieces.next_offsets - pieces.start_offsets) / offsets)).astype(np.int64), 1)
    return Side(
        is_in_at=is_in_at,
        pieces=pieces,
        records=np.where(counted, records, shares),
        are_counted=counted,
        are_within=within & ~outside,
        are_outside=outside,
    )


def counts_of(
    name: TopicPartition, sides: Sequence[Side], opened: Mapping[tuple[int, int], Counted]
) -> PartitionReadings:
    """The readings of a partition.

    Args:
        name: of the partition.
        sides: see :func:`sides_of`.
        opened: what was counted in pieces that were opened, by ``(number of the side, number of the piece)``.
    """
    at = until = only_at = only_until = 0
    exact = True
    for number, side in enumerate(sides):
        records = side.records.copy()
        kept = np.where(side.are_counted & side.are_within, records, 0)
        left = np.where(side.are_counted & side.are_outside, records, 0)
        for (_, piece), found in ((at_, one) for at_, one in opened.items() if at_[0] == number):
            records[piece], kept[piece], left[piece] = found.records, found.kept, found.records - found.kept
        exact = exact and bool((kept + left == records).all())
        until += int(kept.sum())
        if side.is_in_at:
            at += int(records.sum())
            only_at += int(left.sum())
        else:
            only_until += int(kept.sum())
    return PartitionReadings(
        name=name, at_records=at, until_records=until, only_at=only_at, only_until=only_until, is_exact=exact
    )
