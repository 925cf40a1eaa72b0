"""What is encoded comes back: varints, records, keys, runs."""

from collections.abc import Sequence
from itertools import pairwise

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from mirror.core.compression import unpack
from mirror.core.keys import (
    DAY_MS,
    SLOT_MS,
    RollupKey,
    SegmentKey,
    TopicKey,
    format_rollup_key,
    format_segment_key,
    format_topic_key,
    parse_rollup_key,
    parse_segment_key,
    parse_topic_key,
    segment_prefix,
)
from mirror.core.record_batch import HEADER_BYTES, read_header, read_varint, scan_batches
from mirror.core.records import RawRecord, decode_record, encode_batch, iterate_records, write_varint
from mirror.core.segment.blocks import StoredBatch, decode_block, iterate_block
from mirror.core.segment.index import RunEntry, SegmentIndex, decode_json, encode_json
from mirror.core.segment.runs import BodyMode, RunDraft, encode_run
from mirror.core.slices import read_slice
from tests.builders import T0_MS, TOPIC_ID, Headers, a_batch, a_field, a_segment, a_slice, a_tail

INT64 = st.integers(-(2**63), 2**63 - 1)
FIELDS = st.none() | st.binary(max_size=40)
HEADERS = st.lists(st.tuples(st.sampled_from([b"", b"a", b"\xff\xfe", "ключ".encode()]), FIELDS), max_size=4)
TIMES = st.integers(-1, 2**48)
TIMESTAMP_MS = st.integers(10**12, 10**13 - 1)
WRITERS = st.from_regex(r"\A[0-9a-z]{1,32}\Z")


@given(INT64)
def test_varint_comes_back(value: int) -> None:
    """Every 64-bit integer has a varint of at most ten bytes that reads back as itself."""
    data = write_varint(value)
    assert len(data) <= 10
    assert read_varint(b"\xff" + data + b"\xff", 1) == (value, 1 + len(data))


@given(
    st.lists(st.tuples(FIELDS, FIELDS, HEADERS, TIMES), min_size=1, max_size=8),
    st.integers(0, 4),
    st.integers(0, 2**62),
)
def test_record_comes_back(
    cases: Sequence[tuple[bytes | None, bytes | None, Headers, int]], codec: int, base_offset: int
) -> None:
    """Any key, value, headers and times survive encoding into a batch of any codec."""
    raw = [
        RawRecord(base_offset + delta, time_ms, 0, memoryview(a_tail(key, value, headers)))
        for delta, (key, value, headers, time_ms) in enumerate(cases)
    ]
    batch = encode_batch(raw, codec=codec)
    scan_batches(batch, allow_partial=False)
    header = read_header(batch)
    found = [decode_record(one) for one in iterate_records(header, unpack(codec, batch[HEADER_BYTES:]))]
    assert [record.offset for record in found] == list(range(base_offset, base_offset + len(cases)))
    for record, (key, value, headers, time_ms) in zip(found, cases, strict=True):
        assert (record.key, record.value, record.timestamp_ms) == (key, value, time_ms)
        assert [(name.encode("utf-8", "surrogateescape"), data) for name, data in record.headers] == list(headers)


@given(st.builds(SegmentKey, TIMESTAMP_MS, WRITERS, st.integers(0, 10**10 - 1)))
def test_segment_key_comes_back(key: SegmentKey) -> None:
    """Parsing a formatted key gives the same values, and it stands under the prefix of its hour."""
    text = format_segment_key(key)
    assert parse_segment_key(text) == key
    assert text.startswith(segment_prefix(key.sealed_at_ms))


@given(st.lists(st.builds(SegmentKey, TIMESTAMP_MS, WRITERS, st.integers(0, 10**10 - 1)), max_size=10))
def test_segment_keys_sort_by_time(keys: list[SegmentKey]) -> None:
    """The order of the names is the order of time."""
    times = [parse_segment_key(text).sealed_at_ms for text in sorted(map(format_segment_key, keys))]
    assert times == sorted(times)


@given(st.from_regex(r"\A[A-Za-z0-9._-]{1,249}\Z"), st.from_regex(r"\A[A-Za-z0-9_-]{22}\Z"), TIMESTAMP_MS)
def test_topic_key_comes_back(topic: str, topic_id: str, captured_at_ms: int) -> None:
    """Every name and id that Kafka allows."""
    key = TopicKey(topic, topic_id, captured_at_ms)
    assert parse_topic_key(format_topic_key(key)) == key


