"""Snapshots of a real cluster: what they say is what the brokers say, and what a restore to one plans."""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from mirror.cli.__main__ import main
from mirror.core.group_plan import GroupChoice
from mirror.core.positions import TopicPartition as Tp
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.service.cluster_states import state_at
from mirror.service.snapshots import snapshot_point
from tests.fault.worker_lab import WorkerLab
from tests.restoring import consume_all, restore, selection_of
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture
def lab(kafka: KafkaCluster, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A repository and workers of the test's own."""
    lab = WorkerLab(kafka, minio, tmp_path / "lab", {"topics": ["snap-*"]})
    yield lab
    lab.close()
    for topic in lab.topics():
        if topic.startswith("snap"):
            lab.delete_topic(topic)


def produce(lab: WorkerLab, topic: str, count: int) -> None:
    """Records in both partitions."""
    producer = Producer({"bootstrap.servers": lab.kafka.bootstrap, "log_level": 0})
    for number in range(count):
        producer.produce(topic, b"%d" % number, partition=number % 2)
    assert producer.flush(30) == 0


def commit(lab: WorkerLab, group: str, *positions: TopicPartition) -> None:
    """As a consumer of the group does."""
    consumer = Consumer(
        {"bootstrap.servers": lab.kafka.bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    )
    consumer.commit(offsets=list(positions), asynchronous=False)
    consumer.close()


def run(lab: WorkerLab, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, Any]:
    """Exit code and JSON of a command."""
    capsys.readouterr()
    code = main(["--config", str(lab.folder / "worker-0.toml"), *args, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_snapshot_outlives_what_comes_after_it(lab: WorkerLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Open transactions are outside; later records and commits change nothing; the plan of a restore ends exactly there."""
    topic, group = lab.make_topic("snap-orders", 2), f"g-{time.time_ns()}"
    lab.make_topic("snapless")
    produce(lab, topic, 100)
    open_one = Producer({"bootstrap.servers": lab.kafka.bootstrap, "transactional.id": f"tx-{group}", "log_level": 0})
    open_one.init_transactions(30)
    open_one.begin_transaction()
    open_one.produce(topic, b"open", partition=0)
    open_one.flush(30)
    commit(
        lab,
        group,
        TopicPartition(topic, 0, 30, metadata="m"),
        TopicPartition(topic, 1, 31),
        TopicPartition("snapless", 0, 0),
    )
    lab.worker()
    lab.wait_durable({topic: 2})
    code, made = run(lab, capsys, "snapshot", "create", "before-deploy", "--wait")
    assert (code, made["is_complete"], made["name"], made["notes"]) == (0, True, "before-deploy", [])
    assert (made["topics"], made["partitions"]) == (1, 2)
    open_one.commit_transaction(30)
    produce(lab, topic, 40)
    commit(lab, group, TopicPartition(topic, 0, 60), TopicPartition(topic, 1, 60))
    lab.wait_durable({topic: 2})
    repository = lab.reopened()
    point = snapshot_point(repository, made["snapshot"])
    assert point.offsets == {Tp(topic, 0): 50, Tp(topic, 1): 50}
    assert point.topic_ids == {topic: lab.topic_id(topic)}
    assert {tp: one.offset for tp, one in point.groups[group].items()} == {Tp(topic, 0): 30, Tp(topic, 1): 31}
    assert lab.id not in point.groups
    assert 0 <= point.snapshot.skew_ms < 30_000
    assert all(g.group != lab.id for g in point.snapshot.groups)

    to_snapshot = selection_of(
        topic,
        prefix="snap-r-",
        point=RecoveryPoint(kind=PointKind.SNAPSHOT, snapshot=made["snapshot"]),
        groups=GroupChoice(globs=(group,), renames={group: f"{group}-r"}),
    )
    plan, result = asyncio.run(restore(repository, lab.kafka.bootstrap, to_snapshot))
    assert [(one.partition, one.records) for one in plan.topics[0].partitions] == [(0, 50), (1, 50)]
    assert len(consume_all(lab.kafka.bootstrap, f"snap-r-{topic}")) == result.loaded_records == 100
    assert sorted(position.offset for position in result.groups[0].positions.values()) == [30, 31]
    capsys.readouterr()
    main(["--config", str(lab.folder / "worker-0.toml"), "snapshot", "create", "before-deploy"])
    assert "there is another snapshot before-deploy: say before-deploy@" in capsys.readouterr().out


def test_a_position_that_a_transaction_may_move_is_waited_for(
    lab: WorkerLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Until the transaction has ended: the position is the one that it committed. And the cluster's state is captured with it."""
    topic, group = lab.make_topic("snap-tx", 2), f"g-{time.time_ns()}"
    produce(lab, topic, 10)
    lab.worker(run=False)
    commit(lab, group, TopicPartition(topic, 0, 1))
    consumer = Consumer({"bootstrap.servers": lab.kafka.bootstrap, "group.id": group, "log_level": 0})
    producer = Producer({"bootstrap.servers": lab.kafka.bootstrap, "transactional.id": f"tx-{group}", "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.send_offsets_to_transaction([TopicPartition(topic, 0, 3)], consumer.consumer_group_metadata(), 30)
    ending = threading.Timer(6.0, producer.commit_transaction)  # on a busy machine the command takes seconds to begin
    ending.start()
    made = run(lab, capsys, "snapshot", "create", "tx")[1]
    ending.join()
    consumer.close()
    assert made["notes"] == []
    assert made["skew_ms"] > 1000
    point = snapshot_point(lab.repository, "tx")
    assert {tp: one.offset for tp, one in point.groups[group].items()} == {Tp(topic, 0): 3}
    state = state_at(lab.repository, made["taken_at_ms"])
    assert topic in {one.topic for one in state.topics}


def test_short_without_a_worker(lab: WorkerLab, capsys: pytest.CaptureFixture[str]) -> None:
    """The snapshot is made, exit 6 says that it cannot be restored yet, and --wait ends; once a worker ran it is complete."""
    topic = lab.make_topic("snap-late", 2)
    produce(lab, topic, 10)
    worker = lab.worker(run=False)
    code, made = run(lab, capsys, "snapshot", "create", "--wait", "--timeout", "2s")
    assert (code, made["is_complete"], made["missing_offsets"]) == (6, False, 10)
    assert made["snapshot"] == made["taken_at"][:19] + "Z"
    worker.start()
    worker.wait_ready()
    lab.wait_durable({topic: 2})
    (listed,) = run(lab, capsys, "snapshot", "list")[1]["snapshots"]
    assert (listed["snapshot"], listed["is_complete"]) == (made["snapshot"], True)
    code, report = run(lab, capsys, "verify")
    assert (code, report["counts"]["snapshots"]) == (0, 1)
    assert run(lab, capsys, "snapshot", "delete", made["snapshot"])[0] == 0
    assert run(lab, capsys, "snapshot", "list")[1]["snapshots"] == []
