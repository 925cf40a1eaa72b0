"""Batches go back byte for byte, once, in order, whatever happens on the way."""

import asyncio
from collections.abc import Callable

import pytest

from mirror.core.positions import TopicPartition
from mirror.core.record_batch import read_header
from mirror.errors import BatchDamageError, ClusterError, MirrorError, TopicNotFoundError
from mirror.kafka.admin import Admin
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.batch_rewrite import prepare
from mirror.kafka.cluster import describe_cluster, log_offsets
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.kafka.wire.produce import produce
from tests.integration.test_kafka_helpers import connected, consume_records, fetch_batches, produce_records
from tests.servers.kafka import KafkaCluster
from tests.unit.test_kafka_batch_rewrite import make_batch


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_a_restored_partition_reads_the_same(kafka: KafkaCluster, topic: Callable[..., str], codec: str) -> None:
    """Batches of every codec, raw from one topic into another: a consumer sees identical records at the same offsets."""
    source, target = topic(partitions=2), topic(partitions=2)
    settings = {"compression.type": codec, "batch.size": 4000}
    for partition in range(2):
        values = [b"%d-%d " % (partition, n) * 7 for n in range(2000)]
        produce_records(kafka.bootstrap, source, values, partition=partition, **settings)
    async with connected(kafka.bootstrap) as client, BatchProducer(client) as producer:
        for partition in range(2):
            batches = await fetch_batches(client, source, partition)
            assert len(batches) > 5
            futures = [await producer.send(target, partition, batch) for batch in batches]
            await producer.flush()
            assert [future.result() for future in futures] == [read_header(batch).base_offset for batch in batches]
            restored = await fetch_batches(client, target, partition)
            assert [batch[61:] for batch in restored] == [batch[61:] for batch in batches]
    for partition in range(2):
        before = consume_records(kafka.bootstrap, source, partition=partition)
        assert len(before) == 2000
        assert consume_records(kafka.bootstrap, target, partition=partition) == before


