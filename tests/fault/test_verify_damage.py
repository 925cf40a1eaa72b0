"""The checker is checked: every class of damage is put into a sound repository and must be found, with its offsets."""

import random
import threading
import time
from collections.abc import Callable
from unittest.mock import patch

import msgspec
import pytest

from mirror.core import slices
from mirror.core.keys import SLOT_MS, RollupKey, SegmentKey, format_segment_key, parse_segment_key, slot_start_ms
from mirror.core.record_batch import scan_batches
from mirror.core.rollup import rolled_object
from mirror.core.segment.index import ForkEntry, GapEntry, SegmentIndex, WatermarkSample
from mirror.core.segment.layout import HEADER_BYTES, encode_object
from mirror.core.segment.runs import BodyMode
from mirror.service.rolling_up import RollupMaker
from mirror.service.verify import verify_repository
from mirror.service.verify_findings import VerifyReport
from tests.observe_builders import T0_MS, RepositoryBuilder, a_batch, a_repository, a_slice

DAY_MS = 24 * 3600 * 1000
MODES: list[BodyMode] = ["passthrough", "zstd", "auto"]


def _verify(builder: RepositoryBuilder, level: str = "checksums", **options: object) -> VerifyReport:
    return verify_repository(builder.repository, level=level, **options)[0]  # type: ignore[arg-type]


def _ranges(report: VerifyReport, *kinds: str) -> set[tuple[int, int, int]]:
    return {
        (f.partition, f.start_offset, f.next_offset)
        for f in report.findings
        if f.kind in kinds and f.partition is not None and f.start_offset is not None and f.next_offset is not None
    }


def _index(builder: RepositoryBuilder, key: str) -> SegmentIndex:
    return builder.repository.read_index(key)[0]


def _roll_up(builder: RepositoryBuilder) -> None:
    RollupMaker(builder.repository).run_once(builder.now_ms + 3600_000)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("level", ["quick", "checksums", "deep"])
@pytest.mark.parametrize("rolled", [False, True])
def test_sound_repository_has_no_finding(mode: BodyMode, level: str, rolled: bool) -> None:
    """Nothing is found where nothing is wrong."""
    builder, _ = a_repository(mode=mode)
    if rolled:
        _roll_up(builder)
    report = _verify(builder, level)
    assert report.findings == []
    assert report.exit_code == 0
    assert report.counts.partitions == 2


def test_counts_say_which_check_was_done() -> None:
    """Bodies kept as fetched are checked by their producer's CRC, unpacked ones by our checksum only."""
    builder, _ = a_repository(mode="passthrough")
    kept = _verify(builder).counts
    assert (kept.batches_by_producer_crc, kept.batches_by_our_checksum) == (24, 0)
    builder, _ = a_repository(mode="zstd")
    unpacked = _verify(builder).counts
    assert (unpacked.batches_by_producer_crc, unpacked.batches_by_our_checksum) == (0, 24)
    opened = _verify(builder, "deep").counts
    assert opened.records_decoded == 240
    assert (opened.batches_by_producer_crc, opened.batches_by_our_checksum) == (6, 18)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seed", range(8))
def test_any_flipped_bit_is_found_with_its_offsets(mode: BodyMode, seed: int) -> None:
    """Wherever a bit flips, the finding names the run it belongs to; in header or footer all runs of the object are named."""
    rng = random.Random(seed)
    builder, keys = a_repository(mode=mode)
    if seed % 2:
        _roll_up(builder)
    for _ in range(12):
        key = rng.choice(keys)
        sound = builder.store.get(key)
        index = _index(builder, key)
        position = rng.randrange(len(sound))
        damaged = bytearray(sound)
        damaged[position] ^= 1 << rng.randrange(8)
        builder.store.put(key, bytes(damaged))
        report = _verify(builder, rng.choice(["checksums", "deep"]))
        hit = [r for r in index.runs if r.position <= position < r.position + r.stored_bytes] or index.runs
        expected = {(r.partition, r.start_offset, r.next_offset) for r in hit}
        is_last = key == keys[-1] and not seed % 2
        found = _ranges(report, "run_damaged", "object_damaged", "offsets_missing")
        if HEADER_BYTES <= position < index.runs[-1].position + index.runs[-1].stored_bytes:
            assert found == expected
        else:
            # The footer is gone: without a roll-up the offsets are those that coverage misses, unless it was the newest object.
            assert found == expected or (is_last and any(f.object_key == key for f in report.findings))
        assert report.exit_code == 5
        builder.store.put(key, sound)
    assert _verify(builder).is_sound


