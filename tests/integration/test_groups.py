"""Consumer groups of a real cluster, captured by real workers, against what the brokers themselves say."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import (
    Consumer,
    ConsumerGroupTopicPartitions,
    KafkaException,
    Producer,
    TopicPartition,
)

from mirror.cli.__main__ import main
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.own_groups import OwnGroups
from mirror.service.groups import GroupView, choose_group_log, read_groups
from mirror.service.reading import iterate_stored
from tests.fault.worker_lab import WorkerLab, WorkerProcess, wait_until
from tests.servers.kafka import UNTRIMMED, KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

Offsets = dict[str, dict[tuple[str, int], tuple[int, str]]]


@pytest.fixture(scope="module")
def own_kafka(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker whose only groups are this module's."""
    cluster = KafkaCluster(tmp_path_factory.mktemp("groups"), properties=UNTRIMMED)
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


def produce(lab: WorkerLab, topic: str, partitions: int, n: int = 100) -> None:
    """Records in every partition."""
    producer = Producer({"bootstrap.servers": lab.kafka.bootstrap, "log_level": 0})
    for number in range(n * partitions):
        producer.produce(topic, b"%d" % number, partition=number % partitions)
    assert producer.flush(30) == 0


def a_consumer(lab: WorkerLab, group: str) -> Consumer:
    """Of that group, without a subscription."""
    return Consumer(
        {"bootstrap.servers": lab.kafka.bootstrap, "group.id": group, "enable.auto.commit": False, "log_level": 0}
    )


def commit(lab: WorkerLab, group: str, offsets: list[TopicPartition]) -> None:
    """A plain commit; the first one of a cluster waits for the group log to be made."""
    consumer = a_consumer(lab, group)

    def done() -> bool:
        try:
            consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            return False
        return True

    wait_until(done, f"{group} committed", 20)
    consumer.close()


def commit_in_transaction(lab: WorkerLab, group: str, offsets: list[TopicPartition], *, abort: bool = False) -> None:
    """A commit as part of a transaction."""
    consumer = a_consumer(lab, group)
    producer = Producer({"bootstrap.servers": lab.kafka.bootstrap, "transactional.id": f"t-{group}", "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.send_offsets_to_transaction(offsets, consumer.consumer_group_metadata(), 30)
    if abort:
        producer.abort_transaction(30)
    else:
        producer.commit_transaction(30)
    consumer.close()


def at_brokers(lab: WorkerLab) -> Offsets:
    """What the brokers say of all groups but the mirror's."""
    groups = [one.group_id for one in lab.admin.list_consumer_groups().result(20).valid]
    found: Offsets = {}
    for group in sorted(groups):
        if group.startswith("lab-"):
            continue
        asked = lab.admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])
        parts = asked[group].result(20).topic_partitions
        offsets = {(p.topic, p.partition): (p.offset, p.metadata or "") for p in parts if p.offset >= 0}
        if offsets:
            found[group] = offsets
    return found


def stored(lab: WorkerLab, at_ms: int | None = None) -> Offsets:
    """What the repository says."""
    return as_offsets(read_groups(lab.repository, lab.coverage(), at_ms=at_ms))


def as_offsets(view: GroupView) -> Offsets:
    """In the form of :func:`at_brokers`. confluent-kafka commits the zero behind its text, and does not show it."""
    assert view.problems == ()
    return {
        group: {
            (tp.topic, tp.partition): (one.offset, one.metadata.removesuffix("\0")) for tp, one in positions.items()
        }
        for group, positions in view.groups.items()
    }


def in_table(worker: WorkerProcess) -> Offsets:
    """What a worker answers from its table."""
    return {
        one["group"]: {
            (p["topic"], p["partition"]): (p["offset"], p["metadata"].removesuffix("\0")) for p in one["positions"]
        }
        for one in worker.get("/v1/groups")[1]["groups"]
    }


def wait_captured(lab: WorkerLab, worker: WorkerProcess) -> None:
    """Until the repository says what the brokers do."""
    expected = at_brokers(lab)

    def captured() -> bool:
        return bool(choose_group_log(lab.coverage())) and stored(lab) == expected

    wait_until(captured, lambda: f"{stored(lab)}\n{expected}\n{worker.log_tail()}", 40, 0.5)


def log_partitions(lab: WorkerLab) -> int:
    """Of the group log: few on test servers, so that groups meet in them."""
    return len(lab.admin.list_topics(timeout=10).topics[GROUP_LOG_TOPIC].partitions)


