"""How long a restore may take: a range, from how fast the store was just read, or from how fast earlier restores were.

Reading and producing go on at once, so the longer of the two counts at best, and both together at worst. How fast a target takes records
is not known before; the bounds are those of one broker on a machine of two cores, slow and fast.
"""

from dataclasses import dataclass

from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicState
from mirror.core.run_pieces import RunPieces

__all__ = ["Estimate", "MeasuredRate", "Workload", "estimate", "workload_of"]

# Of docs/benchmarks.md: large batches go at 90 MB/s and more, small ones cost 160 µs each; slow is a quarter of that.
_FAST_BYTES_PER_S, _SLOW_BYTES_PER_S = 100e6, 20e6
_FAST_BATCH_S, _SLOW_BATCH_S = 50e-6, 600e-6
_FAST_TOPIC_S, _SLOW_TOPIC_S = 0.1, 1.0
_LEAST_S = 1.0
_READ_SPREAD = 2.0
_EARLIER_SPREAD = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What is left to do.

    Attributes:
        stored_bytes: to be read.
        produced_bytes: of batches to be produced.
        batches: to be produced.
        topics: to be made, or to be given their settings.
        longest_fill_s, all_fills_s: filling offsets without a record, of the slowest partition and of all, one after the other.
    """

    stored_bytes: int
    produced_bytes: int
    batches: int
    topics: int
    longest_fill_s: float
    all_fills_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRate:
    """Bytes a second; ``size_bytes`` is how much was measured, ``source`` what was: ``this store, just now``."""

    bytes_per_s: float
    size_bytes: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Between ``least_s`` and ``most_s`` seconds; ``basis`` says in words from what."""

    least_s: float
    most_s: float
    basis: tuple[str, ...]


def workload_of(plan: RestorePlan) -> Workload:
    """What is left of a plan; where a part of a partition is there already, its share of the records."""
    stored = produced = batches = 0.0
    fills: list[float] = []
    open_topics = [topic for topic in plan.topics if topic.state is not TopicState.COMPLETE]
    for partition in (partition for topic in open_topics for partition in topic.partitions):
        coverage = partition.coverage
        if coverage is None:
            continue
        left = _left(partition)
        pieces = RunPieces.of(coverage.runs)
        stored += left * pieces.total_once("stored_bytes")
        produced += left * pieces.total_once("fetched_bytes")
        batches += left * pieces.total_once("batch_count")
        fills.append(left * partition.fill_s)
    return Workload(
        stored_bytes=int(stored),
        produced_bytes=int(produced),
        batches=int(batches),
        topics=len(open_topics),
        longest_fill_s=max(fills, default=0.0),
        all_fills_s=sum(fills),
    )


def _left(partition: PartitionPlan) -> float:
    return 1 - min(1.0, partition.done_records / partition.records) if partition.records else 1.0


def estimate(work: Workload, *, reading: MeasuredRate | None, earlier: MeasuredRate | None = None) -> Estimate:
    """How long the work may take.

    Args:
        work: see :func:`workload_of`.
        reading: how fast the store was read; None where there was nothing to read.
        earlier: produced bytes a second of earlier restores to this target, all in all; it counts instead of what is taken for granted.
    """
    basis: list[str] = []
    produce_least_s = work.produced_bytes / _FAST_BYTES_PER_S + work.batches * _FAST_BATCH_S
    produce_most_s = work.produced_bytes / _SLOW_BYTES_PER_S + work.batches * _SLOW_BATCH_S
    read_least_s = read_most_s = 0.0
    if earlier is not None and earlier.bytes_per_s > 0:
        whole_s = work.produced_bytes / earlier.bytes_per_s
        produce_least_s, produce_most_s = whole_s / _EARLIER_SPREAD, whole_s * _EARLIER_SPREAD
        basis.append(f"{earlier.bytes_per_s / 1e6:,.1f} MB/s measured in {earlier.source}")
    else:
        if reading is not None and reading.bytes_per_s > 0:
            read_s = work.stored_bytes / reading.bytes_per_s
            read_least_s, read_most_s = read_s / _READ_SPREAD, read_s * _READ_SPREAD
            basis.append(f"reading {reading.bytes_per_s / 1e6:,.1f} MB/s, measured on {reading.source}")
        basis.append(
            f"writing not measured: taken as {_SLOW_BYTES_PER_S / 1e6:.0f} to {_FAST_BYTES_PER_S / 1e6:.0f} MB/s, small batches slower"
        )
    least_s = max(read_least_s, produce_least_s, work.longest_fill_s / 4) + _FAST_TOPIC_S * work.topics
    most_s = read_most_s + produce_most_s + work.all_fills_s + _SLOW_TOPIC_S * work.topics
    if work.all_fills_s >= 1:
        basis.append("filling offsets without a record included")
    return Estimate(least_s=least_s, most_s=max(most_s, least_s, _LEAST_S), basis=tuple(basis))
