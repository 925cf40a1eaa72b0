"""Alternating runs of two or more sides, and what they say together: medians, ratios, spread."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.sample import Sample

__all__ = ["Comparison", "Result", "Side", "measure", "summarize"]

Say = Callable[[str], None]
_SETTLE_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Something that can be run again and again. `rounds`: at most so many times (slow sides)."""

    name: str
    run: Callable[[], Sample]
    settings: Mapping[str, Any] = field(default_factory=dict)
    rounds: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two sides by name, and the ratio of their rates that is wanted (None: whatever it is)."""

    name: str
    ours: str
    other: str
    goal: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One line of the report and one entry of the JSON.

    `ratio` is the median of the pairs' ratios, `spread` their smallest and largest. `higher_is_better` says on which side of
    `goal` the ratio is wanted. Everything that is not a comparison of rates is in `details`.
    """

    name: str
    ours: float
    other: float | None
    ratio: float
    goal: float | None
    unit: str
    spread: tuple[float, float]
    pairs: int
    higher_is_better: bool = True
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is reached; None without one."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.higher_is_better else self.ratio <= self.goal


def measure(sides: Sequence[Side], pairs: int, say: Say) -> dict[str, list[Sample]]:
    """Run all sides in turn, `pairs` times; every second round goes backwards, so that no side always comes after another."""
    samples: dict[str, list[Sample]] = {side.name: [] for side in sides}
    for number in range(pairs):
        for side in sides if number % 2 == 0 else reversed(sides):
            if side.rounds is not None and number >= side.rounds:
                continue
            sample = side.run()
            samples[side.name].append(sample)
            say(
                f"  {number + 1}/{pairs} {side.name:34} {sample.records_per_second:12,.0f} records/s {sample.seconds:7.2f} s "
                f"{sample.cpu_seconds:6.2f} CPU-s {sample.peak_rss_bytes / 1e6:6.0f} MB"
            )
            time.sleep(_SETTLE_S)
    return samples


def summarize(comparison: Comparison, sides: Mapping[str, Side], samples: Mapping[str, Sequence[Sample]]) -> Result:
    """Put the samples of two sides together, pair by pair (a side that ran less often makes fewer pairs)."""
    pairs = list(zip(samples[comparison.ours], samples[comparison.other], strict=False))
    ratios = [ours.records_per_second / other.records_per_second for ours, other in pairs]
    ours_all, other_all = [ours for ours, _ in pairs], [other for _, other in pairs]
    return Result(
        name=comparison.name,
        ours=statistics.median(sample.records_per_second for sample in ours_all),
        other=statistics.median(sample.records_per_second for sample in other_all),
        ratio=statistics.median(ratios),
        goal=comparison.goal,
        unit="records/s",
        spread=(min(ratios), max(ratios)),
        pairs=len(pairs),
        details={
            "cpu_ratio": _cpu_ratio(pairs),
            "process_cpu_seconds": statistics.median(sample.process_cpu_seconds for sample in ours_all),
            "seconds": [round(sample.seconds, 3) for sample in ours_all],
            "other_seconds": [round(sample.seconds, 3) for sample in other_all],
            "peak_rss_bytes": max(sample.peak_rss_bytes for sample in ours_all),
            "other_peak_rss_bytes": max(sample.peak_rss_bytes for sample in other_all),
            "stored_bytes": int(statistics.median(sample.stored_bytes for sample in ours_all)),
            "objects": int(statistics.median(sample.objects for sample in ours_all)),
            "settings": dict(sides[comparison.ours].settings),
            "other_settings": dict(sides[comparison.other].settings),
        },
    )


def _cpu_ratio(pairs: Sequence[tuple[Sample, Sample]]) -> float:
    """The other's CPU for a record over ours: above 1 we need less. Both sides' own processes only."""
    ratios = [
        other.cpu_microseconds_per_record / ours.cpu_microseconds_per_record
        for ours, other in pairs
        if ours.cpu_seconds > 0
    ]
    return statistics.median(ratios) if ratios else 0.0
