"""Whether a target partition holds exactly the repository's records: every one of them compared, none assumed."""

import asyncio
import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass

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

__all__ = ["PartitionProof", "compare_partition"]

_COORDINATES = struct.Struct(">qq")


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionProof:
    """A target partition beside the repository.

    Attributes:
        records: of the target that were compared and are equal.
        digest: SHA-256 over all of them: of each its offset and time (8 bytes each, big-endian) and its key, value and headers in their
            wire form. Of the repository's records it is the same if nothing differs.
        difference: the first difference; empty where there is none.
    """

    records: int
    digest: str
    difference: str = ""

    @property
    def is_equal(self) -> bool:
        """Whether every record was compared and none differs."""
        return not self.difference


async def compare_partition(
    repository: Repository,
    coverage: PartitionCoverage,
    reader: SourceReader,
    target: TopicPartition,
    topic_id: str,
    log: LogOffsets,
    *,
    times: TimeBounds = ALL_TIMES,
    keeps_offsets: bool = False,
) -> PartitionProof:
    """Compare time, key, value and headers of every record of the target with the repository's, in order, up to the first difference.

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
    comparison = _Comparison(_stored(repository, coverage, times), log, keeps_offsets)
    at = log.log_start_offset
    while at < log.high_watermark and not comparison.difference:
        body, at_next = await reader.read(target, topic_id, at)
        if body is None:
            comparison.difference = f"offset {at} is gone while it was compared"
        else:
            await asyncio.to_thread(comparison.add, body)
            at = at_next
    return await asyncio.to_thread(comparison.finish)


def _stored(repository: Repository, coverage: PartitionCoverage, times: TimeBounds) -> Iterator[RawRecord]:
    for clipped in iterate_stored(repository, coverage):
        if not clipped.batch.header.is_control:
            yield from (record for record in clipped.records() if times.keeps(record.timestamp_ms))


class _Comparison:
    def __init__(self, stored: Iterator[RawRecord], log: LogOffsets, keeps_offsets: bool) -> None:
        self._stored = stored
        self._log = log
        self._keeps_offsets = keeps_offsets
        self._records = 0
        self._digest = hashlib.sha256()
        self.difference = ""

    def add(self, body: SliceBody) -> None:
        """Compare the next records of the target."""
        for part in body.parts:
            for batch in iterate_block(part, unpacked=False):
                if batch.header.is_control:
                    if not self._keeps_offsets:
                        self.difference = f"offset {batch.header.base_offset} is a transaction marker"
                        return
                    continue
                for record in iterate_records(batch.header, unpack(batch.header.codec, batch.body)):
                    if record.offset < self._log.log_start_offset:
                        continue  # deleted, but its batch is still there
                    if record.offset >= self._log.high_watermark:
                        return
                    self._compare(record)
                    if self.difference:
                        return

    def finish(self) -> PartitionProof:
        """The result, once the target holds no more."""
        if not self.difference:
            left = next(self._stored, None)
            self.difference = "" if left is None else f"the repository's record of offset {left.offset} is not there"
        return PartitionProof(records=self._records, digest=self._digest.hexdigest(), difference=self.difference)

    def _compare(self, record: RawRecord) -> None:
        wanted = next(self._stored, None)
        if wanted is None:
            self.difference = f"offset {record.offset} holds a record that this restore did not bring"
        elif self._keeps_offsets and record.offset != wanted.offset:
            self.difference = self._misplaced(record, wanted)
        elif not _is_same(record, wanted):
            self.difference = f"offset {record.offset} holds another record than the repository's {wanted.offset}"
        else:
            self._records += 1
            self._digest.update(_COORDINATES.pack(record.offset, record.timestamp_ms))
            self._digest.update(record.tail)

    def _misplaced(self, record: RawRecord, wanted: RawRecord) -> str:
        """What it means that the target goes on with ``record`` where the repository goes on with ``wanted``, of another offset."""
        at_offset = next((one for one in self._stored if one.offset >= record.offset), None)
        if at_offset is not None and at_offset.offset == record.offset and _is_same(record, at_offset):
            return f"offsets [{wanted.offset}, {record.offset}) are missing on the target"
        if _is_same(record, wanted):
            return f"offset {record.offset} holds the record of offset {wanted.offset}"
        if record.offset < wanted.offset:
            return f"offset {record.offset} holds a record that this restore did not bring"
        return (
            f"offsets [{wanted.offset}, {record.offset}) are missing on the target, "
            f"and offset {record.offset} holds a record that this restore did not bring"
        )


def _is_same(one: RawRecord, other: RawRecord) -> bool:
    return (one.timestamp_ms, one.tail) == (other.timestamp_ms, other.tail)
