"""How fast the store is, measured on a few MB of what a restore is going to read."""

import heapq
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from mirror.core.restore_estimate import MeasuredRate
from mirror.core.restore_plan import RestorePlan
from mirror.core.run_pieces import RunPieces
from mirror.errors import MirrorError
from mirror.storage.repository import Repository

__all__ = ["measure_reading"]

_THREADS = 2  # as many as a restore reads with
_MOST_BYTES = 8 << 20
_PART_BYTES = 2 << 20
_MOST_READS = 8
_LEAST_BYTES = 64 << 10
_LONGEST_S = 3.0


def measure_reading(repository: Repository, plan: RestorePlan) -> MeasuredRate | None:
    """Read a few large ranges of the plan's objects and throw them away; None where there is too little, or a read fails.

    At most 8 requests and 8 MiB; no request is begun after 3 s.
    """
    parts = list(_parts(plan))
    if sum(length_bytes for _, _, length_bytes in parts) < _LEAST_BYTES:
        return None
    began_s = time.monotonic()

    def read(part: tuple[str, int, int]) -> int:
        if time.monotonic() - began_s > _LONGEST_S:
            return 0
        return len(repository.store.get_range(*part))

    try:
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="measuring") as pool:
            size_bytes = sum(pool.map(read, parts))
    except MirrorError:
        return None
    elapsed_s = time.monotonic() - began_s
    if size_bytes < _LEAST_BYTES:
        return None
    return MeasuredRate(
        bytes_per_s=size_bytes / max(elapsed_s, 1e-3), size_bytes=size_bytes, source="this store just now"
    )


def _parts(plan: RestorePlan) -> Iterator[tuple[str, int, int]]:
    """The largest run of each of the largest partitions: object, position, length in bytes."""
    runs: list[tuple[int, str, int]] = []
    for partition in (partition for topic in plan.topics for partition in topic.partitions):
        if partition.coverage is None or not partition.coverage.runs:
            continue
        pieces = RunPieces.of(partition.coverage.runs)
        largest = pieces[int(pieces.column("stored_bytes").argmax())]
        runs.append((largest.run.stored_bytes, largest.object_key, largest.run.position))
    left_bytes = _MOST_BYTES
    for stored_bytes, key, position in heapq.nlargest(_MOST_READS, runs):
        length_bytes = min(stored_bytes, _PART_BYTES, left_bytes)
        if length_bytes > 0:
            left_bytes -= length_bytes
            yield key, position, length_bytes
