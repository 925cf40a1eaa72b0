"""MirrorMaker 2 copying a topic on the same broker: its own dedicated mode, one process, settings for throughput."""

import time
from pathlib import Path

from bench.children import BenchError, Child
from bench.clients import kafka_admin
from bench.sample import Sample
from bench.stack import BenchStack
from bench.topics import PARTITIONS, FilledTopic, delete_topics, log_end
from tests.servers.fetch import ensure_connect
from tests.servers.jvm import plain_jvm

__all__ = ["MIRROR_MAKER_CLASS", "MIRROR_MAKER_TIMED", "SETTINGS", "run_mirror_maker"]

MIRROR_MAKER_CLASS = "org.apache.kafka.connect.mirror.MirrorMaker"
MIRROR_MAKER_TIMED = "from the first record in the target topic to the last, seen every 20 ms by its log end offsets"
HEAP = "1g"
SETTINGS = {
    "source->target.enabled": "true",
    "target->source.enabled": "false",
    "tasks.max": str(PARTITIONS),
    "replication.factor": "1",
    "checkpoints.topic.replication.factor": "1",
    "heartbeats.topic.replication.factor": "1",
    "offset-syncs.topic.replication.factor": "1",
    "offset.storage.replication.factor": "1",
    "status.storage.replication.factor": "1",
    "config.storage.replication.factor": "1",
    "emit.heartbeats.enabled": "false",
    "emit.checkpoints.enabled": "false",
    "sync.topic.acls.enabled": "false",
    "sync.topic.configs.enabled": "false",
    "source.consumer.isolation.level": "read_committed",
    "source.consumer.fetch.max.bytes": "52428800",
    "source.consumer.max.partition.fetch.bytes": "16777216",
    "source.consumer.max.poll.records": "20000",
    "source.consumer.auto.offset.reset": "earliest",
    "target.producer.compression.type": "lz4",
    "target.producer.linger.ms": "50",
    "target.producer.batch.size": "1000000",
    "target.producer.buffer.memory": "134217728",
    "target.producer.acks": "all",
}
_TIMEOUT_S = 600.0
_OWN_TOPICS = ("mm2-", "heartbeats", "source.")


def run_mirror_maker(stack: BenchStack, topic: FilledTopic) -> Sample:
    """Copy the topic to `source.<topic>`; everything that MirrorMaker made is deleted afterwards."""
    config_path = stack.folder / "mm2.properties"
    config_path.write_text(_properties(stack, topic.name))
    jvm = plain_jvm(ensure_connect())
    argv = jvm.argv(MIRROR_MAKER_CLASS, str(config_path), heap=HEAP, quick_start=False)
    with Child("mirror maker", argv, Path(stack.folder / "mm2.log"), jvm.env()) as maker:
        begin_s, finish_s = _watch(stack, f"source.{topic.name}", topic.records, maker)
    delete_topics(stack, *_OWN_TOPICS)
    return Sample(
        records=topic.records,
        seconds=finish_s - begin_s,
        cpu_seconds=maker.usage.between(begin_s, finish_s),
        process_cpu_seconds=maker.usage.total_cpu_seconds,
        peak_rss_bytes=maker.usage.peak_rss_bytes,
    )


def _properties(stack: BenchStack, topic: str) -> str:
    lines = {
        "clusters": "source, target",
        "source.bootstrap.servers": stack.bootstrap,
        "target.bootstrap.servers": stack.bootstrap,
        "source->target.topics": topic,
        **SETTINGS,
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def _watch(stack: BenchStack, target: str, records: int, maker: Child) -> tuple[float, float]:
    admin = kafka_admin(stack.bootstrap)
    deadline = time.monotonic() + _TIMEOUT_S
    while target not in admin.list_topics(timeout=10).topics:
        _check_patience(maker, deadline)
        time.sleep(0.05)
    begin_s = 0.0
    copied = 0
    while copied < records:
        _check_patience(maker, deadline)
        copied = log_end(admin, target) or 0
        if copied and not begin_s:
            begin_s = time.time()
        time.sleep(0.02)
    return begin_s, time.time()


def _check_patience(maker: Child, deadline: float) -> None:
    maker.require_alive()
    if time.monotonic() > deadline:
        raise BenchError(f"MirrorMaker has not copied the topic after {_TIMEOUT_S} s\n{maker.log_tail()}")
