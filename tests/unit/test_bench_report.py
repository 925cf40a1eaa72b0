"""The page and the JSON of the bench."""

import json
from typing import Any

from bench.compare import Result
from bench.report import results_json, results_markdown

MACHINE: dict[str, Any] = {
    "cpu": "a processor",
    "cores": 2,
    "memory_bytes": 24 << 30,
    "system": "Linux",
    "load_before": 0.1,
    "python": "3.11",
    "kafka": "4.3.1",
    "minio": "v0",
    "librdkafka": "2.0",
    "packages": {"mirror": "0.1"},
}
RUN = {"failure": "", "date": "2026-11-23 10:00 UTC", "pairs": 5, "quick": False, "command": "python -m bench"}


def a_result(name: str, ratio: float, goal: float | None) -> Result:
    """A comparison with that outcome."""
    return Result(
        name=name,
        ours=4_000_000.0,
        other=1_000_000.0,
        ratio=ratio,
        goal=goal,
        unit="records/s",
        spread=(ratio, ratio),
        pairs=5,
        details={"settings": {"flush_interval": '"1s"'}, "other_settings": {"acks": "all"}, "cpu_ratio": 2.0},
    )


def test_every_comparison_is_one_entry_with_the_agreed_fields() -> None:
    """Programs read name, ours, other, ratio, goal and unit."""
    data = json.loads(results_json([a_result("backup of t / consumer", 4.2, 4.0)], MACHINE, RUN))
    (entry,) = data["comparisons"]
    wanted = {
        "name": "backup of t / consumer",
        "ours": 4e6,
        "other": 1e6,
        "ratio": 4.2,
        "goal": 4.0,
        "unit": "records/s",
    }
    assert {key: entry[key] for key in wanted} == wanted
    assert entry["met"] is True


def test_a_missed_goal_is_said_plainly() -> None:
    """In the head line, in the table and in a paragraph of its own."""
    page = results_markdown([a_result("a of t / x", 3.0, 4.0), a_result("b of t / x", 5.0, 4.0)], MACHINE, RUN)
    assert "**1 of 2 goals met**" in page
    assert "**missed**" in page
    assert "## Missed\n\n- a of t / x: 3.00 where 4 was wanted" in page


def test_a_comparison_without_a_goal_is_neither_met_nor_missed() -> None:
    """MirrorMaker's ratio is whatever it is."""
    page = results_markdown([a_result("a of t / mm2", 0.5, None)], MACHINE, RUN)
    assert "**0 of 0 goals met**" in page
    assert "missed" not in page


def test_a_quick_run_says_that_its_numbers_say_nothing() -> None:
    """Nobody quotes them."""
    assert "the numbers say nothing" in results_markdown(
        [a_result("a of t / x", 3.0, 4.0)], MACHINE, {**RUN, "quick": True}
    )


def test_the_settings_of_both_sides_are_written_down() -> None:
    """Quotes of TOML values are left out."""
    page = results_markdown([a_result("backup of t / consumer", 3.0, 4.0)], MACHINE, RUN)
    assert "- backup: `flush_interval=1s`" in page
    assert "- consumer: `acks=all`" in page


def test_a_run_that_ended_early_says_so() -> None:
    """What it measured before is kept, and not taken for everything."""
    page = results_markdown([a_result("a of t / x", 3.0, 4.0)], MACHINE, {**RUN, "failure": "BenchError: no disk"})
    assert "**This run is not complete**, it ended with: `BenchError: no disk`" in page
