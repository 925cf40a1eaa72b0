"""Whether a target partition holds exactly the repository's records: every one of them compared, none assumed."""

import asyncio
from collections.abc import Iterator

from mirror.core.compression import unpack
from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import TopicPartition
from mirror.core.records import RawRecord, iterate_records
from mirror.core.segment.blocks import iterate_block
from mirror.core.slices import SliceBody
from mirror.service.reading import iterate_stored
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["holds_the_same"]


async def holds_the_same(
    repository: Repository,
    coverage: PartitionCoverage,
    reader: SourceReader,
    target: TopicPartition,
    topic_id: str,
    log_end: int,
) -> bool:
    """Compare time, key, value and headers of every record in ``[0, log_end)`` of the target with the repository's, in order.

    Raises:
        DamageError: the repository cannot be read.
        AccessError, UnreachableError, ClusterError: the target cannot be read.
    """
    stored = _stored(repository, coverage)
    at = 0
    while at < log_end:
        body, at_next = await reader.read(target, topic_id, at)
        if body is None:
            return False
        if not await asyncio.to_thread(_same, body, stored, log_end):
            return False
        at = at_next
    return await asyncio.to_thread(next, stored, None) is None


def _stored(repository: Repository, coverage: PartitionCoverage) -> Iterator[RawRecord]:
    for clipped in iterate_stored(repository, coverage):
        if not clipped.batch.header.is_control:
            yield from clipped.records()


def _same(body: SliceBody, stored: Iterator[RawRecord], log_end: int) -> bool:
    for part in body.parts:
        for batch in iterate_block(part, unpacked=False):
            if batch.header.is_control:
                return False
            for record in iterate_records(batch.header, unpack(batch.header.codec, batch.body)):
                if record.offset >= log_end:
                    return False
                wanted = next(stored, None)
                if wanted is None or (wanted.timestamp_ms, wanted.tail) != (record.timestamp_ms, record.tail):
                    return False
    return True
