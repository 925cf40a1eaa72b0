"""ListOffsets v7 as a replica asks: the leader's log end itself, not the high watermark that consumers are told.

What was appended and is not replicated yet counts, and a leader that has just been elected answers at once.
"""

from collections.abc import Mapping
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Sender, ask
from mirror.kafka.wire.codec import Writer
from mirror.kafka.wire.fetch import READ_UNCOMMITTED
from mirror.kafka.wire.list_offsets import API, LATEST, ListedOffset, decode_list_offsets

__all__ = ["encode_log_ends", "log_ends_at"]

_DEBUGGING_REPLICA: Final = -2


def encode_log_ends(leader_epochs: Mapping[TopicPartition, int]) -> bytes:
    """The body of a request."""
    by_topic: dict[str, list[tuple[int, int]]] = {}
    for (topic, partition), leader_epoch in leader_epochs.items():
        by_topic.setdefault(topic, []).append((partition, leader_epoch))

    def write_topic(out: Writer, topic: tuple[str, list[tuple[int, int]]]) -> None:
        out.string(topic[0]).array(topic[1], lambda o, p: o.i32(p[0]).i32(p[1]).i64(LATEST).no_tags()).no_tags()

    writer = Writer().i32(_DEBUGGING_REPLICA).i8(READ_UNCOMMITTED)
    return writer.array(by_topic.items(), write_topic).no_tags().finish()


async def log_ends_at(
    client: Sender, node_id: int, leader_epochs: Mapping[TopicPartition, int], *, connection: object = 0
) -> list[ListedOffset]:
    """Ask the leader of some partitions for their log ends.

    Args:
        leader_epochs: of each partition, as the metadata tells it; without it a follower would answer its own log end.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    return decode_list_offsets(await ask(client, node_id, API, encode_log_ends(leader_epochs), connection=connection))
