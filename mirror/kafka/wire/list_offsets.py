"""ListOffsets v7: where logs begin and end, and the offset of a timestamp."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer
from mirror.kafka.wire.fetch import READ_UNCOMMITTED

__all__ = ["EARLIEST", "LATEST", "MAX_TIMESTAMP", "ListedOffset", "decode_list_offsets", "list_offsets"]

API: Final = Api("ListOffsets", 2, 7, since="3.0")

LATEST: Final = -1
"""The high watermark; with `READ_COMMITTED` the last stable offset."""
EARLIEST: Final = -2
"""The log start offset."""
MAX_TIMESTAMP: Final = -3
"""The record with the largest timestamp."""

_CONSUMER: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedOffset:
    """The answer for one partition; offset, timestamp and leader epoch are -1 where there is none."""

    topic: str
    partition: int
    error_code: int
    timestamp_ms: int
    offset: int
    leader_epoch: int


def encode_list_offsets(wanted: Mapping[TopicPartition, int], isolation_level: Literal[0, 1]) -> bytes:
    """The body of a request."""
    by_topic: dict[str, list[tuple[int, int]]] = {}
    for (topic, partition), timestamp_ms in wanted.items():
        by_topic.setdefault(topic, []).append((partition, timestamp_ms))

    def write_topic(out: Writer, topic: tuple[str, list[tuple[int, int]]]) -> None:
        out.string(topic[0]).array(topic[1], lambda o, p: o.i32(p[0]).i32(-1).i64(p[1]).no_tags()).no_tags()

    return Writer().i32(_CONSUMER).i8(isolation_level).array(by_topic.items(), write_topic).no_tags().finish()


def decode_list_offsets(reader: Reader) -> list[ListedOffset]:
    """Parse an answer; MalformedError if it is not one."""
    reader.i32()  # throttle time
    listed: list[ListedOffset] = []

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            listed.append(
                ListedOffset(
                    topic=topic,
                    partition=part.i32(),
                    error_code=part.i16(),
                    timestamp_ms=part.i64(),
                    offset=part.i64(),
                    leader_epoch=part.i32(),
                )
            )
            part.tags()

        source.array(read_partition, least_item_bytes=27)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.tags()
    return listed


async def list_offsets(
    client: Sender,
    node_id: int,
    wanted: Mapping[TopicPartition, int],
    *,
    isolation_level: Literal[0, 1] = READ_UNCOMMITTED,
) -> list[ListedOffset]:
    """Ask the leader of some partitions for offsets.

    Args:
        client: an open client.
        node_id: the leader of all these partitions.
        wanted: per (topic, partition) a timestamp in ms, or `EARLIEST`, `LATEST`, `MAX_TIMESTAMP`.
        isolation_level: only matters for `LATEST`.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    body = encode_list_offsets(wanted, isolation_level)
    return decode_list_offsets(await ask(client, node_id, API, body))
