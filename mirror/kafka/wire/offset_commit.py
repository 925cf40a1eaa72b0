"""OffsetCommit v8: positions of a group without members."""

from collections.abc import Mapping
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["decode_offset_commit", "encode_offset_commit", "offset_commit"]

API: Final = Api("OffsetCommit", 8, 8, since="2.4")

_NO_GENERATION: Final = -1
_NO_EPOCH: Final = -1


def encode_offset_commit(group: str, positions: Mapping[TopicPartition, tuple[int, str]]) -> bytes:
    """The body of a request: per partition the offset and the metadata; no member, no leader epochs."""
    by_topic: dict[str, list[tuple[int, int, str]]] = {}
    for (topic, partition), (offset, metadata) in sorted(positions.items()):
        by_topic.setdefault(topic, []).append((partition, offset, metadata))

    def write_partition(out: Writer, one: tuple[int, int, str]) -> None:
        out.i32(one[0]).i64(one[1]).i32(_NO_EPOCH).string(one[2]).no_tags()

    def write_topic(out: Writer, topic: tuple[str, list[tuple[int, int, str]]]) -> None:
        out.string(topic[0]).array(topic[1], write_partition).no_tags()

    writer = Writer().string(group).i32(_NO_GENERATION).string("").string(None)
    return writer.array(by_topic.items(), write_topic).no_tags().finish()


def decode_offset_commit(reader: Reader) -> dict[TopicPartition, int]:
    """The error code of each partition; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    codes: dict[TopicPartition, int] = {}

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            partition = part.i32()
            codes[TopicPartition(topic, partition)] = part.i16()
            part.tags()

        source.array(read_partition, least_item_bytes=7)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.tags()
    return codes


async def offset_commit(
    client: Sender, coordinator: int, group: str, positions: Mapping[TopicPartition, tuple[int, str]]
) -> dict[TopicPartition, int]:
    """Commit for a group; every partition has its own error code, 0 for none.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`.
    """
    return decode_offset_commit(await ask(client, coordinator, API, encode_offset_commit(group, positions)))
