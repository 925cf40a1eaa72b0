"""Exact offsets: what an independent consumer sees on the target is what it saw on the source, offsets and watermarks included."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror.core.filler import filler_batch
from mirror.core.positions import TopicPartition as NamedPartition
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_plan import TopicState
from mirror.errors import NoMatchError, RefusedError
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.restoring import Seen, consume_all, restore, selection_of

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def _produce(bootstrap: str, topic: str, first: int, count: int, *, partition: int = 0, **options: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.num.messages": 50, **options})
    for number in range(first, first + count):
        producer.produce(topic, key=b"k%d" % (number % 97), value=os.urandom(30), partition=partition)
        producer.poll(0)
    assert producer.flush(30) == 0


def _transactions(bootstrap: str, topic: str, count: int, *, records: int = 20) -> None:
    """Every third one is aborted."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": f"tx-{topic}", "compression.type": "gzip", "linger.ms": 1}
    )
    producer.init_transactions(30)
    for number in range(count):
        producer.begin_transaction()
        for record in range(records):
            producer.produce(topic, key=b"t%d" % number, value=b"%d" % record, partition=0)
        producer.flush(30)
        (producer.abort_transaction if number % 3 == 2 else producer.commit_transaction)(30)


def _trim(bootstrap: str, topic: str, before: int, *, partition: int = 0) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        future.result(30)


def _topics(bootstrap: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


def _watermarks(bootstrap: str, topic: str, partitions: int = 1) -> list[tuple[int, int]]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": f"w-{time.time_ns()}"})
    try:
        return [consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10) for p in range(partitions)]
    finally:
        consumer.close()


def _store(folder: Path) -> FolderStore:
    store = FolderStore(str(folder / "repo"))
    store.create()
    return store


async def _captured(bootstrap: str, topics: list[str], folder: Path, **options: Any) -> Capture:
    return await capture(bootstrap, topics, _store(folder), object_bytes=20_000, slice_bytes=4000, **options)


def _same(bootstrap: str, topic: str, restored: str, partitions: int = 1) -> list[Seen]:
    before, after = consume_all(bootstrap, topic), consume_all(bootstrap, restored)
    assert after == before
    assert _watermarks(bootstrap, restored, partitions) == _watermarks(bootstrap, topic, partitions)
    return after


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
async def test_trimmed_transactional_and_of_all_codecs(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, mode: str
) -> None:
    """A log that begins inside a batch, with aborted transactions and markers in it, and batches of every codec."""
    name = topic(2)
    for number, codec in enumerate(CODECS):
        _produce(kafka.bootstrap, name, number * 400, 400, **{"compression.type": codec})
    _trim(kafka.bootstrap, name, 777)
    _transactions(kafka.bootstrap, name, 12)
    _produce(kafka.bootstrap, name, 0, 100, partition=1)
    taken = await _captured(kafka.bootstrap, [name], tmp_path, mode=mode)
    plan, result = await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    seen = _same(kafka.bootstrap, name, f"x-{name}", 2)
    assert len(seen) == 2000 - 777 + 160 + 100 == result.loaded_records
    assert plan.topics[0].partitions[0].lead_offset == 777
    again, nothing = await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    assert again.topics[0].state is TopicState.COMPLETE
    assert nothing.loaded_records == 0


