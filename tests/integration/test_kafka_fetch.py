"""Fetch by topic id, against a real broker."""

from collections.abc import Callable

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from mirror.core.compression import unpack
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import HEADER_BYTES, read_header, scan_batches
from mirror.core.records import decode_record, iterate_records
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.wire.fetch import (
    READ_COMMITTED,
    READ_UNCOMMITTED,
    FetchedPartition,
    FetchPartition,
    FetchRequest,
    fetch,
)
from mirror.kafka.wire.offset_for_leader_epoch import offset_for_leader_epoch
from tests.integration.test_kafka_helpers import (
    connected,
    consume_records,
    fetch_batches,
    produce_records,
)
from tests.servers.kafka import KafkaCluster


async def _fetch_one(
    client: MirrorClient, wanted: FetchPartition, *, committed: bool = False, wait_ms: int = 300
) -> FetchedPartition:
    request = FetchRequest(
        partitions=[wanted],
        max_wait_ms=wait_ms,
        max_bytes=1 << 24,
        isolation_level=READ_COMMITTED if committed else READ_UNCOMMITTED,
    )
    (answer,) = (await fetch(client, await client.any_broker(), request)).partitions
    return answer


def _wanted(topic_id: str, offset: int = 0, leader_epoch: int = -1, last_fetched_epoch: int = -1) -> FetchPartition:
    return FetchPartition(
        topic_id=topic_id,
        partition=0,
        fetch_offset=offset,
        max_bytes=1 << 24,
        current_leader_epoch=leader_epoch,
        last_fetched_epoch=last_fetched_epoch,
    )


async def _topic_id(client: MirrorClient, topic: str) -> str:
    return (await describe_cluster(client, [topic])).topics[topic].topic_id


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_fetched_records_are_those_a_consumer_sees(
    kafka: KafkaCluster, topic: Callable[..., str], codec: str
) -> None:
    """Offsets, timestamps, keys, values and headers of our Fetch equal confluent-kafka's, for every codec."""
    name = topic()
    produce_records(kafka.bootstrap, name, [b"value %d" % n * 9 for n in range(3000)], **{"compression.type": codec})  # type: ignore[arg-type]
    async with connected(kafka.bootstrap) as client:
        batches = await fetch_batches(client, name)
    ours = []
    for batch in batches:
        header = read_header(batch)
        for raw in iterate_records(header, unpack(header.codec, memoryview(batch)[HEADER_BYTES:])):
            record = decode_record(raw)
            ours.append((record.offset, record.timestamp_ms, record.key, record.value, record.headers))
    theirs = [(r.offset, r.timestamp[1], r.key, r.value, r.headers) for r in consume_records(kafka.bootstrap, name)]
    assert len(ours) == 3000
    assert ours == theirs


async def test_several_partitions_come_in_one_answer(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """An answer carries watermarks and records of each partition that was asked for."""
    name = topic(partitions=3)
    for partition in range(3):
        produce_records(kafka.bootstrap, name, [b"x"] * (partition + 1), partition=partition)
    async with connected(kafka.bootstrap) as client:
        topic_id = await _topic_id(client, name)
        wanted = [
            FetchPartition(topic_id=topic_id, partition=partition, fetch_offset=0, max_bytes=1 << 20)
            for partition in range(3)
        ]
        request = FetchRequest(partitions=wanted, max_wait_ms=500, max_bytes=1 << 24)
        answer = await fetch(client, await client.any_broker(), request)
    assert answer.error_code == 0
    by_partition = {part.partition: part for part in answer.partitions}
    for partition in range(3):
        part = by_partition[partition]
        assert (part.topic_id, part.error_code) == (topic_id, 0)
        assert (part.log_start_offset, part.last_stable_offset, part.high_watermark) == (
            0,
            partition + 1,
            partition + 1,
        )
        assert scan_batches(part.records).headers["record_count"].sum() == partition + 1


async def test_the_id_of_a_deleted_incarnation_is_refused(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """After delete and re-creation the old id answers UNKNOWN_TOPIC_ID, the new one is read from its beginning."""
    name = topic()
    produce_records(kafka.bootstrap, name, [b"old"] * 100)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    async with connected(kafka.bootstrap) as client:
        old_id = await _topic_id(client, name)
        admin.delete_topics([name])[name].result(30)
        assert topic(name=name) == name
        produce_records(kafka.bootstrap, name, [b"new"] * 300)
        new_id = await _topic_id(client, name)
        assert new_id != old_id
        assert (await _fetch_one(client, _wanted(old_id, 100))).error_code == 100
        fresh = await _fetch_one(client, _wanted(new_id, 100))
        assert (fresh.error_code, fresh.high_watermark) == (0, 300)


async def test_epochs_tell_what_is_stale(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """A leader epoch from the future answers 75, an offset out of range 1, and the end of an epoch can be asked for."""
    name = topic()
    produce_records(kafka.bootstrap, name, [b"x"] * 10)
    async with connected(kafka.bootstrap) as client:
        topic_id = await _topic_id(client, name)
        assert (await _fetch_one(client, _wanted(topic_id, 0, leader_epoch=9))).error_code == 75
        beyond = await _fetch_one(client, _wanted(topic_id, 11))
        assert beyond.error_code == 1
        assert len(beyond.records) == 0
        (end,) = await offset_for_leader_epoch(client, await client.any_broker(), {TopicPartition(name, 0): 0})
        assert (end.topic, end.partition, end.error_code, end.leader_epoch, end.next_offset) == (name, 0, 0, 0, 10)


async def test_aborted_transactions_are_listed(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """read_committed lists aborted transactions by producer id and first offset, and stops at the last stable offset."""
    name = topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": name})
    producer.init_transactions(30)
    for is_kept in (True, False):
        producer.begin_transaction()
        producer.produce(name, b"kept" if is_kept else b"dropped")
        producer.flush(30)
        producer.commit_transaction(30) if is_kept else producer.abort_transaction(30)
    producer.begin_transaction()
    producer.produce(name, b"open")
    producer.flush(30)
    async with connected(kafka.bootstrap) as client:
        answer = await _fetch_one(client, _wanted(await _topic_id(client, name)), committed=True)
    producer.abort_transaction(30)
    columns = scan_batches(answer.records)
    producer_id = int(columns.headers["producer_id"][2])
    assert answer.aborted_transactions == [(producer_id, 2)]
    assert (answer.last_stable_offset, answer.high_watermark) == (4, 5)
    assert int(columns.next_offset[-1]) == 4
