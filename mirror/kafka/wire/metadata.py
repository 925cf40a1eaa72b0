"""Metadata v12: brokers and topics with their ids, leaders and leader epochs. Never creates a topic."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import ZERO_TOPIC_ID, Reader, Writer

__all__ = [
    "BrokerMetadata",
    "Metadata",
    "PartitionMetadata",
    "TopicMetadata",
    "decode_metadata",
    "encode_metadata",
    "metadata",
]

API: Final = Api("Metadata", 3, 12, since="3.1")

_NOT_ASKED: Final = -(2**31)


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerMetadata:
    """A broker and where it listens."""

    node_id: int
    host: str
    port: int
    rack: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionMetadata:
    """A partition; ``leader`` is -1 while there is none."""

    partition: int
    error_code: int
    leader: int
    leader_epoch: int
    replicas: tuple[int, ...]
    isr: tuple[int, ...]
    offline_replicas: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicMetadata:
    """A topic, or why there is none.

    ``topic_id`` is in Kafka's text form (22 characters), None if unknown; ``authorized_operations`` is a bit set of
    Kafka's ACL operation numbers, None if not asked for.
    """

    name: str | None
    topic_id: str | None
    error_code: int
    is_internal: bool
    partitions: tuple[PartitionMetadata, ...]
    authorized_operations: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a broker knows of its cluster."""

    cluster_id: str | None
    controller_id: int
    brokers: tuple[BrokerMetadata, ...]
    topics: tuple[TopicMetadata, ...]


def encode_metadata(
    *, names: Sequence[str] | None = None, topic_ids: Sequence[str] = (), authorized_operations: bool = False
) -> bytes:
    """The body of a request: all topics if ``names`` is None and there are no ids."""
    wanted: list[tuple[str, str | None]] = [(topic_id, None) for topic_id in topic_ids]
    wanted += [(ZERO_TOPIC_ID, name) for name in names or ()]
    writer = Writer()
    if names is None and not topic_ids:
        writer.uvarint(0)
    else:
        writer.array(wanted, lambda out, topic: out.topic_id(topic[0]).string(topic[1]).no_tags())
    return writer.boolean(False).boolean(authorized_operations).no_tags().finish()


def _broker(reader: Reader) -> BrokerMetadata:
    broker = BrokerMetadata(
        node_id=reader.i32(), host=reader.string(), port=reader.i32(), rack=reader.nullable_string()
    )
    reader.tags()
    return broker


def _partition(reader: Reader) -> PartitionMetadata:
    error_code = reader.i16()
    partition = PartitionMetadata(
        error_code=error_code,
        partition=reader.i32(),
        leader=reader.i32(),
        leader_epoch=reader.i32(),
        replicas=reader.i32_array(),
        isr=reader.i32_array(),
        offline_replicas=reader.i32_array(),
    )
    reader.tags()
    return partition


def _topic(reader: Reader) -> TopicMetadata:
    error_code, name, topic_id = reader.i16(), reader.nullable_string(), reader.topic_id()
    is_internal = reader.boolean()
    partitions = reader.array(_partition, least_item_bytes=18)
    operations = reader.i32()
    reader.tags()
    return TopicMetadata(
        name=name,
        topic_id=None if topic_id == ZERO_TOPIC_ID else topic_id,
        error_code=error_code,
        is_internal=is_internal,
        partitions=tuple(sorted(partitions, key=lambda partition: partition.partition)),
        authorized_operations=None if operations == _NOT_ASKED else operations,
    )


def decode_metadata(reader: Reader) -> Metadata:
    """Parse an answer; MalformedError if it is not one."""
    reader.i32()  # throttle time
    brokers = reader.array(_broker, least_item_bytes=11)
    cluster_id, controller_id = reader.nullable_string(), reader.i32()
    topics = reader.array(_topic, least_item_bytes=25)
    reader.tags()
    return Metadata(cluster_id=cluster_id, controller_id=controller_id, brokers=tuple(brokers), topics=tuple(topics))


async def metadata(
    client: Sender,
    node_id: int,
    *,
    names: Sequence[str] | None = None,
    topic_ids: Sequence[str] = (),
    authorized_operations: bool = False,
) -> Metadata:
    """Ask one broker for topics by name or by id; for all of them if neither is given, for none if ``names`` is empty.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`.
    """
    body = encode_metadata(names=names, topic_ids=topic_ids, authorized_operations=authorized_operations)
    return decode_metadata(await ask(client, node_id, API, body))
