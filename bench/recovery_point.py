"""How long a record is in the log before it is durable, at a steady 20 MB/s and a flush every second.

Every batch counts. Its append time is the broker's own (a LogAppendTime topic), read from the batch headers in the broker's
log files; the time from which it is durable is that of the SegmentSealed event whose range holds it, sent after the put.
"""

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bench.children import BenchError
from bench.compare import Result
from bench.deployment import Deployment
from bench.payloads import write_payloads
from bench.sealed import SealedReader, ToldEvent
from bench.stack import BenchStack
from bench.topics import PARTITIONS, create_topic, delete_topics, log_segments, produce_payload
from mirror.core.record_batch import scan_batches

__all__ = ["measure_recovery_point", "percentiles"]

BYTES_PER_SECOND = 20_000_000
RECORD_BYTES = 870
GOALS_S = {50: 1.5, 99: 3.0}
_WARM_UP_S = 5.0
_LEAST_SHARE = 0.95
_TOPIC = "steady"


def measure_recovery_point(stack: BenchStack, seconds: int) -> list[Result]:
    """Produce for so long while a worker runs; ages of the batches appended after its first five seconds."""
    create_topic(stack, _TOPIC, PARTITIONS, **{"message.timestamp.type": "LogAppendTime"})
    settings = {"flush_interval": '"1s"'}
    deployment = Deployment(stack, "steady-backup", [_TOPIC], settings)
    with deployment.start("worker") as worker:
        reader = SealedReader(stack.bootstrap, deployment.sealed_topic, worker)
        reader.drain(8.0)  # the worker starts
        producing = threading.Thread(target=_produce, args=(stack, seconds))
        producing.start()
        reader.drain(seconds + 8.0)
        producing.join()
        reader.drain(5.0)
        reader.close()
        worker.terminate(40)
    ages_s, duration_s, log_bytes = _ages(stack, reader.told)
    deployment.remove()
    delete_topics(stack, _TOPIC)
    if log_bytes / duration_s < _LEAST_SHARE * BYTES_PER_SECOND:
        raise BenchError(
            f"{log_bytes / duration_s / 1e6:.1f} MB/s were produced instead of {BYTES_PER_SECOND / 1e6:.0f}"
        )
    details = {
        "batches": len(ages_s),
        "seconds": round(duration_s, 1),
        "bytes_per_second": round(log_bytes / duration_s),
        "largest_s": round(float(ages_s.max()), 3),
        "peak_rss_bytes": worker.usage.peak_rss_bytes,
        "cpu_share": round(worker.usage.total_cpu_seconds / (worker.usage.times_s[-1] - worker.started_at_s), 3),
        "settings": settings,
        "producer": f"ProducerPerformance, {RECORD_BYTES} B uncompressed, its default batches, acks=1",
    }
    return [
        Result(
            name=f"recovery point, p{percentile}",
            ours=age_s,
            other=None,
            ratio=age_s / GOALS_S[percentile],
            goal=1.0,
            unit=f"s at {log_bytes / duration_s / 1e6:.1f} MB/s (goal: {GOALS_S[percentile]} s)",
            spread=(age_s / GOALS_S[percentile], age_s / GOALS_S[percentile]),
            pairs=1,
            higher_is_better=False,
            details=details,
        )
        for percentile, age_s in percentiles(ages_s, tuple(GOALS_S)).items()
    ]


def percentiles(ages_s: NDArray[np.float64], wanted: Sequence[int]) -> dict[int, float]:
    """By percentile, in seconds."""
    return {percentile: round(float(np.percentile(ages_s, percentile)), 3) for percentile in wanted}


def _produce(stack: BenchStack, seconds: int) -> None:
    payload = write_payloads(stack.folder / "payload-steady.txt", line_bytes=RECORD_BYTES, lines=20_000)
    per_second = BYTES_PER_SECOND // RECORD_BYTES
    settings = {"acks": "1", "compression.type": "none"}
    produce_payload(stack, _TOPIC, per_second * seconds, payload, settings, per_second=per_second)


def _ages(stack: BenchStack, told: Sequence[ToldEvent]) -> tuple[NDArray[np.float64], float, int]:
    ages: list[NDArray[np.float64]] = []
    appended: list[NDArray[np.float64]] = []
    log_bytes = 0
    for partition in range(PARTITIONS):
        runs = sorted(
            (run.next_offset, entry.told_at_s)
            for entry in told
            for run in entry.event.runs
            if run.topic == _TOPIC and run.partition == partition
        )
        next_offsets = np.array([next_offset for next_offset, _ in runs])
        told_at_s = np.array([at_s for _, at_s in runs])
        for path in log_segments(stack, _TOPIC, partition):
            columns = scan_batches(path.read_bytes(), check_crc=False)
            log_bytes += int(columns.batch_bytes.sum())
            # A batch is durable with the first event whose range ends at or behind its own end.
            event = np.searchsorted(next_offsets, columns.next_offset)
            if event.size and event.max() >= len(runs):
                raise BenchError(f"{_TOPIC}-{partition}: not everything that was appended became durable")
            appended_s = columns.column("max_timestamp") / 1000
            appended.append(appended_s)
            ages.append(told_at_s[event] - appended_s)
    times_s = np.concatenate(appended)
    counted = times_s > times_s.min() + _WARM_UP_S
    if not counted.any():
        raise BenchError(f"{_TOPIC}: nothing was appended after the first {_WARM_UP_S} s")
    return np.concatenate(ages)[counted], float(times_s.max() - times_s.min()), log_bytes
