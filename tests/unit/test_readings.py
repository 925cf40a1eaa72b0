"""`--at` and `--until` of one moment: what the indexes tell, and what must be opened."""

from typing import Any

import pytest

from mirror.core.coverage import PartitionCoverage, cover_partition
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.readings import Counted, counts_of, sides_of
from mirror.core.recovery_point import TimeBounds
from mirror.core.segment.index import RunEntry

ID = "A" * 22
NAME = TopicPartition("t", 0)
UNTIL_100 = TimeBounds(None, 100)


def _run(start: int, end: int, first_ms: int | None, last_ms: int | None, **fields: Any) -> RunEntry:
    defaults: dict[str, Any] = {"record_count": end - start, "batch_count": 1}
    return RunEntry(
        topic="t",
        topic_id=ID,
        partition=0,
        start_offset=start,
        next_offset=end,
        position=16,
        stored_bytes=100,
        raw_bytes=100,
        checksum="0" * 32,
        min_base_timestamp_ms=first_ms,
        max_timestamp_ms=last_ms,
        **{**defaults, **fields},
    )


def _coverage(*runs: RunEntry) -> PartitionCoverage:
    return cover_partition(PartitionId(ID, 0), "t", [(f"l0/{n}", 0, n, run) for n, run in enumerate(runs)], [], [], [])


@pytest.mark.parametrize(
    ("first_ms", "last_ms", "bounds", "share"),
    [
        (10, 100, UNTIL_100, "all"),
        (10, 101, UNTIL_100, "some"),
        (101, 120, UNTIL_100, "none"),
        (120, 90, UNTIL_100, "all"),  # append times: the first record's own time is of no account
        (10, 100, TimeBounds(10, 100), "all"),
        (9, 100, TimeBounds(10, 100), "some"),
        (1, 9, TimeBounds(10, 100), "none"),
    ],
)
def test_how_much_of_a_run_is_within_times(first_ms: int, last_ms: int, bounds: TimeBounds, share: str) -> None:
    """Both ends are inclusive; what lies on both sides is open."""
    (side,) = sides_of(_coverage(_run(0, 5, first_ms, last_ms)), (0, 5), bounds)
    assert (bool(side.are_within[0]), bool(side.are_outside[0])) == (share == "all", share == "none")
    assert side.undecided(5) == ([0] if share == "some" else [])


def test_a_run_without_records_is_of_no_account() -> None:
    """Aborted data only: nothing to count, nothing to open."""
    (side,) = sides_of(_coverage(_run(0, 5, None, None, record_count=0)), (0, 5), UNTIL_100)
    assert (side.undecided(5), side.uncounted(5)) == ([], [])


def test_a_replay_needs_nothing_opened() -> None:
    """Records behind the cut whose run is older than the moment count for `--until` alone."""
    coverage = _coverage(_run(0, 20, 10, 90), _run(20, 30, 1, 9), _run(30, 40, 110, 130))
    found = counts_of(NAME, sides_of(coverage, (0, 20), UNTIL_100), {})
    assert (found.at_records, found.until_records, found.only_at, found.only_until) == (20, 30, 0, 10)
    assert found.is_exact
    assert found.differ


def test_records_of_a_clock_that_runs_ahead() -> None:
    """In the log by then, stamped later: for `--at` alone."""
    found = counts_of(NAME, sides_of(_coverage(_run(0, 20, 10, 90), _run(20, 30, 110, 130)), (0, 30), UNTIL_100), {})
    assert (found.at_records, found.until_records, found.only_at, found.only_until) == (30, 20, 10, 0)


def test_readings_that_bring_the_same() -> None:
    """Also where nothing of the partition is known to `--at` and nothing is old enough."""
    coverage = _coverage(_run(0, 20, 10, 90), _run(20, 30, 110, 130))
    assert not counts_of(NAME, sides_of(coverage, (0, 20), UNTIL_100), {}).differ
    assert not counts_of(NAME, sides_of(_coverage(_run(0, 9, 110, 130)), None, UNTIL_100), {}).differ
    assert counts_of(NAME, sides_of(coverage, None, UNTIL_100), {}).only_until == 20


def test_the_run_that_the_cut_divides() -> None:
    """Unopened it says that it is not exact and claims nothing; opened, each side counts by itself."""
    sides = sides_of(_coverage(_run(0, 30, 50, 150)), (0, 20), UNTIL_100)
    assert [(side.is_in_at, side.undecided(9), side.uncounted(9)) for side in sides] == [
        (True, [0], [0]),
        (False, [0], [0]),
    ]
    unopened = counts_of(NAME, sides, {})
    assert (unopened.at_records, unopened.differ, unopened.is_exact) == (20, False, False)
    opened = counts_of(NAME, sides, {(0, 0): Counted(18, 17), (1, 0): Counted(9, 2)})
    assert (opened.at_records, opened.until_records, opened.only_at, opened.only_until) == (18, 19, 1, 2)
    assert opened.is_exact


def test_what_is_left_out_at_the_other_end() -> None:
    """With `--since`, what lies before the range of `--at` counts for `--until` as what lies behind it."""
    coverage = _coverage(_run(0, 10, 60, 70), _run(10, 20, 60, 70), _run(20, 30, 10, 20))
    found = counts_of(NAME, sides_of(coverage, (10, 20), TimeBounds(50, 100)), {})
    assert (found.at_records, found.until_records, found.only_until) == (10, 20, 10)


def test_what_lies_next_to_the_cut_is_opened_first() -> None:
    """On both sides; no more than is wanted."""
    runs = [_run(n * 10, n * 10 + 10, 50, 150) for n in range(6)]
    before, after = sides_of(_coverage(*runs), (0, 30), UNTIL_100)
    assert (before.undecided(2), after.undecided(2)) == ([2, 1], [0, 1])


def test_a_million_runs_are_compared_at_once() -> None:
    """By columns: no value is made of a run that is not opened."""
    coverage = _coverage(*(_run(n * 10, n * 10 + 10, n, n + 5) for n in range(2000)))
    found = counts_of(NAME, sides_of(coverage, (0, 1000), TimeBounds(None, 500)), {})
    assert (found.at_records, found.is_exact) == (1000, False)
    assert found.only_until == (496 - 100) * 10
