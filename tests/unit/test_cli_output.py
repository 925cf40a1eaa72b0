"""What people and programs read: units, times, tables, JSON, progress."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from mirror.cli.human import human_bytes, human_count, human_duration, human_rate, utc
from mirror.cli.output import emit_json, emit_json_line, print_line, print_table, visible
from mirror.cli.progress import progress
from mirror.config import Secret


def test_utc() -> None:
    """Times are UTC, ISO-8601; the fraction is cut."""
    assert utc(1_795_401_667_999) == "2026-11-23T02:41:07Z"
    assert utc(1_795_401_667_999, with_ms=True) == "2026-11-23T02:41:07.999Z"
    assert utc(-1, with_ms=True) == "1969-12-31T23:59:59.999Z"
    assert utc(None) == "–"


@pytest.mark.parametrize(
    ("duration_ms", "text"),
    [
        (0, "0 s"),
        (400, "0.4 s"),
        (999, "0.9 s"),
        (4_000, "4 s"),
        (59_999, "59 s"),
        (125_000, "2 m 5 s"),
        (7_200_000, "2 h 0 m"),
        (360_000_000, "4 d 4 h"),
        (-4_000, "-4 s"),
        (None, "–"),
        (float("inf"), "∞"),
    ],
)
def test_human_duration(duration_ms: float | None, text: str) -> None:
    """Two units at most, never rounded up."""
    assert human_duration(duration_ms) == text


def test_human_amounts() -> None:
    """Sizes are binary, rates decimal, counts grouped."""
    assert [human_bytes(n) for n in (0, 1023, 1024, 281_018_368)] == ["0 B", "1023 B", "1.0 KiB", "268.0 MiB"]
    assert human_rate(12_345_678) == "12.3 MB/s"
    assert human_rate(20_480) == "20.5 kB/s"
    assert human_count(1_234_567) == "1,234,567"


def test_json_masks_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    """A secret inside any structure becomes the mask; a path its text; other objects are refused."""

    @dataclass
    class Thing:
        secret: Secret
        path: Path

    thing = Thing(secret=Secret.from_env("S", {"S": "hunter2"}), path=Path("/x"))
    emit_json({"things": [thing]})
    assert json.loads(capsys.readouterr().out) == {"things": [{"secret": "****", "path": "/x"}]}
    emit_json_line({"a": [1]})
    assert capsys.readouterr().out == '{"a":[1]}\n'
    with pytest.raises(NotImplementedError):
        emit_json(object())


def test_table_keeps_names_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets are no markup, long names are whole, escape sequences are made visible, numbers stand right."""
    long_name = "t" * 249
    print_table(("topic", "bytes"), [("[red]x[/red]", 1), (long_name, 22), ("a\x1b[2Jb", 333)], right=("bytes",))
    shown = capsys.readouterr().out
    assert "[red]x[/red]" in shown
    assert [long_name, "22"] in [line.split() for line in shown.splitlines()]
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown
    ends = {len(line) for line in shown.splitlines() if line.endswith(("1", "333"))}
    assert len(ends) == 1


def test_line_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    """No wrapping, no markup, no colour in a pipe."""
    text = "SAFE [prod] " + "x " * 300 + "end"
    print_line(text, bold=True, color="green")
    assert capsys.readouterr().out == f"{text}\n"
    print_line("w", err=True)
    assert capsys.readouterr().err == "w\n"


def test_visible() -> None:
    """Printable text, also beyond ASCII, stays; control and direction characters are escaped."""
    assert visible("größe · 東京") == "größe · 東京"
    assert visible("a\x00\u202eb") == "a\\x00\\u202eb"


def test_progress_without_terminal_writes_lines() -> None:
    """A line every five seconds and one at the end, with amount, share, rate and time left."""
    now_s = [0.0]
    out = io.StringIO()
    with progress("restoring", total=100_000_000, stream=out, clock=lambda: now_s[0]) as report:
        for _ in range(8):
            now_s[0] += 1
            report.advance(10_000_000)
    lines = out.getvalue().splitlines()
    assert lines == [
        "restoring: 47.7 MiB of 95.4 MiB (50 %), 10.0 MB/s, 5 s left",
        "restoring: 76.3 MiB of 95.4 MiB (80 %), 10.0 MB/s, 2 s left",
    ]


def test_progress_counts_items_and_can_be_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    """Items are counted; with --json nothing is shown."""
    out = io.StringIO()
    with progress("checking", unit="objects", stream=out) as report:
        report.set_total(4)
        report.describe("verifying")
        report.advance(4)
    assert out.getvalue().startswith("verifying: 4 objects of 4 objects (100 %)")
    with progress("x", quiet=True) as report:
        report.advance(1)
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_draws_a_bar() -> None:
    """On a terminal rich draws; the description is no markup."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    with progress("[red]restoring", total=10, stream=out) as report:
        report.advance(10)
        report.set_total(10)
        report.describe("[red]done")
    assert "[red]" in out.getvalue()
