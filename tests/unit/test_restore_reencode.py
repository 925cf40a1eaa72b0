"""What goes as it is stored, what is merged, and what is split."""

import os

import pytest

from mirror.core import reencode
from mirror.core.compression import unpack
from mirror.core.lz4_frame import pack_lz4
from mirror.core.record_batch import HEADER, HEADER_BYTES, read_header
from mirror.core.records import RawRecord, encode_batch, iterate_records, write_varint
from mirror.core.reencode import MERGE_TARGET_BYTES, BatchMaker, ProducibleBatch
from mirror.errors import BatchDamageError


def _record(offset: int, value: bytes = b"v") -> RawRecord:
    return RawRecord(offset, 1000 + offset, 0, memoryview(b"\x01" + write_varint(len(value)) + value + b"\0"))


def _make(content: bytes, maker: BatchMaker | None = None) -> list[ProducibleBatch]:
    maker = maker or BatchMaker()
    made = list(maker.add(memoryview(content), unpacked=False, start_offset=0, next_offset=1 << 40))
    return [*made, *maker.finish()]


@pytest.mark.parametrize("codec", range(5))
def test_ordinary_batches_go_byte_for_byte(codec: int) -> None:
    """Nothing is opened: the very bytes come out."""
    batches = [encode_batch([_record(n * 20 + i) for i in range(20)], codec=codec) for n in range(3)]
    made = _make(b"".join(batches))
    assert [bytes(batch.data) for batch in made] == batches
    assert all(batch.is_stored and batch.record_count == 20 for batch in made)


def test_a_lone_tiny_batch_goes_byte_for_byte() -> None:
    """Only several tiny batches in a row are merged."""
    tiny = encode_batch([_record(0)])
    large = encode_batch([_record(n) for n in range(1, 30)])
    assert [bytes(batch.data) for batch in _make(tiny + large)] == [tiny, large]


def test_tiny_batches_are_merged_up_to_a_size() -> None:
    """A produce request carries one batch a partition, so one-record batches would take one round trip each."""
    content = b"".join(encode_batch([_record(n, os.urandom(100))], codec=3 if n % 3 else 0) for n in range(5000))
    made = _make(content)
    assert sum(batch.record_count for batch in made) == 5000
    assert len(made) < 8
    assert all(read_header(batch.data).codec == 3 for batch in made)
    assert all(len(batch.data) < 2 * MERGE_TARGET_BYTES for batch in made)


def test_a_batch_that_is_encoded_again_keeps_to_the_limit() -> None:
    """A cut batch of large records is spread over several."""
    content = encode_batch([_record(n, os.urandom(1000)) for n in range(100)])
    maker = BatchMaker(skip_records=1, limit_bytes=10_000)
    made = _make(content, maker)
    assert sum(batch.record_count for batch in made) == 99
    assert all(len(batch.data) < 12_000 for batch in made)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 300_000])
def test_lz4_frames_have_independent_blocks(size: int) -> None:
    """Brokers refuse frames whose blocks are linked."""
    for data in (os.urandom(size), b"abcd" * (size // 4)):
        frame = pack_lz4(data)
        assert frame[4] & 0x20
        assert bytes(unpack(3, frame)) == data


def _tiny_batches(count: int, codec: int = 0) -> list[bytes]:
    return [encode_batch([_record(n, b"value %d" % n)], codec=codec) for n in range(count)]


@pytest.mark.parametrize("codec", range(5))
def test_records_of_tiny_batches_are_read_all_at_once(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one they would take twenty times as long."""
    monkeypatch.setattr(reencode, "iterate_records", None)
    (made,) = _make(b"".join(_tiny_batches(3000, codec)))
    header = read_header(made.data)
    assert (header.record_count, header.codec) == (3000, codec)
    records = list(iterate_records(header, unpack(codec, memoryview(made.data)[HEADER_BYTES:])))
    assert [record.timestamp_ms for record in records] == [1000 + n for n in range(3000)]
    assert bytes(records[2999].tail) == b"\x01\x14value 2999\0"


_ODD_BODIES = {
    b"": "varint runs past the end of the record",
    b"\x0e\x00\x00\x00\x01\x01\x00": "runs past the end",
    b"\x0c\x00\x00\x02\x01\x01\x00": "offset delta 1 out of order or range",
    b"\x0c\x00\x00\x00\x01\x01": "runs past the end",
    b"\x0c\x00\x00\x00\x01\x01\x00\x00": "1 bytes after its last record",
    b"\x08\x00\x00\x00\x01\x01": "runs past the end",
    b"\x1e\x00" + b"\xff" * 9 + b"\x02\x00\x01\x01\x00": "varint of more than 64 bits",
    b"\x80" * 10 + b"\x01": "varint of more than ten bytes",
}


@pytest.mark.parametrize("body", _ODD_BODIES)
def test_an_odd_body_among_tiny_batches_is_named(body: bytes) -> None:
    """What is not one record with zero deltas, and nothing else, is read slowly, which says what it is."""
    batches = _tiny_batches(40)
    header = read_header(batches[20])
    batches[20] = HEADER.pack(*header._replace(length=HEADER_BYTES - 12 + len(body))) + body
    with pytest.raises(BatchDamageError, match=_ODD_BODIES[body]):
        _make(b"".join(batches))


def test_odd_bodies_that_are_right_are_merged() -> None:
    """A delta written in more bytes than it needs, a time near the largest one: no producer writes them, and both are records."""
    batches = _tiny_batches(40)
    body = b"\x10\x00\x80\x00\x80\x00\x01\x01\x00"
    header = read_header(batches[20])
    batches[20] = HEADER.pack(*header._replace(length=HEADER_BYTES - 12 + len(body))) + body
    batches[30] = encode_batch([RawRecord(30, 2**63 - 1, 0, memoryview(b"\x01\x01\x00"))])
    (made,) = _make(b"".join(batches))
    records = list(iterate_records(read_header(made.data), memoryview(made.data)[HEADER_BYTES:]))
    assert [record.timestamp_ms for record in records] == [1000 + n if n != 30 else 2**63 - 1 for n in range(40)]
    assert [len(record.tail) for record in records].count(3) == 2
