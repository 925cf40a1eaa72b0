"""Which topics a worker backs up, while they come, grow, go, and come again."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from mirror.cli.status_view import as_json
from mirror.config import load_config
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.positions import PartitionId
from mirror.service.status import StatusObserver
from mirror.service.wiring import open_configured_repository
from tests.fault.worker_check import judge
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.kafka import UNTRIMMED, KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def own_kafka(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker whose only topics are this module's."""
    cluster = KafkaCluster(tmp_path_factory.mktemp("worker-topics"), properties=UNTRIMMED)
    cluster.start()
    yield cluster
    cluster.kill()


@pytest.fixture
def lab(own_kafka: KafkaCluster, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A repository and workers of the test's own."""
    lab = WorkerLab(own_kafka, minio, tmp_path / "lab")
    yield lab
    lab.close()
    for topic in lab.topics():
        if not topic.startswith("__"):
            lab.delete_topic(topic)


def produce(lab: WorkerLab, topic: str, n: int, partition: int = 0, start: int = 0) -> None:
    """Numbered records."""
    producer = Producer({"bootstrap.servers": lab.kafka.bootstrap, "linger.ms": 5, "log_level": 0})
    for number in range(start, start + n):
        producer.produce(topic, f"{topic} {number}".encode(), partition=partition)
    assert producer.flush(30) == 0


def test_topics_are_chosen_by_glob_and_regex_and_exclusion_wins(lab: WorkerLab) -> None:
    """Names by glob, whole names by regex, exclusion over both, internal topics never (but the consumer groups)."""
    chosen, others = ["shop-orders", "shop-audit", "pay42"], ["shop-scratch", "pay4x", "other", "__hidden"]
    for topic in chosen + others:
        lab.make_topic(topic)
        produce(lab, topic, 10)
    lab.worker(topics=["shop-*", "__hidden"], topics_regex=["pay[0-9]+"], exclude=["*-scratch"])
    lab.wait_durable(dict.fromkeys(chosen, 1))
    judge(lab, dict.fromkeys(chosen, 1))
    assert {entry.topic for entry in lab.coverage().values()} == {*chosen, GROUP_LOG_TOPIC}


def test_new_topics_added_partitions_and_deleted_topics(lab: WorkerLab) -> None:
    """In within 30 s without a restart; what is deleted stays deleted and is said, and what was stored of it stays."""
    lab.make_topic("first", 2)
    lab.make_topic("doomed", 1)
    produce(lab, "first", 50)
    produce(lab, "doomed", 50)
    worker = lab.worker()
    lab.wait_durable({"first": 2, "doomed": 1})
    doomed = PartitionId(str(lab.topic_id("doomed")), 0)

    lab.make_topic("second", 2)
    produce(lab, "second", 50, partition=1)
    lab.add_partitions("first", 4)
    produce(lab, "first", 50, partition=3)
    lab.wait_durable({"first": 4, "second": 2}, 30)

    lab.delete_topic("doomed")
    wait_until(lambda: "deleted" in worker.log_text() and "doomed" in worker.log_text(), worker.log_tail, 30)
    produce(lab, "first", 20)
    lab.wait_durable({"first": 4, "second": 2}, 30)
    time.sleep(3)
    assert "doomed" not in lab.topics()
    assert lab.coverage()[doomed].position == 50
    wait_until(lambda: worker.get("/readyz")[0] == 200, lambda: str(worker.get("/readyz")), 20)
    captures = wait_until(
        lambda: [t for t in lab.repository.list_topics() if t.topic == "doomed" and t.deleted], "marked as deleted", 20
    )
    assert len(captures) == 1
    judge(lab, {"first": 4, "second": 2})


def test_a_topic_that_is_deleted_while_no_worker_runs_is_marked_by_the_next_one(lab: WorkerLab) -> None:
    """Its capture says so: a restore must know that the name may belong to another topic by now. So do the log, and the status: what was
    written meanwhile is lost. One that is deleted under a worker's eyes is another matter.
    """
    lab.make_topic("fleeting")
    lab.make_topic("staying")
    produce(lab, "fleeting", 5)
    worker = lab.worker()
    lab.wait_durable({"fleeting": 1})
    wait_until(lambda: {t.topic for t in lab.repository.list_topics()} >= {"fleeting", "staying"}, "captured", 20)
    worker.terminate()
    assert worker.wait_exit(20) == 0
    produce(lab, "fleeting", 3)
    lab.delete_topic("fleeting")
    worker.start()
    worker.wait_ready()
    wait_until(
        lambda: {t.topic for t in lab.repository.list_topics() if t.deleted} == {"fleeting"}, worker.log_tail, 20
    )
    (told,) = [line for line in worker.log_text().splitlines() if "was deleted while no worker looked" in line]
    assert "fleeting-0 up to offset 5 at " in told
    lab.delete_topic("staying")
    wait_until(
        lambda: {t.topic for t in lab.repository.list_topics() if t.deleted} == {"fleeting", "staying"},
        worker.log_tail,
        30,
    )
    found = asyncio.run(_status(worker.config_path))
    assert [
        (one["topic"], [end["next_offset"] for end in one["partitions"]]) for one in found["deleted_unwatched"]
    ] == [("fleeting", [5])]
    assert worker.log_text().count("was deleted while no worker looked") == 1


async def _status(config_path: Path) -> dict[str, Any]:
    """What `mirror status --json` says."""
    config = load_config(config_path)
    observer = StatusObserver(config, open_configured_repository(config))
    try:
        return as_json(await observer.look())
    finally:
        await observer.close()


def test_a_topic_deleted_and_created_anew_has_two_incarnations(lab: WorkerLab) -> None:
    """The old one ends where it ended, the new one begins at its own start; neither is spliced to the other."""
    lab.make_topic("phoenix", 2)
    produce(lab, "phoenix", 70)
    worker = lab.worker()
    lab.wait_durable({"phoenix": 2})
    old = str(lab.topic_id("phoenix"))
    produce(lab, "phoenix", 30, start=70)
    time.sleep(0.3)
    lab.delete_topic("phoenix")
    lab.make_topic("phoenix", 1)
    new = str(lab.topic_id("phoenix"))
    produce(lab, "phoenix", 20, start=1000)
    lab.wait_durable({"phoenix": 1}, 40)
    coverage = lab.coverage()
    assert 70 <= coverage[PartitionId(old, 0)].position <= 100
    assert coverage[PartitionId(new, 0)].position == 20
    judge(lab, {"phoenix": 1})
    wait_until(lambda: worker.get("/readyz")[0] == 200, lambda: str(worker.get("/readyz")), 20)


def test_start_latest_killed_before_its_first_flush_loses_nothing_in_between(lab: WorkerLab) -> None:
    """Where a partition begins is durable before its first fetch."""
    lab.make_topic("tail", 2)
    produce(lab, "tail", 100)
    worker = lab.worker(start="latest", flush_interval="1h")
    wait_until(lambda: len(lab.coverage_of("tail")) == 2, "starts are recorded", 20)
    produce(lab, "tail", 40, start=100)
    time.sleep(1.0)
    worker.kill()
    produce(lab, "tail", 40, start=140)
    lab.worker(start="latest")
    lab.wait_durable({"tail": 2})
    covered = lab.coverage_of("tail")
    assert (covered[0].start_offset, covered[0].position, covered[0].missing) == (100, 180, [])


def test_two_workers_share_forty_topics_of_one_partition_evenly(lab: WorkerLab) -> None:
    """20 and 20: Faust's own assignor would give all to one."""
    topics = {f"small-{number:02d}": 1 for number in range(40)}
    for topic in topics:
        lab.make_topic(topic)
    workers = [lab.worker(ready=False), lab.worker(ready=False)]

    def shares() -> list[int]:
        series = [worker.metrics() for worker in workers]
        return [
            sum(1 for name in found if name.startswith("mirror_durable_offset{") and "small-" in name)
            for found in series
        ]

    wait_until(lambda: shares() == [20, 20], lambda: str(shares()), 40)
    for topic in topics:
        produce(lab, topic, 2)
    lab.wait_durable(topics, 30)
