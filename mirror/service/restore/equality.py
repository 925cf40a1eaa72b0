"""Whether a target partition holds exactly the repository's records: every one of them compared, none assumed."""

import asyncio
from collections.abc import Iterator

from mirror.core.compression import unpack
from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import TopicPartition
from mirror.core.records import RawRecord, iterate_records
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.segment.blocks import iterate_block
from mirror.core.slices import SliceBody
from mirror.kafka.cluster import LogOffsets
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
    log: LogOffsets,
    *,
    times: TimeBounds = ALL_TIMES,
    keeps_offsets: bool = False,
) -> bool:
    """Compare time, key, value and headers of every record of the target with the repository's, in order.

    Args:
        repository: what should be there.
        coverage: of it.
        reader: of the target.
        target: the partition.
        topic_id: its incarnation.
        log: where it begins and ends.
        times: which records of the repository are meant.
        keeps_offsets: compare the offsets too; markers are passed over.

    Raises:
        DamageError: the repository cannot be read.
        AccessError, UnreachableError, ClusterError: the target cannot be read.
    """
    comparison = _Comparison(_stored(repository, coverage, times), log.high_watermark, keeps_offsets)
    at = log.log_start_offset
    while at < log.high_watermark:
        body, at_next = await reader.read(target, topic_id, at)
        if body is None:
            return False
        if not await asyncio.to_thread(comparison.agrees, body):
            return False
        at = at_next
    return await asyncio.to_thread(comparison.is_complete)


def _stored(repository: Repository, coverage: PartitionCoverage, times: TimeBounds) -> Iterator[RawRecord]:
    for clipped in iterate_stored(repository, coverage):
        if not clipped.batch.header.is_control:
            yield from (record for record in clipped.records() if times.keeps(record.timestamp_ms))


class _Comparison:
    def __init__(self, stored: Iterator[RawRecord], log_end: int, keeps_offsets: bool) -> None:
        self._stored = stored
        self._log_end = log_end
        self._keeps_offsets = keeps_offsets

    def agrees(self, body: SliceBody) -> bool:
        """Whether the next records of the target are the next ones of the repository."""
        for part in body.parts:
            for batch in iterate_block(part, unpacked=False):
                if batch.header.is_control:
                    if self._keeps_offsets:
                        continue
                    return False
                for record in iterate_records(batch.header, unpack(batch.header.codec, batch.body)):
                    if not self._is_next(record):
                        return False
        return True

    def is_complete(self) -> bool:
        """Whether the repository holds no more."""
        return next(self._stored, None) is None

    def _is_next(self, record: RawRecord) -> bool:
        wanted = next(self._stored, None)
        return (
            wanted is not None
            and record.offset < self._log_end
            and (record.offset == wanted.offset or not self._keeps_offsets)
            and (wanted.timestamp_ms, wanted.tail) == (record.timestamp_ms, record.tail)
        )
