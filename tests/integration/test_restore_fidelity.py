"""What comes back equals what a read_committed consumer saw: every codec, every odd record, every way to store it."""

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from mirror.core.recovery_point import OffsetMode
from mirror.errors import RefusedError
from mirror.storage.memory import MemoryStore
from mirror.storage.opening import open_store
from tests.capture import capture
from tests.restoring import Seen, consume_all, restore, selection_of, without_offsets

NOW_MS = time.time_ns() // 1_000_000
CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
ODD_HEADERS: list[tuple[str, bytes | None]] = [
    ("b", b"2"),
    ("a", b"1"),
    ("b", b"3"),
    ("null", None),
    ("", b""),
    ("ünïcode", bytes(range(256))),
]


def _odd_records() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for number in range(60):
        records.append({"key": b"k%d" % number, "value": b'{"n":%d}' % number * 20, "timestamp": NOW_MS - number * 7})
        records.append({"key": None, "value": b"no key", "timestamp": NOW_MS + number})
        records.append({"key": b"", "value": b"", "timestamp": NOW_MS - 100_000 * (number % 3)})
        records.append({"key": b"tombstone", "value": None, "timestamp": NOW_MS})
        records.append({"key": b"h", "value": b"v" * number, "headers": ODD_HEADERS, "timestamp": NOW_MS - 5})
    return records


def _produce(bootstrap: str, topic: str, records: list[dict[str, Any]], *, partitions: int = 1, **options: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "enable.idempotence": True, **options})
    for number, record in enumerate(records):
        producer.produce(topic, partition=number % partitions, **record)
        producer.poll(0)
    assert producer.flush(30) == 0


async def _round_trip(
    bootstrap: str, topic: str, *, target: str = "", **options: Any
) -> tuple[list[Seen], list[Seen], str]:
    kept = await capture(bootstrap, [topic], MemoryStore(), **options)
    before = await asyncio.to_thread(consume_all, bootstrap, topic)
    target = target or f"{topic}-back"
    await restore(
        kept.repository, bootstrap, selection_of(topic, renames={topic: target}, offsets=OffsetMode.TRANSLATED)
    )
    after = await asyncio.to_thread(consume_all, bootstrap, target)
    assert [record.offset for record in after if record.partition == 0] == list(
        range(sum(record.partition == 0 for record in after))
    )
    return before, after, target


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", ["auto", "passthrough", "zstd"])
async def test_odd_records_come_back_in_every_codec(
    kafka: Any, topic: Callable[..., str], codec: str, mode: str
) -> None:
    """Null and empty keys and values, tombstones, odd headers, times out of order: equal, however they are stored."""
    name = topic(2)
    _produce(kafka.bootstrap, name, _odd_records(), partitions=2, **{"compression.type": codec})
    before, after, _ = await _round_trip(kafka.bootstrap, name, mode=mode, slice_bytes=4096, object_bytes=20_000)
    assert len(before) == 300
    assert without_offsets(after) == without_offsets(before)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
async def test_one_record_batches_come_back(kafka: Any, topic: Callable[..., str], codec: str, mode: str) -> None:
    """Batches of one record are merged on the way back, and nothing of them changes."""
    name = topic()
    _produce(
        kafka.bootstrap, name, _odd_records(), **{"compression.type": codec, "batch.num.messages": 1, "linger.ms": 0}
    )
    before, after, _ = await _round_trip(kafka.bootstrap, name, mode=mode)
    assert len(before) == 300
    assert without_offsets(after) == without_offsets(before)


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
async def test_large_batches_come_back(kafka: Any, topic: Callable[..., str], mode: str) -> None:
    """Batches up to 8 MB, packed and not; the topic gets its own limit back."""
    name = topic(max_message_bytes="10000000")
    large = {"message.max.bytes": 9_000_000, "batch.size": 9_000_000, "linger.ms": 200}
    _produce(kafka.bootstrap, name, [{"value": os.urandom(8_000_000)}, {"value": b"small"}], **large)
    many = [{"key": b"%d" % n, "value": os.urandom(500) * 20} for n in range(700)]
    for codec in ("none", "zstd", "lz4"):
        _produce(kafka.bootstrap, name, many, **large, **{"compression.type": codec, "batch.num.messages": 10_000})
    before, after, target = await _round_trip(kafka.bootstrap, name, mode=mode)
    assert without_offsets(after) == without_offsets(before)
    assert _configs(kafka.bootstrap, target) == {"max.message.bytes": "10000000"}


