"""Three brokers, and a leader that lost what it had acknowledged: a fork entry, and nothing reset in silence."""

import time
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from mirror.core.coverage import PartitionCoverage
from tests.fault.known_load import KnownLoad
from tests.fault.worker_check import judge
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

TOPIC = "forked"


def run_unclean_election(cluster: KafkaCluster, minio: MinioServer, folder: Path) -> PartitionCoverage:
    """Let a follower that missed records become the leader; the coverage afterwards, judged.

    Args:
        cluster: of three brokers.
        minio: a store.
        folder: for the lab.
    """
    lab = WorkerLab(cluster, minio, folder)
    try:
        config = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
        new = NewTopic(TOPIC, num_partitions=1, replica_assignment=[[2, 3]], config=config)
        lab.admin.create_topics([new])[TOPIC].result(30)
        worker = lab.worker()
        _write(lab, 1000)
        lab.wait_durable({TOPIC: 1})
        leader, follower = cluster.brokers[1], cluster.brokers[2]
        follower.kill()
        time.sleep(4.0)  # until it is out of the in-sync replicas
        _write(lab, 500)
        # Before the follower has left the in-sync replicas nobody may read these, and its election would be a clean one.
        wait_until(lambda: lab.ends(TOPIC, 1)[0] == 1500, "the leader alone is in sync", 60, 0.5)
        lab.wait_durable({TOPIC: 1})
        leader.kill()
        follower.start(wait=False)
        wait_until(lambda: _leader(lab) == 3, "the follower leads", 120, 1.0)  # the controller elects it by itself
        _write(lab, 800)
        wait_until(
            lambda: "mirror_fork_count_total" in (found := worker.metrics()) and found["mirror_fork_count_total"] >= 1,
            worker.log_tail,
            90,
            0.5,
        )
        leader.start()
        lab.wait_durable({TOPIC: 1}, 120)
        judge(lab, {TOPIC: 1})
        covered = lab.coverage_of(TOPIC)[0]
        assert covered.next_offset == 1800, covered
        assert [(tail.start_offset, tail.next_offset) for tail in covered.cut_tails] == [(1000, 1500)], (
            covered.cut_tails
        )
        return covered
    finally:
        lab.close()


def _write(lab: WorkerLab, records: int) -> None:
    load = KnownLoad(lab.kafka.bootstrap, {TOPIC: 1}, total=records, options={"enable.idempotence": False, "acks": 1})
    load.start()
    load.finish(120)


def _leader(lab: WorkerLab) -> int:
    try:
        return int(lab.admin.list_topics(TOPIC, timeout=10).topics[TOPIC].partitions[0].leader)
    except KafkaException:
        return -1
