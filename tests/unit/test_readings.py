"""`--at` and `--until` of one moment: what the indexes tell, and what must be opened."""

from typing import Any

import pytest

from mirror.core.coverage import PartitionCoverage, cover_partition
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.readings import Counted, Share, counts_of, pieces_of, share_of
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
        (10, 100, UNTIL_100, Share.ALL),
        (10, 101, UNTIL_100, Share.SOME),
        (101, 120, UNTIL_100, Share.NONE),
        (120, 90, UNTIL_100, Share.ALL),  # append times: the first record's own time is of no account
        (None, None, UNTIL_100, Share.NONE),
        (10, 100, TimeBounds(10, 100), Share.ALL),
        (9, 100, TimeBounds(10, 100), Share.SOME),
        (1, 9, TimeBounds(10, 100), Share.NONE),
    ],
)
def test_how_much_of_a_run_is_within_times(
    first_ms: int | None, last_ms: int | None, bounds: TimeBounds, share: Share
) -> None:
    """Both ends are inclusive; what lies on both sides is open."""
    assert share_of(_run(0, 5, first_ms, last_ms), bounds) is share


def test_a_replay_needs_nothing_opened() -> None:
    """Records behind the cut whose run is older than the moment count for `--until` alone."""
    coverage = _coverage(_run(0, 20, 10, 90), _run(20, 30, 1, 9), _run(30, 40, 110, 130))
    found = counts_of(NAME, pieces_of(coverage, (0, 20), UNTIL_100), {})
    assert (found.at_records, found.until_records, found.only_at, found.only_until) == (20, 30, 0, 10)
    assert found.is_exact
    assert found.differ


def test_records_of_a_clock_that_runs_ahead() -> None:
    """In the log by then, stamped later: for `--at` alone."""
    found = counts_of(NAME, pieces_of(_coverage(_run(0, 20, 10, 90), _run(20, 30, 110, 130)), (0, 30), UNTIL_100), {})
    assert (found.at_records, found.until_records, found.only_at, found.only_until) == (30, 20, 10, 0)


def test_readings_that_bring_the_same() -> None:
    """Also where nothing of the partition is known to `--at` and nothing is old enough."""
    coverage = _coverage(_run(0, 20, 10, 90), _run(20, 30, 110, 130))
    assert not counts_of(NAME, pieces_of(coverage, (0, 20), UNTIL_100), {}).differ
    assert not counts_of(NAME, pieces_of(_coverage(_run(0, 9, 110, 130)), None, UNTIL_100), {}).differ
    assert counts_of(NAME, pieces_of(coverage, None, UNTIL_100), {}).only_until == 20


def test_the_run_that_the_cut_divides() -> None:
    """Unopened it says that it is not exact and claims nothing; opened, each side counts by itself."""
    pieces = pieces_of(_coverage(_run(0, 30, 50, 150)), (0, 20), UNTIL_100)
    assert [(piece.is_in_at, piece.share, piece.is_counted) for piece in pieces] == [
        (True, Share.SOME, False),
        (False, Share.SOME, False),
    ]
    unopened = counts_of(NAME, pieces, {})
    assert (unopened.at_records, unopened.differ, unopened.is_exact) == (20, False, False)
    opened = counts_of(NAME, pieces, {0: Counted(18, 17), 1: Counted(9, 2)})
    assert (opened.at_records, opened.until_records, opened.only_at, opened.only_until) == (18, 19, 1, 2)
    assert opened.is_exact


def test_what_is_left_out_at_the_other_end() -> None:
    """With `--since`, what lies before the range of `--at` counts for `--until` as what lies behind it."""
    coverage = _coverage(_run(0, 10, 60, 70), _run(10, 20, 60, 70), _run(20, 30, 10, 20))
    found = counts_of(NAME, pieces_of(coverage, (10, 20), TimeBounds(50, 100)), {})
    assert (found.at_records, found.until_records, found.only_until) == (10, 20, 10)
