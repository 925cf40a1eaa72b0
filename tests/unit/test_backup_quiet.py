"""A worker says that nothing came only when every partition was asked, had nothing, and nothing waits to be stored."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from mirror.core.positions import TopicPartition, Watermarks
from mirror.kafka.memory_budget import MemoryBudget
from mirror.kafka.source_state import SourcePartition
from mirror.service.backup.collector import Collector
from mirror.service.backup.flusher import Flusher, FlusherSettings, SealedSegment
from mirror.service.backup.quiet import quiet_since, say_while_quiet
from tests.builders import T0_MS, TOPIC_ID, a_batch, a_repository, a_slice

PARTITIONS = [TopicPartition("orders", number) for number in range(2)]
Lab = tuple[dict[TopicPartition, SourcePartition], Collector]


def _quiet() -> Lab:
    """Two partitions that were asked a second and two seconds ago, and had nothing behind offset 10."""
    sources: dict[TopicPartition, SourcePartition] = {}
    collector = Collector()
    for number, tp in enumerate(PARTITIONS):
        source = SourcePartition(topic_partition=tp, topic_id=TOPIC_ID, assignment_epoch=1, position=10, leader_epoch=0)
        source.watermarks = Watermarks(
            fetched_at_ms=T0_MS - 1000 * (number + 1), log_start_offset=0, high_watermark=12, last_stable_offset=10
        )
        sources[tp] = source
        collector.expect(tp, TOPIC_ID, 10, 0, 1)
    return sources, collector


def test_it_is_quiet_since_the_oldest_answer() -> None:
    """What an open transaction holds back is not there yet."""
    sources, collector = _quiet()
    assert quiet_since(PARTITIONS, sources, collector, T0_MS) == T0_MS - 2000


def _not_fetched(sources: dict[TopicPartition, SourcePartition], _collector: Collector) -> None:
    del sources[PARTITIONS[1]]


def _never_answered(sources: dict[TopicPartition, SourcePartition], _collector: Collector) -> None:
    sources[PARTITIONS[1]].watermarks = None


def _answered_long_ago(sources: dict[TopicPartition, SourcePartition], _collector: Collector) -> None:
    marks = sources[PARTITIONS[1]].watermarks
    assert marks is not None
    sources[PARTITIONS[1]].watermarks = replace(marks, fetched_at_ms=T0_MS - 11_000)


def _has_more(sources: dict[TopicPartition, SourcePartition], _collector: Collector) -> None:
    marks = sources[PARTITIONS[1]].watermarks
    assert marks is not None
    sources[PARTITIONS[1]].watermarks = replace(marks, last_stable_offset=11)


def _on_its_way_to_the_buffer(sources: dict[TopicPartition, SourcePartition], _collector: Collector) -> None:
    sources[PARTITIONS[1]].position = 13


def _buffered(sources: dict[TopicPartition, SourcePartition], collector: Collector) -> None:
    collector.buffers[PARTITIONS[0]].assignment_epoch = 0
    collector.add(a_slice(a_batch(10, 3), start_offset=10))
    sources[PARTITIONS[0]].position = 13


@pytest.mark.parametrize(
    "change", [_not_fetched, _never_answered, _answered_long_ago, _has_more, _on_its_way_to_the_buffer, _buffered]
)
def test_otherwise_nobody_knows(change: Callable[[dict[TopicPartition, SourcePartition], Collector], None]) -> None:
    """One partition of which it is not known is enough."""
    sources, collector = _quiet()
    change(sources, collector)
    assert quiet_since(PARTITIONS, sources, collector, T0_MS) is None
    assert quiet_since([], {}, Collector(), T0_MS) is None


async def test_an_empty_object_says_since_when() -> None:
    """With the time of the look, not of the put; one after the other, in the writer's sequence, and none while it is not quiet."""
    repository = a_repository()
    told: list[SealedSegment] = []

    async def tell(sealed: SealedSegment) -> None:
        told.append(sealed)

    settings = FlusherSettings(writer="w1", body_mode="auto", zstd_level=1, put_threads=1)
    flusher = Flusher(repository, MemoryBudget(1 << 26, 1 << 24), settings, on_sealed=tell)
    is_quiet = [True]
    task = asyncio.create_task(say_while_quiet(flusher, lambda now_ms: now_ms - 700 if is_quiet[0] else None, 10))
    try:
        deadline_s = time.monotonic() + 30
        while len(told) < 2:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.05)
        is_quiet[0] = False
        assert await flusher.drain(10)
        count = len(told)
        await asyncio.sleep(1.3)
        assert len(told) == count
    finally:
        task.cancel()
        await flusher.close()
    stored = repository.load_indexes()
    assert [(one.index.sequence, one.index.runs, one.index.starts) for one in stored[:2]] == [(1, [], []), (2, [], [])]
    for one in told:
        assert 600 <= one.durable_at_ms - one.index.sealed_at_ms < 30_000
