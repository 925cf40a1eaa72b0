"""Safe positions never run ahead of the store and go back only at forks; placement is balanced, sticky and total; ages."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from agents.ledger import fold_event, ledger_key, row_position
from mirror.core.coverage import build_coverage
from mirror.core.events import sealed_event
from mirror.core.placement import place
from mirror.core.positions import PartitionId
from mirror.core.safe_positions import PositionsBook, SafePosition
from mirror.core.segment.index import FORMAT_VERSION, ForkEntry, RunEntry, SegmentIndex, StartEntry
from mirror.service.backup.ages import BehindTracker
from tests.builders import CLUSTER_ID, REPOSITORY_ID, T0_MS, TOPIC_ID, a_run_entry

PARTITION = PartitionId(TOPIC_ID, 0)
RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 12)), max_size=25)


def an_index(
    sequence: int,
    *runs: RunEntry,
    forks: Sequence[ForkEntry] = (),
    starts: Sequence[StartEntry] = (),
    sealed_at_ms: int | None = None,
) -> SegmentIndex:
    """The footer of an object."""
    return SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id=REPOSITORY_ID,
        cluster_id=CLUSTER_ID,
        writer="w",
        sequence=sequence,
        sealed_at_ms=sealed_at_ms or T0_MS + sequence,
        runs=list(runs),
        starts=list(starts),
        gaps=[],
        forks=list(forks),
    )


def a_fork(fork_offset: int, last_leader_epoch: int, detected_at_ms: int = T0_MS) -> ForkEntry:
    """A truncation of partition 0."""
    return ForkEntry(
        topic="orders",
        topic_id=TOPIC_ID,
        partition=0,
        fork_offset=fork_offset,
        last_leader_epoch=last_leader_epoch,
        detected_at_ms=detected_at_ms,
    )


def a_start(offset: int = 0) -> StartEntry:
    """Where partition 0 begins."""
    return StartEntry(
        topic="orders", topic_id=TOPIC_ID, partition=0, start_offset=offset, reason="earliest", recorded_at_ms=T0_MS
    )


@given(RANGES)
def test_a_position_is_the_end_of_contiguous_coverage_and_never_goes_back(ranges: list[tuple[int, int]]) -> None:
    """Whatever order ranges come in: exactly as far as an unbroken chain from the start reaches."""
    position = SafePosition(0)
    covered: set[int] = set()
    before = 0
    for start, length in ranges:
        position.cover(start, start + length, 0)
        covered |= set(range(start, start + length))
        reachable = next(offset for offset in range(1000) if offset not in covered)
        assert before <= position.next_offset == reachable
        before = position.next_offset


@given(RANGES, st.randoms(use_true_random=False))
def test_folding_again_and_in_any_order_changes_nothing(ranges: list[tuple[int, int]], random: object) -> None:
    """Events are told at least once, indexes are read again."""
    indexes = [
        an_index(number, a_run_entry(start, start + length)) for number, (start, length) in enumerate(ranges, start=1)
    ]
    first = an_index(0, starts=[a_start()])
    once, again = PositionsBook(), PositionsBook()
    once.fold([first, *indexes])
    shuffled = list(indexes)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    again.fold([first])
    for index in [*shuffled, *indexes]:
        again.fold([index])
    known, other = once.get(PARTITION), again.get(PARTITION)
    assert known is not None
    assert other is not None
    assert known.next_offset == other.next_offset


def test_a_position_goes_back_at_a_fork_and_a_fork_folded_again_is_nothing_new() -> None:
    """From the fork's offset on the older epochs are another log."""
    book = PositionsBook()
    book.fold([an_index(1, a_run_entry(0, 200, leader_epochs=[(1, 0)]), starts=[a_start()])])
    fork = an_index(2, forks=[a_fork(100, 1)])
    book.fold([fork])
    found = book.get(PARTITION)
    assert found is not None
    assert found.next_offset == 100
    book.fold([an_index(3, a_run_entry(100, 150, leader_epochs=[(2, 100)]))])
    book.fold([fork])
    assert found.next_offset == 150


def test_a_cut_tail_never_closes_a_hole_of_the_log_that_replaced_it() -> None:
    """The old tail reaches over a hole to a newer range: bridging it would lose the hole for ever."""
    objects = [
        an_index(1, a_run_entry(0, 200, leader_epochs=[(1, 0)]), starts=[a_start()]),
        an_index(2, a_run_entry(100, 150, leader_epochs=[(2, 100)]), forks=[a_fork(100, 1)]),
        an_index(3, a_run_entry(180, 220, leader_epochs=[(2, 180)])),
    ]
    coverage = build_coverage((str(index.sequence), index) for index in objects)
    assert coverage[PARTITION].position == 150
    book = PositionsBook()
    book.set_coverage(coverage.values(), [fork for index in objects for fork in index.forks])
    book.fold(objects)
    found = book.get(PARTITION)
    assert found is not None
    assert found.next_offset == 150


# --- the table


