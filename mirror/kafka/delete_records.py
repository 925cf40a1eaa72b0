"""Moves the beginning of logs forward: what lies before is gone for every consumer, at once and for good."""

from collections.abc import Mapping
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import AccessError, ClusterBusyError, ClusterError, MirrorError
from mirror.kafka.by_leader import ASK_AGAIN_CODES, ask_leaders
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import error_name, kafka_error_to_ours
from mirror.kafka.leaders import Leader
from mirror.kafka.wire import delete_records as wire
from mirror.kafka.wire.log_end import log_ends_at

__all__ = ["delete_records"]

_BROKER_TIMEOUT_MS: Final = 20_000
_RETRY_FOR_S: Final = 60.0
_OUT_OF_RANGE: Final = 1
_NO_TOPIC_RIGHT: Final = 29
_POLICY: Final = 44


async def delete_records(client: MirrorClient, before: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Delete the records before an offset, per partition. Asking again for what is deleted already changes nothing.

    Waits until every live replica has followed; asks again for up to 60 s while leaders or replicas are in the way.

    Args:
        client: an open client.
        before: per partition the offset that shall be the first one, at most the log end.

    Returns:
        Where each log begins now: the offset asked for, or more where it began later already.

    Raises:
        AccessError: DELETE on the topic is missing.
        ClusterError: the topic is compacted without ``delete`` (the broker refuses it there), the offset lies beyond the log
            end, or a log does not begin where it should.
        TopicNotFoundError, UnreachableError, ClusterBusyError: naming the partition.
    """

    async def ask_leader(node_id: int, part: dict[TopicPartition, Leader]) -> dict[TopicPartition, int | MirrorError]:
        wanted = {tp: before[tp] for tp in part}
        answer = await wire.delete_records(client, node_id, wanted, timeout_ms=_BROKER_TIMEOUT_MS)
        results = {TopicPartition(one.topic, one.partition): _result(one, wanted, node_id) for one in answer}
        beyond = [TopicPartition(one.topic, one.partition) for one in answer if one.error_code == _OUT_OF_RANGE]
        if beyond:  # the broker means the high watermark, which is late right after an election
            ends = await log_ends_at(client, node_id, {tp: part[tp].leader_epoch for tp in beyond})
            results |= {
                tp: ClusterBusyError(f"deleting the records of {tp}: not replicated up to {wanted[tp]} yet")
                for tp, listed in ((TopicPartition(one.topic, one.partition), one) for one in ends)
                if listed.error_code or listed.offset >= wanted[tp]
            }
        return results

    if not before:
        return {}
    return await ask_leaders(client, before, "deleting records", ask_leader, retry_for_s=_RETRY_FOR_S)


def _result(one: wire.DeletedRecords, wanted: Mapping[TopicPartition, int], node_id: int) -> int | MirrorError:
    code, before_offset = one.error_code, wanted[TopicPartition(one.topic, one.partition)]
    what = f"deleting the records of {one.topic}-{one.partition} before {before_offset} on broker {node_id}"
    if code == _NO_TOPIC_RIGHT:
        return AccessError(
            f"{what}: the broker answered {error_name(code)}; DELETE on topic {one.topic} is missing",
            hint=f"grant it: kafka-acls --add --allow-principal User:... --operation Delete --topic {one.topic}",
        )
    if code == _POLICY:
        return ClusterError(
            f"{what}: the broker answered {error_name(code)}: it deletes no records of a topic with cleanup.policy=compact",
            hint=f"set cleanup.policy=delete on topic {one.topic} for the time of the load",
        )
    if code == _OUT_OF_RANGE:
        return ClusterError(f"{what}: the broker answered {error_name(code)}: its log ends before that offset")
    if code in ASK_AGAIN_CODES:
        return ClusterBusyError(f"{what}: the broker answered {error_name(code)}")
    if code:
        return kafka_error_to_ours(code, what)
    if one.low_watermark < before_offset:
        return ClusterError(f"{what}: the log begins at {one.low_watermark} after it")
    return one.low_watermark
