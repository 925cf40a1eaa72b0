"""For killing restores: topics with everything that makes holes, `mirror restore` as a process, and the judge."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    OffsetSpec,
    ResourceType,
)

from mirror.core.filler import filler_batch
from mirror.core.moments import format_moment
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.fault.worker_lab import wait_until
from tests.restoring import Seen, cluster_id, consume_all, write_config

__all__ = ["RestoreLab", "Run", "committed", "set_configs", "trim", "watermarks"]

_PATIENCE_S = 60.0
_OF_THE_TOPIC = ConfigSource.DYNAMIC_TOPIC_CONFIG.value


def trim(bootstrap: str, topic: str, before: int, *, partition: int = 0) -> None:
    """DeleteRecords."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_records([TopicPartition(topic, partition, before)]).values():
        future.result(30)


def watermarks(bootstrap: str, topic: str, partitions: int) -> list[tuple[int, int]]:
    """``(log start, high watermark)`` by partition; empty while there is no such topic, or not quite."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    if topic not in admin.list_topics(timeout=10).topics:
        return []
    names = [TopicPartition(topic, partition) for partition in range(partitions)]
    try:
        low, high = (
            [admin_result.result(10).offset for admin_result in admin.list_offsets(dict.fromkeys(names, spec)).values()]
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
    except KafkaException:
        return []
    return list(zip(low, high, strict=True))


def committed(bootstrap: str, group: str, topic: str, partitions: int) -> list[int]:
    """Where a group stands."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        wanted = [TopicPartition(topic, partition) for partition in range(partitions)]
        return [one.offset for one in consumer.committed(wanted, timeout=20)]
    finally:
        consumer.close()