@pytest.mark.parametrize("rolled", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_truncated_object_is_found(rolled: bool, seed: int) -> None:
    """A truncated object is damaged, and its offsets are missing."""
    builder, keys = a_repository()
    if rolled:
        _roll_up(builder)
    key = keys[2]
    body = builder.store.get(key)
    builder.store.put(key, body[: random.Random(seed).randrange(len(body))])
    report = _verify(builder)
    assert any(f.kind == "object_damaged" and f.object_key == key for f in report.findings)
    assert _ranges(report, "offsets_missing") == {(0, 40, 60), (1, 40, 60)}
    if rolled:
        assert _ranges(report, "object_damaged") == {(0, 40, 60), (1, 40, 60)}


def test_deleted_object_leaves_a_hole() -> None:
    """A deleted object is a hole in the coverage of each of its partitions."""
    builder, keys = a_repository()
    builder.store.delete(keys[1])
    report = _verify(builder, "quick")
    assert _ranges(report, "offsets_missing") == {(0, 20, 40), (1, 20, 40)}
    assert report.exit_code == 5


def test_deleted_newest_object_is_known_from_its_rollup() -> None:
    """The newest object leaves no hole, but a roll-up that names it tells its offsets."""
    builder, keys = a_repository()
    _roll_up(builder)
    builder.store.delete(keys[-1])
    report = _verify(builder, "quick")
    assert _ranges(report, "object_missing") == {(0, 100, 120), (1, 100, 120)}


def test_swapped_objects_are_found() -> None:
    """Two objects under each other's names are both named, with the offsets that each holds."""
    builder, keys = a_repository()
    first, second = builder.store.get(keys[1]), builder.store.get(keys[3])
    builder.store.put(keys[1], second)
    builder.store.put(keys[3], first)
    report = _verify(builder)
    renamed = {
        (f.object_key, f.partition, f.start_offset, f.next_offset)
        for f in report.findings
        if f.kind == "object_renamed"
    }
    assert renamed == {
        (keys[1], 0, 60, 80), (keys[1], 1, 60, 80), (keys[3], 0, 20, 40), (keys[3], 1, 20, 40),
    }  # fmt: skip
    assert _ranges(report, "offsets_missing") == {(0, 20, 40), (1, 20, 40), (0, 60, 80), (1, 60, 80)}


def test_duplicate_under_another_name_is_found() -> None:
    """A copy under another name is named; the original still covers its offsets."""
    builder, keys = a_repository()
    copy_key = keys[2].replace("-w1-", "-w2-")
    builder.store.put(copy_key, builder.store.get(keys[2]))
    report = _verify(builder)
    assert {f.object_key for f in report.findings} == {copy_key}
    assert _ranges(report, "object_renamed") == {(0, 40, 60), (1, 40, 60)}


def test_foreign_objects_are_found() -> None:
    """What mirror never wrote is a finding in its folders, a note elsewhere; another repository's object is a finding too."""
    builder, _ = a_repository()
    builder.store.put("l0/2026-09-21/14/notes.txt", b"hello")
    builder.store.put("readme.md", b"hello")
    other, other_keys = a_repository(objects=7)
    builder.store.put(other_keys[-1], other.store.get(other_keys[-1]))
    report = _verify(builder)
    foreign = {f.object_key for f in report.findings if f.kind == "object_foreign"}
    assert foreign == {"l0/2026-09-21/14/notes.txt", other_keys[-1]}
    assert [n.kind for n in report.notes] == ["unknown_object"]
    assert _ranges(report, "object_foreign") == {(0, 120, 140), (1, 120, 140)}


def test_damaged_rollup_is_found_and_loses_nothing() -> None:
    """A damaged roll-up is one finding; coverage is read from the footers."""
    builder, _ = a_repository()
    _roll_up(builder)
    (rollup,) = [info.key for info in builder.store.list("index/")]
    data = bytearray(builder.store.get(rollup))
    data[len(data) // 2] ^= 4
    builder.store.put(rollup, bytes(data))
    report = _verify(builder)
    assert [(f.kind, f.object_key) for f in report.findings] == [("rollup_damaged", rollup)]


def test_stale_rollup_of_a_day_is_found() -> None:
    """An object that the roll-up of its finished day hides from readers is named, with its offsets where a footer tells them."""
    builder, keys = a_repository()
    late = builder.store.get(keys[4])
    builder.store.delete(keys[4])
    RollupMaker(builder.repository).run_once(T0_MS + 2 * DAY_MS)
    builder.store.put(keys[4], late)
    report = _verify(builder, "quick")
    assert {(f.kind, f.object_key) for f in report.findings} == {("rollup_stale", keys[4])}
    assert _ranges(report, "rollup_stale") == {(0, 80, 100), (1, 80, 100)}


def test_rollup_that_says_something_else_is_found() -> None:
    """A roll-up must repeat what the footers say."""
    builder, keys = a_repository()
    entries = builder.repository.load_indexes()
    wrong = next(e for e in entries if e.key == keys[0])
    other = next(e for e in entries if e.key == keys[5])
    slot_ms = slot_start_ms(parse_segment_key(keys[0]).sealed_at_ms)
    lie = msgspec.structs.replace(wrong, index=msgspec.structs.replace(wrong.index, runs=other.index.runs))
    span = RollupKey(slot_ms, SLOT_MS, "liar")
    builder.repository.put_rollup(span, [lie], builder.now_ms)
    report = _verify(builder, "quick")
    assert {(f.kind, f.object_key) for f in report.findings} == {("rollup_differs", keys[0])}


def test_rollup_that_says_other_samples_is_found() -> None:
    """They decide where a moment cuts; a roll-up of before there were any says nothing wrong."""
    builder, _ = a_repository(objects=1, partitions=1)
    key = builder.put([a_slice("orders", 0, 20, a_batch(20, 5))], samples=[WatermarkSample(T0_MS, 0, 25, 25)])
    index, size_bytes = builder.repository.read_index(key)
    entry = rolled_object(key, size_bytes, index)
    assert entry.samples
    slot_ms = slot_start_ms(parse_segment_key(key).sealed_at_ms)
    old = msgspec.structs.replace(entry, samples=[])
    builder.repository.put_rollup(RollupKey(slot_ms, SLOT_MS, "old"), [old], builder.now_ms)
    assert _verify(builder, "quick").findings == []
    lie = msgspec.structs.replace(entry, samples=[[WatermarkSample(1, 2, 3, 4)] for _ in index.runs])
    builder.repository.put_rollup(RollupKey(slot_ms, SLOT_MS, "old"), [lie], builder.now_ms)
    report = _verify(builder, "quick")
    assert {(f.kind, f.object_key) for f in report.findings} == {("rollup_differs", key)}


def test_topic_objects_are_checked() -> None:
    """A damaged topic object is a finding, a missing one a note: a worker without the right to read configs stores data all the same."""
    builder, _ = a_repository()
    (key,) = [info.key for info in builder.store.list("topics/")]
    sound = builder.store.get(key)
    builder.store.put(key, sound[:-4])
    assert [f.kind for f in _verify(builder, "quick").findings] == ["topic_damaged"]
    builder.store.put(key, sound.replace(b"orders", b"orderz"))
    assert [f.kind for f in _verify(builder, "quick").findings] == ["topic_damaged"]
    builder.store.delete(key)
    report = _verify(builder, "quick")
    assert (report.findings, [n.kind for n in report.notes]) == ([], ["topic_missing"])


def test_object_that_was_put_again_under_a_later_name_is_sound() -> None:
    """A put whose answer was lost is made again under the time of the new attempt: overlap, no damage."""
    builder, keys = a_repository()
    writer = parse_segment_key(keys[2])
    again = format_segment_key(SegmentKey(writer.sealed_at_ms + 90_000, writer.writer, writer.sequence))
    builder.store.put(again, builder.store.get(keys[2]))
    report = _verify(builder)
    assert report.findings == []
    assert {n.kind for n in report.notes} == {"overlap"}


def test_lost_start_is_found() -> None:
    """Without the start entry nobody knows whether offsets before the first run are missing."""
    builder, keys = a_repository(partitions=1)
    start = next(info.key for info in builder.store.list("l0/"))
    builder.store.delete(start)
    assert _verify(builder, "quick").is_sound, "coverage begins at offset 0: nothing can be missing before it"
    builder.store.delete(keys[0])
    assert _ranges(_verify(builder, "quick"), "start_missing") == {(0, 0, 20)}


def test_batch_that_violates_its_own_crc_is_found_behind_a_matching_checksum() -> None:
    """Bytes that were already wrong when they were stored match our checksum, but not their producer's CRC."""
    builder = RepositoryBuilder()
    builder.topic("orders")
    builder.start("orders")
    batch = bytearray(a_batch(0, 10))
    batch[-3] ^= 1
    with patch.object(slices, "scan_batches", lambda view, check_crc: scan_batches(view, check_crc=False)):
        piece = a_slice("orders", 0, 0, bytes(batch))
    builder.put([piece])
    report = _verify(builder)
    assert [(f.kind, f.start_offset, f.next_offset) for f in report.findings] == [("batch_damaged", 0, 10)]


def test_wrong_index_is_found() -> None:
    """A footer with a valid checksum that counts wrongly is found: records by the default level, blocks by the deep one."""
    builder, keys = a_repository(partitions=1)
    data, index = builder.store.get(keys[0]), _index(builder, keys[0])
    run = index.runs[0]
    body = data[HEADER_BYTES : HEADER_BYTES + run.stored_bytes]
    for change, level in (({"record_count": 19}, "checksums"), ({"next_offset": 19}, "checksums"), ({}, "deep")):
        lie = msgspec.structs.replace(run, **change)
        if not change:
            assert run.blocks is not None
            lie = msgspec.structs.replace(run, blocks=msgspec.structs.replace(run.blocks, base_offsets=[7]))
        builder.store.put(keys[0], encode_object([body], msgspec.structs.replace(index, runs=[lie])))
        report = _verify(builder, level)
        assert {f.kind for f in report.findings if f.kind != "offsets_missing"} == {"index_wrong"}


def test_filter_reads_only_the_topics_asked_for() -> None:
    """With --topic other topics are neither read nor judged."""
    builder = RepositoryBuilder()
    for topic in ("a", "b"):
        builder.topic(topic)
        builder.start(topic)
    key = builder.put([a_slice(topic, 0, 0, a_batch(0, 10)) for topic in ("a", "b")])
    run = _index(builder, key).runs[1]
    data = bytearray(builder.store.get(key))
    data[run.position + 70] ^= 1
    builder.store.put(key, bytes(data))
    assert _verify(builder, topics=["a"]).is_sound
    assert [f.topic for f in _verify(builder, topics=["b"]).findings] == ["b"]


def test_gaps_overlap_and_cut_tails_are_notes() -> None:
    """What has a reason is told, and is no damage."""
    builder = RepositoryBuilder()
    builder.topic("orders")
    builder.start("orders")
    builder.put([a_slice("orders", 0, 0, a_batch(0, 10))])
    builder.put([a_slice("orders", 0, 5, a_batch(0, 10))])
    common = {"topic": "orders", "topic_id": "AAAAAAAAAAAAAAAAAAAAAA", "partition": 0, "detected_at_ms": T0_MS}
    builder.put(gaps=[GapEntry(start_offset=10, next_offset=15, reason="retention", **common)])  # type: ignore[arg-type]
    builder.put([a_slice("orders", 0, 15, a_batch(15, 10))])
    builder.put(forks=[ForkEntry(fork_offset=20, last_leader_epoch=5, **common)])  # type: ignore[arg-type]
    report = _verify(builder)
    assert report.findings == []
    assert {(n.kind, n.start_offset, n.next_offset) for n in report.notes} == {
        ("gap", 10, 15), ("overlap", None, None), ("cut_tail", 20, 25),
    }  # fmt: skip


def test_upload_on_its_way_is_no_hole() -> None:
    """Objects are put in parallel: where a young one lies behind a hole, verify waits for the older one; a deleted one stays a finding."""
    now_ms = time.time_ns() // 1_000_000
    builder = RepositoryBuilder(now_ms=now_ms - 60_000)
    builder.topic("orders")
    builder.start("orders")
    keys = [builder.put([a_slice("orders", 0, number * 10, a_batch(number * 10, 10))]) for number in range(3)]
    late = builder.store.get(keys[1])
    builder.store.delete(keys[1])
    report, _ = verify_repository(builder.repository, settle_seconds=0.2)
    assert _ranges(report, "offsets_missing") == {(0, 10, 20)}
    arrival = threading.Timer(0.3, lambda: builder.store.put(keys[1], late))
    arrival.start()
    report, coverage = verify_repository(builder.repository)
    arrival.join()
    assert report.findings == []
    assert [entry.position for entry in coverage.values()] == [30]


def _cut(count: int) -> Callable[[bytes], bytes]:
    return lambda sound: sound[:count]


def _flip(position: int) -> Callable[[bytes], bytes]:
    def flip(sound: bytes) -> bytes:
        damaged = bytearray(sound)
        damaged[position] ^= 4
        return bytes(damaged)

    return flip


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (_cut(-100), "object_damaged", "does not end as a segment object: truncated"),
        (_cut(-1), "object_damaged", "does not end as a segment object: truncated"),
        (_cut(900), "object_damaged", "does not end as a segment object: truncated"),
        (_cut(0), "object_damaged", "0 bytes are too few"),
        (_flip(1), "object_damaged", "does not begin as a segment object: its footer is sound, its header is damaged"),
        (_flip(9), "object_damaged", "header and footer name different format versions: its header is damaged"),
        (_flip(HEADER_BYTES + 80), "run_damaged", "stored bytes do not match their checksum"),
        (_flip(-60), "object_damaged", "the index does not match its checksum"),
        (_flip(-40), "object_damaged", "trailer does not fit"),
        (_flip(-24), "object_damaged", "bits of its trailer have flipped, or a newer mirror wrote it"),
        (_flip(-2), "object_damaged", "does not end as a segment object"),
        (lambda sound: b"something else " * 90, "object_damaged", "overwritten"),
    ],
)
def test_damage_of_the_newest_object_is_called_by_its_name(
    damage: Callable[[bytes], bytes], kind: str, said: str
) -> None:
    """The finding has the key and says what kind of damage it is."""
    builder, keys = a_repository(objects=3)
    builder.store.put(keys[-1], damage(builder.store.get(keys[-1])))
    report = _verify(builder)
    assert {(f.kind, f.object_key) for f in report.findings} == {(kind, keys[-1])}
    assert all(said in finding.message for finding in report.findings)
