"""Offsets are filled exactly, invisibly, once, whatever happens on the way; and records are deleted up to an offset."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from confluent_kafka import Consumer
from confluent_kafka import TopicPartition as ConfluentPartition

from mirror.core.filler import FILLER_RECORDS_MAX, filler_batch
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import read_header
from mirror.errors import ClusterError, TopicNotFoundError
from mirror.kafka.abort_filler import AbortFiller
from mirror.kafka.admin import Admin
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.batch_rewrite import prepare
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster, list_offsets, log_offsets
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.delete_records import delete_records
from mirror.kafka.hole_filler import HoleFiller
from mirror.kafka.log_ends import log_ends
from mirror.kafka.marker_filler import MarkerFiller, may_write_markers
from mirror.kafka.producers import active_producers, next_marker_identity
from mirror.kafka.wire.add_partitions_to_txn import add_partitions_to_txn
from mirror.kafka.wire.find_coordinator import TRANSACTION, find_coordinator
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.kafka.wire.produce import produce
from mirror.kafka.wire.write_txn_markers import MarkerStamp, write_abort_markers
from tests.integration.test_kafka_helpers import connected, consume_records, fetch_batches, produce_records
from tests.servers.kafka import KafkaCluster
from tests.unit.test_kafka_batch_rewrite import make_batch

BOTH = ("read_committed", "read_uncommitted")


def _watermarks(bootstrap: str, topic: str, partition: int = 0) -> tuple[int, int]:
    """Log start and high watermark, by an independent client."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "w"})
    low, high = consumer.get_watermark_offsets(ConfluentPartition(topic, partition), timeout=20)
    consumer.close()
    return low, high


@asynccontextmanager
async def _markers(client: MirrorClient, identity: ProducerIdentity | None = None) -> AsyncIterator[MarkerFiller]:
    filler = MarkerFiller(client, identity=identity)
    await filler.start()
    yield filler
    await filler.close()


