"""A worker that has nothing to store says so now and then, by an object without anything in it.

Without it nobody who has only the repository can tell an idle cluster from a worker that stands still, and no moment after the last
record could be restored to. The object's `sealed_at_ms` is a time at which every partition of the worker was asked, and had nothing
that is not stored. See docs/decisions/0019-quiet-objects.md.
"""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.source_state import SourcePartition
from mirror.service.backup.collector import Collector, FlushBatch
from mirror.service.backup.flusher import Flusher

__all__ = ["quiet_since", "say_while_quiet"]

_LOOK_SECONDS: Final = 1.0
_FRESH_MS: Final = 10_000


def quiet_since(
    owned: Collection[TopicPartition],
    sources: Mapping[TopicPartition, SourcePartition],
    collector: Collector,
    now_ms: int,
) -> int | None:
    """When every partition was known to hold nothing that is not on its way to the store; None where that is not known of all.

    Args:
        owned: the partitions of this worker.
        sources: those that are fetched, with what their leaders said last.
        collector: where the collected slices of each end, and whether any of them waits.
        now_ms: the clock of the answers.
    """
    if collector.first_buffered_at_ms:
        return None
    oldest_ms = now_ms
    for tp in owned:
        source, buffer = sources.get(tp), collector.buffers.get(tp)
        if source is None or buffer is None or source.watermarks is None or source.position != buffer.expected:
            return None
        answered_ms = source.watermarks.fetched_at_ms
        if buffer.expected < source.watermarks.last_stable_offset or answered_ms < now_ms - _FRESH_MS:
            return None
        oldest_ms = min(oldest_ms, answered_ms)
    return oldest_ms if owned else None


async def say_while_quiet(flusher: Flusher, since: Callable[[int], int | None], interval_ms: int) -> None:
    """Write an empty object whenever nothing was put for so long, and there is nothing to put; until cancelled.

    Args:
        flusher: writes it.
        since: given the time now, since when all is quiet, see :func:`quiet_since`.
        interval_ms: between objects, at least.
    """
    began_ms = _now_ms()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        now_ms = _now_ms()
        if flusher.in_flight or now_ms - max(flusher.health.last_success_at_ms, began_ms) < interval_ms:
            continue
        looked_at_ms = since(now_ms)
        if looked_at_ms is not None:
            flusher.submit(FlushBatch([], [], [], looked_at_ms=looked_at_ms))


def _now_ms() -> int:
    return int(time.time() * 1000)