def now_ms() -> int:
    """The clock, which is the broker's too; a moment later nothing has the same time."""
    time.sleep(0.05)
    now = time.time_ns() // 1_000_000
    time.sleep(0.05)
    return now


def test_groups_are_as_the_brokers_say_now_and_then(lab: WorkerLab) -> None:
    """Plain commits, with metadata, in transactions that commit and abort; moved back, deleted, of a topic that was deleted."""
    lab.make_topic("orders", 3)
    lab.make_topic("doomed", 1)
    produce(lab, "orders", 3)
    produce(lab, "doomed", 1)
    commit(lab, "early", [TopicPartition("orders", 0, 7)])  # before any worker
    worker = lab.worker()
    commit(lab, "plain", [TopicPartition("orders", n, 10 + n) for n in range(3)])
    commit(lab, "notes", [TopicPartition("orders", 0, 5, "some metadata, ü")])
    commit_in_transaction(lab, "exact", [TopicPartition("orders", 1, 20), TopicPartition("orders", 2, 21)])
    commit_in_transaction(lab, "aborted", [TopicPartition("orders", 0, 50)], abort=True)
    commit(lab, "deleted", [TopicPartition("orders", 0, 3)])
    commit(lab, "orphan", [TopicPartition("doomed", 0, 4), TopicPartition("orders", 0, 4)])
    wait_captured(lab, worker)
    moments = [(now_ms(), at_brokers(lab))]
    assert set(moments[0][1]) == {"early", "plain", "notes", "exact", "deleted", "orphan"}

    commit(lab, "plain", [TopicPartition("orders", 0, 90), TopicPartition("orders", 2, 1)])
    commit_in_transaction(lab, "exact", [TopicPartition("orders", 1, 99)], abort=True)
    commit_in_transaction(lab, "exact", [TopicPartition("orders", 2, 77)])
    lab.admin.delete_consumer_groups(["deleted"])["deleted"].result(20)
    moments.append((now_ms(), at_brokers(lab)))
    lab.delete_topic("doomed")
    wait_until(lambda: ("doomed", 0) not in at_brokers(lab)["orphan"], "the broker forgets the position", 20)
    commit(lab, "late", [TopicPartition("orders", 0, 1)])
    moments.append((now_ms(), at_brokers(lab)))
    wait_captured(lab, worker)
    for at_ms, expected in moments:
        assert stored(lab, at_ms) == expected
    wait_until(lambda: in_table(worker) == expected, lambda: f"{in_table(worker)}\n{worker.log_tail()}", 20)
    (one,) = worker.get("/v1/groups?group=late")[1]["groups"]
    assert [(p["topic"], p["partition"], p["offset"]) for p in one["positions"]] == [("orders", 0, 1)]
    assert len({json.dumps(list(expected)) for _, expected in moments}) == 3

    log = choose_group_log(lab.coverage())
    assert len(log) == log_partitions(lab)
    own = OwnGroups({lab.id})
    for entry in log.values():
        assert not entry.missing
        for clipped in iterate_stored(lab.repository, entry, check_crc=True):
            assert clipped.batch.whole is None or not own.owns_all(clipped.batch.whole)
    view = read_groups(lab.repository, lab.coverage())
    assert view.groups["plain"][("orders", 0)].topic_id == lab.topic_id("orders")  # type: ignore[index]


@pytest.mark.parametrize("seed", [1])
def test_random_histories_are_known_at_every_moment(lab: WorkerLab, seed: int) -> None:
    """After each of thirty random commits, transactions and deletions: what the brokers say then, the repository says of then."""
    dice = random.Random(seed)
    topics = {name: dice.randint(1, 3) for name in ("orders", "clicks")}
    for name, partitions in topics.items():
        lab.make_topic(name, partitions)
        produce(lab, name, partitions)
    worker = lab.worker()
    names = [f"group-{seed}-{number}" for number in range(5)]
    moments: list[tuple[int, Offsets]] = []
    for number in range(30):
        group = dice.choice(names)
        places = [(name, partition) for name, partitions in topics.items() for partition in range(partitions)]
        chosen = dice.sample(places, dice.randint(1, len(places)))
        offsets = [TopicPartition(*place, dice.randint(0, 100)) for place in chosen]
        what = dice.choice(("commit", "commit", "transaction", "abort", "delete", "restart"))
        if what == "commit":
            commit(lab, group, offsets)
        elif what in ("transaction", "abort"):
            commit_in_transaction(lab, group, offsets, abort=what == "abort")
        elif what == "delete" and group in at_brokers(lab):
            lab.admin.delete_consumer_groups([group])[group].result(20)
        elif what == "restart" and number % 4 == 0:
            worker.terminate()
            assert worker.wait_exit(20) == 0
            worker.start()
        moments.append((now_ms(), at_brokers(lab)))
    wait_captured(lab, worker)
    coverages = lab.coverage()
    for at_ms, expected in moments:
        assert as_offsets(read_groups(lab.repository, coverages, at_ms=at_ms)) == expected
    wait_until(lambda: in_table(worker) == expected, lambda: f"{in_table(worker)}\n{worker.log_tail()}", 20)


