"""The topics that are copied: what is in them, how they are made, and what they take on the broker."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic, OffsetSpec

from bench.children import BenchError
from bench.clients import kafka_admin
from bench.payloads import write_payloads
from bench.stack import BenchStack
from mirror.core.record_batch import scan_batches
from tests.servers.kafka import kafka_tool

__all__ = [
    "PARTITIONS",
    "TOPICS",
    "FilledTopic",
    "TopicSpec",
    "create_topic",
    "delete_topics",
    "end_offsets",
    "fill",
    "log_end",
    "wait_for_leaders",
]

PARTITIONS = 4
PERF_CLASS = "org.apache.kafka.tools.ProducerPerformance"
_QUICK_SHARE = 20
_LEADERS_TIMEOUT_S = 60.0
_NOT_YET = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError._UNKNOWN_PARTITION,
    KafkaError._UNKNOWN_TOPIC,
    KafkaError._NOENT,
)
_PAYLOAD_BYTES = 160 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic of the suite. `batch_size` None: the Java producer's default (16 KiB)."""

    name: str
    records: int
    record_bytes: int
    codec: str
    batch_size: int | None = None

    def quick(self) -> "TopicSpec":
        """The same with a twentieth of the records, for trying the harness."""
        return TopicSpec(
            name=self.name,
            records=self.records // _QUICK_SHARE,
            record_bytes=self.record_bytes,
            codec=self.codec,
            batch_size=self.batch_size,
        )

    @property
    def producer_settings(self) -> dict[str, str]:
        """Of ProducerPerformance."""
        settings = {"compression.type": self.codec, "acks": "1"}
        if self.batch_size is not None:
            settings |= {"batch.size": str(self.batch_size), "linger.ms": "0"}
        return settings


TOPICS = (
    TopicSpec(name="small-lz4", records=5_000_000, record_bytes=80, codec="lz4"),
    TopicSpec(name="large-lz4", records=1_000_000, record_bytes=870, codec="lz4"),
    TopicSpec(name="large-plain", records=1_000_000, record_bytes=870, codec="none"),
    TopicSpec(name="one-record", records=300_000, record_bytes=80, codec="none", batch_size=1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FilledTopic:
    """A topic with its records in it, as its batch headers on the broker's disk say."""

    spec: TopicSpec
    records: int
    batches: int
    log_bytes: int
    next_offsets: dict[int, int]

    @property
    def name(self) -> str:
        """Of the topic."""
        return self.spec.name


def fill(stack: BenchStack, spec: TopicSpec) -> FilledTopic:
    """Create the topic and produce its records. Raises BenchError when they are not there as specified afterwards."""
    lines = min(1_000_000, _PAYLOAD_BYTES // (spec.record_bytes + 1), spec.records)
    payload = write_payloads(
        stack.folder / f"payload-{spec.record_bytes}-{lines}.txt", line_bytes=spec.record_bytes, lines=lines
    )
    create_topic(stack, spec.name, PARTITIONS)
    produce_payload(stack, spec.name, spec.records, payload, spec.producer_settings)
    filled = _measure(stack, spec)
    if filled.records != spec.records:
        raise BenchError(f"{spec.name}: {spec.records} records were produced, {filled.records} are on the broker")
    if spec.batch_size == 1 and filled.batches != filled.records:
        raise BenchError(f"{spec.name}: {filled.batches} batches for {filled.records} records: not one each")
    return filled


def produce_payload(
    stack: BenchStack, topic: str, records: int, payload: Path, settings: dict[str, str], *, per_second: int = -1
) -> str:
    """Run Kafka's ProducerPerformance to its end; returns what it printed."""
    properties = [f"bootstrap.servers={stack.bootstrap}", *(f"{key}={value}" for key, value in settings.items())]
    arguments = ["--topic", topic, "--num-records", str(records), "--throughput", str(per_second)]
    arguments += ["--payload-file", str(payload), "--producer-props", *properties]
    return kafka_tool(PERF_CLASS, *arguments, heap="2g", timeout_s=1200)


def create_topic(stack: BenchStack, name: str, partitions: int, **configs: str) -> None:
    """Create a topic and wait until it has leaders."""
    admin = kafka_admin(stack.bootstrap)
    admin.create_topics([NewTopic(name, partitions, 1, config=configs)])[name].result()
    wait_for_leaders(admin, name, partitions)


def wait_for_leaders(admin: AdminClient, topic: str, partitions: int) -> None:
    """Return when every partition of a new topic answers. Raises BenchError when that takes too long."""
    deadline = time.monotonic() + _LEADERS_TIMEOUT_S
    while log_end(admin, topic, partitions) is None:
        if time.monotonic() > deadline:
            raise BenchError(f"{topic}: no leaders after {_LEADERS_TIMEOUT_S} s")
        time.sleep(0.1)


def delete_topics(stack: BenchStack, *prefixes: str) -> None:
    """Delete every topic whose name begins with one of these."""
    admin = kafka_admin(stack.bootstrap)
    names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(prefixes)]
    if names:
        for deleted in admin.delete_topics(names).values():
            deleted.result()


def end_offsets(admin: AdminClient, topic: str, partitions: int = PARTITIONS) -> dict[int, int]:
    """The log end of each partition."""
    asked = {TopicPartition(topic, partition): OffsetSpec.latest() for partition in range(partitions)}
    return {tp.partition: found.result().offset for tp, found in admin.list_offsets(asked).items()}


def log_end(admin: AdminClient, topic: str, partitions: int = PARTITIONS) -> int | None:
    """The sum of the log ends; None while the topic is so new that no leader answers for it."""
    try:
        return sum(end_offsets(admin, topic, partitions).values())
    except KafkaException as error:
        if error.args[0].code() in _NOT_YET:
            return None
        raise


def log_segments(stack: BenchStack, topic: str, partition: int) -> list[Path]:
    """The broker's log files of a partition, in order."""
    return sorted((stack.log_folder / f"{topic}-{partition}").glob("*.log"))


def _measure(stack: BenchStack, spec: TopicSpec) -> FilledTopic:
    next_offsets = end_offsets(kafka_admin(stack.bootstrap), spec.name)
    records = batches = log_bytes = 0
    for partition in range(PARTITIONS):
        for path in log_segments(stack, spec.name, partition):
            data = path.read_bytes()
            counts = scan_batches(data, check_crc=False).column("record_count")
            records += int(np.sum(counts))
            batches += len(counts)
            log_bytes += len(data)
    return FilledTopic(spec=spec, records=records, batches=batches, log_bytes=log_bytes, next_offsets=next_offsets)
