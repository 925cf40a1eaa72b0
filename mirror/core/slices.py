"""Fetch slices: the whole batches of one partition from one fetch answer, as an event of the stream.

Invariants:

- ``start_offset`` is the position the fetch was sent with, not the first batch's base: a trimmed log may begin inside a batch.
- ``next_offset`` is the position after, also past batches that were dropped (aborted transactions) or that compaction emptied.
- The parts hold whole batches in offset order: committed data and transaction markers, never aborted data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mirror.core.positions import PartitionId, TopicPartition, Watermarks
from mirror.core.record_batch import CONTROL_BIT, TRANSACTIONAL_BIT, BatchColumns, control_type, scan_batches

__all__ = ["FetchSlice", "SliceBody", "join_empty", "read_slice"]

ABORT_MARKER = 0


@dataclass(frozen=True, slots=True)
class SliceBody:
    """What :func:`read_slice` found.

    Attributes:
        parts: contiguous views that together hold the kept batches.
        columns: headers of the kept batches (their ``position`` is of the original buffer).
        next_offset: the position after everything in the answer.
        has_markers: whether a kept batch is a transaction marker.
        leader_epochs: ``(leader_epoch, first base offset)`` of all batches of the answer, dropped ones too: they tell which log
            the covered offsets belong to, also where no batch is kept.
    """

    parts: tuple[memoryview, ...]
    columns: BatchColumns
    next_offset: int
    has_markers: bool
    leader_epochs: tuple[tuple[int, int], ...] = ()

    @property
    def size_bytes(self) -> int:
        """Bytes of the kept batches."""
        return sum(len(part) for part in self.parts)


@dataclass(frozen=True, slots=True)
class FetchSlice:
    """One event: a body with its coordinates.

    Attributes:
        assignment_epoch: counts assignments of this worker; slices of an older one are dropped.
        lease: keeps the bytes counted in the memory budget for as long as the slice lives.
        leader_epoch: epoch of the last batch fetched, −1 where there was none.
    """

    topic: str
    topic_id: str
    partition: int
    assignment_epoch: int
    start_offset: int
    body: SliceBody
    watermarks: Watermarks
    lease: Any = None

    @property
    def next_offset(self) -> int:
        """The position after this slice."""
        return self.body.next_offset

    @property
    def size_bytes(self) -> int:
        """Bytes of its batches."""
        return self.body.size_bytes

    @property
    def is_empty(self) -> bool:
        """Whether it covers offsets without holding a batch."""
        return not len(self.body.columns)

    @property
    def partition_id(self) -> PartitionId:
        """The partition incarnation it belongs to."""
        return PartitionId(self.topic_id, self.partition)

    @property
    def topic_partition(self) -> TopicPartition:
        """The same by name."""
        return TopicPartition(self.topic, self.partition)

    @property
    def leader_epoch(self) -> int:
        """Leader epoch of the last batch fetched (kept or not), −1 where there was none."""
        return self.body.leader_epochs[-1][0] if self.body.leader_epochs else -1


def join_empty(first: FetchSlice, second: FetchSlice) -> FetchSlice:
    """One empty slice that covers what two of them do, of which the second begins where the first ends."""
    epochs = first.body.leader_epochs
    known = epochs[-1][0] if epochs else None
    newer = second.body.leader_epochs
    if newer and newer[0][0] == known:
        newer = newer[1:]
    body = replace(first.body, next_offset=second.next_offset, leader_epochs=epochs + newer)
    return replace(first, body=body)


def read_slice(
    buffer: bytes | memoryview, fetch_offset: int, aborted: Sequence[tuple[int, int]] = (), *, check_crc: bool = True
) -> SliceBody:
    """The committed batches of a read_committed fetch answer.

    Args:
        buffer: the answer's record bytes; the last batch may be cut.
        fetch_offset: the position the fetch was sent with.
        aborted: ``(producer_id, first_offset)`` of the aborted transactions that the broker lists for this range.
        check_crc: verify every batch's CRC-32C.

    Raises:
        BatchDamageError, UnsupportedFormatError: as :func:`mirror.core.record_batch.scan_batches`.
    """
    view = memoryview(buffer)
    columns = scan_batches(view, check_crc=check_crc)
    if not len(columns):
        return SliceBody((), columns, fetch_offset, False)
    next_offsets = columns.next_offset
    keep = next_offsets > fetch_offset
    next_offset = max(fetch_offset, int(next_offsets[-1]))
    epochs = _leader_epochs(columns)
    attributes = columns.column("attributes")
    markers = (attributes & CONTROL_BIT) != 0
    if aborted and (attributes & TRANSACTIONAL_BIT).any():
        keep &= ~_aborted_data(view, columns, attributes, aborted)
    if keep.all():
        return SliceBody((view[: columns.scanned_bytes],), columns, next_offset, bool(markers.any()), epochs)
    kept = columns.select(keep)
    return SliceBody(_contiguous_parts(view, kept), kept, next_offset, bool(markers[keep].any()), epochs)


def _leader_epochs(columns: BatchColumns) -> tuple[tuple[int, int], ...]:
    epochs = columns.headers["leader_epoch"]
    firsts = np.flatnonzero(np.concatenate(([True], epochs[1:] != epochs[:-1])))
    return tuple(zip(epochs[firsts].tolist(), columns.headers["base_offset"][firsts].tolist(), strict=True))


def _aborted_data(
    view: memoryview,
    columns: BatchColumns,
    attributes: np.ndarray[Any, np.dtype[np.int64]],
    aborted: Sequence[tuple[int, int]],
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mask of the data batches of aborted transactions (the algorithm of Kafka's own consumer: ``CompletedFetch``)."""
    pending = sorted(aborted, key=lambda entry: entry[1], reverse=True)
    open_aborts: set[int] = set()
    drop = np.zeros(len(columns), dtype=np.bool_)
    rows = zip(
        (columns.next_offset - 1).tolist(),
        attributes.tolist(),
        columns.column("producer_id").tolist(),
        columns.position.tolist(),
        strict=True,
    )
    for index, (last_offset, attribute, producer_id, position) in enumerate(rows):
        while pending and pending[-1][1] <= last_offset:
            open_aborts.add(pending.pop()[0])
        if attribute & CONTROL_BIT:
            if control_type(view, position) == ABORT_MARKER:
                open_aborts.discard(producer_id)
        elif attribute & TRANSACTIONAL_BIT and producer_id in open_aborts:
            drop[index] = True
    return drop


def _contiguous_parts(view: memoryview, kept: BatchColumns) -> tuple[memoryview, ...]:
    if not len(kept):
        return ()
    starts = kept.position
    ends = starts + kept.batch_bytes
    breaks = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    firsts = starts[np.concatenate(([0], breaks))].tolist()
    lasts = ends[np.concatenate((breaks - 1, [len(starts) - 1]))].tolist()
    return tuple(view[first:last] for first, last in zip(firsts, lasts, strict=True))
