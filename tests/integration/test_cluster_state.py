"""The state of real clusters, captured by real workers: on change, with all rights and with the fewest."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType

from mirror.cli.__main__ import main
from mirror.core.cluster_state import ClusterState, StateQuota
from mirror.kafka.admin import Admin
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.wire.client_quotas import QuotaEntry, alter_client_quotas
from mirror.service.cluster_states import list_states, state_at
from mirror.service.snapshots import find_snapshot, read_snapshot
from mirror.service.state_capture import capture_state
from mirror.service.state_recorder import StateRecorder
from mirror.service.wiring import connection_for
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.servers.secure import SecureKafka

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture
def lab(kafka: KafkaCluster, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A repository and workers of the test's own."""
    lab = WorkerLab(kafka, minio, tmp_path / "lab", {"topics": ["state-*"]})
    yield lab
    lab.close()
    for topic in lab.topics():
        if topic.startswith("state-"):
            lab.delete_topic(topic)


def run(lab: WorkerLab, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    capsys.readouterr()
    code = main(["--config", str(lab.folder / "worker-0.toml"), *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_topics_that_come_are_captured_at_once(lab: WorkerLab, capsys: pytest.CaptureFixture[str]) -> None:
    """By one of two workers, without a restart; show and diff need the repository only; verify reads the captures."""
    lab.make_topic("state-first", 2, retention_ms="86400000")
    lab.worker()
    lab.worker()
    wait_until(lambda: list_states(lab.repository), "a capture", 30)
    before_ms = time.time_ns() // 1_000_000
    lab.make_topic("state-second", 3)
    wait_until(lambda: any(at_ms > before_ms for at_ms in list_states(lab.repository)), "a second capture", 30)
    wait_until(
        lambda: "state-second" in {topic.topic for topic in state_at(lab.repository).topics}, "it names the topic", 30
    )
    code, shown = run(lab, capsys, "state", "show")
    assert (code, shown["state"]["cluster_id"]) == (0, lab.kafka.cluster_id)
    topics = {topic["topic"]: topic for topic in shown["state"]["topics"]}
    assert topics["state-first"]["configs"] == {"retention.ms": "86400000"}
    assert topics["state-first"]["topic_id"] == lab.topic_id("state-first")
    assert topics["state-second"]["partition_count"] == 3
    assert shown["state"]["features"]["metadata.version"] > 0
    (broker,) = shown["state"]["brokers"]
    assert broker["configs"]["node.id"] == str(broker["node_id"])
    assert shown["state"]["notes"] == ["there are no ACLs: the cluster has no authorizer"]
    code, diff = run(lab, capsys, "state", "diff", "--at", f"@{before_ms}")
    assert [one["sign"] for one in diff["changes"] if one["name"] == "state-second"] == ["+"]
    report = run(lab, capsys, "verify")[1]
    assert (report["findings"], report["counts"]["states"]) == ([], len(list_states(lab.repository)))


async def test_only_what_changed_is_stored(lab: WorkerLab) -> None:
    """A look that finds the same stores nothing; a changed setting is found by the next look."""
    lab.make_topic("state-third")
    connection = connection_for(lab._config.source_cluster)
    recorder = StateRecorder(lab.repository, connection)
    assert [await recorder.look(at_ms) for at_ms in (1, 2)] == [True, False]
    lab.set_config("state-third", "retention.ms", "1000")
    assert [await recorder.look(at_ms) for at_ms in (3, 4)] == [True, False]
    assert list_states(lab.repository) == [1, 3]


@pytest.fixture
def secure_lab(secure_kafka: SecureKafka, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A worker's user without any right on the cluster as a whole."""
    password = tmp_path / "password"
    password.write_text(secure_kafka.passwords["mirror"])
    cluster = {
        "bootstrap_servers": [secure_kafka.bootstrap_of("SASL_SSL")],
        "security_protocol": "SASL_SSL",
        "ssl.ca_file": str(secure_kafka.authority.ca_path),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "mirror",
        "sasl.password.file": str(password),
    }
    lab = WorkerLab(secure_kafka, minio, tmp_path / "lab", {"topics": ["rights-*"]}, cluster)
    may = AclOperation
    secure_kafka.allow("mirror", ResourceType.GROUP, lab.id, may.READ)
    secure_kafka.allow("mirror", ResourceType.TOPIC, "rights-a", may.READ, may.DESCRIBE, may.DESCRIBE_CONFIGS)
    secure_kafka.allow("mirror", ResourceType.TOPIC, "rights-b", may.READ, may.DESCRIBE)
    for name in lab.own_topics.values():
        secure_kafka.allow("mirror", ResourceType.TOPIC, name, may.CREATE, may.DESCRIBE, may.READ, may.WRITE)
    yield lab
    lab.close()


async def _set_quota(kafka: KafkaCluster, entity: dict[str, str | None], **values: float) -> None:
    async with await open_client(ClusterConnection(bootstrap_servers=(kafka.bootstrap,))) as client:
        await alter_client_quotas(client, await client.any_broker(), [QuotaEntry(entity=entity, values=values)])


async def _capture(lab: WorkerLab) -> ClusterState:
    connection = connection_for(lab._config.source_cluster)
    async with await open_client(connection) as client:
        return await capture_state(client, Admin(connection, client), lab.repository.identity, 1)


def test_a_missing_right_is_a_note(
    secure_kafka: SecureKafka, secure_lab: WorkerLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """The backup goes on without a warning; what the right would tell is there as soon as it is granted, never a secret."""
    lab = secure_lab
    for topic in ("rights-a", "rights-b"):
        lab.make_topic(topic)
    worker = lab.worker()
    wait_until(lambda: list_states(lab.repository), worker.log_tail, 30)
    poor = state_at(lab.repository)
    assert (poor.acls, poor.users, poor.quotas, poor.brokers[0].configs) == (None, None, None, None)
    assert "client quotas are not captured: DESCRIBE_CONFIGS on the cluster is missing" in poor.notes
    assert "ACLs are not captured: DESCRIBE on the cluster is missing" in poor.notes
    assert "SCRAM users are not captured: DESCRIBE on the cluster is missing" in poor.notes
    assert "settings of brokers are not captured: DESCRIBE_CONFIGS on the cluster is missing" in poor.notes
    configs = {topic.topic: topic.configs for topic in poor.topics}
    assert (configs["rights-a"], configs["rights-b"]) == ({}, None)
    assert worker.get("/readyz")[0] == 200
    assert "state is not captured" not in worker.log_text()
    made = run(lab, capsys, "snapshot", "create", "poor")[1]
    assert [note.partition(":")[0] for note in made["notes"]] == [
        "settings of topics are not in it",
        "only consumer groups that this user may describe are in it",
    ]
    may = AclOperation
    secure_kafka.allow("mirror", ResourceType.BROKER, "kafka-cluster", may.DESCRIBE, may.DESCRIBE_CONFIGS)
    secure_kafka.allow("mirror", ResourceType.TOPIC, "rights-b", may.DESCRIBE_CONFIGS)
    entity = {"client-id": None, "user": "rights-app"}
    asyncio.run(_set_quota(secure_kafka, entity, producer_byte_rate=1048576.0, request_percentage=12.5))
    wait_until(lambda: asyncio.run(_capture(lab)).quotas, "the quota arrives", 30)
    rich = asyncio.run(_capture(lab))
    expected = StateQuota(entity=entity, values={"producer_byte_rate": 1048576.0, "request_percentage": 12.5})
    assert expected in (rich.quotas or ())
    assert ("User:mirror", "rights-a", "READ") in {(a.principal, a.resource_name, a.operation) for a in rich.acls or ()}
    assert {one.user: one.mechanisms for one in rich.users or ()}["mirror"] == ["SCRAM-SHA-256", "SCRAM-SHA-512"]
    own = rich.brokers[0].configs or {}
    secrets = [name for name, value in own.items() if name.endswith("sasl.jaas.config") and value is not None]
    assert ("listener.name.sasl_ssl.plain.sasl.jaas.config" in own, secrets) == (True, [])
    assert all(password not in repr(rich) for password in secure_kafka.passwords.values())
    consumer = Consumer(
        {"bootstrap.servers": secure_kafka.bootstrap, "group.id": "rights-g", "enable.auto.commit": False}
    )
    consumer.commit(offsets=[TopicPartition("rights-a", 0, 0)], asynchronous=False)
    consumer.close()
    time.sleep(1.0)  # a snapshot's name has seconds
    code, made = run(lab, capsys, "snapshot", "create", "granted", "--wait")
    assert code == 0
    (note,) = made["notes"]
    assert "consumer groups are not in it, DESCRIBE on them is missing" in note
    secure_kafka.allow("mirror", ResourceType.GROUP, "*", may.DESCRIBE)
    code, made = run(lab, capsys, "snapshot", "create", "all", "--wait")
    assert (code, made["notes"], made["groups"]) == (0, [], 1)
    assert read_snapshot(lab.repository, find_snapshot(lab.repository, "granted")).topics[0].configs == {}