@given(st.integers(0, 10**13 // SLOT_MS - 1), WRITERS, st.booleans())
def test_rollup_key_comes_back(slot: int, writer: str, whole_day: bool) -> None:
    """Slots of ten minutes and whole days."""
    length_ms = DAY_MS if whole_day else SLOT_MS
    key = RollupKey(slot * SLOT_MS // length_ms * length_ms, length_ms, writer)
    assert parse_rollup_key(format_rollup_key(key)) == key


BATCHES = st.lists(
    st.tuples(
        st.integers(1, 6),  # offsets
        st.sampled_from([0, 0, 0, 1, 2, 3, 4]),  # codec
        st.sets(st.integers(0, 5)),  # holes
        st.integers(0, 3),  # offsets between this batch and the next that no batch covers
        st.sampled_from([200, 300_000, 0]),  # value bytes
        st.integers(0, 1),  # leader epoch step
    ),
    min_size=1,
    max_size=12,
)


def _log(shapes: Sequence[tuple[int, int, set[int], int, int, int]]) -> list[bytes]:
    """Batches of a log as the shapes say."""
    offset = epoch = 0
    batches = []
    for n, codec, holes, pause, value_bytes, step in shapes:
        epoch += step
        tails = [a_field(b"%d" % (offset + i)) + a_field(bytes([i]) * value_bytes) + b"\x00" for i in range(n)]
        batches.append(
            a_batch(offset, n, codec=codec, holes={h for h in holes if h < n}, tails=tails, leader_epoch=epoch)
        )
        offset += n + pause
    return batches


def _records(batches: Sequence[bytes], start_offset: int) -> list[tuple[int, int, bytes]]:
    out = []
    for batch in batches:
        header = read_header(batch)
        body = unpack(header.codec, batch[HEADER_BYTES:])
        out += [
            (r.offset, r.timestamp_ms, bytes(r.tail)) for r in iterate_records(header, body) if r.offset >= start_offset
        ]
    return out


def _opened(batch: StoredBatch) -> bytes | memoryview:
    return batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)


def _stored_records(run: RunEntry, stored: bytes) -> list[tuple[int, int, bytes]]:
    """The records of a run as a reader takes them: those below its start are not part of it."""
    out: list[tuple[int, int, bytes]] = []
    if run.blocks is None:
        return out
    ends = [*run.blocks.positions[1:], run.stored_bytes]
    for begin, end, raw_bytes in zip(run.blocks.positions, ends, run.blocks.raw_bytes, strict=True):
        content = decode_block(stored[begin:end], body_codec=run.body_codec, raw_bytes=raw_bytes)
        for batch in iterate_block(content, unpacked=run.unpacked, check_crc=True):
            found = iterate_records(batch.header, _opened(batch))
            out += [(r.offset, r.timestamp_ms, bytes(r.tail)) for r in found if r.offset >= run.start_offset]
    return out


@settings(max_examples=60, deadline=None)
@given(BATCHES, st.sampled_from(["auto", "passthrough", "zstd"]), st.sets(st.integers(1, 11)), st.integers(0, 5))
def test_every_record_comes_back_exactly_once(
    shapes: Sequence[tuple[int, int, set[int], int, int, int]], mode: BodyMode, cuts: set[int], trimmed: int
) -> None:
    """However a log is cut into slices and stored, a run gives back its records once, in order; a trimmed start is respected."""
    batches = _log(shapes)
    start_offset = min(trimmed, read_header(batches[0]).next_offset - 1)
    draft = RunDraft("orders", TOPIC_ID, 0, start_offset, start_offset)
    bounds = [0, *sorted(cut for cut in cuts if cut < len(batches)), len(batches)]
    for begin, end in pairwise(bounds):
        draft.append(a_slice(*batches[begin:end], start_offset=draft.next_offset))
    run, parts = encode_run(draft, position=16, mode=mode, zstd_level=1)
    stored = b"".join(parts)
    expected = _records(batches, start_offset)
    assert _stored_records(run, stored) == expected
    assert run.batch_count == len(batches)
    assert (run.start_offset, run.next_offset) == (start_offset, read_header(batches[-1]).next_offset)
    _, _, index = a_segment()
    index = msgspec.structs.replace(index, runs=[run])
    assert decode_json(SegmentIndex, encode_json(index), "x") == index
    assert run.max_timestamp_ms is not None
    assert run.max_timestamp_ms >= max((time_ms for _, time_ms, _ in expected), default=T0_MS)


@settings(max_examples=30, deadline=None)
@given(BATCHES, st.integers(0, 40))
def test_slice_bytes_do_not_depend_on_the_position(
    shapes: Sequence[tuple[int, int, set[int], int, int, int]], fetch_offset: int
) -> None:
    """A slice keeps exactly the batches that end after its position, untouched."""
    batches = _log(shapes)
    body = read_slice(b"".join(batches), fetch_offset)
    assert b"".join(body.parts) == b"".join(batch for batch in batches if read_header(batch).next_offset > fetch_offset)
