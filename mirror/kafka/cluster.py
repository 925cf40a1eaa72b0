"""What a cluster is made of, and where its logs begin and end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeVar

from mirror.core.positions import TopicPartition
from mirror.core.record_batch import BatchHeader, read_header
from mirror.errors import ClusterError, MirrorError
from mirror.kafka.by_leader import ask_leaders
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.leaders import Leader
from mirror.kafka.wire import list_offsets as wire_offsets
from mirror.kafka.wire.fetch import READ_COMMITTED, READ_UNCOMMITTED, FetchPartition, FetchRequest, fetch
from mirror.kafka.wire.list_offsets import EARLIEST, LATEST, ListedOffset
from mirror.kafka.wire.metadata import BrokerMetadata, PartitionMetadata, metadata

__all__ = [
    "ClusterDescription",
    "LogOffsets",
    "TopicDescription",
    "describe_cluster",
    "first_batch_headers_at",
    "list_offsets",
    "log_offsets",
]

T = TypeVar("T")

_HEADER_FETCHES_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicDescription:
    """A topic; ``topic_id`` is Kafka's text form of its id (22 characters), one per incarnation."""

    name: str
    topic_id: str
    is_internal: bool
    partitions: tuple[PartitionMetadata, ...]
    authorized_operations: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterDescription:
    """A cluster at one moment; ``missing`` has, for topics that were asked for by name, why they are not in ``topics``."""

    cluster_id: str
    controller_id: int
    brokers: tuple[BrokerMetadata, ...]
    topics: dict[str, TopicDescription]
    missing: dict[str, MirrorError]


class LogOffsets(NamedTuple):
    """Where a partition's log begins (inclusive), ends, and how far a read_committed consumer gets (both exclusive)."""

    log_start_offset: int
    high_watermark: int
    last_stable_offset: int


async def describe_cluster(
    client: MirrorClient, topics: Iterable[str] | None = None, *, authorized_operations: bool = False
) -> ClusterDescription:
    """Brokers and topics: all topics that we may see, or those named.

    Raises:
        UnreachableError, AccessError, ClusterError: no broker could be asked.
    """
    node_id = await client.any_broker()
    answer = await metadata(
        client,
        node_id,
        names=None if topics is None else sorted(set(topics)),
        authorized_operations=authorized_operations,
    )
    if not answer.cluster_id:
        raise ClusterError(f"broker {node_id} does not know its cluster id")
    found: dict[str, TopicDescription] = {}
    missing: dict[str, MirrorError] = {}
    for topic in answer.topics:
        name = topic.name or ""
        if topic.error_code:
            missing[name] = kafka_error_to_ours(topic.error_code, f"topic {name}")
        elif topic.topic_id is None:
            raise ClusterError(
                f"topic {name} has no topic id", hint="the cluster's metadata version is below 2.8: upgrade it"
            )
        else:
            found[name] = TopicDescription(
                name=name,
                topic_id=topic.topic_id,
                is_internal=topic.is_internal,
                partitions=topic.partitions,
                authorized_operations=topic.authorized_operations,
            )
    return ClusterDescription(
        cluster_id=answer.cluster_id,
        controller_id=answer.controller_id,
        brokers=answer.brokers,
        topics=found,
        missing=missing,
    )


async def _by_leader(
    client: MirrorClient,
    tps: Iterable[TopicPartition],
    what: str,
    ask_leader: Callable[[int, dict[TopicPartition, Leader]], Awaitable[Mapping[TopicPartition, T | int]]],
) -> dict[TopicPartition, T]:
    """`ask_leaders` for answers in which an int is an error code."""

    async def ask(node_id: int, part: dict[TopicPartition, Leader]) -> dict[TopicPartition, T | MirrorError]:
        return {
            tp: kafka_error_to_ours(result, f"{what} of {tp} from broker {node_id}")
            if isinstance(result, int)
            else result
            for tp, result in (await ask_leader(node_id, part)).items()
        }

    return await ask_leaders(client, tps, what, ask)


async def list_offsets(
    client: MirrorClient,
    wanted: Mapping[TopicPartition, int],
    *,
    isolation_level: Literal[0, 1] = READ_UNCOMMITTED,
) -> dict[TopicPartition, ListedOffset]:
    """Per partition the first offset at or after a timestamp (ms), or of EARLIEST, LATEST, MAX_TIMESTAMP.

    Asks leaders, and again for up to 30 s while leaders move.

    Raises:
        TopicNotFoundError, AccessError, UnreachableError, ClusterBusyError, ClusterError: naming the partition.
    """

    async def ask_leader(node_id: int, part: dict[TopicPartition, Leader]) -> dict[TopicPartition, ListedOffset | int]:
        answer = await wire_offsets.list_offsets(
            client, node_id, {tp: wanted[tp] for tp in part}, isolation_level=isolation_level
        )
        return {TopicPartition(one.topic, one.partition): one.error_code or one for one in answer}

    return await _by_leader(client, wanted, "offsets", ask_leader)


async def log_offsets(client: MirrorClient, tps: Iterable[TopicPartition]) -> dict[TopicPartition, LogOffsets]:
    """Log start offset, high watermark and last stable offset of partitions, in three requests per broker.

    Raises:
        TopicNotFoundError, AccessError, UnreachableError, ClusterBusyError, ClusterError: naming the partition.
    """
    tps = list(tps)
    starts, stable, ends = await asyncio.gather(
        list_offsets(client, dict.fromkeys(tps, EARLIEST)),
        list_offsets(client, dict.fromkeys(tps, LATEST), isolation_level=READ_COMMITTED),
        list_offsets(client, dict.fromkeys(tps, LATEST)),
    )
    return {tp: LogOffsets(starts[tp].offset, ends[tp].offset, stable[tp].offset) for tp in tps}


async def first_batch_headers_at(
    client: MirrorClient, positions: Mapping[TopicPartition, int]
) -> dict[TopicPartition, BatchHeader | None]:
    """Header of the batch that holds (or, after a hole, follows) an offset, to learn how old the data there is.

    None where the offset is the log end, or is not in the log. At least that one batch is transferred.

    Raises:
        TopicNotFoundError, AccessError, UnreachableError, ClusterBusyError, ClusterError: naming the partition.
    """
    limit = asyncio.Semaphore(_HEADER_FETCHES_AT_ONCE)

    async def one(node_id: int, tp: TopicPartition, leader: Leader) -> tuple[BatchHeader | None] | int:
        wanted = FetchPartition(
            topic_id=leader.topic_id, partition=tp.partition, fetch_offset=positions[tp], max_bytes=1
        )
        request = FetchRequest(
            partitions=(wanted,), max_wait_ms=0, max_bytes=1, min_bytes=0, isolation_level=READ_UNCOMMITTED
        )
        async with limit:
            answer = await fetch(client, node_id, request)
        part = answer.partitions[0]
        if part.error_code == 1:
            return (None,)
        if part.error_code:
            return part.error_code
        return (read_header(part.records) if len(part.records) else None,)

    async def ask_leader(
        node_id: int, part: dict[TopicPartition, Leader]
    ) -> dict[TopicPartition, tuple[BatchHeader | None] | int]:
        answers = await asyncio.gather(*(one(node_id, tp, leader) for tp, leader in part.items()))
        return dict(zip(part, answers, strict=True))

    boxed = await _by_leader(client, positions, "first batch", ask_leader)
    return {tp: box[0] for tp, box in boxed.items()}
