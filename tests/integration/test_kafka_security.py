"""Both client libraries enter a locked-down broker by every mechanism, and are told what is wrong when they do not."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AclOperation, ResourceType

from mirror.core.positions import TopicPartition
from mirror.errors import AccessError, ConfigError, MirrorError, UnreachableError
from mirror.kafka.admin import Admin
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.client import open_client
from mirror.kafka.cluster import describe_cluster, log_offsets
from mirror.kafka.connection import ClusterConnection, Sasl, SecurityProtocol
from mirror.kafka.oauth import TokenFile
from mirror.kafka.rights import operations_of
from mirror.kafka.tls import TlsFiles
from mirror.kafka.wire.describe_acls import describe_acls
from tests.servers.secure import SecureKafka, unsigned_token
from tests.unit.test_kafka_batch_rewrite import make_batch


def _connection(server: SecureKafka, sasl: Sasl | None, **settings: Any) -> ClusterConnection:
    listener: SecurityProtocol = "SASL_SSL" if sasl else "SSL"
    settings.setdefault("tls", TlsFiles(ca_file=server.authority.ca_path))
    return ClusterConnection(
        bootstrap_servers=(server.bootstrap_of(listener),), security_protocol=listener, sasl=sasl, **settings
    )


def _login(server: SecureKafka, user: str, mechanism: str, folder: Path) -> Sasl:
    if mechanism == "OAUTHBEARER":
        path = folder / "token"
        path.write_text(unsigned_token(user)[0] + "\n")
        return Sasl(mechanism="OAUTHBEARER", token=TokenFile(path=path))
    return Sasl(mechanism=mechanism, username=user, password=lambda: server.passwords[user])  # type: ignore[arg-type]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
async def test_every_mechanism_enters(secure_kafka: SecureKafka, tmp_path: Path, mechanism: str) -> None:
    """SASL_SSL by every mechanism, for aiokafka's connections and for confluent-kafka's."""
    secure_kafka.allow("mirror", ResourceType.BROKER, "kafka-cluster", AclOperation.DESCRIBE)
    conn = _connection(secure_kafka, _login(secure_kafka, "mirror", mechanism, tmp_path))
    async with await open_client(conn) as client:
        assert (await describe_cluster(client, [])).cluster_id == secure_kafka.cluster_id
        assert "DESCRIBE" in await asyncio.wait_for(Admin(conn, client).cluster_operations(), 20)


async def test_mutual_tls_follows_a_rotated_certificate(secure_kafka: SecureKafka) -> None:
    """A certificate replaced on disk is who we are on the next connection, for both libraries; no restart."""
    first = secure_kafka.authority.issue("rotated")
    secure_kafka.allow("second", ResourceType.BROKER, "kafka-cluster", AclOperation.DESCRIBE)
    tls = TlsFiles(ca_file=secure_kafka.authority.ca_path, cert_file=first.chain_path, key_file=first.key_path)
    conn = _connection(secure_kafka, None, tls=tls)
    async with await open_client(conn) as client:
        admin = Admin(conn, client)
        with pytest.raises(AccessError):
            await describe_acls(client, await client.any_broker())
        assert "DESCRIBE" not in await admin.cluster_operations()
        second = secure_kafka.authority.issue("second")
        first.key_path.write_bytes(second.key_path.read_bytes())
        first.chain_path.write_bytes(second.chain_path.read_bytes())
        for connection in list(client._conns.values()):
            connection.close()
        await describe_acls(client, await client.any_broker())
        assert "DESCRIBE" in await admin.cluster_operations()


async def test_wrong_credentials_are_an_access_error(secure_kafka: SecureKafka) -> None:
    """A wrong password, an unknown authority, and a missing client certificate: AccessError or a named hang-up."""
    wrong = Sasl(mechanism="SCRAM-SHA-512", username="mirror", password=lambda: "wrong-secret")
    with pytest.raises(AccessError, match="SASL_AUTHENTICATION_FAILED") as caught:
        await open_client(_connection(secure_kafka, wrong))
    assert "wrong-secret" not in f"{caught.value!r} {caught.value} {caught.value.hint}"
    with pytest.raises(AccessError, match="CERTIFICATE_VERIFY_FAILED"):
        await open_client(_connection(secure_kafka, None, tls=TlsFiles()))
    with pytest.raises(MirrorError) as no_certificate:
        await open_client(_connection(secure_kafka, None))
    assert isinstance(no_certificate.value, AccessError | UnreachableError)


async def test_the_wrong_protocol_is_told(secure_kafka: SecureKafka) -> None:
    """Plaintext to a TLS listener, and TLS to a plaintext one, name the security protocol."""
    plain_to_tls = ClusterConnection(
        bootstrap_servers=(secure_kafka.bootstrap_of("SASL_SSL"),), request_timeout_ms=3_000
    )
    with pytest.raises(UnreachableError, match=r"security_protocol|PLAINTEXT"):
        await open_client(plain_to_tls)
    tls_to_plain = ClusterConnection(
        bootstrap_servers=(secure_kafka.bootstrap,),
        security_protocol="SSL",
        tls=TlsFiles(ca_file=secure_kafka.authority.ca_path),
        request_timeout_ms=3_000,
    )
    with pytest.raises(MirrorError, match=r"SSL|TLS"):
        await open_client(tls_to_plain)


async def test_missing_rights_are_named(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    """Without rights: which one is missing, on what; rights that are there are listed."""
    topic = f"closed-{time.time_ns()}"
    async with await open_client(ClusterConnection(bootstrap_servers=(secure_kafka.bootstrap,))) as owner:
        await Admin(ClusterConnection(bootstrap_servers=(secure_kafka.bootstrap,)), owner).create_topic(
            topic, partitions=1
        )
    conn = _connection(secure_kafka, _login(secure_kafka, "nobody", "PLAIN", tmp_path))
    async with await open_client(conn) as client:
        described = await describe_cluster(client, [topic])
        assert isinstance(described.missing[topic], AccessError)
        assert "TOPIC_AUTHORIZATION_FAILED (29)" in described.missing[topic].message
        with pytest.raises(AccessError, match=topic):
            await log_offsets(client, [TopicPartition(topic, 0)])
        with pytest.raises(AccessError, match="producer id"):
            await BatchProducer(client).start()
        with pytest.raises(AccessError, match=topic):
            await Admin(conn, client).topic_configs([topic])
        with pytest.raises(AccessError, match="ACLs"):
            await describe_acls(client, await client.any_broker())
        secure_kafka.allow("nobody", ResourceType.TOPIC, topic, AclOperation.DESCRIBE, AclOperation.WRITE)
        for _ in range(50):
            described = await describe_cluster(client, [topic], authorized_operations=True)
            if topic in described.topics:
                break
            await asyncio.sleep(0.1)
        assert operations_of(described.topics[topic].authorized_operations) == {"DESCRIBE", "WRITE"}
        async with BatchProducer(client) as producer:
            assert await (await producer.send(topic, 0, make_batch([b"x"]))) == 0


async def test_a_token_that_runs_out_is_replaced(secure_kafka: SecureKafka, tmp_path: Path) -> None:
    """The token file is read anew for each login; an empty one is a ConfigError at the start."""
    path = tmp_path / "token"
    path.write_text("")
    conn = _connection(secure_kafka, Sasl(mechanism="OAUTHBEARER", token=TokenFile(path=path)))
    with pytest.raises(ConfigError, match="empty"):
        await open_client(conn)
    path.write_text(unsigned_token("mirror")[0])
    async with await open_client(conn) as client:
        path.write_text("")
        for connection in list(client._conns.values()):
            connection.close()
        with contextlib.suppress(MirrorError):  # the login fails with this file; what matters is that nothing hangs
            await asyncio.wait_for(describe_cluster(client, []), 10)
        path.write_text(unsigned_token("mirror")[0])
        assert (await asyncio.wait_for(describe_cluster(client, []), 10)).cluster_id == secure_kafka.cluster_id


async def test_admins_are_listed_with_an_authorizer(secure_kafka: SecureKafka, new_name: Callable[[], str]) -> None:
    """ACLs come back as they were made."""
    name = new_name()
    secure_kafka.allow("mirror", ResourceType.TOPIC, name, AclOperation.READ)
    conn = ClusterConnection(bootstrap_servers=(secure_kafka.bootstrap,))
    async with await open_client(conn) as client:
        listed = await describe_acls(client, await client.any_broker())
    assert listed is not None
    entries = [entry for entry in listed if entry.resource_name == name]
    (entry,) = entries
    assert (entry.resource_type, entry.pattern_type, entry.principal) == ("TOPIC", "LITERAL", "User:mirror")
    assert (entry.operation, entry.permission, entry.host) == ("READ", "ALLOW", "*")


@pytest.fixture
def new_name() -> Callable[[], str]:
    """A name that nothing has yet."""
    return lambda: f"n-{time.time_ns()}"
