"""What the workers have committed to Kafka as durable: the only witness of an object that is gone from the end of what is stored.

Workers commit a position only after every object before it is durable, so a committed offset beyond the repository is an object that is
there no more.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as KafkaPartition

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import OffsetRange, TopicPartition
from mirror.kafka.cluster import LogOffsets
from mirror.kafka.connection import ClusterConnection, confluent_options
from mirror.kafka.errors import kafka_error_to_ours

__all__ = ["committed_offsets", "gone_offsets"]

_PATIENCE_S: Final = 10.0


async def committed_offsets(
    connection: ClusterConnection, group: str, partitions: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """The committed offsets of a consumer group, which need not exist; partitions without one are left out.

    Args:
        connection: of the cluster.
        group: the mirror's id.
        partitions: of topics that exist.

    Raises:
        AccessError: DESCRIBE on the group or a topic is missing.
        UnreachableError, ClusterError, ClusterBusyError: it could not be asked within 10 s.
    """
    return await asyncio.to_thread(_committed, connection, group, list(partitions))


def _committed(
    connection: ClusterConnection, group: str, partitions: Sequence[TopicPartition]
) -> dict[TopicPartition, int]:
    # A consumer and not an AdminClient: its answer comes on this thread. An AdminClient that is dropped right after its answer crashes
    # the process now and then. Without a subscription the consumer never joins the group.
    settings = {**confluent_options(connection), "group.id": group, "enable.auto.commit": False}
    try:
        consumer = Consumer(settings)
        try:
            asked = [KafkaPartition(tp.topic, tp.partition) for tp in partitions]
            found = consumer.committed(asked, timeout=_PATIENCE_S)
        finally:
            consumer.close()
    except KafkaException as error:
        raise kafka_error_to_ours(error, f"committed offsets of group {group}") from error
    return {
        TopicPartition(part.topic, part.partition): part.offset
        for part in found
        if part.error is None and part.offset >= 0
    }


def gone_offsets(
    tp: TopicPartition, coverage: PartitionCoverage, log: LogOffsets | None, committed: Mapping[TopicPartition, int]
) -> OffsetRange:
    """What was stored once and is stored no more, empty where nothing is.

    Args:
        tp: a partition of a live topic.
        coverage: of that incarnation, read after ``committed`` was.
        log: of the source; a committed offset behind its end is another incarnation's, or the log was truncated.
        committed: see :func:`committed_offsets`.
    """
    offset = committed.get(tp, 0)
    if log is None or offset > log.high_watermark:
        offset = 0
    return OffsetRange(coverage.next_offset, max(coverage.next_offset, offset))
