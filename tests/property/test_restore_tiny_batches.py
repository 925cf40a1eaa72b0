"""Runs of tiny batches: read all at once they become what they become one by one, to the byte, damaged ones too."""

import random
from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core import merging, reencode, small_batches
from mirror.core.compression import pack, unpack
from mirror.core.record_batch import (
    CONTROL_BIT,
    HEADER,
    HEADER_BYTES,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
    BatchHeader,
    read_header,
)
from mirror.core.records import iterate_records, write_varint
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.reencode import BatchMaker, ProducibleBatch
from mirror.errors import MirrorError
from tests.stored_blocks import blocks_of

Outcome = tuple[list[ProducibleBatch], str]
Known = tuple[int, int, int, bytes]  # offset, time, attributes, tail

_BITS = (0, 0, 0, 0, 0, TRANSACTIONAL_BIT, LOG_APPEND_TIME_BIT, TRANSACTIONAL_BIT | CONTROL_BIT, 0x40)
_NOW_MS = 1_700_000_000_000
_ONE_BY_ONE = 1 << 60


def _field(rng: random.Random, most_bytes: int) -> bytes:
    if rng.random() < 0.2:
        return write_varint(-1)
    data = rng.randbytes(rng.randrange(most_bytes))
    return write_varint(len(data)) + data


def _tail(rng: random.Random) -> bytes:
    headers = [write_varint(3) + rng.randbytes(3) + _field(rng, 9) for _ in range(rng.choice((0, 0, 0, 1, 2)))]
    value = _field(rng, rng.choice((9, 90, 200)))
    return b"".join((_field(rng, 12), value, write_varint(len(headers)), *headers))


def _delta(rng: random.Random) -> int:
    """Between the times of two records: mostly none or small, sometimes as large as it can be read or larger."""
    bits = rng.choice((0, 0, 3, 8, 20, 41, 41, rng.choice((59, 62))))
    return rng.randrange(-(2**bits), 2**bits) if bits else 0


def _batch(rng: random.Random, base_offset: int, codec: int, most_records: int) -> tuple[bytes, int, list[Known]]:
    """A batch as a broker may store it, the offset after it, and its records."""
    bits = rng.choice(_BITS)
    count = 1 if rng.random() < 0.7 else rng.randint(0, most_records)
    holes = (0, 0, 0, 1, 200) if rng.random() < 0.3 else (0,)
    base_ms = max(0, _NOW_MS + _delta(rng))
    delta = rng.choice(holes)
    records: list[Known] = []
    body = b""
    for _ in range(count):
        time_delta, attributes, tail = _delta(rng), rng.choice((0, 0, 0, 7)), _tail(rng)
        head = bytes((attributes,)) + write_varint(time_delta) + write_varint(delta)
        body += write_varint(len(head) + len(tail)) + head + tail
        records.append((base_offset + delta, base_ms + time_delta, attributes, tail))
        delta += 1 + rng.choice(holes)
    max_ms = max((time_ms for _, time_ms, _, _ in records), default=base_ms)
    packed = bytes(pack(codec, body))
    last_delta = max(0, delta - 1)
    header = (
        base_offset,
        HEADER_BYTES - 12 + len(packed),
        0,
        2,
        0,
        codec | bits,
        last_delta,
        base_ms,
        max_ms,
        7,
        0,
        0,
        count,
    )
    if bits & CONTROL_BIT:
        records = []
    if bits & LOG_APPEND_TIME_BIT:
        records = [(offset, max_ms, *rest) for offset, _, *rest in records]  # type: ignore[misc]
    return HEADER.pack(*header) + packed, base_offset + last_delta + 1, records


def _stored(seed: int) -> tuple[list[bytes], list[Known]]:
    """Mostly long runs of one-record batches, with all that may lie between."""
    rng = random.Random(seed)
    codecs = rng.choice(((0,), (0,), (0, 0, 3), (0, 1, 2, 3, 4), (4,)))
    most_records = rng.choice((1, 3, 8, 12))
    hole = rng.choice((0.0, 0.1, 1.0))
    offset = rng.randrange(50)
    batches: list[bytes] = []
    records: list[Known] = []
    for _ in range(rng.randint(1, 60)):
        offset += rng.choice((1, 1, 2, 9000)) if rng.random() < hole else 0
        batch, offset, known = _batch(rng, offset, rng.choice(codecs), most_records)
        batches.append(batch)
        records += known
    return batches, records


