"""DeleteRecords v2: move the beginning of logs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["DeletedRecords", "decode_delete_records", "delete_records", "encode_delete_records"]

API: Final = Api("DeleteRecords", 21, 2, since="2.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletedRecords:
    """The answer for one partition; ``low_watermark`` is where its log begins now on every replica, -1 with an error."""

    topic: str
    partition: int
    low_watermark: int
    error_code: int


def encode_delete_records(before: Mapping[TopicPartition, int], *, timeout_ms: int) -> bytes:
    """The body of a request: per partition the offset that shall be the first one."""
    by_topic: dict[str, list[tuple[int, int]]] = {}
    for (topic, partition), before_offset in before.items():
        by_topic.setdefault(topic, []).append((partition, before_offset))

    def write_topic(out: Writer, topic: tuple[str, list[tuple[int, int]]]) -> None:
        out.string(topic[0]).array(topic[1], lambda o, part: o.i32(part[0]).i64(part[1]).no_tags()).no_tags()

    return Writer().array(by_topic.items(), write_topic).i32(timeout_ms).no_tags().finish()


def decode_delete_records(reader: Reader) -> list[DeletedRecords]:
    """Parse an answer; MalformedError if it is not one."""
    reader.i32()  # throttle time
    deleted: list[DeletedRecords] = []

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            deleted.append(
                DeletedRecords(topic=topic, partition=part.i32(), low_watermark=part.i64(), error_code=part.i16())
            )
            part.tags()

        source.array(read_partition, least_item_bytes=15)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.tags()
    return deleted


async def delete_records(
    client: Sender, node_id: int, before: Mapping[TopicPartition, int], *, timeout_ms: int
) -> list[DeletedRecords]:
    """Ask the leader of some partitions to forget what is before an offset; waits for the replicas up to ``timeout_ms``.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    body = encode_delete_records(before, timeout_ms=timeout_ms)
    return decode_delete_records(await ask(client, node_id, API, body))
