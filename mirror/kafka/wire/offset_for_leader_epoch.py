"""OffsetForLeaderEpoch v4: where a leader's epoch ends in its log, to find out what was truncated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["EpochEnd", "decode_offset_for_leader_epoch", "offset_for_leader_epoch"]

API: Final = Api("OffsetForLeaderEpoch", 23, 4, since="2.8")

_CONSUMER: Final = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochEnd:
    """The largest epoch not above the one asked for, and the offset after its last record; -1 where there is none."""

    topic: str
    partition: int
    error_code: int
    leader_epoch: int
    next_offset: int


def encode_offset_for_leader_epoch(wanted: Mapping[TopicPartition, int]) -> bytes:
    """The body of a request."""
    by_topic: dict[str, list[tuple[int, int]]] = {}
    for (topic, partition), epoch in wanted.items():
        by_topic.setdefault(topic, []).append((partition, epoch))

    def write_topic(out: Writer, topic: tuple[str, list[tuple[int, int]]]) -> None:
        out.string(topic[0]).array(topic[1], lambda o, p: o.i32(p[0]).i32(-1).i32(p[1]).no_tags()).no_tags()

    return Writer().i32(_CONSUMER).array(by_topic.items(), write_topic).no_tags().finish()


def decode_offset_for_leader_epoch(reader: Reader) -> list[EpochEnd]:
    """Parse an answer; MalformedError if it is not one."""
    reader.i32()  # throttle time
    ends: list[EpochEnd] = []

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            error_code, partition, epoch, next_offset = part.i16(), part.i32(), part.i32(), part.i64()
            part.tags()
            ends.append(
                EpochEnd(
                    topic=topic, partition=partition, error_code=error_code, leader_epoch=epoch, next_offset=next_offset
                )
            )

        source.array(read_partition, least_item_bytes=19)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.tags()
    return ends


async def offset_for_leader_epoch(client: Sender, node_id: int, wanted: Mapping[TopicPartition, int]) -> list[EpochEnd]:
    """Ask the leader of some (topic, partition) where an epoch ends.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    return decode_offset_for_leader_epoch(await ask(client, node_id, API, encode_offset_for_leader_epoch(wanted)))
