"""Where a moment cuts a partition, by what leaders said around it; and the mark that names the moment."""

from typing import Any

import pytest

from mirror.core.coverage import CoveredRun, PartitionCoverage, cover_partition
from mirror.core.cuts import Doubt, clip, cut_at, hole_offsets, leading_loss, observe
from mirror.core.recovery_point import LATEST, OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_mark import MARK_NAMES, RestoreMark
from mirror.core.segment.index import ForkEntry, GapEntry, RunEntry, StartEntry, WatermarkSample

ID = "A" * 22
PLACE: dict[str, Any] = {"topic": "t", "topic_id": ID, "partition": 0}


def _run(start: int, end: int, *samples: tuple[int, int], **fields: Any) -> RunEntry:
    defaults: dict[str, Any] = {
        "position": 16,
        "stored_bytes": 100,
        "raw_bytes": 100,
        "batch_count": 1,
        "record_count": end - start,
        "checksum": "0" * 32,
        "min_base_timestamp_ms": 0,
    }
    marks = [WatermarkSample(at, 0, stable, stable) for at, stable in samples]
    return RunEntry(**PLACE, start_offset=start, next_offset=end, watermarks=marks, **{**defaults, **fields})


def _cover(*runs: tuple[int, RunEntry], **entries: Any) -> tuple[PartitionCoverage, dict[str, int]]:
    stored = [(f"l0/{sealed}", 0, sealed, run) for sealed, run in runs]
    coverage = cover_partition(
        runs[0][1].partition_id,
        "t",
        stored,
        entries.get("starts", []),
        entries.get("gaps", []),
        entries.get("forks", []),
    )
    return coverage, {f"l0/{sealed}": sealed for sealed, _ in runs}


def _next_at(coverage: PartitionCoverage, sealed: dict[str, int], at_ms: int) -> int | None:
    seen = observe(coverage.runs, sealed, at_ms, lambda piece: piece.run.watermarks)
    cut = cut_at(coverage, seen, at_ms, sealed_at_ms=sealed)
    return cut and cut.next_offset


def test_the_last_sample_before_the_moment_decides() -> None:
    """Not the records' times, and not what happened to be fetched by then."""
    coverage, sealed = _cover((1000, _run(0, 10, (900, 10))), (2000, _run(10, 30, (1500, 20), (1900, 30))))
    assert [_next_at(coverage, sealed, at) for at in (900, 1499, 1500, 1899, 1900, 5000)] == [10, 10, 20, 20, 30, 30]


def test_a_worker_that_lags_knows_what_stood_in_the_log() -> None:
    """The log's end is in every answer, so the cut may lie in what was fetched later."""
    coverage, sealed = _cover((1000, _run(0, 10, (900, 500))), (9000, _run(10, 800, (8000, 800))))
    assert _next_at(coverage, sealed, 2000) == 500
    short, sealed = _cover((1000, _run(0, 10, (900, 500))))
    cut = cut_at(short, observe(short.runs, sealed, 950, lambda p: p.run.watermarks), 950, sealed_at_ms=sealed)
    assert cut is not None
    assert (cut.next_offset, cut.wanted_next_offset, cut.is_short) == (10, 500, True)


def test_what_was_sealed_by_then_stood_in_the_log() -> None:
    """Samples are a second apart: what was fetched after the last one, and stored, is not left out."""
    coverage, sealed = _cover((1000, _run(0, 30, (100, 10))), (9000, _run(30, 40, (8000, 40))))
    assert [_next_at(coverage, sealed, at) for at in (500, 999, 1000, 7999)] == [10, 10, 30, 30]


def test_a_log_that_was_found_trimmed_by_then_had_come_so_far() -> None:
    """Also where nothing was fetched after it: the restored log ends where that log began."""
    gap = GapEntry(**PLACE, start_offset=10, next_offset=25, reason="retention", detected_at_ms=500)
    coverage, sealed = _cover((1000, _run(0, 10, (100, 10))), gaps=[gap])
    assert [_next_at(coverage, sealed, at) for at in (100, 499, 500, 999)] == [10, 10, 25, 25]


def test_only_runs_around_the_moment_are_opened() -> None:
    """Whatever the number of objects: those before it until a sample is found, those after it until one is later."""
    runs = [(n * 1000, _run(n * 10, n * 10 + 10, (n * 1000 - 50, n * 10 + 10))) for n in range(1, 1001)]
    coverage, sealed = _cover(*runs)
    opened: list[str] = []

    def samples(piece: CoveredRun) -> list[WatermarkSample]:
        opened.append(piece.object_key)
        return piece.run.watermarks

    seen = observe(coverage.runs, sealed, 500_500, samples)
    assert (seen.before and seen.before.fetched_at_ms, seen.after and seen.after.fetched_at_ms) == (499_950, 500_950)
    assert len(opened) == 2


def test_a_partition_that_was_not_known_yet() -> None:
    """None; from its start entry on it is known, and empty until a leader said otherwise."""
    start = StartEntry(**PLACE, start_offset=5, reason="earliest", recorded_at_ms=700)
    coverage, sealed = _cover((1000, _run(5, 10, (900, 10))), starts=[start])
    assert [_next_at(coverage, sealed, at) for at in (699, 700, 899, 900)] == [None, 5, 5, 10]