async def test_compacted_with_holes(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Offsets that compaction removed stay empty, inside batches too."""
    name = topic(
        1,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.01",
        min_compaction_lag_ms="0",
        max_compaction_lag_ms="500",
    )
    _produce(kafka.bootstrap, name, 0, 3000, **{"compression.type": "lz4"})
    deadline = time.monotonic() + 60
    while len(consume_all(kafka.bootstrap, name)) > 1500:
        assert time.monotonic() < deadline, "the broker does not compact"
        _produce(kafka.bootstrap, name, 0, 5)  # rolls the segment
        await asyncio.sleep(1)
    taken = await _captured(kafka.bootstrap, [name], tmp_path, mode="auto")
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    before = {record.offset: record for record in consume_all(kafka.bootstrap, f"x-{name}")}
    for record in consume_all(kafka.bootstrap, name):  # it may have compacted further
        assert before[record.offset] == record


async def test_a_long_lead(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Millions of offsets that are gone at the source are gone on the target, in seconds."""
    name = topic(1)
    await _advance(kafka.bootstrap, name, 2_300_000)
    _produce(kafka.bootstrap, name, 0, 60)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    seen = _same(kafka.bootstrap, name, f"x-{name}")
    assert seen[0].offset == 2_300_000


async def _advance(bootstrap: str, topic: str, offset: int) -> None:
    """Moves an empty topic's log to an offset."""
    async with (
        await open_client(ClusterConnection(bootstrap_servers=(bootstrap,))) as client,
        BatchProducer(client) as producer,
    ):
        left = offset
        while left:
            count = min(left, 1_000_000)
            await producer.send(topic, 0, filler_batch(count, timestamp_ms=0))
            left -= count
    _trim(bootstrap, topic, offset)


async def test_a_moment(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """--at brings back the prefix that stood in the log; --until the records of that time, in whatever order they lie."""
    name = topic(1)
    old_ms = time.time_ns() // 1_000_000 - 86_400_000
    _at_times(kafka.bootstrap, name, [old_ms + n for n in range(50)])
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    await asyncio.sleep(0.05)
    at_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    # A replay after the moment, stamped before it; and records of their own time.
    _at_times(kafka.bootstrap, name, [old_ms - n for n in range(30)])
    _at_times(kafka.bootstrap, name, [at_ms + 50 + n for n in range(20)])
    taken = await _captured_on(kafka.bootstrap, [name], taken)
    everything = consume_all(kafka.bootstrap, name)

    at = RecoveryPoint(kind=PointKind.AT, time_ms=at_ms)
    plan, _ = await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="at-", point=at))
    assert consume_all(kafka.bootstrap, f"at-{name}") == everything[:50]
    assert _watermarks(kafka.bootstrap, f"at-{name}") == [(0, 50)]
    assert plan.topics[0].partitions[0].records == 50

    until = RecoveryPoint(kind=PointKind.UNTIL, time_ms=at_ms)
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="until-", point=until))
    kept = [record for record in everything if record.timestamp_ms <= at_ms]
    assert consume_all(kafka.bootstrap, f"until-{name}") == kept
    assert len(kept) == 80

    since = RecoveryPoint(kind=PointKind.UNTIL, time_ms=old_ms + 10, since_ms=old_ms - 3)
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="since-", point=since))
    kept = [record for record in everything if old_ms - 3 <= record.timestamp_ms <= old_ms + 10]
    assert consume_all(kafka.bootstrap, f"since-{name}") == kept

    await restore(
        taken.repository,
        kafka.bootstrap,
        selection_of(name, prefix="dense-", point=until, offsets=OffsetMode.TRANSLATED),
    )
    dense = consume_all(kafka.bootstrap, f"dense-{name}")
    assert [record.offset for record in dense] == list(range(80))
    everything_kept = [record for record in everything if record.timestamp_ms <= at_ms]
    assert [record[2:] for record in dense] == [record[2:] for record in everything_kept]


def _at_times(bootstrap: str, topic: str, times_ms: list[int]) -> None:
    producer = Producer(
        {"bootstrap.servers": bootstrap, "linger.ms": 5, "compression.type": "lz4", "batch.num.messages": 20}
    )
    for time_ms in times_ms:
        producer.produce(topic, value=os.urandom(20), partition=0, timestamp=time_ms)
    assert producer.flush(30) == 0


async def _captured_on(bootstrap: str, topics: list[str], taken: Capture) -> Capture:
    return await capture(bootstrap, topics, taken.repository.store, object_bytes=20_000, slice_bytes=4000, go_on=taken)


