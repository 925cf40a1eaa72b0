"""Runs come checked, each offset once, in order for each partition, and objects are fetched as few times as they can be."""

import random

import pytest

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.positions import PartitionId, Watermarks
from mirror.core.records import RawRecord, encode_batch, write_varint
from mirror.core.segment.index import FORMAT_VERSION, SegmentIndex
from mirror.core.segment.layout import HEADER_BYTES, encode_object
from mirror.core.segment.runs import RunDraft, encode_run
from mirror.core.slices import FetchSlice, read_slice
from mirror.core.table_coverage import cover_table
from mirror.errors import DamageError, UnreadableRunsError
from mirror.service.read_planning import plan_reads, plan_windows
from mirror.service.reading import iterate_runs, iterate_stored
from mirror.service.restore.unreadable import ReadableCoverage, require_bodies
from mirror.storage.memory import MemoryStore
from mirror.storage.metered import MeteredStore
from mirror.storage.repository import Repository, create_repository
from mirror.storage.table_loading import load_table

TOPIC_ID = "T" * 22
Range = tuple[int, int, int]  # partition, start offset, next offset


def _batch(offset: int, count: int = 5) -> bytes:
    return encode_batch(
        [
            RawRecord(o, o, 0, memoryview(b"\x01" + write_varint(4) + b"%04d" % (o % 9999) + b"\0"))
            for o in range(offset, offset + count)
        ]
    )


def _put(repository: Repository, sealed_at_ms: int, ranges: list[Range], mode: str) -> str:
    position = HEADER_BYTES
    runs, parts = [], []
    for partition, start, end in ranges:
        buffer = b"".join(_batch(offset) for offset in range(start - start % 5, end, 5))
        marks = Watermarks(fetched_at_ms=1, log_start_offset=0, high_watermark=end, last_stable_offset=end)
        draft = RunDraft("t", TOPIC_ID, partition, start, start)
        draft.append(FetchSlice("t", TOPIC_ID, partition, 1, start, read_slice(buffer, start), marks))
        run, stored = encode_run(draft, position=position, mode=mode, zstd_level=1)  # type: ignore[arg-type]
        runs.append(run)
        parts += stored
        position += run.stored_bytes
    index = SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id=repository.identity.repository_id,
        cluster_id="c",
        writer="w",
        sequence=sealed_at_ms,
        sealed_at_ms=sealed_at_ms,
        runs=runs,
    )
    key = format_segment_key(SegmentKey(sealed_at_ms, "w", sealed_at_ms))
    repository.store.put(key, encode_object(parts, index))
    return key


def _repository() -> tuple[Repository, list[str]]:
    calls: list[str] = []
    store = MeteredStore(MemoryStore(), lambda operation, *_: calls.append(operation))
    return create_repository(store, cluster_id="c", created_at_ms=1, created_by="test"), calls


def _coverages(repository: Repository) -> list[PartitionCoverage]:
    return list(build_coverage((entry.key, entry.index) for entry in repository.load_indexes()).values())


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
def test_one_request_an_object_for_all_its_partitions(mode: str) -> None:
    """However many runs an object has (and one for the footer, where blocks are needed)."""
    repository, calls = _repository()
    for number in range(4):
        _put(repository, 1000 + number, [(p, number * 50, number * 50 + 50) for p in range(30)], mode)
    coverages = _coverages(repository)
    calls.clear()
    reached = dict.fromkeys(range(30), 0)
    for loaded in iterate_runs(repository, coverages):
        assert loaded.piece.start_offset == reached[loaded.partition_id.partition]
        reached[loaded.partition_id.partition] = loaded.piece.next_offset
    assert set(reached.values()) == {200}
    assert calls.count("get_range") == 4
    assert calls.count("get_suffix") == (0 if mode == "passthrough" else 4)


def test_one_partition_fetches_only_its_bytes() -> None:
    """Runs of others that stand far between are left out."""
    repository, _ = _repository()
    sizes: list[int] = []
    store = MeteredStore(repository.store, lambda operation, _s, size, _o: sizes.append(size))
    _put(repository, 1000, [(0, 0, 50), (1, 0, 60_000), (2, 0, 50)], "passthrough")
    one = [coverage for coverage in _coverages(repository) if coverage.partition_id.partition == 2]
    sizes.clear()
    assert len(list(iterate_stored(Repository(store, repository.identity), one[0]))) == 10
    assert sum(sizes) < 5000


