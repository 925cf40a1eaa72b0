"""Filling and deleting with exactly the rights that they need, and without each of them."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from confluent_kafka.admin import (
    AclOperation,
    ResourceType,
)

from mirror.core.filler import filler_batch
from mirror.core.positions import TopicPartition
from mirror.errors import AccessError
from mirror.kafka.abort_filler import AbortFiller
from mirror.kafka.admin import Admin
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.connection import ClusterConnection, Sasl
from mirror.kafka.delete_records import delete_records
from mirror.kafka.log_ends import log_ends
from mirror.kafka.marker_filler import MarkerFiller, may_write_markers
from mirror.kafka.producers import active_producers
from mirror.kafka.tls import TlsFiles
from tests.servers.secure import SecureKafka

CLUSTER = "kafka-cluster"


@asynccontextmanager
async def _as_user(server: SecureKafka, user: str) -> AsyncIterator[MirrorClient]:
    login = Sasl(mechanism="SCRAM-SHA-512", username=user, password=lambda: server.passwords[user])
    conn = ClusterConnection(
        bootstrap_servers=(server.bootstrap_of("SASL_SSL"),),
        security_protocol="SASL_SSL",
        sasl=login,
        tls=TlsFiles(ca_file=server.authority.ca_path),
    )
    async with await open_client(conn) as client:
        yield client


async def _topic(server: SecureKafka) -> str:
    name = f"fill-{secrets.token_hex(5)}"
    conn = ClusterConnection(bootstrap_servers=(server.bootstrap,))
    async with await open_client(conn) as client:
        await Admin(conn, client).create_topic(name, partitions=1)
    return name


async def test_without_the_right_no_markers(secure_kafka: SecureKafka) -> None:
    """Neither CLUSTER_ACTION nor ALTER: an error that names them, and nothing written; either alone is enough."""
    name = await _topic(secure_kafka)
    tp = TopicPartition(name, 0)
    secure_kafka.allow("mirror", ResourceType.TOPIC, name, AclOperation.WRITE, AclOperation.DESCRIBE)
    secure_kafka.forbid("mirror", ResourceType.BROKER)
    async with _as_user(secure_kafka, "mirror") as client:
        assert not await may_write_markers(client)
        filler = MarkerFiller(client)
        with pytest.raises(AccessError, match=rf"{name}-0.*\(31\); CLUSTER_ACTION on the cluster is missing") as caught:
            await filler.fill(tp, start_offset=0, count=2)
        assert "ClusterAction" in (caught.value.hint or "")
        await filler.close()
        assert await log_ends(client, [tp]) == {tp: 0}
    log_end = 0
    for right in (AclOperation.CLUSTER_ACTION, AclOperation.ALTER):
        secure_kafka.allow("mirror", ResourceType.BROKER, CLUSTER, right)
        async with _as_user(secure_kafka, "mirror") as client:
            assert await may_write_markers(client)
            filler = MarkerFiller(client)
            await filler.fill(tp, start_offset=log_end, count=2)
            log_end += 2
            await filler.close()
        secure_kafka.forbid("mirror", ResourceType.BROKER)


async def test_aborted_transactions_need_no_right_on_the_cluster(secure_kafka: SecureKafka) -> None:
    """WRITE on the topic, WRITE and DESCRIBE on the transactional ids; without these an error that names them."""
    name = await _topic(secure_kafka)
    tp = TopicPartition(name, 0)
    secure_kafka.allow("mirror", ResourceType.TOPIC, name, AclOperation.WRITE, AclOperation.DESCRIBE)
    secure_kafka.forbid("mirror", ResourceType.BROKER)
    async with _as_user(secure_kafka, "mirror") as client:
        filler = AbortFiller(client, transactional_id=f"id-{name}")
        with pytest.raises(AccessError, match=rf"DESCRIBE on transactional id id-{name}-\d are needed"):
            await filler.start()
        await filler.close()
        for number in range(4):
            secure_kafka.allow(
                "mirror",
                ResourceType.TRANSACTIONAL_ID,
                f"id-{name}-{number}",
                AclOperation.WRITE,
                AclOperation.DESCRIBE,
            )
        filler = AbortFiller(client, transactional_id=f"id-{name}")
        await filler.fill(tp, start_offset=0, count=4)
        await filler.close()
        assert await log_ends(client, [tp]) == {tp: 4}


async def test_each_right_on_the_topic_is_named(secure_kafka: SecureKafka) -> None:
    """Deleting names DELETE, looking at producers fails without READ, the log end without DESCRIBE."""
    name = await _topic(secure_kafka)
    tp = TopicPartition(name, 0)
    async with _as_user(secure_kafka, "nobody") as client:
        with pytest.raises(AccessError, match=name):
            await log_ends(client, [tp])
    secure_kafka.allow("mirror", ResourceType.TOPIC, name, AclOperation.WRITE, AclOperation.DESCRIBE)
    async with _as_user(secure_kafka, "mirror") as client:
        async with BatchProducer(client) as producer:
            await producer.send(name, 0, filler_batch(10, timestamp_ms=1))
        with pytest.raises(AccessError, match=rf"{name}-0 before 5.*DELETE on topic {name} is missing"):
            await delete_records(client, {tp: 5})
        with pytest.raises(AccessError, match=name):
            await active_producers(client, [tp])
        secure_kafka.allow("mirror", ResourceType.TOPIC, name, AclOperation.DELETE, AclOperation.READ)
        assert await delete_records(client, {tp: 5}) == {tp: 5}
        assert len((await active_producers(client, [tp]))[tp]) == 1
