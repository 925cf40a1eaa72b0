"""What goes as it is stored, what is merged, and what is split."""

import os

import pytest

from mirror.core.compression import unpack
from mirror.core.lz4_frame import pack_lz4
from mirror.core.record_batch import read_header
from mirror.core.records import RawRecord, encode_batch, write_varint
from mirror.core.reencode import MERGE_TARGET_BYTES, BatchMaker, ProducibleBatch


def _record(offset: int, value: bytes = b"v") -> RawRecord:
    return RawRecord(offset, 1000 + offset, 0, memoryview(b"\x01" + write_varint(len(value)) + value + b"\0"))


def _make(content: bytes, maker: BatchMaker | None = None) -> list[ProducibleBatch]:
    maker = maker or BatchMaker()
    made = list(maker.add(memoryview(content), unpacked=False, start_offset=0, next_offset=1 << 40))
    return [*made, *maker.finish()]


@pytest.mark.parametrize("codec", range(5))
def test_ordinary_batches_go_byte_for_byte(codec: int) -> None:
    """Nothing is opened: the very bytes come out."""
    batches = [encode_batch([_record(n * 20 + i) for i in range(20)], codec=codec) for n in range(5)]
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
