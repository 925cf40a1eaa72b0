"""Roll-ups: made when due, once, and never saying less than the footers."""

from mirror.core.keys import SLOT_MS, SegmentKey, format_segment_key, slot_start_ms
from mirror.core.segment.index import WatermarkSample
from mirror.service.rolling_up import DAY_GRACE_MS, SLOT_GRACE_MS, RollupMaker
from mirror.storage.memory import MemoryStore
from mirror.storage.metered import MeteredStore
from mirror.storage.repository import Repository, open_repository
from mirror.storage.table_loading import load_table
from tests.observe_builders import T0_MS, RepositoryBuilder, a_batch, a_repository, a_slice

DAY_MS = 24 * 3600 * 1000


def _three_days() -> RepositoryBuilder:
    """One object every seven minutes, for 50 hours."""
    builder = RepositoryBuilder()
    builder.start("orders")
    for number in range(50 * 60 // 7):
        builder.now_ms = T0_MS + number * 7 * 60_000
        sample = WatermarkSample(builder.now_ms, 0, number * 2 + 2, number * 2 + 2)
        builder.put([a_slice("orders", 0, number * 2, a_batch(number * 2, 2))], samples=[sample])
    return builder


def _requests(builder: RepositoryBuilder) -> tuple[Repository, dict[str, int]]:
    counts: dict[str, int] = {}

    def observe(operation: str, _seconds: float, _bytes: int, _outcome: str) -> None:
        counts[operation] = counts.get(operation, 0) + 1

    return open_repository(MeteredStore(builder.store, observe)), counts


def test_reading_with_and_without_rollups_is_equal_and_takes_few_requests() -> None:
    """With roll-ups the same indexes are read, with a request per day and a few for the last slots instead of one per object."""
    builder = _three_days()
    without = builder.repository.load_indexes()
    repository, counts = _requests(builder)
    repository.load_indexes()
    assert counts["get_suffix"] == len(without) == 429
    result = RollupMaker(builder.repository).run_once(builder.now_ms + 1)
    assert result.problems == []
    repository, counts = _requests(builder)
    assert repository.load_indexes() == without
    assert sum(counts.values()) < 130, counts
    RollupMaker(builder.repository).run_once(builder.now_ms + 2 * DAY_MS)
    repository, counts = _requests(builder)
    assert repository.load_indexes() == without
    assert sum(counts.values()) <= 9, counts


def test_samples_stand_in_the_rollups_of_slots_and_days() -> None:
    """So that nothing has to be opened to tell what leaders said; a day's roll-up has them of those of its slots."""
    builder = _three_days()
    footers = {
        entry.key: entry.samples for entry in builder.repository.read_indexes([*builder.store.list("l0/")], None)
    }
    footers = {key: samples for key, samples in footers.items() if samples}
    assert len(footers) == 428
    for now_ms in (builder.now_ms + 1, builder.now_ms + 2 * DAY_MS):
        RollupMaker(builder.repository).run_once(now_ms)
        repository, counts = _requests(builder)
        table = load_table(repository, on_damage=lambda *_: None).table
        found = {table.key_of_run(row): [table.edge_samples(row)] for row in range(table.run_count)}
        assert found == footers
        assert counts.get("get_suffix", 0) < 4


def test_second_round_and_second_worker_write_nothing() -> None:
    """What is there is not made again, by the same maker or by another."""
    builder = _three_days()
    now_ms = builder.now_ms + DAY_MS
    first = RollupMaker(builder.repository, "w1")
    assert first.run_once(now_ms).made
    assert first.run_once(now_ms).made == []
    assert RollupMaker(builder.repository, "w2").run_once(now_ms).made == []


def test_slot_is_rolled_up_only_after_its_grace() -> None:
    """Not a millisecond before the slot is over and its grace has passed."""
    builder, _ = a_repository(objects=1)
    end_ms = slot_start_ms(T0_MS) + SLOT_MS
    assert builder.now_ms < end_ms
    maker = RollupMaker(builder.repository)
    assert maker.run_once(end_ms + SLOT_GRACE_MS - 1).made == []
    assert len(maker.run_once(end_ms + SLOT_GRACE_MS).made) == 1


def test_day_is_rolled_up_only_after_its_grace() -> None:
    """The roll-up of a day comes half an hour after midnight (UTC), and names all of its objects."""
    builder, _ = a_repository(objects=3)
    midnight_ms = T0_MS - T0_MS % DAY_MS + DAY_MS
    maker = RollupMaker(builder.repository)
    assert all("/day-" not in key for key in maker.run_once(midnight_ms + DAY_GRACE_MS - 1).made)
    result = maker.run_once(midnight_ms + DAY_GRACE_MS)
    assert [key.rpartition("/")[2] for key in result.made] == ["day-rollup.idx"]
    assert result.rolled_objects == 5


def test_late_object_is_added_to_a_finished_day() -> None:
    """An object whose upload took hours gets into one more roll-up of its day, and readers see it."""
    builder, keys = a_repository()
    late = builder.store.get(keys[3])
    everything = builder.repository.load_indexes()
    builder.store.delete(keys[3])
    maker = RollupMaker(builder.repository)
    maker.run_once(T0_MS + DAY_MS)
    builder.store.put(keys[3], late)
    assert len(builder.repository.load_indexes()) == len(everything) - 1
    assert maker.run_once(T0_MS + DAY_MS + 60_000).made == [], "not looked at again so soon"
    assert len(maker.run_once(T0_MS + 2 * DAY_MS).made) == 1
    assert builder.repository.load_indexes() == everything


def test_damaged_object_stops_the_rollup_of_its_span_aloud() -> None:
    """A span with an object that cannot be read gets no roll-up, each round says so, and other spans go on."""
    builder, keys = a_repository()
    data = bytearray(builder.store.get(keys[0]))
    data[-5] ^= 1
    builder.store.put(keys[0], bytes(data))
    builder.now_ms = T0_MS + 3600_000
    builder.put([a_slice("orders", 0, 120, a_batch(120, 5))])
    told: list[str] = []
    result = RollupMaker(builder.repository, on_problem=told.append).run_once(T0_MS + DAY_MS + DAY_MS)
    assert keys[0] in told[0]
    assert told == result.problems
    assert [key.rpartition("/")[2][:4] for key in result.made] == ["1510"]


def test_foreign_objects_are_told_and_left_alone() -> None:
    """What mirror never wrote stops nothing."""
    builder, _ = a_repository()
    builder.store.put("l0/2026-09-21/14/notes.txt", b"x")
    builder.store.put("l0/scratch/notes.txt", b"x")
    builder.store.put("index/l0/2026-09-21/old.idx", b"x")
    result = RollupMaker(builder.repository).run_once(T0_MS + 3600_000)
    assert len(result.problems) == 3
    assert len(result.made) == 1


def test_empty_repository_has_nothing_to_roll_up() -> None:
    """No object, no roll-up, no error."""
    builder = RepositoryBuilder(store=MemoryStore())
    assert RollupMaker(builder.repository).run_once(T0_MS).made == []
    assert format_segment_key(SegmentKey(T0_MS, "w", 1)).startswith("l0/")