def test_an_idle_cluster_writes_nothing_and_is_safe(lab: WorkerLab, capsys: pytest.CaptureFixture[str]) -> None:
    """Storing makes the mirrors commit, and their commits are in the log that they store: they do not feed each other."""
    lab.make_topic("orders", 2)
    produce(lab, "orders", 2)
    commit(lab, "group", [TopicPartition("orders", 0, 7)])
    other = WorkerLab(lab.kafka, lab.minio, lab.folder.parent / "other")
    try:
        workers = [lab.worker(), other.worker()]
        for one in (lab, other):
            one.wait_durable({"orders": 2})
        wait_captured(lab, workers[0])
        wait_captured(other, workers[1])
        lab.wait_for_dead_sessions(other)
        time.sleep(5)  # the second mirror may have come after the first one had begun to store its commits
        before = (lab.objects(), other.objects())
        time.sleep(15)
        assert (lab.objects(), other.objects()) == before
        for worker in workers:
            assert worker.get("/readyz")[0] == 200
            series = worker.metrics()
            assert series["mirror_worst_recovery_point_age_seconds"] == 0
            assert {value for name, value in series.items() if name.startswith("mirror_lag_offsets{")} == {0}
        capsys.readouterr()
        assert main(["--config", str(workers[0].config_path), "status", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["verdict"], report["partition_count"], report["reason"]) == ("SAFE", 2, "")
        assert (report["groups"]["is_captured"], report["groups"]["group_count"]) == (True, 1)
        assert report["groups"]["captured_to_ms"] == report["at_ms"]
        assert {p["facts"]["topic"] for p in report["partitions"]} == {"orders"}
        by_name = ["status", "--topic", GROUP_LOG_TOPIC, "--json"]
        assert main(["--config", str(workers[0].config_path), *by_name]) == 0
        report = json.loads(capsys.readouterr().out)
        assert (report["verdict"], report["partition_count"]) == ("SAFE", log_partitions(lab))
        assert main(["--config", str(workers[0].config_path), "verify", "--against-source", "--json"]) == 0
        notes = json.loads(capsys.readouterr().out)["notes"]
        assert [note for note in notes if note["topic"] == GROUP_LOG_TOPIC] == []
        assert main(["--config", str(workers[0].config_path), "groups", "show", "group", "--json"]) == 0
        (position,) = json.loads(capsys.readouterr().out)["groups"][0]["positions"]
        assert (position["topic"], position["partition"], position["offset"]) == ("orders", 0, 7)
        for worker in workers:  # at a stop there is nothing to write either
            worker.terminate()
            assert worker.wait_exit(20) == 0
        assert (lab.objects(), other.objects()) == before
    finally:
        other.close()


def test_commits_alone_are_stored(lab: WorkerLab) -> None:
    """A consumer that goes on while nobody produces: its position is not older than the flush interval."""
    lab.make_topic("orders")
    produce(lab, "orders", 1)
    worker = lab.worker()
    lab.wait_durable({"orders": 1})
    for offset in (10, 20, 30):
        commit(lab, "reader", [TopicPartition("orders", 0, offset)])
        began = time.monotonic()
        wait_captured(lab, worker)
        assert time.monotonic() - began < 8
    worker.kill()
    commit(lab, "reader", [TopicPartition("orders", 0, 40)])
    worker.start()
    worker.wait_ready()
    wait_captured(lab, worker)


def test_off_means_off(lab: WorkerLab, capsys: pytest.CaptureFixture[str]) -> None:
    """And status says so."""
    lab.make_topic("orders")
    produce(lab, "orders", 1)
    commit(lab, "group", [TopicPartition("orders", 0, 7)])
    worker = lab.worker(groups="off")
    lab.wait_durable({"orders": 1})
    assert {entry.topic for entry in lab.coverage().values()} == {"orders"}
    capsys.readouterr()
    assert main(["--config", str(worker.config_path), "status"]) == 0
    assert 'consumer groups: not captured, because [worker] groups = "off"' in capsys.readouterr().out
    assert main(["--config", str(worker.config_path), "groups", "list"]) == 2
