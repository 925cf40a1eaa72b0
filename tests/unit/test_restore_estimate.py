"""How long a restore may take: a range, with what it is worked out from."""

import pytest

from mirror.cli.estimate_view import print_estimate
from mirror.core.restore_estimate import MeasuredRate, Workload, estimate

GIB = 1 << 30


def _work(
    size_bytes: int, *, batches: int = 1000, topics: int = 1, longest_fill_s: float = 0.0, all_fills_s: float = 0.0
) -> Workload:
    return Workload(
        stored_bytes=size_bytes // 2,
        produced_bytes=size_bytes,
        batches=batches,
        topics=topics,
        longest_fill_s=longest_fill_s,
        all_fills_s=all_fills_s,
    )


def _rate(megabytes: float, source: str = "this store just now") -> MeasuredRate:
    return MeasuredRate(bytes_per_s=megabytes * 1e6, size_bytes=8 << 20, source=source)


def test_writing_counts_where_the_store_is_fast() -> None:
    """The best case is that of the slower side, the worst both one after the other."""
    found = estimate(_work(10 * GIB), reading=_rate(1000))
    assert 100 < found.least_s < 115
    assert 535 < found.most_s < 560
    assert found.basis[0] == "reading 1,000.0 MB/s, measured on this store just now"
    assert "writing not measured" in found.basis[1]


def test_a_slow_store_counts() -> None:
    """Half or twice as fast as it was for a moment."""
    found = estimate(_work(10 * GIB), reading=_rate(10))
    assert found.least_s == pytest.approx(5 * GIB / 10e6 / 2, rel=0.01)
    assert found.most_s > 2 * 5 * GIB / 10e6


def test_small_batches_and_fills_count() -> None:
    """A million batches of a hundred bytes take longer than their bytes; fills are on top."""
    small = estimate(_work(100_000_000, batches=1_000_000), reading=_rate(1000))
    assert small.least_s > 50
    assert small.most_s > 600
    filled = estimate(_work(1000, longest_fill_s=100, all_fills_s=300), reading=None)
    assert filled.least_s > 20
    assert filled.most_s > 300
    assert filled.basis[-1] == "filling offsets without a record included"


def test_what_was_measured_before_counts_instead() -> None:
    """An earlier restore to the same target says more than a guess, so the range is narrower."""
    found = estimate(_work(10 * GIB), reading=_rate(1000), earlier=_rate(50, "2 earlier restores to standby"))
    assert found.most_s / found.least_s < 2.5
    assert found.basis == ("50.0 MB/s measured in 2 earlier restores to standby",)


@pytest.mark.parametrize(
    ("work", "said"),
    [
        (_work(0, batches=0, topics=0), "time to load: up to 1 s for 0 B in 0 batches"),
        (_work(10 * GIB), "time to load: 2 m to 9 m for 10.0 GiB in 1,000 batches"),
        (_work(1000 * GIB), "time to load: 3 h 0 m to 14 h 50 m for 1000.0 GiB"),
    ],
)
def test_a_range_for_a_person(work: Workload, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """No more exact than it is."""
    print_estimate(estimate(work, reading=None), work)
    assert capsys.readouterr().out.startswith(said)
