"""OffsetDelete v0: positions of a group are forgotten. The only version there is, and not a flexible one: sizes are fixed integers."""

import struct
from collections.abc import Iterable
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import MalformedError, Reader

__all__ = ["decode_offset_delete", "encode_offset_delete", "offset_delete"]

API: Final = Api("OffsetDelete", 47, 0, since="2.4", is_flexible=False)

_I16: Final = struct.Struct(">h")
_I32: Final = struct.Struct(">i")


def encode_offset_delete(group: str, tps: Iterable[TopicPartition]) -> bytes:
    """The body of a request."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(tps):
        by_topic.setdefault(topic, []).append(partition)
    parts = [_string(group), _I32.pack(len(by_topic))]
    for topic, partitions in by_topic.items():
        parts += [_string(topic), _I32.pack(len(partitions)), *map(_I32.pack, partitions)]
    return b"".join(parts)


def _string(text: str) -> bytes:
    raw = text.encode()
    return _I16.pack(len(raw)) + raw


def decode_offset_delete(reader: Reader) -> tuple[int, dict[TopicPartition, int]]:
    """The error code of the group, and that of each partition; MalformedError if the answer is not one."""
    group_code = reader.i16()
    reader.i32()  # throttle time
    codes: dict[TopicPartition, int] = {}
    for _ in range(_count(reader)):
        topic = str(reader.raw(reader.i16()), "utf-8", "replace")
        for _ in range(_count(reader)):
            partition = reader.i32()
            codes[TopicPartition(topic, partition)] = reader.i16()
    return group_code, codes


def _count(reader: Reader) -> int:
    count = reader.i32()
    if not 0 <= count <= reader.remaining_bytes:
        raise MalformedError(f"{count} elements in {reader.remaining_bytes} bytes")
    return count


async def offset_delete(
    client: Sender, coordinator: int, group: str, tps: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Forget positions; every partition has its own error code, 0 for none.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; or for the group as a whole.
    """
    group_code, codes = decode_offset_delete(await ask(client, coordinator, API, encode_offset_delete(group, tps)))
    if group_code:
        raise kafka_error_to_ours(group_code, f"forgetting positions of group {group}")
    return codes
