"""A worker's manners: transactions, idleness, stopping, memory, limits, and what it says about itself."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka import TopicPartition as Tp

from mirror.cli.__main__ import main
from mirror.core.moments import format_moment
from mirror.core.positions import PartitionId
from mirror.service.reading import iterate_stored
from tests.fault.worker_check import judge
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.kafka import UNTRIMMED, KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def own_kafka(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaCluster]:
    """A broker whose only topics are this module's."""
    cluster = KafkaCluster(tmp_path_factory.mktemp("worker-manners"), properties=UNTRIMMED)
    cluster.start()
    yield cluster
    cluster.kill()


@pytest.fixture(scope="module")
def own_minio(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MinioServer]:
    """A store to be paused and killed."""
    server = MinioServer(tmp_path_factory.mktemp("worker-manners-store"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def lab(own_kafka: KafkaCluster, own_minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A repository and workers of the test's own."""
    lab = WorkerLab(own_kafka, own_minio, tmp_path / "lab")
    yield lab
    own_minio.cont()
    lab.close()
    if not own_minio.is_running:
        own_minio.start()
    for topic in lab.topics():
        if not topic.startswith("__"):
            lab.delete_topic(topic)


@pytest.fixture
def producer(own_kafka: KafkaCluster) -> Callable[..., Producer]:
    """`producer(**options)`."""

    def make(**options: object) -> Producer:
        return Producer({"bootstrap.servers": own_kafka.bootstrap, "linger.ms": 5, "log_level": 0, **options})

    return make


def test_an_open_transaction_blocks_its_partition_at_the_last_stable_offset_and_no_other(
    lab: WorkerLab, producer: Callable[..., Producer]
) -> None:
    """Committed data, markers and what others write are stored; aborted data and what is open are not."""
    lab.make_topic("ledgers", 2)
    transactions = producer(**{"transactional.id": "t1"})
    transactions.init_transactions(30)
    for number, commit in enumerate((True, False, True)):
        transactions.begin_transaction()
        for record in range(10):
            transactions.produce("ledgers", f"{number} {record}".encode(), partition=0)
        transactions.flush(20)
        (transactions.commit_transaction if commit else transactions.abort_transaction)(30)
    worker = lab.worker()
    lab.wait_durable({"ledgers": 2})
    transactions.begin_transaction()
    for record in range(10):
        transactions.produce("ledgers", f"open {record}".encode(), partition=0)
    transactions.flush(20)
    plain = producer()
    for record in range(20):
        plain.produce("ledgers", f"plain {record}".encode(), partition=record % 2)
    plain.flush(20)
    wait_until(lambda: lab.coverage_of("ledgers")[1].position == 10, "the other partition goes on", 20)
    time.sleep(2.0)
    blocked = lab.coverage_of("ledgers")[0]
    assert blocked.position == 33, blocked
    batches = [clipped.batch.header for clipped in iterate_stored(lab.repository, blocked)]
    assert sum(header.is_control for header in batches) == 3
    assert sum(header.record_count for header in batches if not header.is_control) == 20
    series = 'mirror_blocked_by_transaction_seconds{partition="0",topic="ledgers"}'
    assert worker.metrics()[series] > 1.0
    transactions.commit_transaction(30)
    # 33, ten that were open, ten plain ones and the marker, which the broker appends a moment after the commit was answered.
    wait_until(lambda: lab.coverage_of("ledgers")[0].position == 54, "all of the first partition", 30)
    judge(lab, {"ledgers": 2})


def test_idle_partitions_write_nothing_and_a_stop_drains(lab: WorkerLab) -> None:
    """No object while nothing comes; SIGTERM makes durable what is buffered, exit code 0."""
    lab.make_topic("quiet", 3)
    worker = lab.worker()
    load = lab.load({"quiet": 3}, total=300)
    load.finish()
    lab.wait_durable({"quiet": 3})
    lab.wait_for_dead_sessions()
    before = len(lab.objects())
    time.sleep(4.0)
    assert len(lab.objects()) == before
    worker.terminate()
    assert worker.wait_exit(20) == 0

    patient = lab.worker(flush_interval="1h")
    again = lab.load({"quiet": 3}, total=300)
    again.finish()
    time.sleep(2.0)
    assert len(lab.objects()) == before
    patient.terminate()
    assert patient.wait_exit(20) == 0, patient.log_tail()
    assert len(lab.objects()) == before + 1
    assert sum(entry.position for entry in lab.coverage_of("quiet").values()) == 600


def test_a_quiet_worker_says_so_and_a_moment_without_records_is_restorable(
    lab: WorkerLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty object each `idle_interval`: a moment seconds ago is planned with all that there is, though nothing came for longer."""
    lab.make_topic("still", 2)
    lab.load({"still": 2}, total=300).finish()
    worker = lab.worker(idle_interval="1s")
    lab.wait_durable({"still": 2})
    lab.wait_for_dead_sessions()
    newest_ms = max(entry.runs[-1].run.max_timestamp_ms or 0 for entry in lab.coverage_of("still").values())

    def said() -> list[int]:
        indexes = [entry.index for entry in lab.repository.load_indexes()]
        return [one.sealed_at_ms for one in indexes if not (one.runs or one.starts) and one.sealed_at_ms > newest_ms]

    wait_until(lambda: len(said()) >= 4, worker.log_tail, 30)
    assert said() == sorted(said())
    at = format_moment(said()[-1])
    command = ["--config", str(worker.config_path), "plan", "--target", "src", "--at", at, "--prefix", "p-"]
    capsys.readouterr()
    assert main([*command, "--topic", "still", "--no-groups", "--json"]) == 0
    (planned,) = json.loads(capsys.readouterr().out)["plan"]["topics"]
    assert sum(one["records"] for one in planned["partitions"]) == 300
    assert {one["cut"]["accuracy_ms"] for one in planned["partitions"]} == {0}
    assert main(["--config", str(worker.config_path), "verify"]) == 0
    assert main(["--config", str(worker.config_path), "status"]) == 0
    worker.terminate()
    assert worker.wait_exit(20) == 0
    count = len(lab.objects())
    time.sleep(2.0)
    assert len(lab.objects()) == count


def test_the_rest_of_a_backlog_goes_when_the_end_is_reached(lab: WorkerLab) -> None:
    """Filled buffers have brought the worker to the end: what is left does not wait an hour. What comes then does."""
    lab.make_topic("past", 2)
    lab.load({"past": 2}, total=4000, records_per_second=100_000, padding=1000, codec="none").finish()
    worker = lab.worker(flush_interval="1h", flush_bytes="256KiB")
    lab.wait_durable({"past": 2}, 20)
    before = len(lab.objects())
    lab.load({"past": 2}, total=100).finish()
    time.sleep(2.0)
    assert len(lab.objects()) == before
    worker.terminate()
    assert worker.wait_exit(20) == 0


def test_a_stop_with_the_store_gone_gives_up_and_the_successor_fetches_again(lab: WorkerLab) -> None:
    """Non-zero within the drain timeout and a little; nothing is lost."""
    lab.make_topic("steady", 2)
    worker = lab.worker(drain_timeout="6s")
    load = lab.load({"steady": 2}, records_per_second=1000)
    time.sleep(3)
    lab.minio.kill()
    time.sleep(2)
    begun = time.monotonic()
    worker.terminate()
    assert worker.wait_exit(20) == 1
    assert 5.0 < time.monotonic() - begun < 15.0
    lab.minio.start()
    lab.worker()
    load.stop()
    lab.wait_durable({"steady": 2})
    judge(lab, {"steady": 2}, [load])


def test_the_memory_ceiling_holds_while_the_store_hangs(lab: WorkerLab) -> None:
    """The metric never passes the limit, memory of the process stays bounded, and all is durable afterwards; health says why."""
    limit = 32 << 20
    lab.make_topic("flood", 4)
    worker = lab.worker(memory_bytes=limit, flush_bytes="8MiB")
    before = worker.rss_bytes()
    load = lab.load({"flood": 4}, records_per_second=25_000, padding=1000, codec="none", total=150_000)
    time.sleep(1.0)
    lab.minio.pause()
    seen: list[float] = []
    peak = 0
    deadline = time.monotonic() + 36
    while time.monotonic() < deadline:
        seen.append(worker.metrics().get("mirror_memory_bytes", 0.0))
        peak = max(peak, worker.rss_bytes())
        time.sleep(0.1)
    status, answer = worker.get("/readyz")
    assert status == 503
    assert any("store" in problem for problem in answer["problems"]), answer
    assert worker.get("/healthz")[0] == 200, worker.get("/healthz")
    lab.minio.cont()
    load.finish()
    lab.wait_durable({"flood": 4}, 60)
    assert max(seen) <= limit
    assert max(seen) > limit * 0.4, "the ceiling was never near"
    assert peak - before < 6 * limit
    wait_until(lambda: worker.get("/readyz")[0] == 200, lambda: str(worker.get("/readyz")), 30)
    assert lab.coverage_of("flood")[0].missing == []


def test_reading_is_held_to_its_limit(lab: WorkerLab) -> None:
    """max_read_bytes_per_second, within a fifth over ten seconds."""
    lab.make_topic("slow", 2)
    load = lab.load({"slow": 2}, records_per_second=50_000, padding=1000, codec="none", total=12_000)
    load.finish()
    worker = lab.worker(max_read_bytes_per_second="500KB")
    first, at = worker.metrics()["mirror_fetched_bytes_total"], time.monotonic()
    time.sleep(8)
    rate = (worker.metrics()["mirror_fetched_bytes_total"] - first) / (time.monotonic() - at)
    assert 250_000 < rate < 650_000


def test_a_trim_that_lost_nothing_is_no_gap_and_one_that_outran_us_is_one_of_exactly_that_range(
    lab: WorkerLab, producer: Callable[..., Producer]
) -> None:
    """Records deleted behind the position are stored; those deleted ahead of it are named."""
    lab.make_topic("trimmed", 1)
    writer = producer(**{"batch.num.messages": 10})

    def write(count: int) -> None:
        for number in range(count):
            writer.produce("trimmed", str(number).encode())
        assert writer.flush(20) == 0

    def trim(offset: int) -> None:
        wanted = Tp("trimmed", 0, offset)
        lab.admin.delete_records([wanted])[wanted].result(20)

    write(100)
    worker = lab.worker()
    lab.wait_durable({"trimmed": 1})
    trim(60)
    write(50)
    lab.wait_durable({"trimmed": 1})
    assert lab.coverage_of("trimmed")[0].gaps == []
    worker.terminate()
    assert worker.wait_exit(20) == 0
    write(100)
    trim(215)
    worker.start()
    worker.wait_ready()
    lab.wait_durable({"trimmed": 1})
    covered = lab.coverage_of("trimmed")[0]
    assert [(gap.start_offset, gap.next_offset, gap.reason) for gap in covered.gaps] == [(150, 215, "retention")]
    assert (covered.start_offset, covered.position, covered.missing) == (0, 250, [])
    metrics = wait_until(
        lambda: (found := worker.metrics()).get("mirror_lost_offset_count_total") and found, "the loss is counted", 5
    )
    assert metrics["mirror_lost_offset_count_total"] == 65


def test_the_table_says_what_the_repository_says_and_losing_it_loses_nothing(lab: WorkerLab) -> None:
    """Positions over HTTP; then data dir and own topics are gone, and the next start goes on from the store."""
    lab.make_topic("kept", 2)
    load = lab.load({"kept": 2}, records_per_second=500)
    worker = lab.worker()
    time.sleep(3)
    load.stop()
    lab.wait_durable({"kept": 2})

    def table() -> dict[tuple[str, int], int]:
        rows = worker.get("/v1/positions")[1]["positions"]
        return {(row["topic_id"], row["partition"]): row["next_offset"] for row in rows}

    stored = {(pid.topic_id, pid.partition): entry.position for pid, entry in lab.coverage().items() if entry.runs}
    wait_until(lambda: table() == stored, lambda: f"{table()} {stored}", 15)
    topic_id = str(lab.topic_id("kept"))
    assert worker.get(f"/v1/positions/{topic_id}/0")[1]["next_offset"] == stored[topic_id, 0]
    assert worker.get(f"/v1/positions/{topic_id}/99")[0] == 404
    worker.terminate()
    assert worker.wait_exit(20) == 0
    for purpose in ("sealed", "ledger", "groups"):
        lab.delete_topic(lab.own_topics[purpose])
    import shutil

    shutil.rmtree(lab.data_dir(worker))
    worker.start()
    worker.wait_ready()
    more = lab.load({"kept": 2}, total=100)
    more.finish()
    coverage = lab.wait_durable({"kept": 2})
    assert coverage[PartitionId(topic_id, 0)].overlap_offsets == 0
    judge(lab, {"kept": 2})


def test_backup_goes_on_while_the_mirrors_own_topics_refuse_writes(lab: WorkerLab) -> None:
    """Events are kept and sent later; readiness says so meanwhile."""
    lab.make_topic("going", 2)
    worker = lab.worker()
    load = lab.load({"going": 2}, records_per_second=500)
    for purpose in ("sealed", "ledger", "groups"):
        lab.set_config(lab.own_topics[purpose], "max.message.bytes", "1")
    said = wait_until(lambda: (found := worker.get("/readyz"))[0] == 503 and found, "it says so", 15)
    assert "events" in str(said[1])
    reached = lab.coverage_of("going")[0].position
    wait_until(lambda: lab.coverage_of("going")[0].position > reached + 500, "backup goes on", 15)
    for purpose in ("sealed", "ledger", "groups"):
        lab.set_config(lab.own_topics[purpose], "max.message.bytes", "1048588")
    load.stop()
    wait_until(lambda: worker.get("/readyz")[0] == 200, lambda: str(worker.get("/readyz")), 20)
    wait_until(lambda: worker.metrics()["mirror_unsent_event_count"] == 0, worker.log_tail, 20)
    lab.wait_durable({"going": 2})
    judge(lab, {"going": 2}, [load])