async def test_an_offset_before_the_moment_is_not_split(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """A transaction that is open at the moment is left out whole, also what of it stands before other records."""
    name = topic(1)
    _produce(kafka.bootstrap, name, 0, 10)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"open-{name}"})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, value=b"open", partition=0)
    producer.flush(30)
    _produce(kafka.bootstrap, name, 0, 10)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    await asyncio.sleep(0.05)
    at_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    producer.commit_transaction(30)
    taken = await _captured_on(kafka.bootstrap, [name], taken)
    at = RecoveryPoint(kind=PointKind.AT, time_ms=at_ms)
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="at-", point=at))
    assert consume_all(kafka.bootstrap, f"at-{name}") == consume_all(kafka.bootstrap, name)[:10]


async def test_another_point_does_not_go_on(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """A topic that a restore to one moment began is not finished by a restore to another."""
    name = topic(1, retention_ms="-1")
    _at_times(kafka.bootstrap, name, [1_700_000_000_000 + n for n in range(500)])
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    first = RecoveryPoint(kind=PointKind.UNTIL, time_ms=1_700_000_000_300)
    running = asyncio.create_task(
        restore(
            taken.repository,
            kafka.bootstrap,
            selection_of(name, prefix="x-", point=first),
            bytes_per_second=1500,
        )
    )
    deadline = time.monotonic() + 30
    while f"x-{name}" not in _topics(kafka.bootstrap) or not _watermarks(kafka.bootstrap, f"x-{name}")[0][1]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)
    running.cancel()
    assert isinstance((await asyncio.gather(running, return_exceptions=True))[0], asyncio.CancelledError)
    other = RecoveryPoint(kind=PointKind.UNTIL, time_ms=1_700_000_000_400)
    with pytest.raises(RefusedError, match=r"another restore: --until 2023-11-14T22:13:20.300Z --offsets exact"):
        await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-", point=other))
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-", point=first))
    assert consume_all(kafka.bootstrap, f"x-{name}") == consume_all(kafka.bootstrap, name)[:301]


async def test_the_plan_names_the_records_at_the_edge(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """The last that comes back and the first that does not, for a prefix and for times that go back and forth."""
    name = topic(1)
    base_ms = 1_700_000_000_000
    _at_times(kafka.bootstrap, name, [base_ms + n for n in (0, 10, 5, 20, 7, 30)])
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    connection = ClusterConnection(bootstrap_servers=(kafka.bootstrap,))
    points: list[tuple[RecoveryPoint, Any]] = [
        (
            RecoveryPoint(kind=PointKind.OFFSETS, offsets={NamedPartition(name, 0): 4}),
            ((3, base_ms + 20), (4, base_ms + 7)),
        ),
        (RecoveryPoint(kind=PointKind.UNTIL, time_ms=base_ms + 10), ((4, base_ms + 7), (3, base_ms + 20))),
        (RecoveryPoint(kind=PointKind.UNTIL, time_ms=base_ms + 90), ((5, base_ms + 30), None)),
    ]
    async with RestoreSession(taken.repository, read_inventory(taken.repository), connection, alias="t") as session:
        for point, expected in points:
            wanted = selection_of(name, prefix="x-", point=point)
            plan, _ = await session.plan(wanted, now_ms=time.time_ns() // 1_000_000)
            (edge,) = (await session.boundaries(plan, most=10)).values()
            assert (edge.last_kept, edge.first_dropped) == expected


async def test_one_partition(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Only that one has records; the others are there, and empty."""
    name = topic(3)
    for partition in range(3):
        _produce(kafka.bootstrap, name, 0, 20 + partition, partition=partition)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    only = selection_of(name, prefix="x-", partitions=frozenset({1}))
    await restore(taken.repository, kafka.bootstrap, only)
    assert _watermarks(kafka.bootstrap, f"x-{name}", 3) == [(0, 0), (0, 21), (0, 0)]
    wanted = [record for record in consume_all(kafka.bootstrap, name) if record.partition == 1]
    assert consume_all(kafka.bootstrap, f"x-{name}") == wanted
    again, _ = await restore(taken.repository, kafka.bootstrap, only)
    assert again.topics[0].state is TopicState.COMPLETE
    with pytest.raises(NoMatchError, match="partition 7"):
        await restore(taken.repository, kafka.bootstrap, selection_of(name, partitions=frozenset({7})))
