"""From stored batches to batches that a broker takes from a producer.

As stored, byte for byte, goes what can. Encoded again is what the broker would refuse or what would come back changed:

- batches with holes (compaction), and batches of which only a part is meant (the log was trimmed inside, or a restore goes on inside),
- LogAppendTime batches: as CreateTime with the append times that a consumer saw,
- bodies that are stored unpacked: packed again with the batch's own codec,
- batches with a delete horizon (compacted tombstones): a fresh log begins its own clock,
- runs of tiny batches (at most eight records): merged, since a produce request carries one batch per partition. Order, timestamps and the
  codec of most of the bytes are kept,
- batches of which records are dropped by their time.

Where offsets are kept, no batch that is made spans a hole: its records have consecutive offsets, beginning at ``base_offset``.
Control batches are never produced. Nothing here looks at a record unless its batch is one of those.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mirror.core.compression import pack, unpack
from mirror.core.record_batch import (
    CODEC_MASK,
    CONTROL_BIT,
    HEADER,
    HEADER_BYTES,
    LENGTH_OVERHEAD_BYTES,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    BatchColumns,
    BatchHeader,
    read_header,
    scan_batches,
)
from mirror.core.records import RawRecord, encode_batch, iterate_records
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.segment.blocks import StoredBatch, iterate_block

__all__ = ["MERGE_TARGET_BYTES", "BatchMaker", "ProducibleBatch"]

MERGE_TARGET_BYTES = 128 << 10
TINY_RECORDS = 8
TINY_BYTES = 8 << 10
_KNOWN_ATTRIBUTES = CODEC_MASK | LOG_APPEND_TIME_BIT | TRANSACTIONAL_BIT | CONTROL_BIT
_AS_STORED_ATTRIBUTES = CODEC_MASK | TRANSACTIONAL_BIT


class ProducibleBatch(NamedTuple):
    """A whole batch for the producer, and how many records it holds; ``is_stored`` if its bytes are those that were stored.

    ``base_offset`` is the source offset of its first record (the base offset in ``data`` itself says nothing).
    """

    data: bytes | memoryview
    record_count: int
    is_stored: bool
    base_offset: int


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
        self._merging: list[RawRecord] = []
        self._merging_bytes = 0
        self._codec_bytes = [0] * (CODEC_MASK + 1)
        self._only: memoryview | None = None  # the one tiny batch that is waiting, as stored

    def add(
        self, content: memoryview, *, unpacked: bool, start_offset: int, next_offset: int
    ) -> Iterator[ProducibleBatch]:
        """The batches that are ready after this block, of whose records those in ``[start_offset, next_offset)`` are meant.

        Raises:
            BatchDamageError: the content is not whole batches, or a body that must be opened is not what its codec says.
        """
        if unpacked:
            for batch in iterate_block(content, unpacked=True):
                yield from self._one(batch, start_offset, next_offset)
            return
        columns = scan_batches(content, check_crc=False, allow_partial=False)
        plain, tiny = _sort_out(columns, start_offset, next_offset, self._times)
        sizes = columns.batch_bytes.tolist()
        counts = columns.column("record_count").tolist()
        bases = columns.column("base_offset").tolist()
        rows = zip(columns.position.tolist(), sizes, counts, bases, plain.tolist(), tiny.tolist(), strict=True)
        for index, (position, size, record_count, base_offset, is_plain, is_tiny) in enumerate(rows):
            whole = content[position : position + size]
            if is_plain and not is_tiny and not self._skip_records:
                yield from self.finish()
                yield ProducibleBatch(whole, record_count, True, base_offset)
            else:
                header = BatchHeader._make(columns.headers[index].item())
                yield from self._one(StoredBatch(header, whole[HEADER_BYTES:], False, whole), start_offset, next_offset)

    def finish(self) -> Iterator[ProducibleBatch]:
        """What is still waiting to be merged."""
        if not self._merging:
            return
        base_offset = self._merging[0].offset
        if self._only is not None:
            yield ProducibleBatch(self._only, len(self._merging), True, base_offset)
        else:
            codec = max(range(len(self._codec_bytes)), key=self._codec_bytes.__getitem__)
            yield ProducibleBatch(_encode(self._merging, codec), len(self._merging), False, base_offset)
        self._merging = []
        self._merging_bytes = 0
        self._codec_bytes = [0] * (CODEC_MASK + 1)
        self._only = None

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
        is_tiny = header.record_count <= TINY_RECORDS and header.batch_bytes <= TINY_BYTES
        if is_whole and may_be_plain and not is_tiny and not self._skip_records:
            yield from self.finish()
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
            yield from self.finish()
            yield _as_stored(batch)
            return
        for part in _without_holes(records) if self._keep_offsets else (records,):
            if is_tiny:
                yield from self._merge(header, part, batch.whole if is_plain else None)
            else:
                yield from self.finish()
                for piece in _parts(part, self._limit_bytes):
                    yield ProducibleBatch(_encode(piece, header.codec), len(piece), False, piece[0].offset)

    def _merge(
        self, header: BatchHeader, records: list[RawRecord], whole: memoryview | None
    ) -> Iterator[ProducibleBatch]:
        if self._keep_offsets and self._merging and records[0].offset != self._merging[-1].offset + 1:
            yield from self.finish()
        self._only = whole if not self._merging else None
        self._merging += records
        size_bytes = sum(len(record.tail) + 8 for record in records)
        self._merging_bytes += size_bytes
        self._codec_bytes[header.codec] += size_bytes
        if self._merging_bytes >= MERGE_TARGET_BYTES:
            yield from self.finish()


def _sort_out(
    columns: BatchColumns, start_offset: int, next_offset: int, times: TimeBounds
) -> tuple[np.ndarray[tuple[int], np.dtype[np.bool_]], np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Masks: which batches may go as they are, and which are tiny."""
    record_count = columns.column("record_count")
    plain = (
        ((columns.column("attributes") & ~_AS_STORED_ATTRIBUTES) == 0)
        & (columns.column("last_offset_delta") + 1 == record_count)
        & (record_count > 0)
        & (columns.column("base_offset") >= start_offset)
        & (columns.next_offset <= next_offset)
    )
    if times.since_ms is not None:
        plain &= False  # the header does not tell the smallest timestamp
    if times.until_ms is not None:
        plain &= columns.column("max_timestamp") <= times.until_ms
    tiny = (record_count <= TINY_RECORDS) & (columns.batch_bytes <= TINY_BYTES)
    return plain, tiny


def _open(batch: StoredBatch) -> Iterator[RawRecord]:
    body = batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)
    return iterate_records(batch.header, body)


def _as_stored(batch: StoredBatch) -> ProducibleBatch:
    header = batch.header
    if batch.whole is not None:
        return ProducibleBatch(batch.whole, header.record_count, True, header.base_offset)
    return ProducibleBatch(_packed(header, batch.body, header.codec), header.record_count, False, header.base_offset)


def _encode(records: list[RawRecord], codec: int) -> bytes:
    plain = encode_batch(records, codec=0, base_offset=0)
    return plain if codec == 0 else _packed(read_header(plain), memoryview(plain)[HEADER_BYTES:], codec)


def _packed(header: BatchHeader, records: memoryview, codec: int) -> bytes:
    """A batch with this header around ``records``, packed; its CRC is left as it was, since the producer computes it anew in any case."""
    body = pack(codec, records)
    attributes = header.attributes & ~CODEC_MASK | codec
    head = header._replace(length=HEADER_BYTES - LENGTH_OVERHEAD_BYTES + len(body), attributes=attributes)
    return b"".join((HEADER.pack(*head), body))


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
