"""A worker with `client_rack` fetches from the follower in its own zone."""

import re
import subprocess
from pathlib import Path

from confluent_kafka.admin import NewTopic

from tests.fault.worker_check import judge
from tests.fault.worker_lab import WorkerLab
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

TOPIC = "zoned"


def zoned_cluster(folder: Path) -> KafkaCluster:
    """Three brokers, each a zone of its own, that let consumers read from followers; not started."""
    return KafkaCluster(
        folder,
        3,
        heap="384m",
        properties={"replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector"},
        broker_properties=lambda node_id: {"broker.rack": f"zone-{node_id}"},
    )


def run_follower_fetch(cluster: KafkaCluster, minio: MinioServer, folder: Path) -> dict[int, int]:
    """Bytes that the worker received from each broker; AssertionError unless nearly all came from the follower.

    Args:
        cluster: made by :func:`zoned_cluster`.
        minio: a store.
        folder: for the lab.
    """
    lab = WorkerLab(cluster, minio, folder, cluster={"client_rack": "zone-3"})
    try:
        lab.admin.create_topics([NewTopic(TOPIC, num_partitions=1, replica_assignment=[[2, 3]])])[TOPIC].result(30)
        worker = lab.worker()
        load = lab.load({TOPIC: 1}, records_per_second=2000, padding=1000, codec="none", total=20_000)
        load.finish()
        lab.wait_durable({TOPIC: 1})
        received = {b.node_id: received_bytes(worker.pid, b.port) for b in cluster.brokers}
        judge(lab, {TOPIC: 1}, [load])
        assert received[3] > 10 * received[2], received
        return received
    finally:
        lab.close()


def received_bytes(pid: int, port: int) -> int:
    """What this process received over its open connections to a port of this machine, by `ss`."""
    shown = subprocess.run(["ss", "-tnpiHO", "dst", f"127.0.0.1:{port}"], capture_output=True, text=True, check=True)
    lines = [line for line in shown.stdout.splitlines() if f"pid={pid}," in line]
    return sum(int(found.group(1)) for line in lines if (found := re.search(r"bytes_received:(\d+)", line)))
