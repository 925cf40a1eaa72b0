"""DescribeProducers v0: what leaders know of the idempotent and transactional producers of their partitions."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = [
    "ActiveProducer",
    "DescribedProducers",
    "decode_describe_producers",
    "describe_producers",
    "encode_describe_producers",
]

API: Final = Api("DescribeProducers", 61, 0, since="2.8")


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveProducer:
    """A producer on one partition; -1 for what there is not.

    ``last_sequence`` is -1 if it never sent data in its present epoch, ``transaction_start_offset`` if it has no open
    transaction. Forgotten ``producer.id.expiration.ms`` after its last append.
    """

    producer_id: int
    producer_epoch: int
    last_sequence: int
    last_timestamp_ms: int
    coordinator_epoch: int
    transaction_start_offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedProducers:
    """The answer for one partition."""

    topic: str
    partition: int
    error_code: int
    error_message: str | None
    producers: tuple[ActiveProducer, ...]


def encode_describe_producers(tps: Iterable[TopicPartition]) -> bytes:
    """The body of a request."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in tps:
        by_topic.setdefault(topic, []).append(partition)

    def write_topic(out: Writer, topic: tuple[str, list[int]]) -> None:
        out.string(topic[0]).array(topic[1], Writer.i32).no_tags()

    return Writer().array(by_topic.items(), write_topic).no_tags().finish()


def _producer(reader: Reader) -> ActiveProducer:
    producer = ActiveProducer(
        producer_id=reader.i64(),
        producer_epoch=reader.i32(),
        last_sequence=reader.i32(),
        last_timestamp_ms=reader.i64(),
        coordinator_epoch=reader.i32(),
        transaction_start_offset=reader.i64(),
    )
    reader.tags()
    return producer


def decode_describe_producers(reader: Reader) -> list[DescribedProducers]:
    """Parse an answer; MalformedError if it is not one."""
    reader.i32()  # throttle time
    described: list[DescribedProducers] = []

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            described.append(
                DescribedProducers(
                    topic=topic,
                    partition=part.i32(),
                    error_code=part.i16(),
                    error_message=part.nullable_string(),
                    producers=tuple(part.array(_producer, least_item_bytes=37)),
                )
            )
            part.tags()

        source.array(read_partition, least_item_bytes=9)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.tags()
    return described


async def describe_producers(client: Sender, node_id: int, tps: Iterable[TopicPartition]) -> list[DescribedProducers]:
    """Ask the leader of some partitions. Needs READ on the topics.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    return decode_describe_producers(await ask(client, node_id, API, encode_describe_producers(tps)))