async def test_a_repeated_request_appends_nothing(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """The same batch with the same sequence again answers with the first one's offset; a skipped sequence is refused."""
    name = topic()
    tp = TopicPartition(name, 0)
    async with connected(kafka.bootstrap) as client:
        node_id = await client.any_broker()
        async with BatchProducer(client) as producer:
            identity = await producer.start()
            first = await producer.send(name, 0, make_batch([b"a", b"b"]))
            assert await first == 0

        def ready(values: list[bytes], base_sequence: int) -> bytearray:
            return prepare(
                make_batch(values),
                producer_id=identity.producer_id,
                producer_epoch=identity.producer_epoch,
                base_sequence=base_sequence,
            )[0]

        (again,) = await produce(client, node_id, {tp: ready([b"a", b"b"], 0)})
        assert (again.error_code, again.base_offset) == (0, 0)
        (skipped,) = await produce(client, node_id, {tp: ready([b"c"], 3)})
        assert skipped.error_code == 45
        assert (await log_offsets(client, [tp]))[tp].high_watermark == 2


async def test_a_kept_identity_goes_on_where_it_was(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Resumed with its sequence, what had arrived is answered as a duplicate, also across the wrap at 2**31."""
    name = topic()
    identity: ProducerIdentity | None = None
    first_sequence = 2**31 - 3
    batches = [make_batch([b"%d" % n, b"x"]) for n in range(4)]
    async with connected(kafka.bootstrap) as client:
        for sent in (batches[:3], batches):
            async with BatchProducer(client, identity=identity) as producer:
                identity = await producer.start()
                producer.set_next_sequence(name, 0, first_sequence)
                futures = [await producer.send(name, 0, batch) for batch in sent]
                await producer.flush()
                assert [future.result() for future in futures] == [0, 2, 4, 6][: len(sent)]
    assert [seen.value for seen in consume_records(kafka.bootstrap, name)] == [
        value for n in range(4) for value in (b"%d" % n, b"x")
    ]


async def test_memory_is_bounded_and_order_kept(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """With a budget of a few batches a long restore goes through, never above the budget, in order."""
    name = topic(partitions=3)
    batches = [make_batch([b"%06d" % n] * 50) for n in range(400)]
    budget = 6 * len(batches[0])
    peak = 0
    async with (
        connected(kafka.bootstrap) as client,
        BatchProducer(client, max_buffered_bytes=budget, connections_per_broker=2) as producer,
    ):

        async def fill(partition: int) -> None:
            nonlocal peak
            for batch in batches:
                await producer.send(name, partition, batch)
                peak = max(peak, producer.buffered_bytes)

        await asyncio.gather(*map(fill, range(3)))
        await producer.flush()
        assert producer.buffered_bytes == 0
    assert 0 < peak <= budget
    for partition in range(3):
        values = [seen.value for seen in consume_records(kafka.bootstrap, name, partition=partition)]
        assert values == [b"%06d" % n for n in range(400) for _ in range(50)]


async def test_refusals_name_topic_and_partition(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Too large a batch, a null key on a compacted topic, a wrong CRC: each a typed error; other partitions go on."""
    small, compacted, fine = topic(max_message_bytes="1000"), topic(cleanup_policy="compact"), topic()
    async with connected(kafka.bootstrap) as client:
        producer = BatchProducer(client)
        await producer.start()
        too_large = await producer.send(small, 0, make_batch([b"x" * 40] * 60))
        behind = await producer.send(small, 0, make_batch([b"x"]))
        no_key = await producer.send(compacted, 0, make_batch([b"x"]))
        accepted = await producer.send(fine, 0, make_batch([b"x"]))
        with pytest.raises(ClusterError):
            await producer.flush()
        with pytest.raises(ClusterError, match=rf"{small}-0.*MESSAGE_TOO_LARGE \(10\)"):
            await too_large
        with pytest.raises(ClusterError, match="MESSAGE_TOO_LARGE"):
            await behind
        with pytest.raises(ClusterError, match=rf"{compacted}-0.*INVALID_RECORD \(87\)"):
            await no_key
        assert await accepted == 0
        with pytest.raises(BatchDamageError):
            await producer.send(fine, 0, b"short")
        assert await (await producer.send(fine, 0, make_batch([b"y"]))) == 1
        await producer.close()
        assert producer.buffered_bytes == 0


async def test_a_topic_made_anew_meanwhile_is_not_written_to(
    kafka: KafkaCluster, topic: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After delete and re-creation of the target nothing more goes into the new incarnation once that is noticed."""
    name = topic()
    conn = ClusterConnection(bootstrap_servers=(kafka.bootstrap,))
    async with connected(kafka.bootstrap) as client:
        producer = BatchProducer(client)
        await producer.start()
        await (await producer.send(name, 0, make_batch([b"a"])))
        await Admin(conn, client).delete_topic(name)
        future = await producer.send(name, 0, make_batch([b"b"]))
        await asyncio.sleep(0.2)
        topic(name=name)
        with pytest.raises(TopicNotFoundError, match="created anew"):
            await future
        await producer.close()
    assert consume_records(kafka.bootstrap, name) == []


async def test_nothing_is_lost_or_doubled_when_connections_break(
    kafka: KafkaCluster, topic: Callable[..., str]
) -> None:
    """Connections cut again and again with requests in flight: every batch arrives once, in order."""
    name = topic(partitions=2)
    batches = [make_batch([b"%06d" % n] * 20) for n in range(800)]
    cuts = 0
    async with connected(kafka.bootstrap) as client, BatchProducer(client, max_buffered_bytes=60_000) as producer:

        async def cut() -> None:
            nonlocal cuts
            while True:
                await asyncio.sleep(0.05)
                for (_, group), connection in list(client._conns.items()):
                    if group == "produce-0" and connection._requests:
                        connection.close()
                        cuts += 1

        cutting = asyncio.create_task(cut())

        async def fill(partition: int) -> list[int]:
            futures = [await producer.send(name, partition, batch) for batch in batches]
            await producer.flush()
            return [future.result() for future in futures]

        offsets = await asyncio.gather(*map(fill, range(2)))
        cutting.cancel()
    assert cuts >= 3
    assert offsets == [[20 * n for n in range(800)]] * 2
    for partition in range(2):
        values = [seen.value for seen in consume_records(kafka.bootstrap, name, partition=partition)]
        assert values == [b"%06d" % n for n in range(800) for _ in range(20)]


async def test_a_broker_that_hangs_is_given_up_and_asked_again(new_kafka: Callable[..., KafkaCluster]) -> None:
    """Frozen for longer than a request may take, with requests on their way: every batch arrives once, in order."""
    cluster = new_kafka()
    conn = ClusterConnection(bootstrap_servers=(cluster.bootstrap,), request_timeout_ms=2_000)
    batches = [make_batch([b"%06d" % n] * 5) for n in range(300)]
    async with connected(cluster.bootstrap, request_timeout_ms=2_000) as client:
        await Admin(conn, client).create_topic("t", partitions=2)
        async with BatchProducer(client) as producer:
            futures = []
            for number, batch in enumerate(batches):
                if number == 100:
                    cluster.pause()
                futures += [await producer.send("t", partition, batch) for partition in range(2)]
                await asyncio.sleep(0.001)
            await asyncio.sleep(5)
            cluster.cont()
            await producer.flush()
    assert [future.result() for future in futures[::2]] == [5 * n for n in range(300)]
    for partition in range(2):
        values = [seen.value for seen in consume_records(cluster.bootstrap, "t", partition=partition)]
        assert values == [b"%06d" % n for n in range(300) for _ in range(5)]


async def test_nothing_is_lost_or_doubled_when_a_leader_dies(new_kafka: Callable[..., KafkaCluster]) -> None:
    """A leader killed in the middle and started again: every batch arrives once, in order."""
    cluster = new_kafka(3, properties={"min.insync.replicas": "1"})
    conn = ClusterConnection(bootstrap_servers=tuple(cluster.bootstrap.split(",")), request_timeout_ms=8_000)
    batches = [make_batch([b"%06d" % n] * 20) for n in range(1000)]
    async with connected(cluster.bootstrap, request_timeout_ms=8_000) as client:
        await Admin(conn, client).create_topic("t", partitions=3, replication_factor=3)
        async with BatchProducer(client, max_buffered_bytes=200_000) as producer:

            async def fill(partition: int) -> list[int]:
                futures = []
                for batch in batches:
                    futures.append(await producer.send("t", partition, batch))
                    await asyncio.sleep(0.002)
                await producer.flush()
                return [future.result() for future in futures]

            async def kill() -> None:
                await asyncio.sleep(0.5)
                leader = (await describe_cluster(client, ["t"])).topics["t"].partitions[0].leader
                broker = next(broker for broker in cluster.brokers if broker.node_id == leader)
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(broker.start)

            killing = asyncio.create_task(kill())
            offsets = await asyncio.gather(*map(fill, range(3)))
            await killing
    for partition in range(3):
        assert offsets[partition] == [20 * n for n in range(1000)]
        values = [seen.value for seen in consume_records(cluster.bootstrap, "t", partition=partition)]
        assert values == [b"%06d" % n for n in range(1000) for _ in range(20)]


async def test_a_dead_cluster_ends_in_a_named_error(new_kafka: Callable[..., KafkaCluster]) -> None:
    """Past the delivery timeout the futures fail with a transient error that names the partition."""
    cluster = new_kafka()
    conn = ClusterConnection(bootstrap_servers=(cluster.bootstrap,))
    async with connected(cluster.bootstrap) as client:
        await Admin(conn, client).create_topic("t", partitions=1)
        producer = BatchProducer(client, delivery_timeout_ms=1500)
        await producer.start()
        await (await producer.send("t", 0, make_batch([b"a"])))
        cluster.kill()
        future = await producer.send("t", 0, make_batch([b"b"]))
        with pytest.raises(MirrorError, match="t-0") as caught:
            await asyncio.wait_for(future, 15)
        assert caught.value.transient
        await producer.close()
