"""Harm that a worker has to live with: a damaged log, and the loss of the mirror's own topics while it runs."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fault.worker_check import judge
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture
def lab(new_kafka: Callable[..., KafkaCluster], minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A broker, a repository and workers of the test's own."""
    lab = WorkerLab(new_kafka(), minio, tmp_path / "lab")
    yield lab
    lab.close()


def test_one_damaged_partition_is_told_and_stops_no_other(lab: WorkerLab) -> None:
    """A flipped byte in a log segment on the broker's disk: that partition waits and is named, the others go on."""
    lab.make_topic("worn", 3)
    load = lab.load({"worn": 3}, total=3000, codec="none")
    load.finish()
    broker = lab.kafka.brokers[0]
    broker.stop()
    segment = broker.folder / "data" / "worn-1" / "00000000000000000000.log"
    body = bytearray(segment.read_bytes())
    body[len(body) // 2] ^= 0x40
    segment.write_bytes(body)
    broker.start()
    worker = lab.worker(ready=False)

    def stored() -> dict[int, int]:
        return {number: entry.position for number, entry in lab.coverage_of("worn").items()}

    wait_until(lambda: stored().get(0) == stored().get(2) == 1000, lambda: f"{stored()}\n{worker.log_tail()}", 40)
    assert stored().get(1, 0) < 1000
    answer = wait_until(
        lambda: (found := worker.get("/readyz"))[0] == 503 and "worn-1 cannot be read" in str(found[1]) and found,
        lambda: str(worker.get("/readyz")),
        20,
    )
    assert answer is not None
    assert worker.get("/healthz")[0] == 200
    more = lab.load({"worn": 3}, total=300)
    more.finish()
    wait_until(lambda: stored()[0] == stored()[2] == 1100, lambda: str(stored()), 20)


def test_own_topics_that_are_deleted_while_it_runs_come_back_and_nothing_is_lost(lab: WorkerLab) -> None:
    """Backup goes on meanwhile; events are taken again afterwards."""
    lab.make_topic("lasting", 2)
    worker = lab.worker()
    load = lab.load({"lasting": 2}, records_per_second=400)
    time.sleep(2)
    own = [lab.own_topics["sealed"], lab.own_topics["ledger"]]
    for name in own:
        lab.admin.delete_topics([name], operation_timeout=30)[name].result(30)
    time.sleep(1)
    reached = lab.coverage_of("lasting")[0].position
    wait_until(lambda: lab.coverage_of("lasting")[0].position > reached + 800, worker.log_tail, 30)
    wait_until(lambda: set(own) <= lab.topics(), worker.log_tail, 30)
    load.stop()
    lab.wait_durable({"lasting": 2})
    wait_until(lambda: worker.get("/readyz")[0] == 200, lambda: f"{worker.get('/readyz')}\n{worker.log_tail()}", 60)
    wait_until(lambda: worker.metrics()["mirror_unsent_event_count"] == 0, worker.log_tail, 20)
    worker.terminate()
    assert worker.wait_exit(30) == 0
    judge(lab, {"lasting": 2}, [load])


def test_brokers_that_go_away_while_a_worker_starts_do_not_end_it(lab: WorkerLab) -> None:
    """It has seen them, and Faust's own clients find nobody: they wait."""
    lab.make_topic("early", 1)
    lab.load({"early": 1}, total=200).finish()
    lab.worker().terminate()
    worker = lab.worker(ready=False)
    wait_until(lambda: "backs up 1 of" in worker.log_text(), worker.log_tail, 20, pause_s=0.005)
    lab.kafka.kill()
    time.sleep(4.0)
    assert worker.is_running, worker.log_tail()
    for broker in lab.kafka.brokers:
        broker.start()
    lab.wait_durable({"early": 1})
    worker.terminate()
    assert worker.wait_exit(30) == 0
