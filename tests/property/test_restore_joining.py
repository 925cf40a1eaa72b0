"""Small batches that are joined hold the records that they held one by one; whatever is odd is left as it is."""

import random
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core import joining, reencode, small_batches
from mirror.core.compression import pack, unpack
from mirror.core.record_batch import (
    CONTROL_BIT,
    HEADER,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    read_header,
)
from mirror.core.records import iterate_records, write_varint
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.reencode import BatchMaker, ProducibleBatch
from mirror.errors import BatchDamageError, MirrorError
from tests.stored_blocks import blocks_of

Known = tuple[int, int, int, bytes]  # offset, time, attributes, tail

_NOW_MS = 1_700_000_000_000
_NEVER = 1 << 60
_TARGET_BYTES = 4_000
_ODD_BITS = (LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT | CONTROL_BIT, 0x40)


def _tail(rng: random.Random) -> bytes:
    """The length of a record is told in one, two or (beyond 8 KiB) three bytes."""
    value = rng.randbytes(rng.choice((0, 1, 20, 20, 20, 100, 100, rng.choice((300, 9000)))))
    key = write_varint(-1) if rng.random() < 0.3 else write_varint(3) + rng.randbytes(3)
    return key + write_varint(len(value)) + value + write_varint(0)


def _time_delta(rng: random.Random, spread: int) -> int:
    """Mostly small, sometimes as large as can be read or larger."""
    bits = rng.choice((0, 3, 8, 20, 41, rng.choice((59, 62)))) if rng.random() < 0.02 else spread
    return rng.randrange(-(2**bits), 2**bits) if bits else 0