def _outcome(
    blocks: list[tuple[memoryview, bool]], maker: BatchMaker, start_offset: int = 0, next_offset: int = 1 << 60
) -> Outcome:
    made: list[ProducibleBatch] = []

    def feed() -> Iterator[ProducibleBatch]:
        for content, unpacked in blocks:
            yield from maker.add(content, unpacked=unpacked, start_offset=start_offset, next_offset=next_offset)
        yield from maker.finish()

    try:
        for batch in feed():
            made.append(batch._replace(data=bytes(batch.data)))  # noqa: PERF401 - those before an error count
    except MirrorError as error:
        return made, f"{type(error).__name__}: {error}"
    return made, ""


def _records(made: list[ProducibleBatch]) -> list[Known]:
    seen: list[Known] = []
    for batch in made:
        header: BatchHeader = read_header(batch.data)
        assert header.batch_bytes == len(batch.data)
        assert not header.is_control
        assert not header.has_holes
        assert not header.has_append_time
        assert header.record_count == batch.record_count
        read = list(iterate_records(header, unpack(header.codec, memoryview(batch.data)[HEADER_BYTES:])))
        assert batch.is_stored or header.max_timestamp == max(record.timestamp_ms for record in read)
        seen += [
            (batch.base_offset + index, record.timestamp_ms, record.attributes, bytes(record.tail))
            for index, record in enumerate(read)
        ]
    return seen


@pytest.fixture(autouse=True, scope="module")
def _small_numbers() -> Iterator[None]:
    """So that few batches reach every limit; and none are joined, which are not tiny."""
    with (
        patch.object(merging, "MERGE_TARGET_BYTES", 900),
        patch.object(reencode, "_MANY_BATCHES", 24),
        patch.object(small_batches, "_FEW_BATCHES", _ONE_BY_ONE),
    ):
        yield


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), unpacked=st.booleans(), keep_offsets=st.booleans(), data=st.data())
def test_runs_become_what_they_become_one_by_one(
    seed: int, unpacked: bool, keep_offsets: bool, data: st.DataObject
) -> None:
    """The same batches, which hold exactly the records that are meant, for any bounds, times and records to skip."""
    batches, records = _stored(seed)
    last = max((record[0] for record in records), default=0)
    start_offset = data.draw(st.just(0) | st.integers(0, last + 1))
    next_offset = data.draw(st.just(last + 1) | st.integers(start_offset, last + 2))
    times_seen = sorted(record[1] for record in records) or [0]
    times = data.draw(
        st.just(ALL_TIMES)
        | st.builds(TimeBounds, st.none() | st.sampled_from(times_seen), st.none() | st.sampled_from(times_seen))
    )
    meant = [r for r in records if start_offset <= r[0] < next_offset and times.keeps(r[1])]
    skip_records = data.draw(st.just(0) | st.integers(0, len(meant)))
    blocks = blocks_of(batches, data.draw(st.integers(0, len(batches))), unpacked=unpacked)
    outcomes: list[Outcome] = []
    for few in (1, _ONE_BY_ONE):
        maker = BatchMaker(keep_offsets=keep_offsets, times=times, skip_records=skip_records, limit_bytes=500)
        with patch.object(reencode, "_FEW_BATCHES", few):
            outcomes.append(_outcome(blocks, maker, start_offset, next_offset))
    assert outcomes[0] == outcomes[1]
    made, error = outcomes[0]
    if not error:  # some of the times are as large as none can be
        expected = meant[skip_records:]
        seen = _records(made)
        assert [record[1:] for record in seen] == [record[1:] for record in expected]
        if keep_offsets:
            assert seen == expected


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), unpacked=st.booleans(), skip_records=st.integers(0, 20))
def test_damaged_runs_fail_as_they_fail_one_by_one(seed: int, unpacked: bool, skip_records: int) -> None:
    """Whatever byte of a body is another: the same batches, and the same error after them."""
    batches, _ = _stored(seed)
    rng = random.Random(seed)
    for _ in range(rng.choice((1, 1, 3))):
        index = rng.randrange(len(batches))
        batch = bytearray(batches[index])
        at = rng.randrange(HEADER_BYTES, min(len(batch), HEADER_BYTES + 9) + 1)
        if at < len(batch):
            batch[at] = rng.choice((0, 0x7F, 0x80, 0xFF, batch[at] ^ 1, batch[at] ^ 0x80))
        batches[index] = bytes(batch)
    blocks = blocks_of(batches, rng.randint(0, len(batches)), unpacked=unpacked)
    outcomes: list[Outcome] = []
    for few in (1, _ONE_BY_ONE):
        with patch.object(reencode, "_FEW_BATCHES", few):
            outcomes.append(_outcome(blocks, BatchMaker(skip_records=skip_records)))
    assert outcomes[0] == outcomes[1]
