"""Coverage: what is stored, lost for a reason, or missing."""

from collections.abc import Sequence

from mirror.core.coverage import PartitionCoverage, build_coverage, by_topic, cover_partition
from mirror.core.positions import OffsetRange, PartitionId
from mirror.core.segment.index import FORMAT_VERSION, ForkEntry, GapEntry, RunEntry, SegmentIndex, StartEntry
from tests.builders import T0_MS, TOPIC_ID, a_run_entry

ID = PartitionId(TOPIC_ID, 0)


def _gap(start_offset: int, next_offset: int, *, reason: str = "retention", detected_at_ms: int = T0_MS) -> GapEntry:
    return GapEntry(
        topic="orders",
        topic_id=TOPIC_ID,
        partition=0,
        start_offset=start_offset,
        next_offset=next_offset,
        reason=reason,
        detected_at_ms=detected_at_ms,
    )


def _start(offset: int) -> StartEntry:
    return StartEntry(
        topic="orders", topic_id=TOPIC_ID, partition=0, start_offset=offset, reason="earliest", recorded_at_ms=T0_MS
    )


def _fork(offset: int, last_leader_epoch: int, detected_at_ms: int = T0_MS) -> ForkEntry:
    return ForkEntry(
        topic="orders",
        topic_id=TOPIC_ID,
        partition=0,
        fork_offset=offset,
        last_leader_epoch=last_leader_epoch,
        detected_at_ms=detected_at_ms,
    )


def _cover(
    *runs: RunEntry | tuple[int, int, RunEntry],
    starts: Sequence[StartEntry] = (),
    gaps: Sequence[GapEntry] = (),
    forks: Sequence[ForkEntry] = (),
) -> PartitionCoverage:
    """Runs are sealed one after the other; a tuple says (level, sealed_at_ms, run)."""
    entries = []
    for number, run in enumerate(runs):
        level, sealed_at_ms, entry = run if isinstance(run, tuple) else (0, T0_MS + number, run)
        entries.append((f"l{level}/{number}", level, sealed_at_ms, entry))
    return cover_partition(ID, "orders", entries, starts, gaps, forks)


def _pieces(coverage: PartitionCoverage) -> list[tuple[int, int, str]]:
    return [(piece.start_offset, piece.next_offset, piece.object_key) for piece in coverage.runs]


def test_runs_that_follow_each_other_are_one_coverage() -> None:
    """The position is the end of the last run."""
    coverage = _cover(a_run_entry(0, 10), a_run_entry(10, 25), starts=[_start(0)])
    assert (coverage.start_offset, coverage.next_offset, coverage.position) == (0, 25, 25)
    assert coverage.missing == []
    assert coverage.overlap_offsets == 0


def test_position_stops_at_a_hole() -> None:
    """A position is the end of contiguous coverage, never a maximum."""
    coverage = _cover(a_run_entry(0, 10), a_run_entry(20, 30), starts=[_start(0)])
    assert (coverage.position, coverage.next_offset) == (10, 30)
    assert coverage.missing == [OffsetRange(10, 20)]


def test_lost_first_object_is_missing_from_the_recorded_start() -> None:
    """Without its first object, coverage still begins where the start entry says."""
    coverage = _cover(a_run_entry(10, 20), starts=[_start(4)])
    assert coverage.missing == [OffsetRange(4, 10)]
    assert (coverage.start_offset, coverage.position) == (4, 4)


def test_partition_with_only_a_start_is_empty_at_its_position() -> None:
    """A start that was recorded is where a worker goes on, without any run."""
    coverage = _cover(starts=[_start(7)])
    assert (coverage.start_offset, coverage.next_offset, coverage.position) == (7, 7, 7)


def test_first_start_wins() -> None:
    """Two workers that both recorded a start: the lower offset is the promise."""
    assert _cover(starts=[_start(9), _start(4)]).start_offset == 4


def test_overlap_is_read_once_from_the_run_sealed_first() -> None:
    """Every offset is chosen once; extra copies are counted."""
    coverage = _cover(a_run_entry(0, 10), a_run_entry(5, 15), a_run_entry(0, 15))
    assert _pieces(coverage) == [(0, 10, "l0/0"), (10, 15, "l0/1")]
    assert coverage.overlap_offsets == 20


def test_highest_level_wins() -> None:
    """A merged segment replaces what it was made of."""
    coverage = _cover((0, 1, a_run_entry(0, 10)), (0, 2, a_run_entry(10, 20)), (1, 9, a_run_entry(5, 15)))
    assert _pieces(coverage) == [(0, 5, "l0/0"), (5, 15, "l1/2"), (15, 20, "l0/1")]