def test_a_doubt_is_told() -> None:
    """Nobody looked between two samples: records that claim to be older than the moment may have stood in the log."""
    young = _run(10, 20, (8000, 20), min_base_timestamp_ms=5000)
    coverage, sealed = _cover((1000, _run(0, 10, (900, 10))), (9000, young))
    for at_ms, expected in (
        (6000, Doubt(start_offset=10, next_offset=20, since_ms=900, until_ms=8000)),
        (4999, None),
    ):
        seen = observe(coverage.runs, sealed, at_ms, lambda piece: piece.run.watermarks)
        cut = cut_at(coverage, seen, at_ms, sealed_at_ms=sealed)
        assert cut is not None
        assert cut.doubt == expected


def test_a_doubt_is_told_of_runs_that_go_on_beyond() -> None:
    """The run that holds the doubtful offsets may hold what came later too."""
    long = _run(0, 40, (900, 10), (8000, 20), (8500, 40), min_base_timestamp_ms=800)
    coverage, sealed = _cover((9000, long))
    seen = observe(coverage.runs, sealed, 6000, lambda piece: piece.run.watermarks)
    cut = cut_at(coverage, seen, 6000, sealed_at_ms=sealed)
    assert cut is not None
    assert cut.doubt == Doubt(start_offset=10, next_offset=20, since_ms=900, until_ms=8000)


def test_the_accuracy_is_told() -> None:
    """Since the look before, where records that follow may be older; since the worker's last object, where nothing follows; else none."""
    coverage, sealed = _cover(
        (1000, _run(0, 10, (900, 10))), (9000, _run(10, 20, (8000, 20), min_base_timestamp_ms=7000))
    )

    def accuracy_ms(at_ms: int, last_look_ms: int = 0) -> int:
        seen = observe(coverage.runs, sealed, at_ms, lambda piece: piece.run.watermarks)
        cut = cut_at(coverage, seen, at_ms, sealed_at_ms=sealed, last_look_ms=last_look_ms)
        assert cut is not None
        return cut.accuracy_ms

    assert accuracy_ms(7500) == 7500 - 900
    assert accuracy_ms(6999) == 0
    assert accuracy_ms(9500) == 9500 - 8000
    assert accuracy_ms(9500, last_look_ms=9400) == 100
    assert accuracy_ms(9500, last_look_ms=9900) == 0


def test_what_replaced_a_cut_tail_did_not_stand_in_the_log() -> None:
    """Before an unclean election the log held other records: the cut ends where it was truncated, and is short."""
    old = _run(0, 20, (900, 20), leader_epochs=[(1, 0)])
    new = _run(15, 30, (5000, 30), leader_epochs=[(2, 15)])
    fork = ForkEntry(**PLACE, fork_offset=15, last_leader_epoch=1, detected_at_ms=4000)
    coverage, sealed = _cover((1000, old), (6000, new), forks=[fork])
    assert _next_at(coverage, sealed, 2000) == 15


def test_clipping() -> None:
    """Runs, gaps and missing ranges keep to the bounds."""
    gap = GapEntry(**PLACE, start_offset=10, next_offset=20, reason="retention", detected_at_ms=1)
    coverage, _ = _cover((1, _run(0, 10)), (2, _run(20, 30)), (3, _run(40, 50)), gaps=[gap])
    part = clip(coverage, 5, 45)
    assert [(p.start_offset, p.next_offset) for p in part.runs] == [(5, 10), (20, 30), (40, 45)]
    assert [(g.start_offset, g.next_offset) for g in part.gaps] == [(10, 20)]
    assert list(part.missing) == [(30, 40)]
    assert (part.start_offset, part.next_offset, part.position) == (5, 45, 30)
    empty = clip(coverage, 60, 60)
    assert (empty.runs, empty.gaps, empty.missing) == ([], [], [])


def test_holes_and_leading_losses() -> None:
    """What must be filled before the first record, and between records."""
    gap = GapEntry(**PLACE, start_offset=3, next_offset=10, reason="retention", detected_at_ms=1)
    start = StartEntry(**PLACE, start_offset=3, reason="earliest", recorded_at_ms=0)
    coverage, _ = _cover((1, _run(10, 20, record_count=4)), (2, _run(25, 30)), gaps=[gap], starts=[start])
    assert leading_loss(coverage) == 10
    assert hole_offsets(coverage) == 6 + 5


@pytest.mark.parametrize("mode", OffsetMode)
@pytest.mark.parametrize(
    "point",
    [
        LATEST,
        RecoveryPoint(kind=PointKind.AT, time_ms=1_795_000_000_123),
        RecoveryPoint(kind=PointKind.UNTIL, time_ms=4_000_000_000_000, since_ms=5),
    ],
)
@pytest.mark.parametrize("name", MARK_NAMES)
def test_the_mark_says_which_restore(point: RecoveryPoint, mode: OffsetMode, name: str) -> None:
    """It survives the setting, differs for another restore, and bounds nothing."""
    mark = RestoreMark.of(point, mode, ID, "t")
    assert RestoreMark.read({name: mark.value}) == mark
    assert 2**62 <= int(mark.value) < 2**63 - 1
    assert mark.option == f"{point.option.partition(' --since')[0]} --offsets {mode.name.lower()}"
    assert RestoreMark.of(point, mode, "B" * 22, "t") != mark


@pytest.mark.parametrize("value", ["9223372036854775807", "9223372036854775806", "3600000", "-1", "x", "١"])
def test_what_is_no_mark(value: str) -> None:
    """Kafka's default, and what people set."""
    assert RestoreMark.read({MARK_NAMES[0]: value}) is None