async def test_a_lead_of_millions_is_filled_and_deleted(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """2.5 million offsets by three batches, deleted: the log begins where it should, and records follow there."""
    name = topic()
    tp = TopicPartition(name, 0)
    async with connected(kafka.bootstrap) as client, BatchProducer(client) as producer:
        for count in (FILLER_RECORDS_MAX, FILLER_RECORDS_MAX, 500_000):
            await producer.send(name, 0, filler_batch(count, timestamp_ms=1_700_000_000_000))
        await producer.flush()
        assert await log_ends(client, [tp]) == {tp: 2_500_000}
        assert await delete_records(client, {tp: 2_499_990}) == {tp: 2_499_990}
        assert [seen.offset for seen in consume_records(kafka.bootstrap, name)] == list(range(2_499_990, 2_500_000))
        assert await delete_records(client, {tp: 2_500_000}) == {tp: 2_500_000}
        assert await delete_records(client, {tp: 2_000_000}) == {tp: 2_500_000}
        assert await (await producer.send(name, 0, make_batch([b"a", b"b"]))) == 2_500_000
    assert _watermarks(kafka.bootstrap, name) == (2_500_000, 2_500_002)
    for isolation in BOTH:
        seen = consume_records(kafka.bootstrap, name, isolation=isolation)
        assert [(one.offset, one.value) for one in seen] == [(2_500_000, b"a"), (2_500_001, b"b")]


async def test_deletes_that_cannot_be_say_why(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """A compacted topic, an offset beyond the end, an unknown partition: typed errors that name the partition; nothing asked: nothing."""
    compacted, short = topic(cleanup_policy="compact"), topic()
    produce_records(kafka.bootstrap, compacted, [b"x"] * 3)
    produce_records(kafka.bootstrap, short, [b"x"] * 3)
    async with connected(kafka.bootstrap) as client:
        with pytest.raises(ClusterError, match=rf"{compacted}-0.*POLICY_VIOLATION.*cleanup\.policy=compact"):
            await delete_records(client, {TopicPartition(compacted, 0): 2})
        with pytest.raises(ClusterError, match=rf"{short}-0 before 4.*ends before"):
            await delete_records(client, {TopicPartition(short, 0): 4})
        with pytest.raises(TopicNotFoundError, match="no-such"):
            await delete_records(client, {TopicPartition("no-such", 0): 1})
        assert await delete_records(client, {}) == {}
    assert _watermarks(kafka.bootstrap, short) == (0, 3)


async def _load_with_holes(
    client: MirrorClient, filler: HoleFiller, name: str, partition: int, holes: Sequence[int]
) -> list[int]:
    """One batch of two records after each hole, and a hole at the end. The offsets of the records."""
    offsets: list[int] = []
    async with BatchProducer(client) as producer:
        position = 0
        for hole in holes:
            await filler.fill(TopicPartition(name, partition), start_offset=position, count=hole)
            position += hole
            assert await (await producer.send(name, partition, make_batch([b"a", b"b"]))) == position
            offsets += [position, position + 1]
            position += 2
        await filler.fill(TopicPartition(name, partition), start_offset=position, count=3)
    return offsets


async def test_holes_by_markers(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Between real batches on three partitions at once: every record at its offset, nothing else seen, nothing held up."""
    name = topic(partitions=3)
    holes = [(1, 1, 1, 2000), (7, 1, 499, 500, 501), (3, 1, 1, 1, 1, 1, 1)]
    async with connected(kafka.bootstrap) as client, _markers(client) as filler:
        offsets = await asyncio.gather(*(_load_with_holes(client, filler, name, n, holes[n]) for n in range(3)))
        ends = {TopicPartition(name, n): offsets[n][-1] + 4 for n in range(3)}
        assert await log_ends(client, ends) == ends
        for tp, log in (await log_offsets(client, ends)).items():
            assert (log.log_start_offset, log.high_watermark, log.last_stable_offset) == (0, ends[tp], ends[tp])
    for partition in range(3):
        assert _watermarks(kafka.bootstrap, name, partition) == (0, offsets[partition][-1] + 4)
        for isolation in BOTH:
            seen = consume_records(kafka.bootstrap, name, partition=partition, isolation=isolation)
            assert [one.offset for one in seen] == offsets[partition]


async def test_holes_by_aborted_transactions(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """The same where markers may not be written: who reads committed sees the records only, others also empty fillers."""
    name = topic(partitions=3)
    holes = [(1, 1, 2000), (7, 1, 1), (3, 1, 1, 1)]
    async with connected(kafka.bootstrap) as client:
        filler = AbortFiller(client, transactional_id=f"mirror-{name}")
        offsets = await asyncio.gather(*(_load_with_holes(client, filler, name, n, holes[n]) for n in range(3)))
        ends = {TopicPartition(name, n): offsets[n][-1] + 4 for n in range(3)}
        for tp, log in (await log_offsets(client, ends)).items():
            assert (log.high_watermark, log.last_stable_offset) == (ends[tp], ends[tp])
        await filler.close()
    for partition in range(3):
        committed = consume_records(kafka.bootstrap, name, partition=partition)
        assert [one.offset for one in committed] == offsets[partition]
        others = consume_records(kafka.bootstrap, name, partition=partition, isolation="read_uncommitted")
        fillers = [one for one in others if one.offset not in offsets[partition]]
        assert {(one.key, one.value) for one in fillers} == {(None, None)}
        assert len(fillers) == sum(hole - 1 for hole in (*holes[partition], 3))


async def test_a_strangers_record_stops_the_filling(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Before a hole or in its middle: an error that says so, after one request at most."""
    before, middle = topic(), topic()
    async with connected(kafka.bootstrap) as client, _markers(client) as filler:
        produce_records(kafka.bootstrap, before, [b"foreign"])
        with pytest.raises(ClusterError, match=rf"{before}-0 ends at 2 where 1 was expected: somebody else writes"):
            await filler.fill(TopicPartition(before, 0), start_offset=0, count=100)
        tp = TopicPartition(middle, 0)
        filling = asyncio.create_task(filler.fill(tp, start_offset=0, count=50_000))
        while (await log_ends(client, [tp]))[tp] < 1000:
            await asyncio.sleep(0.01)
        await asyncio.to_thread(produce_records, kafka.bootstrap, middle, [b"foreign"])
        with pytest.raises(ClusterError, match="somebody else writes"):
            await filling
        (foreign,) = consume_records(kafka.bootstrap, middle)
        assert (await log_ends(client, [tp]))[tp] <= foreign.offset + 1 + 2 * 500
        with pytest.raises(ClusterError, match="somebody else writes"):
            await AbortFiller(client, transactional_id=f"mirror-{before}").fill(
                TopicPartition(before, 0), start_offset=0, count=2
            )


async def test_a_broker_refuses_markers_of_lower_epochs(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """A lower producer epoch is refused with 47, a lower coordinator epoch with 52, equal ones are not; refused ones take no offset."""
    tp = TopicPartition(topic(), 0)
    async with connected(kafka.bootstrap) as client:
        node_id = await client.any_broker()
        pid = (await MarkerFiller(client).start()).producer_id

        async def mark(producer_epoch: int, coordinator_epoch: int) -> int:
            stamp = MarkerStamp(producer_id=pid, producer_epoch=producer_epoch, coordinator_epoch=coordinator_epoch)
            return (await write_abort_markers(client, node_id, stamp, {tp: 1}))[tp]

        assert [await mark(5, 10), await mark(5, 10)] == [0, 0]
        assert [await mark(4, 10), await mark(4, 11), await mark(5, 9), await mark(6, 9)] == [47, 47, 52, 52]
        assert await log_ends(client, [tp]) == {tp: 2}
        assert [await mark(6, 10), await mark(5, 10)] == [0, 47]
        (known,) = (await active_producers(client, [tp]))[tp]
        assert (known.producer_id, known.producer_epoch, known.coordinator_epoch) == (pid, 6, 10)
        assert (known.last_sequence, known.transaction_start_offset) == (-1, -1)


async def test_an_older_run_is_fenced(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """After the next run's first marker on a partition the run before can fill nothing there, and says why."""
    name = topic(partitions=2)
    tp, other = TopicPartition(name, 0), TopicPartition(name, 1)
    async with connected(kafka.bootstrap) as client, _markers(client) as zombie:
        assert next_marker_identity(await active_producers(client, [tp, other])) is None
        await zombie.fill(tp, start_offset=0, count=700)
        identity = next_marker_identity(await active_producers(client, [tp, other]))
        first = await zombie.start()
        assert identity == ProducerIdentity(producer_id=first.producer_id, producer_epoch=first.producer_epoch + 1)
        async with _markers(client, identity) as filler:
            await filler.fill(tp, start_offset=700, count=1)
            await filler.fill(other, start_offset=0, count=1)
            for partition, log_end in ((tp, 701), (other, 1)):
                with pytest.raises(ClusterError, match=rf"{partition}.*newer run of this restore"):
                    await zombie.fill(partition, start_offset=log_end, count=5)
            await filler.fill(tp, start_offset=701, count=5)
        assert await log_ends(client, [tp, other]) == {tp: 706, other: 1}


async def test_markers_leave_the_producer_of_data_alone(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """A batch that is sent again after markers is still answered as a duplicate, and the next sequence still fits."""
    name = topic()
    tp = TopicPartition(name, 0)
    async with connected(kafka.bootstrap) as client, _markers(client) as filler:
        async with BatchProducer(client) as producer:
            identity = await producer.start()
            assert await (await producer.send(name, 0, make_batch([b"a"]))) == 0
        await filler.fill(tp, start_offset=1, count=3)
        async with BatchProducer(client, identity=identity) as producer:
            assert await (await producer.send(name, 0, make_batch([b"a"]))) == 0
            assert await (await producer.send(name, 0, make_batch([b"b"]))) == 4
    assert [(seen.offset, seen.value) for seen in consume_records(kafka.bootstrap, name)] == [(0, b"a"), (4, b"b")]


async def test_why_markers_have_an_id_of_their_own(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """With the id of the data's producer: equal epochs leave its sequences alone, a raised one demands them from 0 again."""
    tp = TopicPartition(topic(), 0)
    async with connected(kafka.bootstrap) as client:
        node_id = await client.any_broker()
        pid = (await MarkerFiller(client).start()).producer_id

        async def mark(producer_epoch: int) -> int:
            stamp = MarkerStamp(producer_id=pid, producer_epoch=producer_epoch, coordinator_epoch=0)
            return (await write_abort_markers(client, node_id, stamp, {tp: 1}))[tp]

        async def send(producer_epoch: int, base_sequence: int) -> tuple[int, int]:
            batch, _ = prepare(
                make_batch([b"a"]), producer_id=pid, producer_epoch=producer_epoch, base_sequence=base_sequence
            )
            (answer,) = await produce(client, node_id, {tp: batch})
            return answer.error_code, answer.base_offset

        assert [await send(0, 0), await mark(0), await send(0, 1), await send(0, 1)] == [(0, 0), 0, (0, 2), (0, 2)]
        assert [await mark(1), await send(0, 1), await send(1, 2), await send(1, 0)] == [0, (47, -1), (45, -1), (0, 4)]


async def test_a_look_up_by_time_may_find_a_marker(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Markers have the broker's time, so a later time than all records before is found at the marker: never too late."""
    tp = TopicPartition(topic(), 0)
    async with connected(kafka.bootstrap) as client, _markers(client) as filler, BatchProducer(client) as producer:
        for position, time_ms in ((0, 1_600_000_000_000), (2, 1_600_000_090_000)):
            await (await producer.send(tp.topic, 0, make_batch([b"a"], timestamp_ms=time_ms)))
            await filler.fill(tp, start_offset=position + 1, count=1)
        assert (await list_offsets(client, {tp: 1_600_000_000_001}))[tp].offset == 1  # the record of that time is at 2


async def test_broken_connections_write_nothing_twice(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Connections cut with requests on their way, again and again: the log ends exactly where it should."""
    name = topic(partitions=2)
    tps = [TopicPartition(name, 0), TopicPartition(name, 1)]
    cuts = 0
    async with connected(kafka.bootstrap) as client, _markers(client) as filler:

        async def cut() -> None:
            nonlocal cuts
            while cuts < 4:
                await asyncio.sleep(0.2)
                for (_, group), connection in list(client._conns.items()):
                    if str(group).startswith("markers") and connection._requests:
                        connection.close()
                        cuts += 1

        cutting = asyncio.create_task(cut())
        await asyncio.gather(*(filler.fill(tp, start_offset=0, count=30_000) for tp in tps))
        cutting.cancel()
        assert cuts >= 2
        assert await log_ends(client, tps) == dict.fromkeys(tps, 30_000)
    assert consume_records(kafka.bootstrap, name) == []


async def test_a_leader_that_dies_costs_no_offset(new_kafka: Callable[..., KafkaCluster]) -> None:
    """Killed in the middle of filling, and started again, once for either way: the log ends exactly where it should."""
    cluster = new_kafka(3, properties={"min.insync.replicas": "2"})
    conn = ClusterConnection(bootstrap_servers=tuple(cluster.bootstrap.split(",")), request_timeout_ms=8_000)
    ends = dict.fromkeys((TopicPartition("t", n) for n in range(3)), 0)
    async with connected(cluster.bootstrap, request_timeout_ms=8_000) as client:
        await Admin(conn, client).create_topic("t", partitions=3, replication_factor=3)

        async def fill(filler: HoleFiller, tp: TopicPartition, holes: Sequence[int]) -> None:
            for hole in holes:
                await filler.fill(tp, start_offset=ends[tp], count=hole)
                ends[tp] += hole

        async def kill() -> None:
            leader = (await describe_cluster(client, ["t"])).topics["t"].partitions[0].leader
            broker = next(broker for broker in cluster.brokers if broker.node_id == leader)
            await asyncio.sleep(0.4)
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)

        ways: tuple[tuple[HoleFiller, Sequence[int]], ...] = (
            (MarkerFiller(client), [4000, 1, 1, 1000]),
            (AbortFiller(client, transactional_id="mirror-t"), [3] * 40),
        )
        for filler, holes in ways:
            await filler.start()
            await asyncio.gather(kill(), *(fill(filler, tp, holes) for tp in ends))
            assert await log_ends(client, ends) == ends
            await filler.close()
    assert set(ends.values()) == {5002 + 120}
    assert consume_records(cluster.bootstrap, "t") == []


async def test_a_broker_that_hangs_gets_nothing_twice(new_kafka: Callable[..., KafkaCluster]) -> None:
    """Frozen for longer than a request may take, with markers in its sockets that it finds when it wakes: no offset too many."""
    cluster = new_kafka()
    conn = ClusterConnection(bootstrap_servers=(cluster.bootstrap,), request_timeout_ms=2_000)
    tps = [TopicPartition("t", n) for n in range(4)]
    async with connected(cluster.bootstrap, request_timeout_ms=2_000) as client, _markers(client) as filler:
        await Admin(conn, client).create_topic("t", partitions=4)
        filling = asyncio.gather(*(filler.fill(tp, start_offset=0, count=4000) for tp in tps))
        while (await log_ends(client, tps))[tps[0]] < 500:
            await asyncio.sleep(0.01)
        cluster.pause()
        await asyncio.sleep(4)
        assert not filling.done()
        cluster.cont()
        await filling
        assert await log_ends(client, tps) == dict.fromkeys(tps, 4000)


async def test_a_transaction_left_open_is_ended_by_the_next_run(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """An abort filler that died in the middle: the next run's start ends its transaction, and the hole comes out exact."""
    name = topic()
    tp = TopicPartition(name, 0)
    async with connected(kafka.bootstrap) as client:
        transactional_id = f"mirror-{name}-0"
        node_id = await client.any_broker()
        dead = AbortFiller(client, transactional_id=f"mirror-{name}")
        identity = await dead.start()
        coordinator = await find_coordinator(client, node_id, TRANSACTION, transactional_id)
        assert await add_partitions_to_txn(client, coordinator, transactional_id, identity, [tp]) == {tp: 0}
        numbers = identity.producer_id, identity.producer_epoch, 0
        fillers = filler_batch(9, timestamp_ms=1, producer=numbers, is_transactional=True)
        (answer,) = await produce(client, node_id, {tp: fillers}, transactional_id=transactional_id)
        assert answer.error_code == 0
        filler = AbortFiller(client, transactional_id=f"mirror-{name}")
        await filler.start()
        log_end = (await log_ends(client, [tp]))[tp]
        assert log_end == 10  # the marker of its abort
        await filler.fill(tp, start_offset=log_end, count=10)
        with pytest.raises(ClusterError, match="newer run"):
            await asyncio.gather(*(dead.fill(tp, start_offset=20, count=1) for _ in range(4)))
        assert await log_ends(client, [tp]) == {tp: 20}
    assert consume_records(kafka.bootstrap, name) == []


async def test_the_right_to_write_markers_is_asked_for_without_a_trace(kafka: KafkaCluster) -> None:
    """The question changes nothing: no topic appears."""
    async with connected(kafka.bootstrap) as client:
        before = set((await describe_cluster(client)).topics)
        assert await may_write_markers(client)
        assert set((await describe_cluster(client)).topics) == before


async def test_markers_are_abort_markers_of_our_producer(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """In the log they are control batches of one offset each, with the filler's identity."""
    name = topic()
    async with connected(kafka.bootstrap) as client, _markers(client) as filler:
        identity = await filler.start()
        await filler.fill(TopicPartition(name, 0), start_offset=0, count=3)
        headers = [read_header(batch) for batch in await fetch_batches(client, name)]
    assert [(header.base_offset, header.record_count, header.is_control) for header in headers] == [
        (n, 1, True) for n in range(3)
    ]
    assert {(header.producer_id, header.producer_epoch) for header in headers} == {
        (identity.producer_id, identity.producer_epoch)
    }