def test_run_without_batches_yields_to_one_with() -> None:
    """A run that covers offsets with nothing never hides data."""
    empty = a_run_entry(0, 10, leader_epochs=[], batch_count=0)
    assert _pieces(_cover(empty, a_run_entry(3, 6))) == [(0, 3, "l0/0"), (3, 6, "l0/1"), (6, 10, "l0/0")]


def test_gap_counts_only_where_no_run_covers() -> None:
    """A gap that a slower worker had stored after all is none."""
    coverage = _cover(a_run_entry(0, 10), a_run_entry(15, 30), gaps=[_gap(5, 20)], starts=[_start(0)])
    assert [(gap.start_offset, gap.next_offset, gap.reason) for gap in coverage.gaps] == [(10, 15, "retention")]
    assert (coverage.missing, coverage.position) == ([], 30)


def test_gaps_that_overlap_are_named_once_by_the_first_detected() -> None:
    """Two workers that saw the same loss do not lose it twice."""
    coverage = _cover(gaps=[_gap(5, 20, reason="b", detected_at_ms=9), _gap(0, 10, reason="a", detected_at_ms=1)])
    assert [(gap.start_offset, gap.next_offset, gap.reason) for gap in coverage.gaps] == [(0, 10, "a"), (10, 20, "b")]


def test_fork_cuts_the_old_epochs_tail() -> None:
    """Bytes at or after the fork under the old epoch are kept aside; the new epoch's are read."""
    old = a_run_entry(0, 30, leader_epochs=[(4, 0), (5, 10)])
    new = a_run_entry(20, 40, leader_epochs=[(6, 20)])
    coverage = _cover(old, new, forks=[_fork(20, 5)])
    assert _pieces(coverage) == [(0, 10, "l0/0"), (10, 20, "l0/0"), (20, 40, "l0/1")]
    assert [(cut.start_offset, cut.next_offset) for cut in coverage.cut_tails] == [(20, 30)]
    assert (coverage.position, coverage.leader_epoch, coverage.overlap_offsets) == (40, 6, 0)


def test_fork_alone_moves_the_position_back() -> None:
    """Until the new log is stored, the position is the fork."""
    coverage = _cover(a_run_entry(0, 30, leader_epochs=[(5, 0)]), forks=[_fork(20, 5)], starts=[_start(0)])
    assert (coverage.position, coverage.leader_epoch) == (20, 5)


def test_fork_does_not_touch_newer_epochs() -> None:
    """A run of a newer epoch stays whole, wherever it begins."""
    assert _cover(a_run_entry(0, 30, leader_epochs=[(6, 0)]), forks=[_fork(20, 5)]).cut_tails == []


def test_run_without_epochs_is_cut_if_sealed_before_the_fork() -> None:
    """Where no batch names an epoch, the time of sealing decides which log it belongs to."""
    empty = a_run_entry(10, 30, leader_epochs=[], batch_count=0)
    new = a_run_entry(20, 25, leader_epochs=[(6, 20)])
    before = _cover((0, 1, empty), (0, 9, new), forks=[_fork(20, 5, detected_at_ms=5)])
    assert _pieces(before) == [(10, 20, "l0/0"), (20, 25, "l0/1")]
    after = _cover((0, 7, empty), forks=[_fork(20, 5, detected_at_ms=5)])
    assert _pieces(after) == [(10, 30, "l0/0")]


def test_objects_given_twice_count_once() -> None:
    """A roll-up and a footer may name the same object."""
    index = SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id="r",
        cluster_id="c",
        writer="w",
        sequence=1,
        sealed_at_ms=T0_MS,
        runs=[a_run_entry(0, 10), a_run_entry(3, 9, partition=1), a_run_entry(0, 5, topic_id="B" * 22)],
        starts=[_start(0)],
    )
    coverage = build_coverage([("a", index), ("a", index)])
    assert coverage[ID].overlap_offsets == 0
    assert set(coverage) == {ID, PartitionId(TOPIC_ID, 1), PartitionId("B" * 22, 0)}
    grouped = by_topic(coverage.values())
    assert [entry.partition_id.partition for entry in grouped["orders"][TOPIC_ID]] == [0, 1]


def test_incarnations_are_never_spliced() -> None:
    """The same partition of another topic id has its own coverage."""
    index = SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id="r",
        cluster_id="c",
        writer="w",
        sequence=1,
        sealed_at_ms=T0_MS,
        runs=[a_run_entry(0, 10), a_run_entry(10, 20, topic_id="B" * 22)],
    )
    coverage = build_coverage([("a", index)])
    assert coverage[ID].position == 10
    assert coverage[PartitionId("B" * 22, 0)].start_offset == 10


def test_stored_bytes_count_a_run_once() -> None:
    """A run that is read in two pieces is one run."""
    coverage = _cover((0, 1, a_run_entry(0, 20)), (1, 2, a_run_entry(5, 10)))
    assert len(coverage.runs) == 3
    assert coverage.stored_bytes == 20