async def test_append_times_come_back_as_seen(kafka: Any, topic: Callable[..., str]) -> None:
    """A LogAppendTime topic is loaded with the times consumers saw, and stamps new records again afterwards."""
    name = topic(message_timestamp_type="LogAppendTime", retention_ms="86400000")
    for codec in CODECS:
        _produce(kafka.bootstrap, name, _odd_records(), **{"compression.type": codec})
        time.sleep(0.02)
    before, after, target = await _round_trip(kafka.bootstrap, name)
    assert len({record.timestamp_ms for record in before}) > 1
    assert without_offsets(after) == without_offsets(before)
    assert _configs(kafka.bootstrap, target) == {
        "message.timestamp.type": "LogAppendTime",
        "retention.ms": "86400000",
    }


@pytest.mark.parametrize("codec", ["none", "lz4"])
async def test_transactions_come_back_as_committed(kafka: Any, topic: Callable[..., str], codec: str) -> None:
    """Committed yes, aborted no, nothing past an open transaction, and no marker becomes a record."""
    name = topic(2)
    base = {"bootstrap.servers": kafka.bootstrap, "compression.type": codec, "linger.ms": 5}
    producers = [Producer({**base, "transactional.id": f"{name}-{number}"}) for number in range(3)]
    for producer in producers:
        producer.init_transactions(20)
    for turn in range(6):
        for number, producer in enumerate(producers[:2]):
            producer.begin_transaction()
            for n in range(50):
                producer.produce(name, key=b"%d" % turn, value=b"%d-%d" % (number, n), partition=n % 2)
            producer.flush(20)
        for number, producer in enumerate(producers[:2]):
            if (turn + number) % 3 == 0:
                producer.abort_transaction(20)
            else:
                producer.commit_transaction(20)
        _produce(kafka.bootstrap, name, [{"value": b"plain"}] * 10, partitions=2)
    producers[2].begin_transaction()
    producers[2].produce(name, value=b"open", partition=0)
    producers[2].flush(20)
    _produce(kafka.bootstrap, name, [{"value": b"behind the open one"}], partitions=1)
    before, after, _ = await _round_trip(kafka.bootstrap, name, slice_bytes=2000, object_bytes=9000)
    producers[2].abort_transaction(20)
    assert len(before) == 6 * 10 + 8 * 50
    assert without_offsets(after) == without_offsets(before)


async def test_compacted_topics_come_back(new_kafka: Any) -> None:
    """Holes left by compaction close, keys and tombstones stay, and the policy is put back."""
    cluster = new_kafka(properties={"log.cleaner.backoff.ms": "100", "log.initial.task.delay.ms": "100"})
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    configs = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.001"}
    admin.create_topics([NewTopic("compacted", 1, 1, config=configs)])["compacted"].result(20)
    for turn in range(4):
        for codec in CODECS:
            keys = [{"key": b"k%d" % (n % 37), "value": b"%d-%d" % (turn, n)} for n in range(100)]
            keys += [{"key": b"gone-%d" % turn, "value": None}, {"key": b"only-%d" % turn, "value": b"x"}]
            _produce(cluster.bootstrap, "compacted", keys, **{"compression.type": codec, "linger.ms": 20})
        time.sleep(0.3)
    _produce(cluster.bootstrap, "compacted", [{"key": b"last", "value": b"1"}])
    deadline = time.monotonic() + 40
    while len(consume_all(cluster.bootstrap, "compacted")) > 1000:
        assert time.monotonic() < deadline, "the cleaner did nothing"
        time.sleep(0.5)
    for mode in ("passthrough", "zstd"):
        before, after, target = await _round_trip(cluster.bootstrap, "compacted", target=f"back-{mode}", mode=mode)
        assert before[-1].offset + 1 > len(before) + 500
        assert without_offsets(after) == without_offsets(before)
        assert _configs(cluster.bootstrap, target) == configs


