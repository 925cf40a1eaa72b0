"""Joins the records of tiny batches to larger ones: record by record, or many at once as columns.

What waits is kept as it will be written: a head and a tail for each record. So the two ways may alternate.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mirror.core.producible import ProducibleBatch, made_batch
from mirror.core.record_batch import CODEC_MASK
from mirror.core.record_heads import RecordHeads
from mirror.core.records import RawRecord, encode_head
from mirror.core.tiny_records import LARGEST_TIME_MS, RecordColumns
from mirror.core.varint_columns import Int64s

__all__ = ["MERGE_TARGET_BYTES", "Merger"]

MERGE_TARGET_BYTES = 128 << 10
_HEAD_BYTES = 8  # about, of a record


class Merger:
    """Joins the records of tiny batches until they reach `MERGE_TARGET_BYTES`; packed with the codec of most of their bytes.

    A batch that is left alone goes as it is stored, if it may.

    Args:
        keep_offsets: no batch spans a hole.
    """

    def __init__(self, *, keep_offsets: bool) -> None:
        self._keep_offsets = keep_offsets
        self._base_offset = self._next_offset = 0
        self._base_ms = self._max_ms = 0
        self._clear()

    def _clear(self) -> None:
        self._parts: list[bytes | memoryview] = []  # head and tail of each record
        self._count = 0
        self._size_bytes = 0
        self._codec_bytes = [0] * (CODEC_MASK + 1)
        self._only: memoryview | None = None  # the one batch that is waiting, as stored

    def finish(self) -> Iterator[ProducibleBatch]:
        """What is still waiting.

        Raises:
            BatchDamageError: its times are none.
        """
        if not self._count:
            return
        if self._only is not None:
            batch = ProducibleBatch(self._only, self._count, True, self._base_offset)
        else:
            codec = max(range(len(self._codec_bytes)), key=self._codec_bytes.__getitem__)
            batch = made_batch(
                b"".join(self._parts),
                codec=codec,
                record_count=self._count,
                base_offset=self._base_offset,
                base_timestamp_ms=self._base_ms,
                max_timestamp_ms=self._max_ms,
            )
        self._clear()
        yield batch

    def _begin(self, base_offset: int, base_ms: int) -> None:
        self._base_offset = base_offset
        self._base_ms = self._max_ms = base_ms

    # record by record

    def add(self, codec: int, records: list[RawRecord], whole: memoryview | None) -> Iterator[ProducibleBatch]:
        """Add records of one batch, without holes where offsets are kept.

        Args:
            codec: of the batch that they are of.
            records: at least one.
            whole: this batch as stored, if it holds these records and nothing else and may go as it is.

        Raises:
            BatchDamageError: a time is none.
        """
        if self._keep_offsets and self._count and records[0].offset != self._next_offset:
            yield from self.finish()
        self._only = whole if not self._count else None
        if not self._count:
            self._begin(records[0].offset, records[0].timestamp_ms)
        size_bytes = 0
        for record in records:
            self._parts += (encode_head(record, self._base_ms, self._count), record.tail)
            self._count += 1
            self._max_ms = max(self._max_ms, record.timestamp_ms)
            size_bytes += len(record.tail) + _HEAD_BYTES
        self._next_offset = records[-1].offset + 1
        self._size_bytes += size_bytes
        self._codec_bytes[codec] += size_bytes
        if self._size_bytes >= MERGE_TARGET_BYTES:
            yield from self.finish()

    # many at once

    @property
    def takes_columns(self) -> bool:
        """Whether times can be told as deltas to those that wait, in 64 bits."""
        return not self._count or abs(self._base_ms) <= LARGEST_TIME_MS

    def add_columns(
        self,
        records: RecordColumns,
        codecs: Int64s,
        is_plain: NDArray[np.bool_],
        whole: Callable[[int], memoryview | None],
    ) -> Iterator[ProducibleBatch]:
        """Add records of many batches; only if `takes_columns`.

        Args:
            records: in order.
            codecs: of each of their batches.
            is_plain: which batches may go as they are stored, if they are left alone.
            whole: gives a batch as stored, by its number.
        """
        if not len(records):
            return
        if self._keep_offsets and self._count and int(records.offset[0]) != self._next_offset:
            yield from self.finish()
        sizes = records.following - records.begin + _HEAD_BYTES
        bounds = self._bounds(records, np.cumsum(sizes))
        firsts, lasts = bounds[:-1], bounds[1:] - 1
        parts = self._encode(records, bounds)
        codec_of_all = int(codecs[0]) if (codecs == codecs[0]).all() else None
        groups = zip(
            pairwise(bounds.tolist()),
            records.offset[firsts].tolist(),
            records.offset[lasts].tolist(),
            records.timestamp_ms[firsts].tolist(),
            np.maximum.reduceat(records.timestamp_ms, firsts).tolist(),
            np.add.reduceat(sizes, firsts).tolist(),
            records.row[firsts].tolist(),
            ((records.row[firsts] == records.row[lasts]) & is_plain[records.row[firsts]]).tolist(),
            strict=True,
        )
        total = len(records)
        for (begin, following), base_offset, last_offset, base_ms, max_ms, size_bytes, row, may_stay in groups:
            if begin and self._count:
                yield from self.finish()
            if may_stay and not self._count and following < total and (stored := whole(row)) is not None:
                yield ProducibleBatch(stored, following - begin, True, base_offset)  # nothing can be added to it
                continue
            self._only = whole(row) if may_stay and not self._count else None
            if not self._count:
                self._begin(base_offset, base_ms)
            self._parts += parts[2 * begin : 2 * following]
            self._count += following - begin
            self._next_offset = last_offset + 1
            self._max_ms = max(self._max_ms, max_ms)
            self._size_bytes += size_bytes
            if codec_of_all is not None:
                self._codec_bytes[codec_of_all] += size_bytes
            else:
                self._count_codecs(codecs[records.row[begin:following]], sizes[begin:following])
            if self._size_bytes >= MERGE_TARGET_BYTES:
                yield from self.finish()

    def _count_codecs(self, codecs: Int64s, sizes: Int64s) -> None:
        by_codec = np.bincount(codecs, weights=sizes, minlength=len(self._codec_bytes)).tolist()
        self._codec_bytes = [had + int(more) for had, more in zip(self._codec_bytes, by_codec, strict=True)]

    def _bounds(self, records: RecordColumns, reached_bytes: Int64s) -> Int64s:
        """Where each batch that is made begins, and the end; the first of them goes on with what waits.

        A batch that was stored is not divided, but where offsets are kept and it has a hole.
        """
        total = len(records)
        is_end = records.row[1:] != records.row[:-1]
        stretch_ends = np.array([total])
        if self._keep_offsets:
            is_hole = records.offset[1:] != records.offset[:-1] + 1
            is_end |= is_hole
            stretch_ends = np.append(np.flatnonzero(is_hole) + 1, total)
        ends = np.append(np.flatnonzero(is_end) + 1, total)  # where a batch may end
        reached = reached_bytes[ends - 1]
        bounds = [0]
        before = -self._size_bytes
        for stretch_end, stretch_bytes in zip(
            stretch_ends.tolist(), reached_bytes[stretch_ends - 1].tolist(), strict=True
        ):
            while stretch_bytes - before >= MERGE_TARGET_BYTES:
                index = int(np.searchsorted(reached, before + MERGE_TARGET_BYTES))
                bounds.append(int(ends[index]))
                before = int(reached[index])
            if bounds[-1] < stretch_end:
                bounds.append(stretch_end)
            before = stretch_bytes
        return np.array(bounds, dtype=np.int64)

    def _encode(self, records: RecordColumns, bounds: Int64s) -> list[bytes | memoryview]:
        """Head and tail of each record, as it stands in its batch of these bounds."""
        firsts = np.repeat(bounds[:-1], np.diff(bounds))
        offset_delta = np.arange(len(records)) - firsts
        base_ms = records.timestamp_ms[firsts]
        if self._count:
            offset_delta[: bounds[1]] += self._count
            base_ms[: bounds[1]] = self._base_ms
        parts: list[bytes | memoryview] = [b""] * (2 * len(records))
        parts[::2] = _heads(
            records.attributes, records.timestamp_ms - base_ms, offset_delta, records.following - records.begin
        )
        data = records.data
        spans = zip(records.begin.tolist(), records.following.tolist(), strict=True)
        parts[1::2] = [data[begin:following] for begin, following in spans]
        return parts


def _heads(attributes: Int64s, time_delta: Int64s, offset_delta: Int64s, tail_bytes: Int64s) -> Sequence[bytes]:
    """What stands before the tail of each record: length, attributes, both deltas."""
    heads = RecordHeads.of(attributes, time_delta, offset_delta, tail_bytes)
    following = np.cumsum(heads.size_bytes)
    begin = following - heads.size_bytes
    out = np.empty(int(following[-1]), dtype=np.uint8)
    heads.write(out, begin)
    data = out.tobytes()
    return [data[first:last] for first, last in zip(begin.tolist(), following.tolist(), strict=True)]
