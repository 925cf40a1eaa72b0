"""The independent witness: librdkafka reads what a ``read_committed`` consumer sees, and takes its fingerprint."""

import hashlib
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ConfigSource

from demo.failure import DemoError

_QUIET_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """A topic as its consumers see it. ``digest`` is SHA-256 over all partitions and, in offset order, over each record's offset, time,
    key, value and headers.
    """

    records: int
    digest: str


def take_fingerprints(
    bootstrap: str, topics: list[str], on_records: Callable[[int], None] = lambda _: None
) -> dict[str, Fingerprint]:
    """Read every committed record of these topics.

    Args:
        bootstrap: a broker.
        topics: their names.
        on_records: told how many records more were read.

    Raises:
        DemoError: a topic is not there, or nothing comes for 30 s.
    """
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "witness",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "allow.auto.create.topics": False,
            "log_level": 2,
        }
    )
    try:
        readings = _open(consumer, topics)
        _read_all(consumer, readings, on_records)
    finally:
        consumer.close()
    return {topic: _of_topic([readings[tp] for tp in sorted(readings) if tp[0] == topic]) for topic in topics}


def cluster_id(bootstrap: str) -> str:
    """Which cluster it is."""
    found = AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).cluster_id
    assert isinstance(found, str)
    return found


def live_topics(bootstrap: str) -> dict[str, int]:
    """Topics of the cluster that are nobody's own, with the number of their partitions."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    found = admin.list_topics(timeout=10).topics
    return {name: len(topic.partitions) for name, topic in found.items() if name.startswith("shop.")}


def topic_configs(bootstrap: str, topics: list[str]) -> dict[str, dict[str, str]]:
    """The settings that each topic has of its own."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    resources = [ConfigResource(ConfigResource.Type.TOPIC, topic) for topic in topics]
    found: dict[str, dict[str, str]] = {}
    for resource, future in admin.describe_configs(resources).items():
        entries = future.result(10).values()
        own = ConfigSource.DYNAMIC_TOPIC_CONFIG.value
        found[resource.name] = {entry.name: entry.value for entry in entries if entry.source == own}
    return found


@dataclass(slots=True)
class _Reading:
    hash: Any
    records: int = 0
    last_offset: int = -1
    is_done: bool = False


def _open(consumer: Consumer, topics: list[str]) -> dict[tuple[str, int], _Reading]:
    known = consumer.list_topics(timeout=10).topics
    absent = [topic for topic in topics if topic not in known]
    if absent:
        raise DemoError(f"the cluster has no topic {', '.join(absent)}")
    tps = [(topic, partition) for topic in topics for partition in known[topic].partitions]
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in tps])
    return {tp: _Reading(hashlib.sha256()) for tp in tps}


def _read_all(consumer: Consumer, readings: dict[tuple[str, int], _Reading], on_records: Callable[[int], None]) -> None:
    heard_at = time.monotonic()
    left = len(readings)
    while left:
        messages = consumer.consume(5000, timeout=0.5)
        if messages:
            heard_at = time.monotonic()
        elif time.monotonic() - heard_at > _QUIET_S:
            raise DemoError(
                f"the witness heard nothing for {_QUIET_S:.0f} s, {left} partitions are not read to their end"
            )
        read = 0
        for message in messages:
            error = message.error()
            reading = readings[message.topic(), message.partition()]
            if error is None:
                _add(reading, message)
                read += 1
            elif error.code() == KafkaError._PARTITION_EOF:
                left -= not reading.is_done
                reading.is_done = True
            else:
                raise DemoError(f"the witness cannot read {message.topic()}: {KafkaException(error)}")
        on_records(read)


def _add(reading: _Reading, message: Any) -> None:
    if message.offset() <= reading.last_offset:
        raise DemoError(f"offsets go back in {message.topic()}-{message.partition()} at {message.offset()}")
    reading.last_offset = message.offset()
    reading.records += 1
    parts = [
        struct.pack(">qq", message.offset(), message.timestamp()[1]),
        _framed(message.key()),
        _framed(message.value()),
    ]
    for name, value in message.headers() or ():
        parts += [_framed(name.encode()), _framed(value)]
    parts.append(b"\xff")
    reading.hash.update(b"".join(parts))


def _framed(data: bytes | None) -> bytes:
    """With its length before it, so that null, empty and neighbours differ."""
    return struct.pack(">i", -1) if data is None else struct.pack(">i", len(data)) + data


def _of_topic(readings: list[_Reading]) -> Fingerprint:
    whole = hashlib.sha256(b"".join(reading.hash.digest() for reading in readings))
    return Fingerprint(records=sum(reading.records for reading in readings), digest=whole.hexdigest())
