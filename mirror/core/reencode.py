"""From stored batches to batches that a broker takes from a producer.

As stored, byte for byte, goes what can. Encoded again is what the broker would refuse or what would come back changed:

- batches with holes (compaction), and batches of which only a part is meant (the log was trimmed inside, or a restore goes on inside),
- LogAppendTime batches: as CreateTime with the append times that a consumer saw,
- bodies that are stored unpacked: packed again with the batch's own codec,
- batches with a delete horizon (compacted tombstones): a fresh log begins its own clock,
- runs of tiny batches (at most eight records): merged, since a produce request carries one batch per partition. Order, timestamps and the
  codec of most of the bytes are kept,
- consecutive small batches that are not packed, or are stored unpacked: joined, see `mirror.core.joining`,
- batches of which records are dropped by their time.

Where offsets are kept, no batch that is made spans a hole: its records have consecutive offsets, beginning at ``base_offset``.
Control batches are never produced. Nothing here looks at a record unless its batch is one of those.
"""

from collections.abc import Iterator
from itertools import groupby, islice

import numpy as np
from numpy.typing import NDArray

from mirror.core.compression import unpack
from mirror.core.joining import join_batches
from mirror.core.merging import MERGE_TARGET_BYTES, Merger
from mirror.core.producible import ProducibleBatch, packed_batch
from mirror.core.record_batch import (
    CODEC_MASK,
    CONTROL_BIT,
    HEADER_BYTES,
    TRANSACTIONAL_BIT,
    BatchColumns,
    BatchHeader,
    read_header,
    scan_batches,
)
from mirror.core.records import RawRecord, encode_batch, iterate_records
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.segment.blocks import StoredBatch, iterate_block
from mirror.core.small_batches import small_stretches
from mirror.core.tiny_batches import TINY_BYTES, TINY_RECORDS, FetchedRun, TinyRun, UnpackedRun
from mirror.core.tiny_records import HeaderColumns, read_records
from mirror.core.varint_columns import Int64s

__all__ = ["MERGE_TARGET_BYTES", "BatchMaker", "ProducibleBatch"]

_AS_STORED_ATTRIBUTES = CODEC_MASK | TRANSACTIONAL_BIT
_FEW_BATCHES = 8  # are merged faster one by one
_MANY_BATCHES = 2048  # tiny ones, read at once
_MANY_SMALL = 512  # unpacked ones, looked at at once

Mask = NDArray[np.bool_]


