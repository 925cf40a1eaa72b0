"""Each of three brokers dies once under load, and one hangs: the backup goes on without it and loses nothing."""

import time
from collections.abc import Callable
from pathlib import Path

from mirror.core.positions import PartitionId
from tests.fault.worker_check import Judgement, judge
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.soak.brokers import admin_of, ends_of, make_whole, wait_led_without

TOPICS = {"living": 6, "lively": 3}
MOST_S = 30.0
"""From the death of a broker until all that was in the logs once others led them is in the store."""
_DEAD_S = 12.0
_HUNG_S = 35.0


def run_broker_death(
    cluster: KafkaCluster, minio: MinioServer, folder: Path, say: Callable[[str], None]
) -> tuple[list[float], Judgement]:
    """Kill broker after broker, then freeze one. Seconds until the backup had gone on past each, and the judge's word.

    Raises:
        AssertionError: it took longer than MOST_S, or the judge found a difference.
    """
    lab = WorkerLab(cluster, minio, folder)
    try:
        for topic, partitions in TOPICS.items():
            lab.make_topic(topic, partitions, replication=3, min_insync_replicas="2")
        workers = [lab.worker(ready=False) for _ in range(2)]
        for worker in workers:
            worker.wait_ready()
        loads = [
            lab.load({"living": 6}, records_per_second=1200, codec="lz4", padding=150),
            lab.load({"lively": 3}, records_per_second=600, codec="none", padding=150),
        ]
        lab.wait_durable(TOPICS)
        ids = {topic: str(lab.topic_id(topic)) for topic in TOPICS}
        took: list[float] = []
        for broker, harm in [*((broker, "death") for broker in cluster.brokers), (cluster.brokers[1], "hang")]:
            time.sleep(2.0)
            broker.kill() if harm == "death" else broker.pause()
            begun = time.monotonic()
            wait_led_without(cluster, TOPICS, broker.node_id)
            led_s = time.monotonic() - begun
            _wait_stored(lab, ids, {topic: _ends(cluster, topic) for topic in TOPICS})
            took.append(time.monotonic() - begun)
            say(f"broker-{harm} broker {broker.node_id}: others led after {led_s:.1f} s, stored after {took[-1]:.1f} s")
            time.sleep(max(0.0, (_DEAD_S if harm == "death" else _HUNG_S) - took[-1]))
            make_whole(cluster)
            lab.admin = admin_of(cluster)
            for worker in workers:
                worker.require_alive()
        for load in loads:
            load.stop()
        lab.wait_durable(TOPICS)
        judged = judge(lab, TOPICS, loads)
        assert max(took) <= MOST_S, took
        return took, judged
    finally:
        lab.close()
        make_whole(cluster)


def _ends(cluster: KafkaCluster, topic: str) -> dict[int, int]:
    ends: dict[int, int] = wait_until(lambda: ends_of(cluster, topic, TOPICS[topic]), f"ends of {topic}", 30)
    return ends


def _wait_stored(lab: WorkerLab, ids: dict[str, str], ends: dict[str, dict[int, int]]) -> None:
    """Return when the store holds all below these offsets."""

    def behind() -> dict[str, str]:
        coverage = lab.coverage()
        found = {}
        for topic, its_ends in ends.items():
            for number, end in its_ends.items():
                held = coverage.get(PartitionId(ids[topic], number))
                if held is None or held.position < end:
                    found[f"{topic}-{number}"] = f"{held.position if held else 0} of {end}"
        return found

    wait_until(
        lambda: not behind(),
        lambda: f"behind {behind()}\n" + "\n".join(f"--- {w.name}\n{w.log_tail(25)}" for w in lab.workers),
        120,
        0.5,
    )
