"""What transactions left in one partition: from the headers of its transactional batches, without a record.

A transaction leaves a *piece* in each partition that it wrote to: data batches with its producer's id, then a marker. Data of
aborted transactions are never stored, so every stored piece is of a transaction that was committed, even where its marker is not read.

Producers of Kafka 4 and newer (transaction.version 2) count the epoch up with each transaction, and its markers carry the next one: id and
epoch then name the transaction. Older ones keep the epoch, and only the markers' times tell their transactions apart.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from mirror.core.positions import PartitionId

__all__ = ["SeenBatch", "TransactionPiece", "find_pieces"]


class SeenBatch(NamedTuple):
    """A transactional batch or a marker; ``is_commit`` is None for data. ``timestamp_ms`` of a marker is its leader's clock.

    ``first_ms`` is the time of the first record.
    """

    base_offset: int
    next_offset: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    timestamp_ms: int
    is_commit: bool | None = None
    first_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TransactionPiece:
    """A committed transaction in one partition: its data lie in ``[start_offset, next_offset)``, among others'.

    Attributes:
        partition_id: where.
        producer_id, producer_epoch: as its marker has them; of the data where no marker was read.
        marker_ms: when the marker was written; where none was read, a moment at which it was not there yet.
        first_ms, last_ms: the times of its records, as its producer says; of no meaning where it has none.
        is_start_known: whether nothing of it can lie before ``start_offset``.
        is_epoch_own: whether no other transaction of the producer has this epoch.
        has_marker: whether the marker was read.
    """

    partition_id: PartitionId
    producer_id: int
    producer_epoch: int
    start_offset: int
    next_offset: int
    marker_ms: int
    is_start_known: bool
    is_epoch_own: bool
    has_marker: bool = True
    first_ms: int = 0
    last_ms: int = 0


@dataclass(slots=True)
class _Open:
    start_offset: int
    next_offset: int
    epoch: int
    is_start_known: bool
    first_ms: int = 0
    last_ms: int = 0


def find_pieces(
    partition_id: PartitionId, batches: Iterable[SeenBatch], *, settled_offsets: Sequence[int], open_ms: int
) -> list[TransactionPiece]:
    """The pieces in consecutive batches of one partition.

    Args:
        partition_id: whose.
        batches: all transactional batches and markers from some offset on, ascending.
        settled_offsets: offsets, none before the first batch that is known, at which no transaction was open: a piece that begins behind
            one of them has nothing before it.
        open_ms: the ``marker_ms`` of pieces whose marker is not among the batches.
    """
    first_settled = min(settled_offsets, default=None)
    pieces: list[TransactionPiece] = []
    open_pieces: dict[int, _Open] = {}
    ended: set[int] = set()
    for batch in batches:
        producer_id = batch.producer_id
        found = open_pieces.get(producer_id)
        if batch.is_commit is None:
            if found is None:
                # Sequences of a producer begin at 0 in each partition, and again with each epoch.
                known = producer_id in ended or batch.base_sequence == 0
                known = known or (first_settled is not None and first_settled <= batch.base_offset)
                open_pieces[producer_id] = _Open(
                    batch.base_offset,
                    batch.next_offset,
                    batch.producer_epoch,
                    known,
                    batch.first_ms,
                    batch.timestamp_ms,
                )
            else:
                found.next_offset = batch.next_offset
                found.last_ms = max(found.last_ms, batch.timestamp_ms)
            continue
        open_pieces.pop(producer_id, None)
        was_ended = producer_id in ended
        ended.add(producer_id)
        if not batch.is_commit:
            continue
        if found is None:
            if was_ended or (first_settled is not None and first_settled <= batch.base_offset):
                continue  # a marker without data
            found = _Open(batch.base_offset, batch.base_offset, batch.producer_epoch, is_start_known=False)
        pieces.append(
            TransactionPiece(
                partition_id=partition_id,
                producer_id=producer_id,
                producer_epoch=batch.producer_epoch,
                start_offset=found.start_offset,
                next_offset=found.next_offset,
                marker_ms=batch.timestamp_ms,
                is_start_known=found.is_start_known,
                is_epoch_own=batch.producer_epoch == found.epoch + 1,
                first_ms=found.first_ms,
                last_ms=found.last_ms,
            )
        )
    for producer_id, found in open_pieces.items():
        pieces.append(
            TransactionPiece(
                partition_id=partition_id,
                producer_id=producer_id,
                producer_epoch=found.epoch,
                start_offset=found.start_offset,
                next_offset=found.next_offset,
                marker_ms=open_ms,
                is_start_known=found.is_start_known,
                is_epoch_own=False,
                first_ms=found.first_ms,
                last_ms=found.last_ms,
                has_marker=False,
            )
        )
    return pieces