class BatchMaker:
    """Makes the batches of one partition, fed with its blocks in order.

    Args:
        skip_records: leave out so many records at the front (a restore that goes on).
        limit_bytes: records of a batch that is encoded again are spread over several when their bytes, not packed, exceed it.
        keep_offsets: no batch spans a hole.
        times: which records are kept by their own timestamp.
    """

    def __init__(
        self,
        *,
        skip_records: int = 0,
        limit_bytes: int = 8 << 20,
        keep_offsets: bool = False,
        times: TimeBounds = ALL_TIMES,
    ) -> None:
        self._skip_records = skip_records
        self._limit_bytes = limit_bytes
        self._keep_offsets = keep_offsets
        self._times = times
        self._merger = Merger(keep_offsets=keep_offsets)

    def add(
        self, content: memoryview, *, unpacked: bool, start_offset: int, next_offset: int
    ) -> Iterator[ProducibleBatch]:
        """The batches that are ready after this block, of whose records those in ``[start_offset, next_offset)`` are meant.

        Raises:
            BatchDamageError: the content is not whole batches, or a body that must be opened is not what its codec says.
        """
        if unpacked:
            for is_tiny, batches in groupby(
                iterate_block(content, unpacked=True), key=lambda one: _is_tiny(one.header)
            ):
                while is_tiny and (some := list(islice(batches, _MANY_BATCHES))):
                    yield from self._run(UnpackedRun(some), start_offset, next_offset)
                while not is_tiny and (some := list(islice(batches, _MANY_SMALL))):
                    yield from self._each_unpacked(UnpackedRun(some), start_offset, next_offset)
            return
        columns = scan_batches(content, check_crc=False, allow_partial=False)
        headers = FetchedRun(content, columns).headers()
        plain = _is_plain(headers, start_offset, next_offset, self._times)
        tiny = (headers.record_count <= TINY_RECORDS) & (columns.batch_bytes <= TINY_BYTES)
        for first, following, together in _stretches(tiny):
            run = FetchedRun(content, _part(columns, first, following))
            if together:
                yield from self._run(run, start_offset, next_offset)
            else:
                here = slice(first, following)
                yield from self._each(run, plain[here], tiny[here], start_offset, next_offset)

    def finish(self) -> Iterator[ProducibleBatch]:
        """What is still waiting to be merged."""
        return self._merger.finish()

    def _each(
        self, run: FetchedRun, plain: Mask, tiny: Mask, start_offset: int, next_offset: int
    ) -> Iterator[ProducibleBatch]:
        headers, sizes = run.headers(), run.columns.batch_bytes
        columns = (run.columns.position, sizes, headers.record_count, headers.base_offset, plain & ~tiny)
        rows = list(zip(*(column.tolist() for column in columns), strict=True))
        unpacked = plain & (headers.attributes & CODEC_MASK == 0)
        for first, following, may_join in self._small(headers, sizes, unpacked):
            if may_join and (joined := _joined(run, first, following)) is not None:
                yield from self._merger.finish()
                yield from joined
                continue
            for row, (position, size, record_count, base_offset, may_stay) in enumerate(rows[first:following], first):
                if may_stay and not self._skip_records:
                    yield from self._merger.finish()
                    yield ProducibleBatch(run.content[position : position + size], record_count, True, base_offset)
                else:
                    yield from self._one(run.batch(row), start_offset, next_offset)

    def _each_unpacked(self, run: UnpackedRun, start_offset: int, next_offset: int) -> Iterator[ProducibleBatch]:
        headers = run.headers()
        plain = _is_plain(headers, start_offset, next_offset, self._times)
        sizes = np.array([batch.header.batch_bytes for batch in run.batches])
        for first, following, may_join in self._small(headers, sizes, plain):
            if may_join and (joined := _joined(run, first, following)) is not None:
                yield from self._merger.finish()
                yield from joined
                continue
            for batch in run.batches[first:following]:
                yield from self._one(batch, start_offset, next_offset)

    def _small(self, headers: HeaderColumns, sizes: Int64s, joinable: Mask) -> Iterator[tuple[int, int, bool]]:
        if self._skip_records:
            return iter([(0, len(sizes), False)])
        return small_stretches(headers, sizes, joinable)

    def _run(self, run: TinyRun, start_offset: int, next_offset: int) -> Iterator[ProducibleBatch]:
        """What `_one` makes of tiny batches; it is asked where something is odd."""
        together = len(run) >= _FEW_BATCHES and self._merger.takes_columns
        made = self._merged(run, start_offset, next_offset) if together else None
        if made is not None:
            yield from made
        else:
            for row in range(len(run)):
                yield from self._one(run.batch(row), start_offset, next_offset)

    def _merged(self, run: TinyRun, start_offset: int, next_offset: int) -> Iterator[ProducibleBatch] | None:
        """As `_one` goes, step by step, on columns; None where something is odd."""
        headers = run.headers()
        last_offset = headers.base_offset + headers.last_offset_delta
        is_meant = (headers.attributes & CONTROL_BIT == 0) & (headers.record_count > 0)
        is_meant &= (last_offset >= start_offset) & (headers.base_offset < next_offset)
        if self._times.since_ms is not None:
            is_meant &= headers.max_timestamp >= self._times.since_ms
        rows = np.flatnonzero(is_meant)
        if not len(rows):
            return iter(())
        if len(rows) < len(run):
            headers, last_offset = headers.select(rows), last_offset[rows]
        bodies = run.bodies(rows)
        records = read_records(headers, *bodies) if bodies is not None else None
        if records is None:
            return None
        keep = (records.offset >= start_offset) & (records.offset < next_offset)
        if self._times != ALL_TIMES:
            is_whole = (headers.base_offset >= start_offset) & (last_offset < next_offset)
            is_whole &= _keeps_all(self._times, headers.max_timestamp)
            keep &= is_whole[records.row] | _keeps(self._times, records.timestamp_ms)
        if self._skip_records:
            skipped = np.flatnonzero(keep)[: self._skip_records]
            keep[skipped] = False
            self._skip_records -= len(skipped)
        if not keep.all():
            records = records.select(keep)
        is_plain = headers.attributes & ~_AS_STORED_ATTRIBUTES == 0
        is_plain &= headers.last_offset_delta + 1 == headers.record_count
        is_plain &= np.bincount(records.row, minlength=len(rows)) == headers.record_count
        return self._merger.add_columns(
            records, headers.attributes & CODEC_MASK, is_plain, lambda row: run.whole(int(rows[row]))
        )

    def _one(self, batch: StoredBatch, start_offset: int, next_offset: int) -> Iterator[ProducibleBatch]:
        header = batch.header
        if header.is_control or not header.record_count:
            return
        if header.next_offset <= start_offset or header.base_offset >= next_offset:
            return
        if self._times.keeps_none(header.max_timestamp):
            return
        is_cut = header.base_offset < start_offset or header.next_offset > next_offset
        is_whole = not is_cut and self._times.keeps_all(header.max_timestamp)
        if is_whole and self._skip_records >= header.record_count:
            self._skip_records -= header.record_count
            return
        may_be_plain = not (header.has_holes or header.attributes & ~_AS_STORED_ATTRIBUTES)
        is_tiny = _is_tiny(header)
        if is_whole and may_be_plain and not is_tiny and not self._skip_records:
            yield from self._merger.finish()
            yield _as_stored(batch)
            return
        records = [record for record in _open(batch) if start_offset <= record.offset < next_offset]
        if not is_whole:
            records = [record for record in records if self._times.keeps(record.timestamp_ms)]
        if self._skip_records:
            skipped = min(self._skip_records, len(records))
            self._skip_records -= skipped
            records = records[skipped:]
        if not records:
            return
        is_plain = may_be_plain and len(records) == header.record_count
        if is_plain and not is_tiny:
            yield from self._merger.finish()
            yield _as_stored(batch)
            return
        for part in _without_holes(records) if self._keep_offsets else (records,):
            if is_tiny:
                yield from self._merger.add(header.codec, part, batch.whole if is_plain else None)
            else:
                yield from self._merger.finish()
                for piece in _parts(part, self._limit_bytes):
                    yield ProducibleBatch(_encode(piece, header.codec), len(piece), False, piece[0].offset)


