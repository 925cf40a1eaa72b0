"""Segment objects: runs, blocks, index, frame."""

import msgspec
import numpy as np
import pytest
import xxhash

from mirror.core.record_batch import HEADER_BYTES as BATCH_HEADER_BYTES
from mirror.core.segment import blocks
from mirror.core.segment.blocks import decode_block, encode_zstd_block, iterate_block, split_blocks
from mirror.core.segment.index import RunEntry, SegmentIndex, TopicObject, decode_checked, encode_checked
from mirror.core.segment.layout import (
    HEADER_BYTES,
    TRAILER_BYTES,
    check_header,
    checksum_of,
    decode_index,
    decode_trailer,
    encode_object,
)
from mirror.core.segment.runs import BodyMode, RunDraft, encode_run
from mirror.core.slices import FetchSlice
from mirror.errors import BatchDamageError, DamageError, UnsupportedFormatError
from tests.builders import T0_MS, TOPIC_ID, a_batch, a_marker, a_run_draft, a_segment, a_slice

MODES = pytest.mark.parametrize("mode", ["auto", "passthrough", "zstd"])


def _stored(draft: RunDraft, mode: BodyMode) -> tuple[RunEntry, bytes]:
    entry, parts = encode_run(draft, position=16, mode=mode, zstd_level=3)
    return entry, b"".join(parts)


def _batches(entry: RunEntry, stored: bytes) -> list[bytes]:
    """Whole batches as fetched, where they are; else header and records."""
    out: list[bytes] = []
    if entry.blocks is None:
        return out
    ends = [*entry.blocks.positions[1:], entry.stored_bytes]
    for begin, end, raw_bytes in zip(entry.blocks.positions, ends, entry.blocks.raw_bytes, strict=True):
        content = decode_block(stored[begin:end], body_codec=entry.body_codec, raw_bytes=raw_bytes)
        found = iterate_block(content, unpacked=entry.unpacked, check_crc=True)
        out += [bytes(batch.body if batch.whole is None else batch.whole) for batch in found]
    return out


def test_checksum_is_the_published_xxh3_128() -> None:
    """The values of the xxHash project for an empty input and for \"a\"; parts are one sequence."""
    assert checksum_of(()) == "99aa06d3014798d86001c324468d497f"
    assert checksum_of((b"a",)) == "a96faf705af16834e6c632b61e964e1f"
    assert checksum_of((b"ab", b"", b"c")) == xxhash.xxh3_128_hexdigest(b"abc")


@MODES
def test_uncompressed_batches_come_back_whole(mode: BodyMode) -> None:
    """Batches that the producer did not compress are byte for byte as fetched, in every mode."""
    fetched = [a_batch(offset, 2) for offset in range(0, 20, 2)]
    entry, stored = _stored(a_run_draft(a_slice(*fetched)), mode)
    assert _batches(entry, stored) == fetched
    assert (entry.body_codec, entry.unpacked) == ("passthrough" if mode == "passthrough" else "zstd", False)


def test_compressed_batches_pass_through_in_auto() -> None:
    """What the producer compressed is stored as fetched: the run's bytes are the answer's bytes."""
    fetched = a_batch(0, 50, codec=3) + a_batch(50, 50, codec=4)
    entry, stored = _stored(a_run_draft(a_slice(fetched)), "auto")
    assert (stored, entry.body_codec) == (fetched, "passthrough")


@pytest.mark.parametrize("codec", range(1, 5))
def test_zstd_mode_unpacks_compressed_bodies(codec: int) -> None:
    """Headers stay as fetched, bodies are the records themselves."""
    plain = a_batch(0, 50)
    entry, stored = _stored(a_run_draft(a_slice(a_batch(0, 50, codec=codec))), "zstd")
    assert entry.unpacked
    assert _batches(entry, stored) == [plain[BATCH_HEADER_BYTES:]]


def test_body_that_its_codec_does_not_open_is_kept_as_fetched() -> None:
    """The producer's CRC holds, so its bytes are kept: nothing refuses to back them up."""
    odd = [
        a_batch(0, 1, codec=4, body=b"not zstd"),
        a_batch(1, 1, attributes=7, body=b"codec 7"),
        a_batch(2, 1, codec=3),
    ]
    entry, stored = _stored(a_run_draft(a_slice(*odd)), "zstd")
    assert _batches(entry, stored)[:2] == odd[:2]


