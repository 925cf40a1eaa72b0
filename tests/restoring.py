"""Restores for tests, and the judge: what a read_committed consumer of another library sees."""

import json
import time
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_selection import RestoreSelection
from mirror.core.topic_filter import TopicFilter
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.execute import RestoreResult
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.repository import Repository

__all__ = [
    "Observer",
    "Seen",
    "cluster_id",
    "consume_all",
    "restore",
    "selection_of",
    "without_offsets",
    "write_config",
]


class Seen(NamedTuple):
    """A record as the judge saw it."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    timestamp_ms: int


def cluster_id(bootstrap: str) -> str:
    """Which cluster it is."""
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).cluster_id
    assert isinstance(found, str)
    return found


def write_config(folder: Path, bootstrap: str) -> Path:
    """A configuration with the cluster as target ``dst``, a source that does not answer, and the repository in ``folder/repo``."""
    path = folder / "mirror.toml"
    path.write_text(
        f"""
[worker]
repository = "r"
source = "src"
[clusters.src]
role = "source"
bootstrap_servers = ["127.0.0.1:1"]
[clusters.dst]
role = "target"
bootstrap_servers = {json.dumps(bootstrap.split(","))}
[repositories.r]
url = "file://{folder}/repo"
"""
    )
    return path


def consume_all(bootstrap: str, topic: str, *, timeout_s: float = 30.0) -> list[Seen]:
    """Everything a read_committed consumer gets, by partition, in order."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"judge-{time.time_ns()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "allow.auto.create.topics": False,
            "fetch.message.max.bytes": 16 << 20,
            "check.crcs": True,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in partitions])
        seen: list[Seen] = []
        ended: set[int] = set()
        deadline = time.monotonic() + timeout_s
        while len(ended) < len(partitions):
            assert time.monotonic() < deadline, f"{topic}: {len(seen)} records, ended {ended}"
            for message in consumer.consume(1000, timeout=0.2):
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(message.partition())
                    continue
                seen.append(
                    Seen(
                        message.partition(),
                        message.offset(),
                        message.key(),
                        message.value(),
                        tuple(message.headers() or ()),
                        message.timestamp()[1],
                    )
                )
    finally:
        consumer.close()
    return sorted(seen, key=lambda record: record[:2])


def without_offsets(records: list[Seen]) -> list[tuple[Any, ...]]:
    """What must be equal on both sides: all but the offsets, which are dense on the target."""
    return [(record.partition, *record[2:]) for record in records]


class Observer:
    """Counts."""

    def __init__(self) -> None:
        self.records = 0
        self.finished_topics: list[str] = []

    def advanced(self, topic: str, records: int, size_bytes: int) -> None:
        """So much more."""
        self.records += records

    def finished(self, topic: str) -> None:
        """A topic is done."""
        self.finished_topics.append(topic)


def selection_of(*topics: str, **options: Any) -> RestoreSelection:
    """These topics."""
    return RestoreSelection(topics=TopicFilter(include=topics), **options)


async def restore(
    repository: Repository, bootstrap: str, selection: RestoreSelection, *, bytes_per_second: int | None = None
) -> tuple[RestorePlan, RestoreResult]:
    """Plan and run."""
    connection = ClusterConnection(bootstrap_servers=tuple(bootstrap.split(",")))
    async with RestoreSession(repository, read_inventory(repository), connection, alias="target") as session:
        plan, rests = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
        result = await session.execute(plan, rests, observer=Observer(), bytes_per_second=bytes_per_second)
    return plan, result
