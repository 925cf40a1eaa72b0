"""Where logs really end: what a resumed restore must believe.

A consumer's "latest" is the high watermark. Right after a crash or an election it is behind what the leader has appended;
who filled up to it would write twice.
"""

from collections.abc import Iterable

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterBusyError, MirrorError
from mirror.kafka.by_leader import ASK_AGAIN_CODES, ask_leaders
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import error_name, kafka_error_to_ours
from mirror.kafka.leaders import Leader
from mirror.kafka.wire.list_offsets import ListedOffset
from mirror.kafka.wire.log_end import log_ends_at

__all__ = ["log_end_or_error", "log_ends"]


def log_end_or_error(listed: ListedOffset, node_id: int) -> int | MirrorError:
    """The log end of an answer, or its error, naming partition and broker."""
    code, what = listed.error_code, f"log end of {listed.topic}-{listed.partition} from broker {node_id}"
    if code in ASK_AGAIN_CODES:
        return ClusterBusyError(f"{what}: the broker answered {error_name(code)}")
    return kafka_error_to_ours(code, what) if code else listed.offset


async def log_ends(client: MirrorClient, tps: Iterable[TopicPartition]) -> dict[TopicPartition, int]:
    """The leaders' log ends (exclusive), appended but not yet replicated records included. Needs DESCRIBE on the topics.

    Asks again for up to 30 s while leaders move.

    Raises:
        TopicNotFoundError, AccessError, UnreachableError, ClusterBusyError, ClusterError: naming the partition.
    """

    async def ask_leader(node_id: int, part: dict[TopicPartition, Leader]) -> dict[TopicPartition, int | MirrorError]:
        answer = await log_ends_at(client, node_id, {tp: leader.leader_epoch for tp, leader in part.items()})
        return {TopicPartition(one.topic, one.partition): log_end_or_error(one, node_id) for one in answer}

    return await ask_leaders(client, tps, "log end", ask_leader)
