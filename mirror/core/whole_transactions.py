"""Moves the cuts of partitions back until they split no transaction: a pure function from the pieces that transactions left.

A cut is a prefix, so moving one back to the first record of a transaction may split another one that is open there: cuts are moved until
nothing changes. What is found is the largest set of prefixes that splits none (two such sets together are one as well, so there is a
largest one).

Which pieces belong to one transaction: those of one producer whose markers carry an epoch of their own (see `transaction_pieces`);
else those whose markers were written at about the same time. A producer begins no transaction before all markers of its last one are
written, so its transactions lie one after another in time, and a partition holds no two pieces of one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from typing import Final

from mirror.core.positions import PartitionId
from mirror.core.transaction_pieces import TransactionPiece

__all__ = [
    "MARKER_SPREAD_MS",
    "Settled",
    "Transaction",
    "TransactionVerdicts",
    "group_pieces",
    "is_outside",
    "settle_cuts",
]

MARKER_SPREAD_MS: Final = 1000
"""Markers of one transaction are written within so long of each other, clocks of leaders included."""

_UNCERTAIN_GAP_MS: Final = 2

Transaction = Sequence[TransactionPiece]


def group_pieces(pieces: Iterable[TransactionPiece]) -> list[Transaction]:
    """The pieces by transaction. Where times cannot tell transactions of one producer apart, they are taken as one: all or none of them."""
    found = list(pieces)
    counting = {piece.producer_id for piece in found if piece.is_epoch_own}
    by_epoch: dict[tuple[int, int, bool], list[TransactionPiece]] = {}
    for piece in found:
        if not piece.has_marker and piece.producer_id in counting:
            piece = replace(piece, producer_epoch=piece.producer_epoch + 1, is_epoch_own=True)
        key = piece.producer_id, piece.producer_epoch, piece.is_epoch_own
        by_epoch.setdefault(key, []).append(piece)
    transactions: list[Transaction] = []
    for (_, _, is_own), same in by_epoch.items():
        transactions += [same] if is_own else _by_time(sorted(same, key=lambda piece: piece.marker_ms))
    return transactions


def _by_time(pieces: list[TransactionPiece]) -> list[Transaction]:
    """Of one producer and epoch, by the times of their markers: cut where it is clearest, until no part has a partition twice."""
    done: list[Transaction] = []
    left = [pieces]
    while left:
        part = left.pop()
        at = _clearest_end(part)
        if at:
            left += [part[:at], part[at:]]
        else:
            done.append(part)
    return done


def _clearest_end(part: Sequence[TransactionPiece]) -> int:
    """How many of these pieces, by the times of their markers, are of earlier transactions than the rest; 0 where they may be of one.

    Between two transactions of a producer both the times of their markers and those of their records leave a gap, if the records have
    the times at which they were made; markers of one transaction that were written late leave none between its records.
    """
    gaps = [after.marker_ms - before.marker_ms for before, after in pairwise(part)]
    if max(gaps, default=0) > MARKER_SPREAD_MS:
        return gaps.index(max(gaps)) + 1
    last_at = {piece.partition_id: number for number, piece in enumerate(part)}
    seen: set[PartitionId] = set()
    latest_ms = list(accumulate((piece.last_ms for piece in part), max))
    earliest_ms = list(accumulate((piece.first_ms for piece in reversed(part)), min))[::-1]
    found: list[tuple[int, int, int]] = []
    repeated = 0  # partitions that were seen and come again
    for number, gap in enumerate(gaps):
        partition_id = part[number].partition_id
        repeated += partition_id not in seen and last_at[partition_id] > number
        repeated -= partition_id in seen and last_at[partition_id] == number
        seen.add(partition_id)
        if repeated and gap > _UNCERTAIN_GAP_MS:
            found.append((min(gap, earliest_ms[number + 1] - latest_ms[number]), gap, -number))
    if not found:
        return 0
    clear = max(found)
    best = clear if clear[0] > 0 else max(found, key=lambda one: one[1:])  # the records' times say nothing
    return 1 - best[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What :func:`settle_cuts` found.

    Attributes:
        next_offsets: of every partition, at most what it was.
        because: moved partition → a transaction that is not whole, and a partition (another one where there is) in which it is not.
        outside: the transactions of which nothing is left.
    """

    next_offsets: dict[PartitionId, int]
    because: dict[PartitionId, tuple[TransactionPiece, PartitionId]]
    outside: list[Transaction]


