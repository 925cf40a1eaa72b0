"""Polled consumer groups on real servers: another worker takes over, groups come and go, a restore puts them."""

import asyncio
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from mirror.cli.__main__ import main
from mirror.core.group_plan import GroupChoice
from mirror.core.positions import TopicPartition as Partition
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.service.groups import choose_group_log, read_groups
from tests.fault.worker_lab import WorkerLab, WorkerProcess, wait_until
from tests.restoring import restore, selection_of
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]


@pytest.fixture
def lab(kafka: KafkaCluster, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """Workers that poll."""
    lab = WorkerLab(kafka, minio, tmp_path / "lab", {"topics": ["polled-*"], "groups": "poll"})
    yield lab
    lab.close()


def commit(lab: WorkerLab, group: str, topic: str, offset: int) -> None:
    """Of a group without members."""
    consumer = Consumer({"bootstrap.servers": lab.kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def stored(lab: WorkerLab, topic: str, at_ms: int | None = None) -> dict[str, int]:
    """Where the groups of this topic stand, by the repository."""
    coverages = lab.coverage()
    if not choose_group_log(coverages):
        return {}
    groups = read_groups(lab.repository, coverages, at_ms=at_ms).groups
    where = Partition(topic, 0)
    return {group: found[where].offset for group, found in groups.items() if where in found}


def in_table(worker: WorkerProcess, topic: str) -> dict[str, int]:
    """The same, by the worker's table."""
    groups = worker.get("/v1/groups")[1]["groups"]
    return {one["group"]: p["offset"] for one in groups for p in one["positions"] if p["topic"] == topic}


def test_polling_goes_on_with_another_worker(lab: WorkerLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Killed, and taken over: no group is lost, none that was deleted comes back, and mirrors' own are not there; a plan has them."""
    topic, name = f"polled-{lab.id}", f"reader-{lab.id}"
    other = f"other-{lab.id}"
    lab.make_topic(topic)
    producer = Producer({"bootstrap.servers": lab.kafka.bootstrap, "log_level": 0})
    for number in range(20):
        producer.produce(topic, b"%d" % number)
    assert producer.flush(20) == 0
    commit(lab, name, topic, 3)
    commit(lab, other, topic, 5)
    first = lab.worker()
    wait_until(lambda: stored(lab, topic) == {name: 3, other: 5}, first.log_tail, 60, 0.5)
    second = lab.worker()
    wait_until(lambda: second.get("/readyz")[0] == 200, second.log_tail, 60, 0.5)
    before_ms = time.time_ns() // 1_000_000
    first.kill()
    lab.admin.delete_consumer_groups([other])[other].result(30)
    commit(lab, name, topic, 8)
    producer.produce(topic, b"later")
    assert producer.flush(20) == 0
    wait_until(lambda: stored(lab, topic) == {name: 8}, second.log_tail, 60, 0.5)
    lab.wait_durable({topic: 1})
    capsys.readouterr()
    assert main(["--config", str(second.config_path), "groups", "show", name, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["is_polled"], report["groups"][0]["positions"][0]["offset"]) == (True, 8)
    assert stored(lab, topic, before_ms) == {name: 3, other: 5}
    wait_until(lambda: in_table(second, topic) == {name: 8}, second.log_tail, 30, 0.5)
    assert second.get("/v1/groups")[1]["is_polled"] is True

    choice = GroupChoice(globs=(name,), renames={name: f"{name}-at"})
    at = RecoveryPoint(kind=PointKind.AT, time_ms=before_ms)
    plan, result = asyncio.run(
        restore(lab.repository, lab.kafka.bootstrap, selection_of(topic, prefix="at-", point=at, groups=choice))
    )
    assert [[one.source_offset for one in group.positions] for group in plan.groups] == [[3]]
    assert any("polled" in note for note in plan.group_notes)
    assert [one.offset for one in result.groups[0].positions.values()] == [3]
