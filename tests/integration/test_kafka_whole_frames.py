"""Answers read straight into their place are those that aiokafka would have read, in clear and through TLS."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AclOperation, ResourceType

from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.tls import TlsFiles
from mirror.kafka.whole_frames import _WholeFrames
from mirror.kafka.wire.fetch import READ_UNCOMMITTED, FetchPartition, FetchRequest, FetchResponse, fetch
from tests.integration.test_kafka_helpers import connected
from tests.servers.kafka import KafkaCluster
from tests.servers.secure import SecureKafka

pytestmark = pytest.mark.servers

OURS = "ours"
_VALUES = 400
_VALUE_BYTES = 20_000


def _fill(topic: str, settings: dict[str, Any]) -> None:
    producer = Producer({"linger.ms": 20, **settings})
    for number in range(_VALUES):
        producer.produce(topic, b"%05d" % number * (_VALUE_BYTES // 5), partition=0)
    assert producer.flush(30) == 0


async def _fetch(client: MirrorClient, topic: str, connection: object) -> FetchResponse:
    described = (await describe_cluster(client, [topic])).topics[topic]
    wanted = FetchPartition(topic_id=described.topic_id, partition=0, fetch_offset=0, max_bytes=1 << 24)
    request = FetchRequest(partitions=[wanted], max_wait_ms=500, max_bytes=1 << 24, isolation_level=READ_UNCOMMITTED)
    return await fetch(client, described.partitions[0].leader, request, connection=connection)


async def _equal_on_both(client: MirrorClient, topic: str) -> None:
    (plain,) = (await _fetch(client, topic, 7)).partitions
    several = await asyncio.gather(*(_fetch(client, topic, OURS) for _ in range(3)))
    assert len(plain.records) >= _VALUES * _VALUE_BYTES
    assert [bytes(answer.partitions[0].records) == bytes(plain.records) for answer in several] == [True] * 3
    protocols = {
        group: type(connection._writer.transport.get_protocol()) for (_, group), connection in client._conns.items()
    }
    assert protocols[OURS] is _WholeFrames
    assert protocols[7] is not _WholeFrames


async def test_in_clear(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Eight megabytes, three requests at once on the connection."""
    name = topic()
    _fill(name, {"bootstrap.servers": kafka.bootstrap})
    async with connected(kafka.bootstrap) as client:
        await _equal_on_both(client, name)


async def test_through_tls(secure_kafka: SecureKafka) -> None:
    """The same through TLS, whose transport hands out buffers in its own way."""
    name = "whole-frames"
    pair = secure_kafka.authority.issue("frames")
    for operation in (AclOperation.CREATE, AclOperation.WRITE, AclOperation.READ):
        secure_kafka.allow("frames", ResourceType.TOPIC, name, operation)
    files = {"ca": secure_kafka.authority.ca_path, "cert": pair.chain_path, "key": pair.key_path}
    _fill(
        name,
        {
            "bootstrap.servers": secure_kafka.bootstrap_of("SSL"),
            "security.protocol": "SSL",
            "ssl.ca.location": str(files["ca"]),
            "ssl.certificate.location": str(files["cert"]),
            "ssl.key.location": str(files["key"]),
            "allow.auto.create.topics": True,
        },
    )
    conn = ClusterConnection(
        bootstrap_servers=(secure_kafka.bootstrap_of("SSL"),),
        security_protocol="SSL",
        tls=TlsFiles(ca_file=files["ca"], cert_file=files["cert"], key_file=files["key"]),
    )
    async with await open_client(conn) as client:
        await _equal_on_both(client, name)


async def test_a_broker_that_hangs_up_is_told_and_asked_again(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """A connection that is lost between two requests: the next one opens another."""
    name = topic()
    _fill(name, {"bootstrap.servers": kafka.bootstrap})
    async with connected(kafka.bootstrap) as client:
        first = await _fetch(client, name, OURS)
        for (_, group), connection in list(client._conns.items()):
            if group == OURS:
                connection._writer.transport.abort()
        await asyncio.sleep(0.1)
        again = await _fetch(client, name, OURS)
    assert bytes(again.partitions[0].records) == bytes(first.partitions[0].records)
