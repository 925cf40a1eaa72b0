"""What the Kafka tests share: an open client, records through an independent client, raw batches by fetch."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from confluent_kafka import Consumer, Producer
from confluent_kafka import TopicPartition as ConfluentPartition

from mirror.core.positions import TopicPartition
from mirror.core.record_batch import scan_batches
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import describe_cluster, log_offsets
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.wire.fetch import READ_UNCOMMITTED, FetchPartition, FetchRequest, fetch


class Seen(NamedTuple):
    """A record as a consumer saw it."""

    offset: int
    timestamp: tuple[int, int]
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


@asynccontextmanager
async def connected(bootstrap: str, **settings: Any) -> AsyncIterator[MirrorClient]:
    """An open client."""
    client = await open_client(ClusterConnection(bootstrap_servers=tuple(bootstrap.split(",")), **settings))
    async with client:
        yield client


def produce_records(
    bootstrap: str, topic: str, values: Sequence[bytes], *, partition: int = 0, **settings: Any
) -> None:
    """Produce values (keys ``k0``…, one header) by confluent-kafka."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 20, **settings})
    for number, value in enumerate(values):
        producer.produce(topic, value, key=b"k%d" % number, partition=partition, headers=[("h", b"%d" % number)])
    assert producer.flush(30) == 0


def consume_records(bootstrap: str, topic: str, *, partition: int = 0, isolation: str = "read_committed") -> list[Seen]:
    """Everything a consumer sees of a partition from its beginning."""
    consumer = Consumer(
        {"bootstrap.servers": bootstrap, "group.id": "r", "isolation.level": isolation, "enable.partition.eof": True}
    )
    low, _ = consumer.get_watermark_offsets(ConfluentPartition(topic, partition), timeout=20)
    consumer.assign([ConfluentPartition(topic, partition, low)])
    seen: list[Seen] = []
    while True:
        message = consumer.poll(20)
        assert message is not None, "no answer"
        if message.error():
            break
        headers = tuple((name, value) for name, value in message.headers() or ())
        seen.append(Seen(message.offset(), message.timestamp(), message.key(), message.value(), headers))
    consumer.close()
    return seen


async def fetch_batches(client: MirrorClient, topic: str, partition: int = 0) -> list[bytes]:
    """Every batch of a partition, in order, by our own Fetch."""
    tp = TopicPartition(topic, partition)
    described = (await describe_cluster(client, [topic])).topics[topic]
    leader = described.partitions[partition].leader
    start, end, _ = (await log_offsets(client, [tp]))[tp]
    batches: list[bytes] = []
    while start < end:
        wanted = FetchPartition(topic_id=described.topic_id, partition=partition, fetch_offset=start, max_bytes=1 << 20)
        request = FetchRequest(
            partitions=[wanted], max_wait_ms=500, max_bytes=1 << 20, isolation_level=READ_UNCOMMITTED
        )
        (answer,) = (await fetch(client, leader, request)).partitions
        assert answer.error_code == 0
        columns = scan_batches(answer.records)
        for position, size in zip(columns.position.tolist(), columns.batch_bytes.tolist(), strict=True):
            batches.append(bytes(answer.records[position : position + size]))
        start = int(columns.next_offset[-1])
    return batches
