"""The end of the group log at the source: how much of what is not stored is only mirrors' own commits, which never are."""

from typing import Final

from mirror.core.own_groups import OwnGroups
from mirror.core.positions import TopicPartition
from mirror.kafka.client import MirrorClient
from mirror.service.verify_fetch import SourceReader

__all__ = ["quiet_until"]

_MOST_BYTES: Final = 32 << 20


async def quiet_until(
    client: MirrorClient, tp: TopicPartition, topic_id: str, start_offset: int, last_stable_offset: int, own: OwnGroups
) -> int:
    """The offset of the first record from ``start_offset`` on that a worker must store; ``last_stable_offset`` without one.

    After 32 MiB of own commits the offset reached is the answer: no worker can have left so much.

    Args:
        client: an open client of the source.
        tp: a partition of the group log.
        topic_id: its incarnation.
        start_offset: the end of what is stored.
        last_stable_offset: as far as it can be read.
        own: the groups of mirrors.

    Raises:
        AccessError, TopicNotFoundError, UnreachableError, ClusterError: it cannot be read.
    """
    reader = SourceReader(client, "group-tail")
    at, read_bytes = start_offset, 0
    while at < last_stable_offset and read_bytes < _MOST_BYTES:
        body, next_offset = await reader.read(tp, topic_id, at)
        if body is None:
            return at
        read_bytes += body.size_bytes
        left = own.without(body).columns
        if len(left):
            return max(at, int(left.column("base_offset")[0]))
        at = next_offset
    return at