def test_block_does_not_grow_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Very compressible batches are kept as fetched once a block's content has reached its bound."""
    monkeypatch.setattr(blocks, "REPACK_BLOCK_BYTES", 100_000)
    batch = a_batch(0, 1, codec=4, tails=[b"\x01" + b"\xc0\xb8\x02" + bytes(20_000) + b"\x00"])
    frame, raw_bytes = encode_zstd_block([memoryview(batch)] * 50, level=1, repack=True)
    assert raw_bytes < 150_000 + 50 * len(batch)
    content = decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes)
    kinds = [stored.unpacked for stored in iterate_block(content, unpacked=True, check_crc=True)]
    assert kinds == [True] * kinds.count(True) + [False] * kinds.count(False)
    assert (len(kinds), kinds.count(True) <= 5) == (50, True)


def test_entry_counts_data_and_not_markers() -> None:
    """Markers are stored and flagged; counts, times and the record count speak of data."""
    batches = (
        a_batch(0, 3, producer_id=1, transactional=True, leader_epoch=2),
        a_marker(3, 1, commit=True, leader_epoch=3),
    )
    entry, _ = _stored(a_run_draft(a_slice(*batches)), "passthrough")
    assert entry.has_markers
    assert (entry.batch_count, entry.record_count) == (2, 3)
    assert (entry.min_base_timestamp_ms, entry.max_timestamp_ms) == (T0_MS, T0_MS + 2)
    assert entry.leader_epochs == [(2, 0), (3, 3)]
    assert entry.blocks is not None
    assert entry.blocks.record_counts == [3]
    assert entry.fetched_bytes == sum(len(batch) for batch in batches)


def test_run_of_dropped_batches_is_an_entry_without_bytes() -> None:
    """Aborted data covers its offsets with nothing, under the epoch that it had."""
    draft = a_run_draft(a_slice(a_batch(0, 4, producer_id=7, transactional=True, leader_epoch=5), aborted=((7, 0),)))
    entry, stored = _stored(draft, "auto")
    assert (stored, entry.blocks, entry.batch_count) == (b"", None, 0)
    assert (entry.start_offset, entry.next_offset, entry.leader_epochs) == (0, 4, [(5, 0)])


def test_run_that_covers_nothing_is_refused() -> None:
    """No reader would take it."""
    with pytest.raises(ValueError, match="covers nothing"):
        _stored(a_run_draft(a_slice(start_offset=5)), "auto")


def test_first_epoch_begins_at_the_run() -> None:
    """A run that begins inside a batch names the batch's epoch from the run's own start."""
    entry, _ = _stored(a_run_draft(a_slice(a_batch(0, 9, leader_epoch=4), start_offset=5)), "auto")
    assert entry.leader_epochs == [(4, 5)]


def test_draft_takes_only_what_follows() -> None:
    """A slice of elsewhere, or of another incarnation, is refused."""
    draft = a_run_draft(a_slice(a_batch(0, 3)))
    for other in (a_slice(a_batch(4, 1), start_offset=4), a_slice(a_batch(3, 1), start_offset=3, topic_id="B" * 22)):
        with pytest.raises(ValueError, match="does not follow"):
            draft.append(other)
    assert draft.next_offset == 3


@MODES
def test_blocks_hold_whole_batches_and_tile_the_run(mode: BodyMode) -> None:
    """Every block begins at a batch, and the sizes add up."""
    slices: list[FetchSlice] = []
    offset = 0
    for _ in range(12):
        batches = [
            a_batch(offset + number, 1, tails=[b"\x01\x80\xa0\x06" + bytes(50_000) + b"\x00"]) for number in range(4)
        ]
        slices.append(a_slice(*batches, start_offset=offset))
        offset += 4
    entry, stored = _stored(a_run_draft(*slices), mode)
    assert entry.blocks is not None
    assert len(entry.blocks.positions) > 1
    assert sum(entry.blocks.raw_bytes) == entry.raw_bytes
    assert len(_batches(entry, stored)) == 48
    assert sum(entry.blocks.record_counts) == entry.record_count == 48


def test_split_closes_a_block_when_it_reaches_its_size() -> None:
    """A batch larger than the target is a block of its own."""
    sizes = np.array([40, 40, 40, 300, 10, 10], dtype=np.int64)
    assert split_blocks(sizes, 100).tolist() == [0, 3, 4]


def test_block_of_another_size_is_damage() -> None:
    """The index says how much a block holds; anything else is refused before it is unpacked."""
    frame, raw_bytes = encode_zstd_block([memoryview(a_batch(0, 9))], level=1, repack=False)
    for claim in (raw_bytes + 1, raw_bytes - 1, -1, 1 << 40):
        with pytest.raises(DamageError):
            decode_block(frame, body_codec="zstd", raw_bytes=claim)
    with pytest.raises(DamageError):
        decode_block(frame[:-1], body_codec="zstd", raw_bytes=raw_bytes)
    with pytest.raises(DamageError):
        decode_block(b"x", body_codec="passthrough", raw_bytes=2)


