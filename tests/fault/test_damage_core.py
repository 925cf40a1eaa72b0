"""Hostile bytes against every decoder: a typed error or the right answer, never another exception, a hang, or a silent skip."""

import contextlib
import json
import random
import struct
import time
import tracemalloc
from collections.abc import Callable

import msgspec
import numpy as np
import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror.core.compression import unpack
from mirror.core.events import decode_event, encode_event, sealed_event
from mirror.core.keys import day_start_ms, parse_rollup_key, parse_segment_key, parse_topic_key
from mirror.core.record_batch import CRC_POSITION, HEADER_BYTES, read_header, scan_batches
from mirror.core.records import decode_record, encode_batch, iterate_records
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, encode_rollup, shorten
from mirror.core.segment.blocks import decode_block, encode_zstd_block, iterate_block
from mirror.core.segment.index import (
    RepositoryObject,
    SegmentIndex,
    TopicObject,
    decode_checked,
    decode_json,
    encode_json,
)
from mirror.core.segment.layout import (
    HEADER_BYTES as OBJECT_HEADER_BYTES,
)
from mirror.core.segment.layout import (
    check_header,
    checksum_of,
    decode_index,
    encode_rollup_frame,
)
from mirror.core.segment.runs import BodyMode
from mirror.core.slices import read_slice
from mirror.errors import DamageError, MirrorError
from tests.builders import a_batch, a_marker, a_repository, a_run_draft, a_segment, a_slice, with_crc

SETTINGS = settings(max_examples=200, deadline=2000)
CODECS = range(1, 5)


def _mixed() -> list[bytes]:
    return [
        a_batch(0, 3),
        a_batch(3, 40, codec=3),
        a_batch(43, 5, codec=4, holes=(1, 4), producer_id=9, transactional=True),
        a_marker(48, 9, commit=True),
        a_batch(49, 20, codec=1, leader_epoch=2),
        a_batch(69, 20, codec=2, leader_epoch=2),
    ]


def _open(batch: bytes) -> None:
    """Everything that a reader may do with a batch."""
    header = read_header(batch)
    records = unpack(header.codec, batch[HEADER_BYTES:], limit_bytes=1 << 20)
    raw = list(iterate_records(header, records))
    for record in raw:
        decode_record(record)
    if raw:
        encode_batch(raw)


def _only_typed(function: Callable[[], object]) -> None:
    """Runs it; errors of ours are the right answer to nonsense."""
    try:
        function()
    except MirrorError as error:
        assert str(error)  # noqa: PT017 - any of ours will do, but it must say something


def _segment(mode: BodyMode) -> tuple[bytes, SegmentIndex]:
    _, data, index = a_segment(
        a_run_draft(a_slice(*_mixed()[:3]), a_slice(*_mixed()[3:], start_offset=48)),
        a_run_draft(a_slice(a_batch(5, 9), start_offset=5, partition=1)),
        mode=mode,
    )
    return data, index


def _read_all(data: bytes) -> SegmentIndex:
    """Header, index, every run's checksum: what a reader checks before it believes anything."""
    check_header(data, "x")
    index = decode_index(data, len(data), "x")
    for run in index.runs:
        if checksum_of((data[run.position : run.position + run.stored_bytes],)) != run.checksum:
            raise DamageError("run")
    return index


# --- batches


@SETTINGS
@given(st.binary(max_size=400))
@example(bytes(61))
@example(b"\x7f" * 200)
def test_random_bytes_are_no_batches(data: bytes) -> None:
    """Any bytes as a fetch answer."""
    _only_typed(lambda: scan_batches(data))
    _only_typed(lambda: scan_batches(data, check_crc=False, allow_partial=False))
    _only_typed(lambda: read_slice(data, 0, ((1, 0),)))
    _only_typed(lambda: _open(data))


@SETTINGS
@given(st.integers(0, 5), st.data())
def test_flipped_bits_in_a_batch_are_found_or_typed(number: int, data: st.DataObject) -> None:
    """Under the CRC a flipped bit is always found; with the CRC made right again, decoding ends in a typed error or in records."""
    batch = bytearray(_mixed()[number])
    position = data.draw(st.integers(CRC_POSITION, len(batch) - 1))
    batch[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MirrorError):
        scan_batches(bytes(batch))
    forged = with_crc(bytes(batch))
    _only_typed(lambda: read_slice(forged, 0, ((9, 0),)))
    _only_typed(lambda: _open(forged))


