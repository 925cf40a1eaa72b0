"""The batches of a partition on the target, answer by answer, markers and all: what earlier runs of a restore have left there."""

from collections.abc import AsyncIterator

from mirror.core.positions import TopicPartition
from mirror.core.record_batch import BatchColumns, BatchHeader, scan_batches
from mirror.errors import ClusterError
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.leaders import Leaders
from mirror.kafka.wire.fetch import READ_UNCOMMITTED, FetchPartition, FetchRequest, fetch

__all__ = ["read_log"]

_WAIT_MS = 1000


async def read_log(
    client: MirrorClient,
    name: TopicPartition,
    *,
    start_offset: int,
    next_offset: int,
    chunk_bytes: int,
    check_crc: bool = True,
) -> AsyncIterator[tuple[memoryview, BatchColumns]]:
    """The bytes of each answer and its whole batches, from the batch that holds ``start_offset`` until ``next_offset`` is reached.

    Args:
        client: of the target.
        name: whose log.
        start_offset: where to begin; the first batch may begin before it.
        next_offset: where to stop; the last batch may reach beyond it.
        chunk_bytes: of an answer, unless one batch is larger.
        check_crc: whether the batches' checksums are computed.

    Raises:
        AccessError, UnreachableError, ClusterError: the log cannot be read; no leader, or it gives no batch.
    """
    leaders = Leaders(client)
    await leaders.refresh([name.topic])
    leader = leaders.get(name)
    if leader is None:
        raise leaders.error(name)
    at = start_offset
    while at < next_offset:
        wanted = FetchPartition(
            topic_id=leader.topic_id, partition=name.partition, fetch_offset=at, max_bytes=chunk_bytes
        )
        request = FetchRequest(
            partitions=(wanted,), max_wait_ms=_WAIT_MS, max_bytes=chunk_bytes, isolation_level=READ_UNCOMMITTED
        )
        part = (await fetch(client, leader.node_id, request)).partitions[0]
        if part.error_code:
            raise kafka_error_to_ours(part.error_code, f"reading {name}")
        view = memoryview(part.records)
        columns = scan_batches(view, check_crc=check_crc)
        if not len(columns):
            raise ClusterError(f"reading {name}: the leader gave no batch at offset {at}")
        yield view, columns
        at = BatchHeader._make(columns.headers[-1].item()).next_offset