def test_unpacked_block_that_is_none_is_damage() -> None:
    """Sizes that run past the block, and batches kept as fetched with another length, are refused."""
    frame, raw_bytes = encode_zstd_block([memoryview(a_batch(0, 9, codec=3))], level=1, repack=True)
    content = bytes(decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes))
    as_fetched = content[:61] + b"\x80\x00\x00\x03" + b"abc"
    for wrong in (content[:-1], content[:63], content + b"\x00", as_fetched):
        with pytest.raises(BatchDamageError):
            list(iterate_block(memoryview(wrong), unpacked=True))


def test_object_is_read_from_its_end() -> None:
    """Trailer, index, and each run by its position give back what was written."""
    drafts = [
        a_run_draft(a_slice(a_batch(0, 5), a_batch(5, 5, codec=3))),
        a_run_draft(a_slice(a_batch(7, 2), start_offset=7, partition=1)),
    ]
    _, data, index = a_segment(*drafts)
    check_header(data, "x")
    trailer = decode_trailer(data[-TRAILER_BYTES:], len(data), "x")
    tail = data[trailer.index_position :]
    assert decode_index(tail, len(data), "x") == index
    for run in index.runs:
        assert checksum_of((data[run.position : run.position + run.stored_bytes],)) == run.checksum


def test_object_without_runs_is_whole() -> None:
    """Starts alone make an object: they are durable before the first fetch."""
    _, data, index = a_segment()
    assert decode_index(data, len(data), "x") == index
    assert decode_trailer(data, len(data), "x").index_position == HEADER_BYTES


def _with(index: SegmentIndex, **changes: object) -> SegmentIndex:
    return msgspec.structs.replace(index, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"position": 17},
        {"stored_bytes": 0},
        {"start_offset": 10},
        {"next_offset": 2**64},
        {"partition": -1},
        {"blocks": None},
        {"leader_epochs": [(0, 0), (1, 0)]},
        {"leader_epochs": [(0, 3)]},
        {"raw_bytes": 1},
        {"unpacked": True},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_index_that_cannot_be_is_damage(changes: dict[str, object]) -> None:
    """A footer with a valid checksum whose numbers contradict each other is refused."""
    _, data, index = a_segment(a_run_draft(a_slice(a_batch(0, 10, codec=3))))
    lie = _with(index, runs=[msgspec.structs.replace(index.runs[0], **changes)])
    wrong = encode_object([data[HEADER_BYTES : HEADER_BYTES + index.runs[0].stored_bytes]], lie)
    with pytest.raises(DamageError):
        decode_index(wrong, len(wrong), "x")


def test_newer_version_and_unknown_feature_are_refused_by_name() -> None:
    """What this version cannot read is said, not guessed."""
    _, _, index = a_segment()
    newer = encode_object([], _with(index, format_version=2))
    with pytest.raises(UnsupportedFormatError, match="format version 2"):
        decode_index(newer, len(newer), "x")
    featured = encode_object([], _with(index, required_features=["encryption"]))
    with pytest.raises(UnsupportedFormatError, match="encryption"):
        decode_index(featured, len(featured), "x")


def test_unknown_fields_are_ignored() -> None:
    """A later version may say more."""
    topic = TopicObject(
        format_version=1,
        topic="orders",
        topic_id=TOPIC_ID,
        partition_count=3,
        replication_factor=1,
        configs={"cleanup.policy": "compact"},
        captured_at_ms=T0_MS,
    )
    data = encode_checked(topic)
    assert decode_checked(TopicObject, data, "x") == topic
    body = data[: data.rindex(b',"checksum"')] + b',"later":{"a":[1]}'
    more = body + b',"checksum":"xxh3_128:%b"}' % xxhash.xxh3_128_hexdigest(body).encode()
    assert decode_checked(TopicObject, more, "x") == topic


def test_every_bit_of_a_checked_object_counts() -> None:
    """A flipped bit anywhere in a topic object or repository.json is found."""
    topic = TopicObject(
        format_version=1,
        topic="orders",
        topic_id=TOPIC_ID,
        partition_count=3,
        replication_factor=1,
        configs={"retention.ms": "1000"},
        captured_at_ms=T0_MS,
    )
    data = encode_checked(topic)
    for position in range(len(data)):
        wrong = bytearray(data)
        wrong[position] ^= 1 << position % 8
        with pytest.raises(DamageError):
            decode_checked(TopicObject, bytes(wrong), "x")
    for size in range(len(data)):
        with pytest.raises(DamageError):
            decode_checked(TopicObject, data[:size], "x")