@SETTINGS
@given(st.integers(0, 5), st.integers(0, 60), st.binary(min_size=8, max_size=8))
def test_headers_that_lie_are_typed(number: int, position: int, lie: bytes) -> None:
    """Lengths, counts, offsets, times and codecs of any value, under a right CRC."""
    batch = bytearray(_mixed()[number])
    batch[position : position + 8] = lie[: len(batch) - position]
    forged = with_crc(bytes(batch))
    _only_typed(lambda: scan_batches(forged, allow_partial=False))
    _only_typed(lambda: read_slice(forged + _mixed()[0], 5, ((9, 0),)))
    _only_typed(lambda: _open(forged))


@SETTINGS
@given(st.binary(max_size=120), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_bodies_that_lie_are_typed(body: bytes, record_count: int, last_offset_delta: int) -> None:
    """Any body under any count."""
    batch = bytearray(a_batch(0, 1, body=body))
    struct.pack_into(">i", batch, 57, record_count)
    struct.pack_into(">i", batch, 23, last_offset_delta)
    forged = with_crc(bytes(batch))
    _only_typed(lambda: _open(forged))
    struct.pack_into(">h", batch, 21, 0x30)
    control = with_crc(bytes(batch))
    _only_typed(lambda: read_slice(control, 0, ((-1, 0),)))


def test_two_billion_records_claimed_cost_nothing() -> None:
    """A count is never believed before the bytes are there."""
    batch = bytearray(a_batch(0, 1))
    struct.pack_into(">i", batch, 57, 2**31 - 1)
    begun = time.monotonic()
    with pytest.raises(DamageError):
        _open(with_crc(bytes(batch)))
    assert time.monotonic() - begun < 1


@SETTINGS
@given(st.sampled_from(list(CODECS)), st.binary(max_size=300))
def test_random_bodies_are_typed(codec: int, body: bytes) -> None:
    """Any bytes in any codec, also after the codec's own magic."""
    magics = {
        1: b"\x1f\x8b\x08\x00",
        2: b"\x82SNAPPY\x00" + bytes(8),
        3: b"\x04\x22\x4d\x18\x60\x40\x82",
        4: b"\x28\xb5\x2f\xfd",
    }
    for data in (body, magics[codec] + body):
        _only_typed(lambda data=data: unpack(codec, data, limit_bytes=1 << 20))  # type: ignore[misc]


@SETTINGS
@given(st.sampled_from(list(CODECS)), st.data())
def test_changed_bodies_are_typed_and_bounded(codec: int, data: st.DataObject) -> None:
    """Flipped bits in a compressed body: what comes out is never more than the limit."""
    body = bytearray(a_batch(0, 60, codec=codec)[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MirrorError):
        assert len(unpack(codec, bytes(body), limit_bytes=100_000)) <= 100_000


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_batch_body_is_never_short_data(codec: int) -> None:
    """A compressed body that is cut anywhere never gives a part of its records."""
    batch = a_batch(0, 200, codec=codec)
    header = read_header(batch)
    for cut in range(1, len(batch) - HEADER_BYTES):
        with pytest.raises(DamageError):
            list(iterate_records(header, unpack(codec, batch[HEADER_BYTES:-cut])))


# --- segment objects


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
def test_every_flipped_bit_in_a_segment_is_found(mode: BodyMode) -> None:
    """Any single bit of a segment object: reading header, index and runs finds it."""
    data, index = _segment(mode)
    assert _read_all(data) == index
    bits = random.Random(7).sample(range(len(data) * 8), 1500)
    bits += [*range(OBJECT_HEADER_BYTES * 8), *range((len(data) - 40) * 8, len(data) * 8)]
    for bit in bits:
        wrong = bytearray(data)
        wrong[bit // 8] ^= 1 << bit % 8
        with pytest.raises(MirrorError):
            _read_all(bytes(wrong))


def test_every_truncation_of_a_segment_is_found() -> None:
    """Cut at the end, cut at the front, or with bytes added, an object is no longer one."""
    data, _ = _segment("auto")
    for size in range(0, len(data), 3):
        with pytest.raises(MirrorError):
            _read_all(data[:size])
    for changed in (data[1:], data + b"\x00", b"\x00" + data, data[:16] + data[17:], data + data):
        with pytest.raises(MirrorError):
            _read_all(changed)


@SETTINGS
@given(st.binary(max_size=200))
def test_random_bytes_are_no_segment(data: bytes) -> None:
    """Any bytes as an object, as its end, as a roll-up."""
    for function in (lambda: _read_all(data), lambda: decode_rollup(data, "x"), lambda: check_header(data, "x")):
        with pytest.raises(MirrorError):
            function()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _paths(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    found = [path] if path else []
    if isinstance(value, dict):
        for name, inner in value.items():
            found += _paths(inner, (*path, name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            found += _paths(inner, (*path, number))
    return found


@SETTINGS
@given(st.data(), JSON)
def test_index_with_any_value_anywhere_is_typed(data: st.DataObject, value: object) -> None:
    """Any JSON in the place of any value of an index with a right checksum: refused, or consistent and usable."""
    _, index = _segment("passthrough")
    tree = json.loads(encode_json(index))
    path = data.draw(st.sampled_from(_paths(tree)))
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    framed = encode_rollup_frame(json.dumps(tree).encode())
    _only_typed(lambda: decode_index(framed, len(framed), "x"))
    _only_typed(lambda: decode_json(SegmentIndex, json.dumps(tree).encode(), "x"))


HOSTILE_JSON = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'{"format_version":1e999}',
    b'{"format_version":NaN}',
    b'{"format_version":1,"x":' + b"[" * 200_000,
    b'{"format_version":1,"x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    b'{"format_version":1,"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
    b'{"format_version":' + b"9" * 100_000 + b"}",
    b'{"format_version":-1}',
    b'{"format_version":true}',
    b'{"format_version":1,"repository_id":"\xff\xfe"}',
    b'{"format_version":1,"repository_id":"\\ud800"}',
    b'{"format_version":1,"required_features":"encryption"}',
    b'\xef\xbb\xbf{"format_version":1}',
]


@pytest.mark.parametrize("data", HOSTILE_JSON, ids=lambda data: data[:30].decode("latin-1"))
def test_hostile_json_is_typed(data: bytes) -> None:
    """Nesting without end, numbers without end, text that is none."""
    for kind in (SegmentIndex, TopicObject, RepositoryObject, Rollup):
        with pytest.raises(MirrorError):
            decode_json(kind, data, "x")
        with pytest.raises(MirrorError):
            decode_checked(kind, data, "x")
    with pytest.raises(MirrorError):
        decode_event(data)
    framed = encode_rollup_frame(data)
    with pytest.raises(MirrorError):
        decode_rollup(framed, "x")
    with pytest.raises(MirrorError):
        decode_index(framed, len(framed), "x")


@SETTINGS
@given(st.binary(max_size=100))
def test_random_bytes_are_no_event(data: bytes) -> None:
    """Anybody may write into a topic."""
    with pytest.raises(MirrorError):
        decode_event(data)


@SETTINGS
@given(st.data())
def test_flipped_bits_in_rollups_are_found(data: st.DataObject) -> None:
    """Any bit of a roll-up."""
    key, segment, index = a_segment(a_run_draft(a_slice(a_batch(0, 3))))
    entry = RolledObject(key=key, size_bytes=len(segment), index=shorten(index))
    rollup = Rollup(repository_id="r", start_ms=0, length_ms=1, created_at_ms=0, objects=[entry])
    wrong = bytearray(encode_rollup(rollup))
    wrong[data.draw(st.integers(0, len(wrong) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MirrorError):
        decode_rollup(bytes(wrong), "x")


@SETTINGS
@given(st.data())
def test_flipped_bits_in_events_are_typed(data: st.DataObject) -> None:
    """Events carry no checksum; what is read of them has its types at least."""
    key, segment, index = a_segment(a_run_draft(a_slice(a_batch(0, 3))))
    wrong = bytearray(encode_event(sealed_event(key, len(segment), index)))
    wrong[data.draw(st.integers(0, len(wrong) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    _only_typed(lambda: decode_event(bytes(wrong)))


# --- blocks


@SETTINGS
@given(st.binary(max_size=200), st.integers(-(2**70), 2**70), st.booleans())
def test_random_blocks_are_typed(stored: bytes, raw_bytes: int, unpacked: bool) -> None:
    """Any bytes as a block of any claimed size."""
    for body_codec in ("passthrough", "zstd"):
        _only_typed(lambda body_codec=body_codec: decode_block(stored, body_codec=body_codec, raw_bytes=raw_bytes))  # type: ignore[misc]
    _only_typed(lambda: list(iterate_block(memoryview(stored), unpacked=unpacked, check_crc=True)))


@SETTINGS
@given(st.data())
def test_changed_unpacked_blocks_are_typed(data: st.DataObject) -> None:
    """Flipped bits in the content of an unpacked block (its checksum forged): every batch is opened, or a typed error tells."""
    parts = [memoryview(batch) for batch in _mixed()]
    frame, raw_bytes = encode_zstd_block(parts, level=1, repack=True)
    content = bytearray(decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    def read() -> None:
        for batch in iterate_block(memoryview(content), unpacked=True, check_crc=True):
            body = batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)
            list(iterate_records(batch.header, body))

    _only_typed(read)


def test_block_bomb_is_bounded_by_its_claim() -> None:
    """A frame that unpacks to something else than the index says is refused before it is unpacked."""
    bomb = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    tracemalloc.start()
    try:
        for claim in (100, 1 << 20, (200 << 20) + 1, 1 << 40):
            with pytest.raises(DamageError):
                decode_block(bomb, body_codec="zstd", raw_bytes=claim)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_index_bomb_is_refused_by_its_size() -> None:
    """An index that claims more than its limit is not unpacked."""
    data = encode_rollup_frame(b'{"format_version":1}' + b" " * (257 << 20))
    with pytest.raises(DamageError, match="trailer does not fit"):
        decode_index(data, len(data), "x")


# --- names, repository


@SETTINGS
@given(
    st.text(max_size=60)
    | st.from_regex(r"(l0|index/l0|topics)/[\d]{4}-\d\d-\d\d/\d\d(\d\d)?/?\d{0,13}-?[a-z]*\.?(seg|idx)?")
)
@example("index/l0/9999-12-31/day-w.idx")
@example("index/l0/0001-01-01/0000-w.idx")
def test_any_name_is_typed(name: str) -> None:
    """Names come from listings: anybody may have put something there."""
    for parse in (parse_segment_key, parse_topic_key, parse_rollup_key, day_start_ms):
        _only_typed(lambda parse=parse: parse(name))  # type: ignore[misc]


@pytest.mark.parametrize("seed", range(6))
def test_damaged_objects_never_change_what_is_loaded_silently(seed: int) -> None:
    """Random damage to the objects of a repository: every index that is loaded is one that was written, the rest is reported."""
    chance = random.Random(seed)
    repository = a_repository()
    written: dict[str, bytes] = {}
    for sequence in range(1, 6):
        key, data, index = a_segment(
            a_run_draft(a_slice(a_batch(sequence * 10, 10, codec=4), start_offset=sequence * 10)),
            sequence=sequence,
            repository_id=repository.identity.repository_id,
        )
        repository.store.put(key, data)
        written[key] = encode_json(shorten(index))
    damaged = set()
    for key in list(written):
        data = repository.store.get(key)
        kind = chance.choice(["none", "cut", "flip", "zeros", "empty", "other"])
        at = chance.randrange(len(data))
        if kind == "none":
            continue
        damaged.add(key)
        changed = {
            "cut": data[:at],
            "flip": data[: -60 - at % 30] + bytes((data[-60 - at % 30] ^ 8,)) + data[len(data) - 59 - at % 30 :],
            "zeros": bytes(len(data)),
            "empty": b"",
            "other": repository.store.get(next(other for other in written if other != key)),
        }[kind]
        repository.store.put(key, changed)
    reported: list[str] = []
    loaded = repository.load_indexes(on_damage=lambda key, _: reported.append(key))
    assert {entry.key for entry in loaded} == written.keys() - damaged
    assert set(reported) == damaged
    for entry in loaded:
        assert encode_json(entry.index) == written[entry.key]


def test_numbers_are_python_integers_in_the_index() -> None:
    """numpy numbers never reach the encoder, which would refuse them in the middle of a flush."""
    _, index = _segment("auto")
    assert not any(isinstance(value, np.generic) for run in index.runs for value in msgspec.structs.astuple(run))
