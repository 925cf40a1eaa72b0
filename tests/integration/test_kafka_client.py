"""The client against a real broker: no topic is ever created by asking, failures have a name."""

import asyncio
from collections.abc import Callable

import pytest
from aiokafka.client import AIOKafkaClient
from aiokafka.structs import BrokerMetadata

from mirror.core.positions import TopicPartition
from mirror.errors import TopicNotFoundError, UnreachableError
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import describe_cluster, first_batch_headers_at, list_offsets, log_offsets
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.versions import unsupported_apis
from mirror.kafka.wire.list_offsets import MAX_TIMESTAMP
from mirror.kafka.wire.metadata import metadata
from tests.integration.test_kafka_helpers import connected, produce_records
from tests.servers.kafka import KafkaCluster
from tests.servers.ports import free_port


async def _topics(client: MirrorClient) -> set[str]:
    return set((await describe_cluster(client)).topics)


async def test_asking_never_creates_a_topic(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """aiokafka's own metadata, ours, offsets and a producer: none brings a missing topic into being."""
    existing = topic()
    async with connected(kafka.bootstrap) as client:
        await client.set_topics(["ghost-1", existing])
        await client.force_metadata_update()
        assert client.cluster.partitions_for_topic(existing) == {0}
        assert (await describe_cluster(client, ["ghost-2"])).topics == {}
        with pytest.raises(TopicNotFoundError, match="ghost-3"):
            await log_offsets(client, [TopicPartition("ghost-3", 0)])
        await asyncio.sleep(0.5)
        assert {"ghost-1", "ghost-2", "ghost-3"} & await _topics(client) == set()


async def test_a_stock_client_would_create_it(kafka: KafkaCluster) -> None:
    """The test above can fail: the broker does create a topic that the stock client asks for."""
    stock = AIOKafkaClient(bootstrap_servers=kafka.bootstrap)
    await stock.bootstrap()
    try:
        stock.set_topics(["made-by-stock"])
        await stock.force_metadata_update()
    finally:
        await stock.close()
    async with connected(kafka.bootstrap) as client:
        for _ in range(50):
            if "made-by-stock" in await _topics(client):
                break
            await asyncio.sleep(0.1)
        assert "made-by-stock" in await _topics(client)


async def test_nobody_there_is_unreachable() -> None:
    """A dead port gives UnreachableError that names it, with a hint."""
    server = f"127.0.0.1:{free_port()}"
    with pytest.raises(UnreachableError, match=server) as caught:
        await open_client(ClusterConnection(bootstrap_servers=(server,)))
    assert caught.value.hint


def _list_dead_broker(client: MirrorClient) -> int:
    """As after the death of a broker, until the next look at the metadata."""
    client.cluster._brokers[99] = BrokerMetadata(99, "127.0.0.1", free_port(), None)
    return 99


async def test_a_dead_broker_is_not_asked(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """While a dead broker is still listed, every question that any broker can answer is answered by one that lives."""
    name = topic()
    async with connected(kafka.bootstrap) as client:
        for _ in range(40):
            dead = _list_dead_broker(client)
            assert await client.any_broker() != dead
            assert name in (await describe_cluster(client, [name])).topics


async def test_a_hanging_broker_does_not_hold_up_the_view(
    kafka: KafkaCluster,
    topic: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A broker that takes requests and answers none costs one pause; from then on others are asked."""
    monkeypatch.setattr("mirror.kafka.cluster_view._PATIENCE_SECONDS", 2.0)
    monkeypatch.setattr("mirror.kafka.client._SILENT_AFTER_S", 1.0)
    name, port, frozen, pumps = topic(), free_port(), asyncio.Event(), set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (data := await reader.read(1 << 16)) and not frozen.is_set():
            writer.write(data)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection("127.0.0.1", kafka.brokers[0].port)
        pumps.add(asyncio.create_task(pump(reader, behind[1])))
        pumps.add(asyncio.create_task(pump(behind[0], writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", port)
    async with connected(kafka.bootstrap) as client:
        view = ClusterView(client)
        await view.refresh()
        client.cluster._brokers[99] = BrokerMetadata(99, "127.0.0.1", port, None)
        assert (await metadata(client, 99, names=[])).cluster_id == kafka.cluster_id
        frozen.set()
        begun = asyncio.get_running_loop().time()
        for _ in range(40):  # of which one at least asks the silent broker first
            assert name in (await view.refresh()).topics  # type: ignore[union-attr]
        took = asyncio.get_running_loop().time() - begun
    server.close()
    for task in pumps:
        task.cancel()
    pauses = [said.message for said in caplog.records if "another one is asked" in said.message]
    assert len(pauses) == 1, pauses
    assert took < 15, took


async def test_no_living_broker_is_unreachable(kafka: KafkaCluster) -> None:
    """With dead brokers only, UnreachableError names them."""
    async with connected(kafka.bootstrap) as client:
        dead = _list_dead_broker(client)
        for node_id in [node_id for node_id in client.cluster._brokers if node_id != dead]:
            del client.cluster._brokers[node_id]
        with pytest.raises(UnreachableError, match=r"none of the brokers \[99\]"):
            await client.any_broker()


async def test_a_cluster_is_described(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Cluster id, brokers, topic ids and partitions are what the cluster says; missing topics have their reason."""
    name = topic(partitions=3)
    async with connected(kafka.bootstrap) as client:
        found = await describe_cluster(client, [name, "ghost"], authorized_operations=True)
    assert found.cluster_id == kafka.cluster_id
    assert [f"{broker.host}:{broker.port}" for broker in found.brokers] == [kafka.bootstrap]
    assert list(found.topics) == [name]
    assert len(found.topics[name].topic_id) == 22
    assert [partition.partition for partition in found.topics[name].partitions] == [0, 1, 2]
    assert {partition.leader for partition in found.topics[name].partitions} == {1}
    assert isinstance(found.missing["ghost"], TopicNotFoundError)


async def test_offsets_by_kind_and_time(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Log start, end, the offset of a timestamp, and the newest record, for several partitions at once."""
    name = topic(partitions=2)
    produce_records(kafka.bootstrap, name, [b"x"] * 20, partition=1)
    empty, full = TopicPartition(name, 0), TopicPartition(name, 1)
    async with connected(kafka.bootstrap) as client:
        assert await log_offsets(client, [empty, full]) == {empty: (0, 0, 0), full: (0, 20, 20)}
        newest = (await list_offsets(client, {full: MAX_TIMESTAMP}))[full]
        by_time = (await list_offsets(client, {full: newest.timestamp_ms}))[full]
        assert 0 <= by_time.offset <= newest.offset < 20
        assert (await list_offsets(client, {full: newest.timestamp_ms + 1}))[full].offset == -1


async def test_the_batch_at_an_offset_tells_its_age(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """The header of the batch that holds an offset; None at the log end and for an empty partition."""
    name = topic(partitions=2)
    produce_records(kafka.bootstrap, name, [b"first"] * 5)
    produce_records(kafka.bootstrap, name, [b"second"] * 5)
    one, empty = TopicPartition(name, 0), TopicPartition(name, 1)
    async with connected(kafka.bootstrap) as client:
        headers = await first_batch_headers_at(client, {one: 7, empty: 0})
        assert headers[empty] is None
        header = headers[one]
        assert header is not None
        assert header.base_offset <= 7 < header.next_offset
        assert (await first_batch_headers_at(client, {one: 10}))[one] is None


async def test_this_broker_speaks_all_we_need(kafka: KafkaCluster) -> None:
    """The needed API versions are within what the broker announces."""
    async with connected(kafka.bootstrap) as client:
        assert await unsupported_apis(client, await client.any_broker()) == []


async def test_a_producer_to_a_missing_topic_fails_without_creating_it(
    kafka: KafkaCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Produce to a topic that is not there ends in TopicNotFoundError after its grace, and it still is not there."""
    monkeypatch.setattr("mirror.kafka.batch_producer._TOPIC_GRACE_S", 0.5)
    from tests.unit.test_kafka_batch_rewrite import make_batch

    async with connected(kafka.bootstrap) as client:
        producer = BatchProducer(client)
        await producer.start()
        future = await producer.send("ghost-4", 0, make_batch([b"x"]))
        with pytest.raises(TopicNotFoundError, match="ghost-4-0"):
            await producer.flush()
        assert isinstance(future.exception(), TopicNotFoundError)
        with pytest.raises(TopicNotFoundError):
            await producer.send("ghost-4", 0, make_batch([b"x"]))
        await producer.close()
        assert "ghost-4" not in await _topics(client)
