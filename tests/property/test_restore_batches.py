"""Whatever is stored, the batches made of it hold exactly the records that are meant, in order, and a broker would take them."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.compression import pack, unpack
from mirror.core.record_batch import (
    CONTROL_BIT,
    HEADER,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    BatchHeader,
    read_header,
)
from mirror.core.records import RawRecord, encode_batch, iterate_records, write_varint
from mirror.core.recovery_point import TimeBounds
from mirror.core.reencode import BatchMaker, ProducibleBatch
from mirror.core.segment.blocks import decode_block, encode_zstd_block

Expected = list[tuple[int, bytes]]


def _tail(key: bytes | None, value: bytes | None) -> memoryview:
    parts = [write_varint(-1) if f is None else write_varint(len(f)) + f for f in (key, value)]
    return memoryview(b"".join((*parts, write_varint(0))))


@st.composite
def _batches(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int, bytes]]]:
    """Stored bytes, and the records in them as (offset, time, tail)."""
    stored: list[bytes] = []
    records: list[tuple[int, int, bytes]] = []
    offset = draw(st.integers(0, 50))
    for _ in range(draw(st.integers(1, 8))):
        count = draw(st.integers(1, 20))
        keep = draw(st.lists(st.booleans(), min_size=count, max_size=count) | st.just([True] * count))
        codec = draw(st.integers(0, 4))
        bits = draw(st.sampled_from([0, 0, LOG_APPEND_TIME_BIT, 0x10, 0x10 | CONTROL_BIT]))
        tails = [_tail(draw(st.none() | st.binary(max_size=9)), draw(st.none() | st.binary(max_size=40))) for _ in keep]
        times = [draw(st.integers(0, 2**41)) for _ in keep]
        dense = [RawRecord(offset + i, times[i], 0, tails[i]) for i in range(count)]
        kept = [record for record, stays in zip(dense, keep, strict=True) if stays]
        batch = _with_holes(dense, kept, codec, bits)
        stored.append(batch)
        header = read_header(batch)
        if not bits & CONTROL_BIT:
            fixed = header.max_timestamp if bits & LOG_APPEND_TIME_BIT else None
            records += [(r.offset, r.timestamp_ms if fixed is None else fixed, bytes(r.tail)) for r in kept]
        offset += count + draw(st.integers(0, 3))
    return b"".join(stored), records


def _with_holes(dense: list[RawRecord], kept: list[RawRecord], codec: int, bits: int) -> bytes:
    body = b""
    base = dense[0]
    for record in kept:
        head = b"\0" + write_varint(record.timestamp_ms - base.timestamp_ms) + write_varint(record.offset - base.offset)
        body += write_varint(len(head) + len(record.tail)) + head + bytes(record.tail)
    header = read_header(encode_batch(dense))
    packed = bytes(pack(codec, body))
    header = header._replace(
        base_offset=base.offset, attributes=codec | bits, length=HEADER_BYTES - 12 + len(packed), record_count=len(kept)
    )
    return HEADER.pack(*header) + packed


def _records(batches: list[ProducibleBatch]) -> Expected:
    seen: Expected = []
    for batch in batches:
        header: BatchHeader = read_header(batch.data)
        assert header.batch_bytes == len(batch.data)
        assert not header.is_control
        assert not header.has_holes
        assert not header.has_append_time
        assert header.record_count == batch.record_count
        body = unpack(header.codec, memoryview(batch.data)[HEADER_BYTES:])
        seen += [(record.timestamp_ms, bytes(record.tail)) for record in iterate_records(header, body)]
    return seen


@settings(max_examples=200, deadline=None)
@given(stored=_batches(), data=st.data())
def test_exactly_the_records_that_are_meant(stored: tuple[bytes, list[tuple[int, int, bytes]]], data: Any) -> None:
    """For any bounds and any number of records to skip, stored as fetched or unpacked."""
    content, records = stored
    last = max((offset for offset, _, _ in records), default=0)
    start_offset = data.draw(st.integers(0, last + 1))
    next_offset = data.draw(st.integers(start_offset, last + 2))
    meant = [(time_ms, tail) for offset, time_ms, tail in records if start_offset <= offset < next_offset]
    skip = data.draw(st.integers(0, len(meant)))
    expected = meant[skip:]
    frame, raw_bytes = encode_zstd_block([memoryview(content)], level=1, repack=True)
    blocks = [(memoryview(content), False), (decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes), True)]
    for block, unpacked in blocks:
        maker = BatchMaker(skip_records=skip, limit_bytes=100)
        made = list(maker.add(block, unpacked=unpacked, start_offset=start_offset, next_offset=next_offset))
        made += maker.finish()
        assert _records(made) == expected


@settings(max_examples=200, deadline=None)
@given(stored=_batches(), data=st.data())
def test_kept_offsets_and_times(stored: tuple[bytes, list[tuple[int, int, bytes]]], data: Any) -> None:
    """With kept offsets every batch that is made has consecutive source offsets from its base; records of other times are left out."""
    content, records = stored
    times_seen = sorted(time_ms for _, time_ms, _ in records) or [0]
    bounds = TimeBounds(*(data.draw(st.none() | st.sampled_from(times_seen)) for _ in range(2)))
    expected = [record for record in records if bounds.keeps(record[1])]
    frame, raw_bytes = encode_zstd_block([memoryview(content)], level=1, repack=True)
    blocks = [(memoryview(content), False), (decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes), True)]
    for block, unpacked in blocks:
        maker = BatchMaker(keep_offsets=True, times=bounds, limit_bytes=100)
        made = list(maker.add(block, unpacked=unpacked, start_offset=0, next_offset=2**40))
        made += maker.finish()
        offsets = [batch.base_offset + delta for batch in made for delta in range(batch.record_count)]
        assert [(o, *rest) for o, rest in zip(offsets, _records(made), strict=True)] == expected