@pytest.mark.parametrize("mode", ["passthrough", "zstd"])
@pytest.mark.parametrize("codec", ["none", "zstd"])
async def test_a_log_trimmed_inside_a_batch_comes_back_from_there(
    kafka: Any, topic: Callable[..., str], codec: str, mode: str
) -> None:
    """Records deleted by DeleteRecords do not come back although their batch is stored whole."""
    name = topic(2)
    records = [{"key": b"%d" % n, "value": b"v" * 30} for n in range(1000)]
    _produce(kafka.bootstrap, name, records, partitions=2, **{"compression.type": codec, "linger.ms": 500})
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_records([TopicPartition(name, 0, 123)])[TopicPartition(name, 0, 123)].result(20)
    before, after, _ = await _round_trip(kafka.bootstrap, name, mode=mode)
    assert len(before) == 1000 - 123
    assert without_offsets(after) == without_offsets(before)


async def test_empty_partitions_come_back(kafka: Any, topic: Callable[..., str]) -> None:
    """A topic has as many partitions as before, also those that never held anything; an empty topic comes back too."""
    name, empty = topic(5), topic(3, segment_ms="123456")
    _produce(kafka.bootstrap, name, [{"value": b"x", "timestamp": NOW_MS}] * 3)
    kept = await capture(kafka.bootstrap, [name, empty], MemoryStore())
    await restore(kept.repository, kafka.bootstrap, selection_of(name, empty, prefix="back-"))
    described = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert len(described[f"back-{name}"].partitions) == 5
    assert len(described[f"back-{empty}"].partitions) == 3
    assert _configs(kafka.bootstrap, f"back-{empty}") == {"segment.ms": "123456"}
    assert [record.partition for record in consume_all(kafka.bootstrap, f"back-{name}")] == [0, 0, 0]


async def test_both_incarnations_of_a_recreated_topic_come_back(kafka: Any, topic: Callable[..., str]) -> None:
    """Which one is asked for; each comes back whole and unmixed, with its own partitions."""
    name = topic(1)
    _produce(kafka.bootstrap, name, [{"value": b"first %d" % n} for n in range(500)])
    first = consume_all(kafka.bootstrap, name)
    kept = await capture(kafka.bootstrap, [name], MemoryStore())
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([name])[name].result(20)
    time.sleep(0.5)
    topic(3, name=name)
    _produce(kafka.bootstrap, name, [{"value": b"second %d" % n} for n in range(90)], partitions=3)
    second = consume_all(kafka.bootstrap, name)
    await capture(kafka.bootstrap, [name], kept.repository.store, go_on=kept)
    ids = [one.topic_id for one in sorted(kept.repository.list_topics(), key=lambda one: one.captured_at_ms)]
    with pytest.raises(RefusedError, match=f"(?s){name}.*1 partitions.*3 partitions|3 partitions.*1 partitions"):
        await restore(kept.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    for number, (topic_id, expected) in enumerate(zip(ids, (first, second), strict=True)):
        target = f"{name}-{number}"
        await restore(
            kept.repository, kafka.bootstrap, selection_of(name, renames={name: target}, incarnations={name: topic_id})
        )
        assert without_offsets(consume_all(kafka.bootstrap, target)) == without_offsets(expected)


async def test_everything_from_minio(kafka: Any, minio: Any, bucket: str, topic: Callable[..., str]) -> None:
    """Many topics in shared objects, read back from MinIO by one restore."""
    names = [topic(4) for _ in range(3)]
    for number, name in enumerate(names):
        _produce(kafka.bootstrap, name, _odd_records() * 5, partitions=4, **{"compression.type": CODECS[number + 1]})
    store = open_store(
        f"s3://{bucket}/repo", endpoint=minio.url, access_key=minio.access_key, secret_key=minio.secret_key
    )
    kept = await capture(kafka.bootstrap, names, store, slice_bytes=5000, object_bytes=100_000)
    _, result = await restore(kept.repository, kafka.bootstrap, selection_of(*names, prefix="m-"))
    assert result.loaded_records == 3 * 1500
    for name in names:
        before, after = consume_all(kafka.bootstrap, name), consume_all(kafka.bootstrap, f"m-{name}")
        assert without_offsets(after) == without_offsets(before)


def _configs(bootstrap: str, topic: str) -> dict[str, str]:
    """The settings made on the topic itself."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})  # it must outlive its answer
    found = admin.describe_configs([resource])[resource].result(20)
    return {name: entry.value for name, entry in found.items() if entry.source == 1}
