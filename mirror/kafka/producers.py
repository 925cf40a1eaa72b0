"""Who writes to partitions, as their leaders remember it: live producers, open transactions, earlier runs of a filler."""

from collections.abc import Iterable, Mapping
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterBusyError, MirrorError
from mirror.kafka.by_leader import ASK_AGAIN_CODES, ask_leaders
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import error_name, kafka_error_to_ours
from mirror.kafka.leaders import Leader
from mirror.kafka.wire.describe_producers import ActiveProducer, DescribedProducers, describe_producers
from mirror.kafka.wire.init_producer_id import ProducerIdentity

__all__ = ["FILLER_EPOCH_BITS", "active_producers", "next_marker_identity"]

FILLER_EPOCH_BITS: Final = 16
"""The coordinator epoch of a marker filler is its producer epoch shifted by these, plus the number of the attempt; no
coordinator's own is ever so large."""

_LARGEST_EPOCH: Final = 2**15 - 1


async def active_producers(
    client: MirrorClient, tps: Iterable[TopicPartition]
) -> dict[TopicPartition, tuple[ActiveProducer, ...]]:
    """The idempotent and transactional producers that the leaders remember (by default those of the last day).

    Others, without an id, leave no trace. Asks again for up to 30 s while leaders move.

    Raises:
        AccessError: READ on a topic is missing.
        TopicNotFoundError, UnreachableError, ClusterBusyError, ClusterError: naming the partition.
    """

    async def ask_leader(
        node_id: int, part: dict[TopicPartition, Leader]
    ) -> dict[TopicPartition, tuple[ActiveProducer, ...] | MirrorError]:
        answer = await describe_producers(client, node_id, part)
        return {TopicPartition(one.topic, one.partition): _result(one, node_id) for one in answer}

    return await ask_leaders(client, tps, "producers", ask_leader)


def _result(one: DescribedProducers, node_id: int) -> tuple[ActiveProducer, ...] | MirrorError:
    what = f"producers of {one.topic}-{one.partition} from broker {node_id}"
    if one.error_code in ASK_AGAIN_CODES:
        return ClusterBusyError(f"{what}: the broker answered {error_name(one.error_code)}")
    if one.error_code:
        return kafka_error_to_ours(one.error_code, what, one.error_message or "")
    return one.producers


def next_marker_identity(
    producers: Mapping[TopicPartition, tuple[ActiveProducer, ...]],
) -> ProducerIdentity | None:
    """The identity for a `MarkerFiller` that fences those which wrote to these partitions before; None if none did.

    Give it all partitions of the restore: an earlier run may have filled holes of some of them only.
    """
    fillers = [one for found in producers.values() for one in found if _is_filler(one)]
    if not fillers:
        return None
    last = max(fillers, key=lambda one: one.last_timestamp_ms)
    epoch = 1 + max(one.producer_epoch for one in fillers if one.producer_id == last.producer_id)
    return ProducerIdentity(producer_id=last.producer_id, producer_epoch=epoch) if epoch <= _LARGEST_EPOCH else None


def _is_filler(one: ActiveProducer) -> bool:
    return (
        one.last_sequence < 0
        and one.producer_epoch > 0
        and one.coordinator_epoch >> FILLER_EPOCH_BITS == one.producer_epoch
    )
