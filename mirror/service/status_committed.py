"""What the workers have committed to Kafka as durable: the only witness of an object that is gone from the end of what is stored.

Workers commit a position only after every object before it is durable, so a committed offset beyond the repository is an object that is
there no more.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException
from confluent_kafka.admin import AdminClient

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import OffsetRange, TopicPartition
from mirror.errors import ClusterBusyError
from mirror.kafka.cluster import LogOffsets
from mirror.kafka.connection import ClusterConnection, confluent_options
from mirror.kafka.errors import kafka_error_to_ours

__all__ = ["committed_offsets", "gone_offsets"]

_PATIENCE_S: Final = 10.0


async def committed_offsets(connection: ClusterConnection, group: str) -> dict[TopicPartition, int]:
    """The committed offsets of a consumer group, which need not exist.

    Args:
        connection: of the cluster.
        group: the mirror's id.

    Raises:
        AccessError: DESCRIBE on the group is missing.
        UnreachableError, ClusterError, ClusterBusyError: it could not be asked within 10 s.
    """
    what = f"committed offsets of group {group}"
    try:
        admin = AdminClient(confluent_options(connection))
        asked = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)], request_timeout=_PATIENCE_S)
        answer = asyncio.shield(asyncio.wrap_future(asked[group]))
        found = await asyncio.wait_for(answer, _PATIENCE_S + 1)
    except KafkaException as error:
        raise kafka_error_to_ours(error, what) from error
    except TimeoutError:
        raise ClusterBusyError(f"{what}: no answer within {_PATIENCE_S:.0f} s") from None
    return {
        TopicPartition(part.topic, part.partition): part.offset
        for part in found.topic_partitions
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
