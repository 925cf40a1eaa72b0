"""Everything that is measured, and the goals."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare import Comparison, Result, Say
from bench.many_partitions import measure_many_partitions
from bench.planning import OBJECTS, PLANNING, QUICK_OBJECTS, measure_planning
from bench.recovery_point import measure_recovery_point
from bench.sample import Sample
from bench.session import Session
from bench.stack import BenchStack
from bench.topics import TOPICS, TopicSpec, fill

__all__ = ["COMPARISONS", "MANY_PARTITIONS", "PLANNING", "RECOVERY_POINT", "Options", "run_suite"]

RSS_GOAL_BYTES = 512_000_000
RECOVERY_POINT = "recovery point"
MANY_PARTITIONS = "many partitions"


def _comparison(topic: str, ours: str, other: str, goal: float | None) -> tuple[str, Comparison]:
    return topic, Comparison(name=f"{ours} of {topic} / {other}", ours=ours, other=other, goal=goal)


COMPARISONS: tuple[tuple[str, Comparison], ...] = (
    _comparison("small-lz4", "backup", "consumer", 4.0),
    _comparison("small-lz4", "backup", "faust", 80.0),
    _comparison("small-lz4", "backup zstd", "consumer", 1.7),
    _comparison("small-lz4", "restore", "producer", 2.5),
    _comparison("small-lz4", "backup", "mm2", None),
    _comparison("large-lz4", "backup", "consumer", 1.0),
    _comparison("large-lz4", "backup", "faust", 20.0),
    _comparison("large-lz4", "backup zstd", "consumer", 0.5),
    _comparison("large-lz4", "restore", "producer", 1.2),
    _comparison("large-lz4", "backup", "mm2", None),
    _comparison("large-plain", "backup", "consumer", None),
    _comparison("large-plain", "backup zstd", "consumer", None),
    _comparison("large-plain", "restore", "producer", None),
    _comparison("one-record", "backup", "consumer", 1.0),
    _comparison("one-record", "backup zstd", "consumer", None),
    _comparison("one-record", "restore", "producer", None),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Of the command line. `only`: parts of names; empty means everything."""

    pairs: int
    quick: bool
    keep: bool
    only: tuple[str, ...] = ()

    def wants(self, name: str) -> bool:
        """Whether something of that name is to be measured."""
        return not self.only or any(part in name for part in self.only)


def run_suite(stack: BenchStack, options: Options, say: Say, results: list[Result]) -> None:
    """Append all results, in the order of the report: what was measured before an error is not lost."""
    backups: list[Sample] = []
    for spec in TOPICS:
        wanted = [
            comparison for topic, comparison in COMPARISONS if topic == spec.name and options.wants(comparison.name)
        ]
        if wanted:
            results += _run_topic(stack, spec, wanted, options, backups, say)
    if backups:
        results.append(_peak_rss(backups))
    if options.wants(RECOVERY_POINT):
        say(f"{RECOVERY_POINT}: steady 20 MB/s")
        results += measure_recovery_point(stack, 20 if options.quick else 120)
    if options.wants(MANY_PARTITIONS):
        say(f"{MANY_PARTITIONS}: idle, then active")
        quick = options.quick
        results += measure_many_partitions(stack, idle_seconds=15 if quick else 60, active_seconds=30 if quick else 120)
    if options.wants(PLANNING):
        say(PLANNING)
        results += measure_planning(
            stack, rounds=1 if options.quick else 3, objects=QUICK_OBJECTS if options.quick else OBJECTS
        )


def _run_topic(
    stack: BenchStack, spec: TopicSpec, wanted: Sequence[Comparison], options: Options, backups: list[Sample], say: Say
) -> list[Result]:
    topic = fill(stack, spec.quick() if options.quick else spec)
    session = Session(stack, topic, keep=options.keep)
    results = session.run(wanted, options.pairs, say)
    backups += session.backups
    return results


def _peak_rss(backups: Sequence[Sample]) -> Result:
    peaks = [sample.peak_rss_bytes for sample in backups]
    return Result(
        name="peak RSS of a worker, over all backups above",
        ours=max(peaks),
        other=None,
        ratio=max(peaks) / RSS_GOAL_BYTES,
        goal=1.0,
        unit=f"bytes (goal: {RSS_GOAL_BYTES // 1_000_000} MB)",
        spread=(min(peaks) / RSS_GOAL_BYTES, max(peaks) / RSS_GOAL_BYTES),
        pairs=len(peaks),
        higher_is_better=False,
    )
