"""A run of a part of the benchmark replaces its own lines of the report and no others."""

from pathlib import Path
from typing import Any

from bench.compare import Result
from bench.earlier import read_results, with_earlier
from bench.machine import describe_machine
from bench.report import results_json, results_markdown

_RUN: dict[str, Any] = {"failure": "", "date": "2026-01-01 10:00 UTC", "pairs": 5, "quick": False, "command": "all"}


def _result(name: str, ratio: float, *, goal: float | None = 2.0) -> Result:
    return Result(
        name=name,
        ours=ratio * 1000,
        other=1000.0,
        ratio=ratio,
        goal=goal,
        unit="records/s",
        spread=(ratio, ratio + 1),
        pairs=5,
        details={"peak_rss_bytes": 1000, "settings": {"a": "b"}},
    )


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Written again it is the same text."""
    written = results_json([_result("one", 1.5), _result("two", 2.5, goal=None)], describe_machine(), _RUN)
    (tmp_path / "results.json").write_text(written)
    assert results_json(*read_results(tmp_path / "results.json")) == written


def test_lines_that_were_measured_again_take_their_own_place() -> None:
    """The order stays, new ones come last, and the page tells their day."""
    earlier = [_result("one", 1.5), _result("two", 2.5), _result("three", 3.5)]
    again = {**_RUN, "date": "2026-02-02 10:00 UTC"}
    merged = with_earlier([_result("two", 4.5), _result("four", 1.0)], earlier, again)
    assert [(result.name, result.ratio) for result in merged] == [
        ("one", 1.5),
        ("two", 4.5),
        ("three", 3.5),
        ("four", 1.0),
    ]
    page = results_markdown(merged, describe_machine(), _RUN)
    assert "Written by `make bench` on 2026-01-01 10:00 UTC. **2 of 4 goals met**" in page
    assert "Measured again on 2026-02-02 10:00 UTC: two; four." in page
