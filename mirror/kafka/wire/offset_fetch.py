"""OffsetFetch v7: everything that a group has committed."""

from dataclasses import dataclass
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["FetchedOffset", "decode_offset_fetch", "encode_offset_fetch", "offset_fetch"]

API: Final = Api("OffsetFetch", 9, 7, since="2.5")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedOffset:
    """The answer for one partition; ``offset`` is -1 where nothing is committed."""

    offset: int
    leader_epoch: int
    metadata: str
    error_code: int


def encode_offset_fetch(group: str) -> bytes:
    """The body of a request for all partitions, without what a transaction may still undo."""
    return Writer().string(group).uvarint(0).boolean(True).no_tags().finish()


def decode_offset_fetch(reader: Reader) -> tuple[int, dict[TopicPartition, FetchedOffset]]:
    """The group's error code and its positions; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    found: dict[TopicPartition, FetchedOffset] = {}

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            partition = part.i32()
            found[TopicPartition(topic, partition)] = FetchedOffset(
                offset=part.i64(),
                leader_epoch=part.i32(),
                metadata=part.nullable_string() or "",
                error_code=part.i16(),
            )
            part.tags()

        source.array(read_partition, least_item_bytes=20)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    error_code = reader.i16()
    reader.tags()
    return error_code, found


async def offset_fetch(client: Sender, coordinator: int, group: str) -> dict[TopicPartition, FetchedOffset]:
    """All positions of a group; none for a group that is not known.

    Raises:
        AccessError: DESCRIBE on the group is missing.
        ClusterBusyError: the coordinator moves.
        UnreachableError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    error_code, found = decode_offset_fetch(await ask(client, coordinator, API, encode_offset_fetch(group)))
    if error_code:
        raise kafka_error_to_ours(error_code, f"positions of group {group}")
    return found
