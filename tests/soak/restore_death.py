"""A restore onto three brokers while the one that leads some of its partitions dies, comes back, or hangs."""

import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.fault.worker_lab import WorkerLab, wait_until
from tests.restoring import cluster_id, consume_all, without_offsets
from tests.servers.kafka import KafkaBroker, KafkaCluster
from tests.servers.minio import MinioServer
from tests.soak.brokers import ends_of, leaders_of, make_whole, wait_led_without

TOPICS = {"precious": 6, "ledger": 2}
_RATE = "1MB/s"
_RECORDS = 75_000
_PATIENCE_S = 240.0
_MOST_RESUMES = 3
_UNFINISHED = 3
_HANG_S = 15.0


def run_restore_death(
    cluster: KafkaCluster, minio: MinioServer, folder: Path, say: Callable[[str], None]
) -> list[tuple[str, list[int]]]:
    """By harm, the exit codes of the restore and of what resumed it; AssertionError unless the copy is equal.

    Args:
        cluster: of three brokers.
        minio: a store.
        folder: for the lab.
        say: told of every step.
    """
    lab = WorkerLab(cluster, minio, folder, settings={"exclude": ["lab-*", "re-*"]})
    try:
        for topic, partitions in TOPICS.items():
            lab.make_topic(topic, partitions, replication=3, min_insync_replicas="2")
        worker = lab.worker()
        loads = [
            lab.load({"precious": 6}, records_per_second=15_000, codec="none", padding=200, total=_RECORDS),
            lab.load({"ledger": 2}, records_per_second=5_000, codec="lz4", padding=100, total=_RECORDS // 3),
        ]
        for load in loads:
            load.finish()
        lab.wait_durable(TOPICS)
        worker.stop(30)
        originals = {topic: without_offsets(consume_all(cluster.bootstrap, topic, timeout_s=60)) for topic in TOPICS}
        config = _config(lab)
        results = []
        for harm, ill_treat in _HARMS.items():
            codes = _restore(lab, config, harm, ill_treat, say)
            make_whole(cluster)
            for topic, records in originals.items():
                copy = without_offsets(consume_all(cluster.bootstrap, f"re-{harm}-{topic}", timeout_s=60))
                assert len(copy) == len(records), f"{harm}: {topic} has {len(copy)} of {len(records)} records"
                assert copy == records, f"{harm}: {topic} differs"
            results.append((harm, codes))
            say(f"… exit codes {codes}, all records equal")
        return results
    finally:
        lab.close()
        make_whole(cluster)


def _restore(
    lab: WorkerLab,
    config: Path,
    harm: str,
    ill_treat: Callable[[KafkaCluster, KafkaBroker, str], None],
    say: Callable[[str], None],
) -> list[int]:
    command = [sys.executable, "-m", "mirror.cli", "--config", str(config), "restore", "--target", "dst"]
    command += ["--latest", "--yes", "--target-cluster-id", cluster_id(lab.kafka.bootstrap), "--prefix", f"re-{harm}-"]
    for topic in TOPICS:
        command += ["--topic", topic]
    first = f"re-{harm}-precious"
    log_path = lab.folder / f"restore-{harm}.log"
    with log_path.open("wb") as log:
        running = subprocess.Popen([*command, "--limit-rate", _RATE], stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_until(lambda: running.poll() is not None or _arrived(lab, first) > _RECORDS // 5, "it loads", 60, 0.25)
            assert running.poll() is None, f"it ended before it could be harmed\n{log_path.read_text()}"
            leader = leaders_of(lab.kafka, first)[0]
            arrived = _arrived(lab, first)
            ill_treat(lab.kafka, lab.kafka.brokers[leader - 1], first)
            say(f"restore-{harm} broker {leader} with {arrived:,} of {_RECORDS:,} records there")
            codes = [running.wait(_PATIENCE_S)]
        finally:
            running.kill()
    said = log_path.read_text(errors="replace")
    while codes[-1] == _UNFINISHED and len(codes) <= _MOST_RESUMES:
        say(f"… exit 3: {_last_words(said)}")
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
        codes.append(done.returncode)
        said = done.stdout + done.stderr
    assert codes[-1] == 0, f"{harm}: exit codes {codes}: {said[-1500:]}"
    return codes


def _kill(cluster: KafkaCluster, broker: KafkaBroker, topic: str) -> None:
    broker.kill()


def _kill_for_a_while(cluster: KafkaCluster, broker: KafkaBroker, topic: str) -> None:
    broker.kill()
    wait_led_without(cluster, [topic], broker.node_id)
    broker.start(wait=False)


def _hang(cluster: KafkaCluster, broker: KafkaBroker, topic: str) -> None:
    broker.pause()
    time.sleep(_HANG_S)
    broker.cont()


_HARMS = {"killed": _kill, "returned": _kill_for_a_while, "frozen": _hang}


def _arrived(lab: WorkerLab, topic: str) -> int:
    return sum(ends_of(lab.kafka, topic, TOPICS["precious"]).values())


def _config(lab: WorkerLab) -> Path:
    servers = ", ".join(f'"{server}"' for server in lab.kafka.bootstrap.split(","))
    path = lab.folder / "restore.toml"
    target = f'\n[clusters.dst]\nrole = "target"\nbootstrap_servers = [{servers}]\n'
    path.write_text((lab.folder / "lab.toml").read_text() + target)
    return path


def _last_words(said: str) -> str:
    lines = [line for line in re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines() if line.strip()]
    return " ".join(lines[-2:])[:300]
