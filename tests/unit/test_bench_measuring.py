"""The bench's instruments."""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bench.children import BenchError, Child, Usage
from bench.payloads import write_payloads
from bench.recovery_point import percentiles
from bench.suite import COMPARISONS, Options


@pytest.mark.parametrize("line_bytes", [80, 870])
def test_payload_lines_are_distinct_json_of_exactly_the_wanted_size(tmp_path: Path, line_bytes: int) -> None:
    """Compression ratios are honest only if lines do not repeat."""
    path = write_payloads(tmp_path / "p.txt", line_bytes=line_bytes, lines=2000)
    lines = path.read_text().splitlines()
    assert {len(line) for line in lines} == {line_bytes}
    assert len(set(lines)) == len(lines) == 2000
    assert all(json.loads(line)["id"] >= 0 for line in lines)


def test_payloads_are_the_same_every_time(tmp_path: Path) -> None:
    """Two runs of the bench copy the same records."""
    first, second = (write_payloads(tmp_path / name, line_bytes=80, lines=50) for name in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_too_short_a_line_is_refused(tmp_path: Path) -> None:
    """Instead of being cut into something that is no JSON."""
    with pytest.raises(ValueError, match="too few"):
        write_payloads(tmp_path / "p", line_bytes=30, lines=1)


def test_cpu_between_two_moments_is_interpolated() -> None:
    """Samples are 20 ms apart, events are not."""
    usage = Usage(times_s=[10.0, 11.0, 12.0], cpu_seconds=[1.0, 2.0, 2.0])
    assert usage.between(10.5, 11.5) == pytest.approx(0.5)
    assert usage.between(0.0, 100.0) == pytest.approx(1.0)
    assert usage.total_cpu_seconds == 2.0


def test_a_child_is_watched_and_its_output_returned(tmp_path: Path) -> None:
    """CPU seconds and peak memory are those of the process."""
    script = (
        "x = bytearray(50 << 20)\nimport time\nend = time.time() + 0.3\nwhile time.time() < end: pass\nprint('done')"
    )
    with Child("busy", [sys.executable, "-c", script], tmp_path / "log") as child:
        assert child.wait(20) == "done\n"
    assert child.usage.peak_rss_bytes > 50 << 20
    assert 0.1 < child.usage.total_cpu_seconds < 5


def test_a_child_that_fails_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """What it wrote to standard error is in the message."""
    with (
        Child("failing", [sys.executable, "-c", "raise SystemExit('no luck')"], tmp_path / "log") as child,
        pytest.raises(BenchError, match="no luck"),
    ):
        child.wait(20)


def test_a_child_does_not_outlive_its_block(tmp_path: Path) -> None:
    """Whatever happened in it."""
    with Child("sleeping", ["sleep", "60"], tmp_path / "log") as child:
        time.sleep(0.05)
        assert child.is_running
    assert not child.is_running


def test_percentiles_are_of_all_batches() -> None:
    """In seconds, to the millisecond."""
    assert percentiles(np.arange(101) / 100, (50, 99)) == {50: 0.5, 99: 0.99}


def test_only_selects_by_part_of_the_name() -> None:
    """Without it everything is measured."""
    names = [comparison.name for _, comparison in COMPARISONS]
    assert len(set(names)) == len(names)
    options = Options(pairs=1, quick=True, keep=False, only=("restore of small",))
    assert [name for name in names if options.wants(name)] == ["restore of small-lz4 / producer"]
    assert all(Options(pairs=1, quick=True, keep=False).wants(name) for name in names)