@pytest.mark.parametrize("seed", range(20))
def test_each_offset_once_in_order_whatever_overlaps(seed: int) -> None:
    """Copies that overlap, arrive late or twice: every partition reads as one log."""
    rng = random.Random(seed)
    repository, _ = _repository()
    ends = dict.fromkeys(range(3), 0)
    pieces: list[list[Range]] = []
    for _ in range(12):
        ranges: list[Range] = []
        for partition in rng.sample(range(3), rng.randint(1, 3)):
            start = max(0, ends[partition] - rng.choice([0, 0, 5, 7, 40]))
            end = ends[partition] + 5 * rng.randint(1, 12)
            ranges.append((partition, start, end))
            ends[partition] = end
        pieces.append(ranges)
    times = list(range(1000, 1000 + len(pieces)))
    if seed % 2:
        rng.shuffle(times)
    for sealed_at_ms, ranges in zip(times, pieces, strict=True):
        _put(repository, sealed_at_ms, ranges, rng.choice(["passthrough", "zstd"]))
    coverages = _coverages(repository)
    seen: dict[int, list[int]] = {partition: [] for partition in range(3)}
    for loaded in iterate_runs(repository, coverages, max_bytes=1, threads=2):
        for clipped in loaded.batches(check_crc=True):
            seen[loaded.partition_id.partition] += [record.offset for record in clipped.records()]
    assert seen == {partition: list(range(end)) for partition, end in ends.items()}
    assert sum(len(task.pieces) for task in plan_reads(coverages)) == sum(len(c.runs) for c in coverages)
    _check_windows(repository, coverages)


def _check_windows(repository: Repository, coverages: list[PartitionCoverage]) -> None:
    """Planned in windows of a table, each piece comes once too, and per partition in the order of its offsets."""
    columns = list(cover_table(load_table(repository, on_damage=lambda *_: None).table).values())
    expected = {c.partition_id: [(p.object_key, p.start_offset) for p in c.runs] for c in coverages}
    for window_pieces in (1, 2, 7, 10_000):
        came: dict[PartitionId, list[tuple[str, int]]] = {}
        for task in plan_windows(columns, window_pieces=window_pieces):
            assert {piece.object_key for piece in task.pieces} == {task.object_key}
            for piece in task.pieces:
                came.setdefault(piece.run.partition_id, []).append((piece.object_key, piece.start_offset))
        assert came == expected


@pytest.mark.parametrize("damage", ["flip", "cut", "gone"])
def test_damage_is_told_before_anything_of_the_run_is_used(damage: str) -> None:
    """The message names partition and offsets."""
    repository, _ = _repository()
    key = _put(repository, 1000, [(0, 0, 50)], "passthrough")
    coverages = _coverages(repository)
    body = bytearray(repository.store.get(key))
    repository.store.delete(key)
    if damage == "flip":
        body[HEADER_BYTES + 200] ^= 1
    if damage != "gone":
        repository.store.put(key, bytes(body[: 300 if damage == "cut" else None]))
    with pytest.raises(DamageError, match=r"t-0 \[0, 50\)") as damaged:
        list(iterate_stored(repository, coverages[0]))
    assert ("--allow-missing brings all but these offsets" in str(damaged.value.hint)) is (damage != "gone")


@pytest.mark.parametrize(("damage", "lost"), [("flip", {0, 2}), ("cut", {1, 2}), ("gone", {0, 1, 2})])
def test_all_runs_of_an_object_that_cannot_be_read_are_named(damage: str, lost: set[int]) -> None:
    """Those that can be read are not among them; what is read without them is the rest."""
    repository, _ = _repository()
    key = _put(repository, 1000, [(0, 0, 50), (1, 0, 50), (2, 0, 50)], "passthrough")
    _put(repository, 2000, [(0, 50, 60), (1, 50, 60), (2, 50, 60)], "zstd")
    whole = cover_table(load_table(repository, on_damage=lambda *_: None).table)
    runs = repository.read_index(key)[0].runs
    body = bytearray(repository.store.get(key))
    repository.store.delete(key)
    if damage == "flip":
        body[runs[0].position + 3] ^= 1
        body[runs[2].position + 3] ^= 1
    if damage != "gone":
        repository.store.put(key, bytes(body[: runs[1].position + 9 if damage == "cut" else None]))
    with pytest.raises(UnreadableRunsError) as found:
        require_bodies(repository, list(whole.values()))
    assert {(run.object_key, run.partition, run.start_offset, run.next_offset) for run in found.value.runs} == {
        (key, partition, 0, 50) for partition in lost
    }
    readable = ReadableCoverage(whole)
    assert readable.leave_out(found.value.runs)
    assert not readable.leave_out(found.value.runs)
    require_bodies(repository, list(readable.by_partition.values()))
    for pid, coverage in readable.by_partition.items():
        offsets = [r.offset for clipped in iterate_stored(repository, coverage) for r in clipped.records()]
        assert offsets == list(range(50 if pid.partition in lost else 0, 60))
        assert [tuple(gone) for gone in coverage.missing] == ([(0, 50)] if pid.partition in lost else [])