def set_configs(bootstrap: str, topic: str, changes: dict[str, str | None]) -> None:
    """Set settings of a topic; None removes one. The broker, which learns of them a moment later, has them when it returns."""
    resource = ConfigResource(
        ResourceType.TOPIC,
        topic,
        incremental_configs=[
            ConfigEntry(
                name,
                value,
                incremental_operation=AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET,
            )
            for name, value in changes.items()
        ],
    )
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept: its futures end with it
    for future in admin.incremental_alter_configs([resource]).values():
        future.result(30)
    asked = ConfigResource(ResourceType.TOPIC, topic)

    def is_there() -> bool:
        found = admin.describe_configs([asked])[asked].result(30)
        own = {key: entry.value for key, entry in found.items() if entry.source == _OF_THE_TOPIC}
        return all(own.get(key) == value for key, value in changes.items())

    wait_until(is_there, f"{topic} has {changes}", _PATIENCE_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """What the judge saw of a source topic."""

    records: list[Seen]
    watermarks: list[tuple[int, int]]


class Run:
    """One `mirror restore` as a process."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def said(self) -> str:
        """Its output."""
        return self.log.read_text(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.is_running:
            self._process.send_signal(number)

    def wait(self, timeout_s: float = _PATIENCE_S) -> int:
        """Its exit code; -9 where it was killed."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.end()
            raise AssertionError(f"it does not end: {self.said[-2000:]}") from None

    def end(self) -> None:
        """Whatever it does."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGKILL)
        self._process.wait(10)


@dataclass
class RestoreLab:
    """Topics that were captured once, and restores of them.

    Args:
        bootstrap: source and target.
        folder: for the repository, the configuration and logs.
        topics: name → partitions.
        group: a group that stands in the middle of every topic.
        until: options that mean all there is, by the records' own times; once it is prepared.
    """

    bootstrap: str
    folder: Path
    topics: dict[str, int]
    group: str
    originals: dict[str, Original] = field(default_factory=dict)
    positions: dict[str, list[int]] = field(default_factory=dict)
    until: list[str] = field(default_factory=list)
    _runs: list[Run] = field(default_factory=list)

    async def prepare(self, *, go_on: Capture | None = None) -> None:
        """Capture, from the beginning or on from an earlier one; write the configuration, and look at the originals."""
        store = FolderStore(str(self.folder / "repo"))
        if go_on is None:
            store.create()
        for topic, partitions in self.topics.items():
            self.originals[topic] = Original(
                records=consume_all(self.bootstrap, topic), watermarks=watermarks(self.bootstrap, topic, partitions)
            )
            self.positions[topic] = [(low + high) // 2 for low, high in self.originals[topic].watermarks]
            self._commit(topic)
        await capture(
            self.bootstrap,
            [*self.topics, "__consumer_offsets"],
            store,
            object_bytes=40_000,
            slice_bytes=6000,
            go_on=go_on,
        )
        write_config(self.folder, self.bootstrap)
        self.until = ["--until", format_moment(time.time_ns() // 1_000_000)]
        self._consent = ["--yes", "--target-cluster-id", cluster_id(self.bootstrap)]

    def _commit(self, topic: str) -> None:
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group, "enable.auto.commit": False})
        try:
            wanted = [TopicPartition(topic, p, offset) for p, offset in enumerate(self.positions[topic])]
            consumer.commit(offsets=wanted, asynchronous=False)
        finally:
            consumer.close()

    def start(self, prefix: str, *args: str, rate: str = "") -> Run:
        """`mirror restore` of all topics and the group under a prefix; ``args`` replace the recovery point ``--latest``."""
        command = [sys.executable, "-m", "mirror.cli", "--config", str(self.folder / "mirror.toml"), "restore"]
        command += ["--target", "dst", *self._consent, "--prefix", prefix, *(args or ("--latest",))]
        command += ["--group", self.group, "--rename-group", f"{self.group}={prefix}{self.group}"]
        for topic in self.topics:
            command += ["--topic", topic]
        if rate:
            command += ["--limit-rate", rate]
        run = Run(command, self.folder / f"{prefix}{len(self._runs)}.log")
        self._runs.append(run)
        return run

    def difference(self, prefix: str, *, is_dense: bool = False) -> str:
        """What the judge sees that is not as at the source; empty where all is equal."""
        for topic, original in self.originals.items():
            copy, positions = f"{prefix}{topic}", self.positions[topic]
            if is_dense:
                original, positions = _dense(original, positions)
            there = watermarks(self.bootstrap, copy, self.topics[topic])
            if there != original.watermarks:
                return f"{copy}: watermarks {there}, not {original.watermarks}"
            records = consume_all(self.bootstrap, copy)
            if records != original.records:
                pairs = zip(records, original.records, strict=False)
                first = next((pair for pair in pairs if pair[0] != pair[1]), None)
                return f"{copy}: {len(records)} records, not {len(original.records)}; first difference {first}"
            stands = committed(self.bootstrap, f"{prefix}{self.group}", copy, self.topics[topic])
            if stands != positions:
                return f"{copy}: the group stands at {stands}, not at {positions}"
        return ""

    def forget(self, prefix: str) -> None:
        """Delete the copies."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.delete_topics([f"{prefix}{topic}" for topic in self.topics]).values():
            future.exception(30)

    def close(self) -> None:
        """End every process that is left."""
        for run in self._runs:
            if run.is_running:
                run.end()


def _dense(original: Original, positions: list[int]) -> tuple[Original, list[int]]:
    """The same with translated offsets."""
    records: list[Seen] = []
    ends = [0] * len(positions)
    moved = [0] * len(positions)
    for record in original.records:
        records.append(record._replace(offset=ends[record.partition]))
        ends[record.partition] += 1
        moved[record.partition] += record.offset < positions[record.partition]
    return Original(records=records, watermarks=[(0, log_end) for log_end in ends]), moved


def produce(bootstrap: str, topic: str, count: int, *, partition: int = 0, size: int = 40, **options: Any) -> None:
    """Records of random values, in batches of at most 50."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.num.messages": 50, **options})
    for number in range(count):
        producer.produce(
            topic,
            key=b"k%d" % (number % 97),
            value=os.urandom(size),
            partition=partition,
            headers=[("n", b"%d" % number)],
        )
        producer.poll(0)
    assert producer.flush(30) == 0


def transactions(bootstrap: str, topic: str, sizes: list[int], *, partition: int = 0) -> None:
    """One transaction of each size; every third is aborted."""
    producer = Producer(
        {"bootstrap.servers": bootstrap, "transactional.id": f"tx-{topic}-{partition}", "compression.type": "lz4"}
    )
    producer.init_transactions(30)
    for number, size in enumerate(sizes):
        producer.begin_transaction()
        for record in range(size):
            producer.produce(topic, key=b"t%d" % number, value=b"%d" % record, partition=partition)
            producer.poll(0)
        producer.flush(30)
        (producer.abort_transaction if number % 3 == 2 else producer.commit_transaction)(30)


async def advance(bootstrap: str, topic: str, offset: int, *, partition: int = 0) -> None:
    """Move an empty log to an offset, and its beginning too."""
    async with (
        await open_client(ClusterConnection(bootstrap_servers=tuple(bootstrap.split(",")))) as client,
        BatchProducer(client) as producer,
    ):
        left = offset
        while left:
            count = min(left, 1_000_000)
            await producer.send(topic, partition, filler_batch(count, timestamp_ms=0))
            left -= count
    trim(bootstrap, topic, offset, partition=partition)
