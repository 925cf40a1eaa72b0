"""What a restore that appends has put behind the records of a topic: found in the log itself, by the producer id in every batch.

Nothing else is kept: no mark tells where the log ended before. Only the headers of batches are read.
"""

from dataclasses import dataclass

from mirror.core.positions import TopicPartition
from mirror.core.record_batch import BatchHeader, scan_batches
from mirror.errors import ClusterError
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.leaders import Leaders
from mirror.kafka.wire.fetch import READ_UNCOMMITTED, FetchPartition, FetchRequest, fetch

__all__ = ["OwnBatches", "find_own_batches"]

_CHUNK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnBatches:
    """The batches of one producer id: from the first one's offset to the end of the last one.

    ``is_whole``: they begin with the first sequence, and nothing of others stands between them; so their records are the first ones that
    the producer sent, and their number is that of the offsets.
    """

    start_offset: int
    next_offset: int
    is_whole: bool


async def find_own_batches(
    client: MirrorClient, name: TopicPartition, log: LogOffsets, producer_id: int
) -> OwnBatches | None:
    """Read the headers of all batches of a log; None where none is of that producer.

    Raises:
        AccessError, UnreachableError, ClusterError: the log cannot be read.
    """
    leaders = Leaders(client)
    await leaders.refresh([name.topic])
    leader = leaders.get(name)
    if leader is None:
        raise leaders.error(name)
    found: OwnBatches | None = None
    next_sequence = 0
    at = log.log_start_offset
    while at < log.high_watermark:
        wanted = FetchPartition(
            topic_id=leader.topic_id, partition=name.partition, fetch_offset=at, max_bytes=_CHUNK_BYTES
        )
        request = FetchRequest(
            partitions=(wanted,), max_wait_ms=1000, max_bytes=_CHUNK_BYTES, isolation_level=READ_UNCOMMITTED
        )
        part = (await fetch(client, leader.node_id, request)).partitions[0]
        if part.error_code:
            raise kafka_error_to_ours(part.error_code, f"reading {name}")
        columns = scan_batches(memoryview(part.records), check_crc=False)
        if not len(columns):
            raise ClusterError(f"reading {name}: the leader gave no batch at offset {at}")
        for row in columns.headers[columns.headers["producer_id"] == producer_id]:
            header = BatchHeader._make(row.item())
            follows = found.next_offset if found is not None else header.base_offset
            is_whole = found is None or found.is_whole
            found = OwnBatches(
                start_offset=header.base_offset if found is None else found.start_offset,
                next_offset=header.next_offset,
                is_whole=is_whole and (header.base_offset, header.base_sequence) == (follows, next_sequence),
            )
            next_sequence = (header.base_sequence + header.record_count) % SEQUENCE_MODULUS
        at = BatchHeader._make(columns.headers[-1].item()).next_offset
    return found
