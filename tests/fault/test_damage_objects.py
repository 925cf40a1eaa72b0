"""Hostile bytes as objects, indexes, events and names: a typed error, never another exception, a hang, or a silent skip."""

import json
import random

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mirror.core.events import decode_event, encode_event, sealed_event
from mirror.core.keys import day_start_ms, parse_rollup_key, parse_segment_key, parse_topic_key
from mirror.core.rollup import RolledObject, Rollup, decode_rollup, encode_rollup, shorten
from mirror.core.segment.index import (
    RepositoryObject,
    SegmentIndex,
    TopicObject,
    decode_checked,
    decode_json,
    encode_json,
)
from mirror.core.segment.layout import HEADER_BYTES as OBJECT_HEADER_BYTES
from mirror.core.segment.layout import check_header, checksum_of, decode_index, encode_rollup_frame
from mirror.core.segment.runs import BodyMode
from mirror.errors import DamageError, MirrorError
from tests.builders import a_batch, a_repository, a_run_draft, a_segment, a_slice
from tests.fault.hostile import SETTINGS, only_typed, segment_of


def _read_all(data: bytes) -> SegmentIndex:
    """Header, index, every run's checksum: what a reader checks before it believes anything."""
    check_header(data, "x")
    index = decode_index(data, len(data), "x")
    for run in index.runs:
        if checksum_of((data[run.position : run.position + run.stored_bytes],)) != run.checksum:
            raise DamageError("run")
    return index


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
def test_every_flipped_bit_in_a_segment_is_found(mode: BodyMode) -> None:
    """Any single bit of a segment object: reading header, index and runs finds it."""
    data, index = segment_of(mode)
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
    data, _ = segment_of("auto")
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
    _, index = segment_of("passthrough")
    tree = json.loads(encode_json(index))
    path = data.draw(st.sampled_from(_paths(tree)))
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value
    framed = encode_rollup_frame(json.dumps(tree).encode())
    only_typed(lambda: decode_index(framed, len(framed), "x"))
    only_typed(lambda: decode_json(SegmentIndex, json.dumps(tree).encode(), "x"))


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
    only_typed(lambda: decode_event(bytes(wrong)))


def test_index_bomb_is_refused_by_its_size() -> None:
    """An index that claims more than its limit is not unpacked."""
    data = encode_rollup_frame(b'{"format_version":1}' + b" " * (257 << 20))
    with pytest.raises(DamageError, match="trailer does not fit"):
        decode_index(data, len(data), "x")


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
        only_typed(lambda parse=parse: parse(name))  # type: ignore[misc]


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
    _, index = segment_of("auto")
    assert not any(isinstance(value, np.generic) for run in index.runs for value in msgspec.structs.astuple(run))
