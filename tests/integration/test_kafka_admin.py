"""Topics are made, changed, described and really gone, on a real broker."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from mirror.errors import ClusterError, TopicNotFoundError
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.rights import operations_of
from mirror.kafka.wire.describe_acls import describe_acls
from tests.integration.test_kafka_helpers import connected
from tests.servers.kafka import KafkaCluster


@asynccontextmanager
async def _admin(kafka: KafkaCluster) -> AsyncIterator[Admin]:
    async with connected(kafka.bootstrap) as client:
        yield Admin(ClusterConnection(bootstrap_servers=(kafka.bootstrap,)), client)


async def _group_operations(admin: Admin, group: str) -> frozenset[str]:
    """On a young broker the first question about any group makes the coordinators."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return await admin.group_operations(group)
        except ClusterError as error:
            if not error.transient or time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.2)


async def test_a_created_topic_is_ready(kafka: KafkaCluster) -> None:
    """create_topic returns the id; partitions have leaders; exactly the given configs are non-default."""
    configs = {"retention.ms": "86400000", "cleanup.policy": "compact"}
    async with _admin(kafka) as admin, connected(kafka.bootstrap) as client:
        topic_id = await admin.create_topic("made", partitions=3, replication_factor=1, configs=configs)
        made = (await describe_cluster(client, ["made"])).topics["made"]
        assert made.topic_id == topic_id
        assert [partition.leader for partition in made.partitions] == [1, 1, 1]
        found = (await admin.topic_configs(["made"]))["made"]
        assert non_default(found) == configs
        assert found["max.message.bytes"].source == "DEFAULT_CONFIG"
        assert found["max.message.bytes"].value == "1048588"
        with pytest.raises(ClusterError, match=r"made.*TOPIC_ALREADY_EXISTS"):
            await admin.create_topic("made", partitions=1)


async def test_configs_change_one_by_one(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Setting one and giving back another leaves the third alone."""
    name = topic(retention_ms="1000", segment_bytes="1048576")
    async with _admin(kafka) as admin:
        await admin.alter_topic_configs(name, set_values={"max.message.bytes": "2000"}, delete=["retention.ms"])
        expected, deadline = {"max.message.bytes": "2000", "segment.bytes": "1048576"}, time.monotonic() + 30
        # the controller has accepted it; the broker that is asked learns of it a moment later
        while (found := non_default((await admin.topic_configs([name]))[name])) != expected:
            assert time.monotonic() < deadline, found
            await asyncio.sleep(0.05)
        with pytest.raises(ClusterError, match=name):
            await admin.alter_topic_configs(name, set_values={"no.such.config": "1"})


async def test_a_deleted_topic_is_gone_and_stays_gone(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """When delete_topic returns nobody knows the topic; asking for it afterwards does not bring it back."""
    name = topic(partitions=5)
    async with _admin(kafka) as admin, connected(kafka.bootstrap) as client:
        await admin.delete_topic(name)
        assert isinstance((await describe_cluster(client, [name])).missing[name], TopicNotFoundError)
        with pytest.raises(TopicNotFoundError):
            await admin.topic_configs([name])
        with pytest.raises(TopicNotFoundError):
            await admin.delete_topic(name)
        assert name not in (await describe_cluster(client)).topics


async def test_brokers_and_rights_are_described(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Broker configs; without an authorizer everything is allowed and there are no ACLs to list."""
    name = topic()
    async with _admin(kafka) as admin, connected(kafka.bootstrap) as client:
        configs = (await admin.broker_configs([1]))[1]
        assert configs["auto.create.topics.enable"].value == "true"
        assert {"CREATE", "ALTER", "DESCRIBE"} <= await admin.cluster_operations()
        assert {"READ", "DESCRIBE"} <= await _group_operations(admin, "any-group")
        described = await describe_cluster(client, [name], authorized_operations=True)
        assert {"READ", "WRITE", "DESCRIBE"} <= operations_of(described.topics[name].authorized_operations)
        assert await describe_acls(client, await client.any_broker()) is None