def told(table: dict[str, object], *indexes: SegmentIndex) -> SafePosition:
    """Fold their events; the row of partition 0."""
    for index in indexes:
        fold_event(table, sealed_event("key", 1, index))
    found = row_position(table[ledger_key(PARTITION)], REPOSITORY_ID)
    assert found is not None
    return found


def test_the_table_advances_over_contiguous_ranges_only() -> None:
    """A range beyond a hole waits."""
    table: dict[str, object] = {}
    assert told(table, an_index(1, a_run_entry(0, 10)), an_index(2, a_run_entry(20, 30))).next_offset == 10
    assert told(table, an_index(3, a_run_entry(10, 20))).next_offset == 30


def test_a_fork_reaches_the_table_also_without_a_run_of_its_partition_beside_it() -> None:
    """Else the table stays on the cut tail."""
    table: dict[str, object] = {}
    told(table, an_index(1, a_run_entry(0, 200, leader_epochs=[(1, 0)])))
    assert told(table, an_index(2, forks=[a_fork(100, 1)])).next_offset == 100
    with_old_tail = an_index(3, a_run_entry(100, 200, leader_epochs=[(1, 100)]), forks=[a_fork(100, 1)])
    assert told(table, with_old_tail).next_offset == 100


def test_rows_of_another_repository_are_not_used() -> None:
    """A new repository under an old worker id begins at nothing."""
    table: dict[str, object] = {}
    told(table, an_index(1, a_run_entry(0, 10)))
    assert row_position(table[ledger_key(PARTITION)], "another") is None
    assert row_position({"nonsense": 1}, REPOSITORY_ID) is None


# --- placement

MEMBERS = st.lists(st.sampled_from(["a", "b", "c", "d", "e"]), min_size=1, max_size=5, unique=True)
TOPICS = st.dictionaries(st.sampled_from(["t", "u", "v", "w"]), st.integers(0, 9), max_size=4)


@given(MEMBERS, TOPICS)
def test_placement_is_total_and_balanced(members: list[str], topics: dict[str, int]) -> None:
    """Each partition has exactly one owner; loads differ by at most one."""
    partitions = {topic: list(range(count)) for topic, count in topics.items()}
    placed = place(partitions, {key: set(topics) for key in members}, {})
    every = [tp for owned in placed.values() for tp in owned]
    assert sorted(every) == sorted((topic, number) for topic, numbers in partitions.items() for number in numbers)
    loads = [len(owned) for owned in placed.values()]
    assert max(loads) - min(loads) <= 1


@given(MEMBERS, TOPICS, st.sampled_from(["a", "b", "c", "x"]))
def test_placement_is_sticky(members: list[str], topics: dict[str, int], newcomer: str) -> None:
    """Nothing moves without need; one more member takes no more than its share, and only that moves."""
    partitions = {topic: list(range(count)) for topic, count in topics.items()}
    before = place(partitions, {key: set(topics) for key in members}, {})
    assert place(partitions, {key: set(topics) for key in members}, before) == before
    joined = sorted({*members, newcomer})
    after = place(partitions, {key: set(topics) for key in joined}, before)
    owner = {tp: member for member, owned in before.items() for tp in owned}
    moved = [tp for member, owned in after.items() for tp in owned if owner[tp] != member]
    assert len(moved) <= (0 if newcomer in members else -(-len(owner) // len(joined)))


def test_placement_gives_a_topic_only_to_those_who_know_it_and_settles_double_claims() -> None:
    """New topics are not known to all at once; after a partition of the network two may claim the same."""
    partitions = {"old": [0, 1], "new": [0]}
    placed = place(
        partitions, {"a": {"old"}, "b": {"old", "new"}}, {"a": {("old", 0), ("old", 1)}, "b": {("old", 0), ("gone", 7)}}
    )
    assert ("new", 0) in placed["b"]
    assert placed["a"] | placed["b"] == {("old", 0), ("old", 1), ("new", 0)}
    assert not placed["a"] & placed["b"]


# --- ages


def test_the_age_is_that_of_the_oldest_offset_that_is_not_durable() -> None:
    """Zero where everything is; an idle partition does not age."""
    tracker = BehindTracker()
    assert tracker.observe(0, 0, 1_000) == 0
    assert tracker.observe(10, 0, 2_000) == 0
    assert tracker.observe(20, 0, 5_000) == 3_000
    assert tracker.observe(20, 10, 6_000) == 1_000
    assert tracker.observe(20, 20, 60_000) == 0
    assert tracker.observe(20, 20, 90_000) == 0


@given(st.lists(st.integers(0, 5), min_size=1, max_size=2000))
def test_thinning_out_never_makes_the_oldest_younger(steps: list[int]) -> None:
    """However many observations: the first one that is not durable answers."""
    tracker = BehindTracker()
    offset, first_ms, age = 0, None, 0
    for number, step in enumerate(steps):
        offset += step
        now_ms = 1_000 + number * 100
        if offset and first_ms is None:
            first_ms = now_ms
        age = tracker.observe(offset, 0, now_ms)
    assert age == (0 if first_ms is None else 1_000 + (len(steps) - 1) * 100 - first_ms)