def settle_cuts(transactions: Sequence[Transaction], next_offsets: Mapping[PartitionId, int]) -> Settled:
    """The largest prefixes, within these, that hold of each transaction all pieces or none.

    Args:
        transactions: by :func:`group_pieces`; pieces of partitions that are not in ``next_offsets`` do not count.
        next_offsets: the cuts as they are.
    """
    cuts = dict(next_offsets)
    because: dict[PartitionId, tuple[TransactionPiece, PartitionId]] = {}
    mine = [[piece for piece in transaction if piece.partition_id in cuts] for transaction in transactions]
    by_end: dict[
        PartitionId, list[tuple[int, int]]
    ] = {}  # next offset and number, the last piece of the partition first to pop
    for number, pieces in enumerate(mine):
        for piece in pieces:
            by_end.setdefault(piece.partition_id, []).append((piece.next_offset, number))
    for ends in by_end.values():
        ends.sort()
    outside: set[int] = set()
    to_look_at = list(range(len(mine)))
    while to_look_at:
        number = to_look_at.pop()
        cut_off = [piece for piece in mine[number] if is_outside(piece, cuts)]
        if number in outside or not cut_off:
            continue
        outside.add(number)
        for piece in mine[number]:
            partition_id = piece.partition_id
            if piece.start_offset < cuts[partition_id]:
                others = [one.partition_id for one in cut_off if one.partition_id != partition_id]
                because.setdefault(partition_id, (piece, min(others, default=partition_id)))
                cuts[partition_id] = piece.start_offset
                ends = by_end[partition_id]
                while ends and ends[-1][0] > piece.start_offset:
                    to_look_at.append(ends.pop()[1])
    return Settled(next_offsets=cuts, because=because, outside=[mine[number] for number in sorted(outside)])


def is_outside(piece: TransactionPiece, next_offsets: Mapping[PartitionId, int]) -> bool:
    """Whether the cut leaves out something of it; where its marker is not known, there may be more of it."""
    return not piece.has_marker or piece.next_offset > next_offsets[piece.partition_id]


class TransactionVerdicts:
    """Whether a transaction, known by its marker in the group log, is within what is restored.

    Args:
        transactions: all that were looked at.
        outside: those of them of which nothing is left.

    Attributes:
        newest_ms: until when the last of their markers was written.
        oldest_outside_ms: from when on markers of those outside were written; None without any.
    """

    def __init__(self, transactions: Sequence[Transaction], outside: Sequence[Transaction]) -> None:
        self._by_epoch: dict[tuple[int, int], list[tuple[int, int, bool, bool]]] = {}
        times = [piece.marker_ms for transaction in transactions for piece in transaction]
        self.newest_ms = max(times, default=0) + MARKER_SPREAD_MS
        first_ms = min((piece.marker_ms for transaction in outside for piece in transaction), default=None)
        self.oldest_outside_ms = None if first_ms is None else first_ms - MARKER_SPREAD_MS
        left_out = {id(piece) for transaction in outside for piece in transaction}
        for transaction in transactions:
            if not transaction:
                continue
            is_in = not any(id(piece) in left_out for piece in transaction)
            markers_ms = [piece.marker_ms for piece in transaction]
            first = transaction[0]
            key = first.producer_id, first.producer_epoch
            self._by_epoch.setdefault(key, []).append((min(markers_ms), max(markers_ms), is_in, first.is_epoch_own))

    def __call__(self, producer_id: int, producer_epoch: int, marker_ms: int) -> bool | None:
        """None where it is not known: it wrote to nothing that is restored, at least not around the moment.

        Args:
            producer_id, producer_epoch, marker_ms: of the marker.
        """
        known = self._by_epoch.get((producer_id, producer_epoch), ())
        near: list[tuple[int, bool]] = []
        for first_ms, last_ms, is_in, is_own in known:
            away_ms = max(0, first_ms - marker_ms, marker_ms - last_ms)
            if is_own or away_ms <= MARKER_SPREAD_MS:
                near.append((0 if is_own else away_ms, is_in))
        return min(near)[1] if near else None
