"""What a restore that appends has put behind the records of a topic: found in the log itself, by the producer id in every batch.

Nothing else is kept: no mark tells where the log ended before. Only the headers of batches are read.
"""

from dataclasses import dataclass

from mirror.core.positions import TopicPartition
from mirror.core.record_batch import BatchHeader
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets
from mirror.service.restore.log_reading import read_log

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
    found: OwnBatches | None = None
    next_sequence = 0
    answers = read_log(
        client,
        name,
        start_offset=log.log_start_offset,
        next_offset=log.high_watermark,
        chunk_bytes=_CHUNK_BYTES,
        check_crc=False,
    )
    async for _, columns in answers:
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
    return found
