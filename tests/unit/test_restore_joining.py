"""Which small batches are joined, how large they become, and what is left as it is stored."""

import os
from collections.abc import Iterable

import pytest

from mirror.core.compression import unpack
from mirror.core.joining import JOIN_TARGET_BYTES
from mirror.core.record_batch import HEADER, HEADER_BYTES, BatchHeader, read_header
from mirror.core.records import RawRecord, encode_batch, iterate_records, write_varint
from mirror.core.reencode import BatchMaker, ProducibleBatch
from mirror.core.segment.blocks import decode_block, encode_zstd_block

_RECORDS = 20


def _batch(first: int, *, codec: int = 0, value_bytes: int = 100) -> bytes:
    values = [os.urandom(value_bytes) for _ in range(_RECORDS)]
    tails = [b"\x01" + write_varint(len(value)) + value + b"\0" for value in values]
    records = [RawRecord(first + i, 1000 + first - i, 0, memoryview(tail)) for i, tail in enumerate(tails)]
    return encode_batch(records, codec=codec)


def _make(content: bytes | memoryview, *, unpacked: bool = False, skip_records: int = 0) -> list[ProducibleBatch]:
    maker = BatchMaker(keep_offsets=True, skip_records=skip_records)
    made = list(maker.add(memoryview(content), unpacked=unpacked, start_offset=0, next_offset=1 << 40))
    return [*made, *maker.finish()]


def _records(batches: Iterable[bytes | memoryview]) -> list[tuple[int, bytes]]:
    seen: list[tuple[int, bytes]] = []
    for data in batches:
        header: BatchHeader = read_header(data)
        body = unpack(header.codec, memoryview(data)[HEADER_BYTES:])
        seen += [(record.timestamp_ms, bytes(record.tail)) for record in iterate_records(header, body)]
    return seen


def test_batches_that_are_not_packed_are_joined_up_to_a_size() -> None:
    """Each request then carries more of a partition, and the broker has fewer batches to look after."""
    batches = [_batch(number * _RECORDS) for number in range(500)]
    made = _make(b"".join(batches))
    total_bytes = sum(map(len, batches))
    assert len(made) <= total_bytes // JOIN_TARGET_BYTES + 1
    assert all(len(batch.data) < 1.1 * JOIN_TARGET_BYTES for batch in made)
    assert _records(batch.data for batch in made) == _records(batches)
    counts = [batch.record_count for batch in made]
    assert [batch.base_offset for batch in made] == [sum(counts[:number]) for number in range(len(made))]


@pytest.mark.parametrize("codec", range(1, 5))
def test_packed_batches_are_joined_only_where_they_are_stored_unpacked(codec: int) -> None:
    """To unpack them for this takes as long as it saves; where they must be packed anyway it saves."""
    batches = [_batch(number * _RECORDS, codec=codec) for number in range(30)]
    assert [bytes(batch.data) for batch in _make(b"".join(batches))] == batches
    frame, raw_bytes = encode_zstd_block([memoryview(b"".join(batches))], level=1, repack=True)
    made = _make(decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes), unpacked=True)
    assert len(made) == 1
    assert read_header(made[0].data).codec == codec
    assert _records([made[0].data]) == _records(batches)


def test_an_offset_left_out_keeps_batches_apart() -> None:
    """No batch that is made spans a hole."""
    batches = [_batch(number * _RECORDS) for number in range(10)]
    batches += [_batch(1000 + number * _RECORDS) for number in range(10)]
    made = _make(b"".join(batches))
    assert [(batch.base_offset, batch.record_count) for batch in made] == [(0, 200), (1000, 200)]


def test_few_and_large_batches_go_byte_for_byte() -> None:
    """There is nothing to win."""
    few = [_batch(number * _RECORDS) for number in range(3)]
    large = [_batch(100 + number * _RECORDS, value_bytes=4000) for number in range(8)]
    assert [bytes(batch.data) for batch in _make(b"".join(few + large))] == few + large


def test_batches_with_wrong_offsets_inside_go_byte_for_byte() -> None:
    """What is odd is not mended, and takes nothing else with it."""
    batches = [_batch(number * _RECORDS) for number in range(8)]
    odd = bytearray(batches[4])
    assert odd[HEADER_BYTES + 4] == 0  # length (two bytes), attributes, time, offset of the first record
    odd[HEADER_BYTES + 4] = 2
    batches[4] = bytes(odd)
    assert [bytes(batch.data) for batch in _make(b"".join(batches))] == batches


def test_records_that_are_there_already_are_left_out() -> None:
    """A restore that goes on inside a batch skips its first records."""
    batches = [_batch(number * _RECORDS) for number in range(10)]
    made = _make(b"".join(batches), skip_records=25)
    assert _records(batch.data for batch in made) == _records(batches)[25:]
    assert made[0].base_offset == 25


def test_a_crowd_of_producers_is_joined_too() -> None:
    """Whose batch it was says nothing about its records: the restore sends them all as its own."""
    batches = []
    for number in range(10):
        whole = _batch(number * _RECORDS)
        fields = read_header(whole)._replace(producer_id=number, producer_epoch=3, base_sequence=number * 7)
        batches.append(HEADER.pack(*fields) + whole[HEADER_BYTES:])
    made = _make(b"".join(batches))
    assert [batch.record_count for batch in made] == [10 * _RECORDS]