def _batch(rng: random.Random, base_offset: int, codec: int, spread: int, bits: int) -> tuple[bytes, int, list[Known]]:
    """A batch as a broker may store it, the offset after it, and its records."""
    count = rng.choice((1, 3, 12, 12, 70, 150))
    base_ms = max(0, _NOW_MS + _time_delta(rng, spread))
    has_hole = rng.random() < 0.02
    records: list[Known] = []
    body = bytearray()
    for number in range(count):
        delta = number + (has_hole and number > count // 2)
        time_delta, attributes, tail = _time_delta(rng, spread), rng.choice((0, 0, 0, 7)), _tail(rng)
        head = bytes((attributes,)) + write_varint(time_delta) + write_varint(delta)
        body += write_varint(len(head) + len(tail)) + head + tail
        records.append((base_offset + delta, base_ms + time_delta, attributes, tail))
    last_delta = records[-1][0] - base_offset
    max_ms = max(time_ms for _, time_ms, _, _ in records)
    packed = bytes(pack(codec, bytes(body)))
    length = HEADER_BYTES - 12 + len(packed)
    fields = (base_offset, length, 0, 2, 0, codec | bits, last_delta, base_ms, max_ms, 7, 0, 0, count)
    if bits & CONTROL_BIT:
        records = []
    if bits & LOG_APPEND_TIME_BIT:
        records = [(offset, max_ms, attributes, tail) for offset, _, attributes, tail in records]
    return HEADER.pack(*fields) + packed, base_offset + last_delta + 1, records


def _stored(rng: random.Random) -> tuple[list[bytes], list[Known]]:
    """Mostly long runs of plain batches, with all that may lie between."""
    codecs = rng.choice(((0,), (0,), (0, 0, 0, 3), (2,), (0, 1, 2, 3, 4)))
    odd, spread = rng.choice((0.0, 0.05, 0.3)), rng.choice((0, 5, 12, 30))
    offset = rng.choice((0, 0, 7, 2**40))
    batches: list[bytes] = []
    records: list[Known] = []
    codec = rng.choice(codecs)
    for _ in range(rng.randint(1, 50)):
        bits = rng.choice(_ODD_BITS) if rng.random() < odd else rng.choice((0, 0, TRANSACTIONAL_BIT))
        offset += rng.choice((1, 9000)) if rng.random() < odd else 0
        codec = rng.choice(codecs) if rng.random() < 0.2 else codec
        batch, offset, known = _batch(rng, offset, codec, spread, bits)
        batches.append(batch)
        records += known
    return batches, records


def _made(
    blocks: list[tuple[memoryview, bool]], maker: BatchMaker, start_offset: int = 0, next_offset: int = _NEVER
) -> tuple[list[ProducibleBatch], str]:
    made: list[ProducibleBatch] = []
    try:
        for content, unpacked in blocks:
            made += maker.add(content, unpacked=unpacked, start_offset=start_offset, next_offset=next_offset)
        made += maker.finish()
    except MirrorError as error:
        return made, f"{type(error).__name__}: {error}"
    return made, ""


def _seen(made: list[ProducibleBatch]) -> list[Known | bytes]:
    """The records of batches as a broker takes them; of one that cannot be read its bytes."""
    seen: list[Known | bytes] = []
    for batch in made:
        header = read_header(batch.data)
        assert header.batch_bytes == len(batch.data)
        assert header.record_count == batch.record_count == header.last_offset_delta + 1
        body = memoryview(batch.data)[HEADER_BYTES:]
        try:
            read = list(iterate_records(header, unpack(header.codec, body)))
        except BatchDamageError:
            seen.append(bytes(body))
            continue
        assert batch.is_stored or header.max_timestamp == max(record.timestamp_ms for record in read)
        assert [record.offset - header.base_offset for record in read] == list(range(len(read)))
        seen += [
            (batch.base_offset + index, record.timestamp_ms, record.attributes, bytes(record.tail))
            for index, record in enumerate(read)
        ]
    return seen


@pytest.fixture(autouse=True, scope="module")
def _small_numbers() -> Iterator[None]:
    """So that few batches reach every limit."""
    with (
        patch.object(joining, "JOIN_TARGET_BYTES", _TARGET_BYTES),
        patch.object(small_batches, "_TOGETHER_BYTES", 3 * _TARGET_BYTES),
        patch.object(small_batches, "_SMALL_BYTES", 2 * _TARGET_BYTES),
        patch.object(reencode, "_MANY_SMALL", 20),
    ):
        yield


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), unpacked=st.booleans(), keep_offsets=st.booleans(), data=st.data())
def test_exactly_the_records_that_are_meant(seed: int, unpacked: bool, keep_offsets: bool, data: st.DataObject) -> None:
    """For any bounds, times and records to skip; in no more batches than without joining."""
    rng = random.Random(seed)
    batches, records = _stored(rng)
    last = max((record[0] for record in records), default=0)
    first = min((record[0] for record in records), default=0)
    start_offset = data.draw(st.just(0) | st.integers(first, last + 1))
    next_offset = data.draw(st.just(last + 1) | st.integers(start_offset, last + 2))
    times_seen = sorted(record[1] for record in records) or [0]
    times = data.draw(st.just(ALL_TIMES) | st.builds(TimeBounds, st.none(), st.sampled_from(times_seen)))
    meant = [r for r in records if start_offset <= r[0] < next_offset and times.keeps(r[1])]
    skip_records = data.draw(st.just(0) | st.integers(0, len(meant)))
    blocks = blocks_of(batches, rng.randint(0, len(batches)), unpacked=unpacked)
    outcomes: list[tuple[list[ProducibleBatch], str]] = []
    for few in (4, _NEVER):
        maker = BatchMaker(keep_offsets=keep_offsets, times=times, skip_records=skip_records)
        with patch.object(small_batches, "_FEW_BATCHES", few):
            outcomes.append(_made(blocks, maker, start_offset, next_offset))
    (joined, error), (single, single_error) = outcomes
    assert error == single_error
    seen = _seen(joined)
    if not error:  # some of the times are as large as none can be
        expected = meant[skip_records:]
        assert [record[1:] for record in seen] == [record[1:] for record in expected]
        assert not keep_offsets or seen == expected
        assert len(joined) <= len(single)


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), unpacked=st.booleans())
def test_damaged_batches_are_left_as_they_are(seed: int, unpacked: bool) -> None:
    """Whatever bytes of a body are others: what can be read is the same, what cannot goes as stored, or the error is the same."""
    rng = random.Random(seed)
    batches, _ = _stored(rng)
    for _ in range(rng.choice((1, 1, 3))):
        index = rng.randrange(len(batches))
        batch = bytearray(batches[index])
        at = rng.randrange(HEADER_BYTES, min(len(batch), HEADER_BYTES + rng.choice((9, 400))))
        batch[at] = rng.choice((0, 0x7F, 0x80, 0xFF, batch[at] ^ 1, batch[at] ^ 0x80))
        batches[index] = bytes(batch)
    blocks = blocks_of(batches, rng.randint(0, len(batches)), unpacked=unpacked)
    outcomes: list[tuple[list[Known | bytes], str]] = []
    for few in (4, _NEVER):
        with patch.object(small_batches, "_FEW_BATCHES", few):
            made, error = _made(blocks, BatchMaker(keep_offsets=True))
        outcomes.append((_seen(made) if not error else [], error))
    assert outcomes[0] == outcomes[1]
