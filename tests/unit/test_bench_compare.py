"""How the bench puts runs together."""

import pytest

from bench.compare import Comparison, Result, Side, measure, summarize
from bench.sample import Sample


def a_sample(seconds: float, *, records: int = 1000, cpu_seconds: float = 1.0) -> Sample:
    """One run."""
    return Sample(
        records=records,
        seconds=seconds,
        cpu_seconds=cpu_seconds,
        process_cpu_seconds=cpu_seconds + 1,
        peak_rss_bytes=int(seconds * 1000),
    )


def a_side(name: str, samples: list[Sample], ran: list[str], rounds: int | None = None) -> Side:
    """A side that gives these samples in order and notes that it ran."""
    left = iter(samples)

    def run() -> Sample:
        ran.append(name)
        return next(left)

    return Side(name=name, run=run, rounds=rounds)


@pytest.fixture(autouse=True)
def _no_settling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.compare._SETTLE_S", 0.0)


def test_the_ratio_is_the_median_of_the_pairs_and_not_the_ratio_of_medians() -> None:
    """A round in which everything was slow does not distort the ratio."""
    samples = {"ours": [a_sample(1), a_sample(10), a_sample(1)], "other": [a_sample(2), a_sample(20), a_sample(8)]}
    sides = {name: a_side(name, [], []) for name in samples}
    result = summarize(Comparison(name="x", ours="ours", other="other", goal=2.0), sides, samples)
    assert result.ratio == pytest.approx(2.0)
    assert result.spread == (pytest.approx(2.0), pytest.approx(8.0))
    assert result.pairs == 3
    assert result.is_met is True


def test_every_second_round_goes_backwards() -> None:
    """No side always runs after the same other one."""
    ran: list[str] = []
    sides = [a_side(name, [a_sample(1)] * 3, ran) for name in ("a", "b")]
    samples = measure(sides, 3, lambda _text: None)
    assert ran == ["a", "b", "b", "a", "a", "b"]
    assert [len(found) for found in samples.values()] == [3, 3]


def test_a_slow_side_runs_less_often_and_says_so() -> None:
    """The number of pairs is that of the side that ran less often."""
    ran: list[str] = []
    sides = [a_side("a", [a_sample(1)] * 3, ran), a_side("b", [a_sample(4)] * 3, ran, rounds=1)]
    samples = measure(sides, 3, lambda _text: None)
    result = summarize(
        Comparison(name="x", ours="a", other="b", goal=None), {side.name: side for side in sides}, samples
    )
    assert ran.count("b") == 1
    assert (result.pairs, result.ratio, result.is_met) == (1, 4.0, None)


def test_the_cpu_ratio_is_by_record() -> None:
    """A side that ran on fewer records is not taken for cheaper."""
    samples = {
        "ours": [a_sample(1, records=1000, cpu_seconds=1)],
        "other": [a_sample(1, records=100, cpu_seconds=1)],
    }
    sides = {name: a_side(name, [], []) for name in samples}
    result = summarize(Comparison(name="x", ours="ours", other="other", goal=None), sides, samples)
    assert result.details["cpu_ratio"] == pytest.approx(10.0)


@pytest.mark.parametrize(
    ("ratio", "higher", "met"), [(1.1, True, True), (0.9, True, False), (0.9, False, True), (1.1, False, False)]
)
def test_a_goal_is_judged_from_the_side_it_is_wanted_on(ratio: float, higher: bool, met: bool) -> None:
    """Rates are wanted above their goal, ages, bytes and memory below."""
    result = Result(
        name="x",
        ours=1,
        other=None,
        ratio=ratio,
        goal=1.0,
        unit="s",
        spread=(ratio, ratio),
        pairs=1,
        higher_is_better=higher,
    )
    assert result.is_met is met