def _joined(run: TinyRun, first: int, following: int) -> list[ProducibleBatch] | None:
    rows = np.arange(first, following)
    bodies = run.bodies(rows)
    if bodies is None:
        return None
    headers = run.headers().select(rows)
    return join_batches(headers, bodies, int(headers.attributes[0]) & CODEC_MASK)


def _is_plain(headers: HeaderColumns, start_offset: int, next_offset: int, times: TimeBounds) -> Mask:
    """Which batches may go as they are."""
    plain: Mask = (
        ((headers.attributes & ~_AS_STORED_ATTRIBUTES) == 0)
        & (headers.last_offset_delta + 1 == headers.record_count)
        & (headers.record_count > 0)
        & (headers.base_offset >= start_offset)
        & (headers.base_offset + headers.last_offset_delta < next_offset)
    )
    if times != ALL_TIMES:
        plain &= _keeps_all(times, headers.max_timestamp)
    return plain


def _is_tiny(header: BatchHeader) -> bool:
    return header.record_count <= TINY_RECORDS and header.batch_bytes <= TINY_BYTES


def _keeps(times: TimeBounds, timestamp_ms: Int64s) -> Mask:
    keep = np.ones(len(timestamp_ms), dtype=np.bool_)
    if times.since_ms is not None:
        keep &= timestamp_ms >= times.since_ms
    if times.until_ms is not None:
        keep &= timestamp_ms <= times.until_ms
    return keep


def _keeps_all(times: TimeBounds, max_timestamp_ms: Int64s) -> Mask:
    if times.since_ms is not None:  # the header does not tell the smallest timestamp
        return np.zeros(len(max_timestamp_ms), dtype=np.bool_)
    return _keeps(times, max_timestamp_ms)


def _stretches(tiny: Mask) -> Iterator[tuple[int, int, bool]]:
    """First batch, batch after the last, and whether they are tiny ones to be read together; every batch is in one stretch."""
    edges = np.flatnonzero(np.diff(tiny, prepend=False, append=False)).tolist()
    done = 0
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin >= _FEW_BATCHES:
            if done < begin:
                yield done, begin, False
            for first in range(begin, end, _MANY_BATCHES):
                yield first, min(first + _MANY_BATCHES, end), True
            done = end
    if done < len(tiny):
        yield done, len(tiny), False


def _part(columns: BatchColumns, first: int, following: int) -> BatchColumns:
    return BatchColumns(columns.position[first:following], columns.headers[first:following], columns.scanned_bytes)


def _open(batch: StoredBatch) -> Iterator[RawRecord]:
    body = batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)
    return iterate_records(batch.header, body)


def _as_stored(batch: StoredBatch) -> ProducibleBatch:
    header = batch.header
    if batch.whole is not None:
        return ProducibleBatch(batch.whole, header.record_count, True, header.base_offset)
    return ProducibleBatch(
        packed_batch(header, batch.body, header.codec), header.record_count, False, header.base_offset
    )


def _encode(records: list[RawRecord], codec: int) -> bytes:
    plain = encode_batch(records, codec=0, base_offset=0)
    return plain if codec == 0 else packed_batch(read_header(plain), memoryview(plain)[HEADER_BYTES:], codec)


def _without_holes(records: list[RawRecord]) -> Iterator[list[RawRecord]]:
    """The records, cut wherever an offset is left out."""
    begin = 0
    for index in range(1, len(records) + 1):
        if index == len(records) or records[index].offset != records[index - 1].offset + 1:
            yield records[begin:index]
            begin = index


def _parts(records: list[RawRecord], limit_bytes: int) -> Iterator[list[RawRecord]]:
    part: list[RawRecord] = []
    size_bytes = 0
    for record in records:
        needed = len(record.tail) + 24
        if part and size_bytes + needed > limit_bytes:
            yield part
            part, size_bytes = [], 0
        part.append(record)
        size_bytes += needed
    if part:
        yield part
