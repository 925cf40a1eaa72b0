"""Which offset every record got where offsets were translated: record *i* of what is restored of a partition has offset *i*, or
follows as the *i*-th what it was appended to.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from mirror.core.coverage import PartitionCoverage
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_record import MappedPartition
from mirror.service.reading import iterate_stored
from mirror.storage.repository import Repository

__all__ = ["map_offsets"]

_RANGES_TOGETHER: Final = 500_000


def map_offsets(repository: Repository, plan: RestorePlan) -> Iterator[list[MappedPartition]]:
    """The offsets of all partitions of a plan, as many together as go into one object. Reads all of them.

    Raises:
        DamageError, UnreachableError, AccessError, StoreError: the repository cannot be read.
    """
    together: list[MappedPartition] = []
    count = 0
    for topic in plan.topics:
        for partition in topic.partitions:
            ranges = list(_ranges(repository, partition.coverage, plan.point.bounds)) if partition.coverage else []
            together.append(
                MappedPartition(
                    topic=topic.topic,
                    partition=partition.partition,
                    target_topic=topic.target_topic,
                    ranges=ranges,
                    base_offset=partition.base_offset,
                )
            )
            count += len(ranges)
            if count >= _RANGES_TOGETHER:
                yield together
                together, count = [], 0
    if together:
        yield together


def _ranges(repository: Repository, coverage: PartitionCoverage, times: TimeBounds) -> Iterator[tuple[int, int]]:
    start_offset = next_offset = 0
    for first, count in _pieces(repository, coverage, times):
        if first != next_offset and next_offset > start_offset:
            yield start_offset, next_offset - start_offset
        if first != next_offset or next_offset == start_offset:
            start_offset = first
        next_offset = first + count
    if next_offset > start_offset:
        yield start_offset, next_offset - start_offset


def _pieces(repository: Repository, coverage: PartitionCoverage, times: TimeBounds) -> Iterable[tuple[int, int]]:
    """Consecutive records: whole batches without a hole unopened, of the others each record."""
    for clipped in iterate_stored(repository, coverage):
        header = clipped.batch.header
        if header.is_control:
            continue
        offsets = header.next_offset - header.base_offset
        if times == ALL_TIMES and not clipped.is_cut and offsets == header.record_count:
            yield header.base_offset, offsets
            continue
        for record in clipped.records():
            if times.keeps(record.timestamp_ms):
                yield record.offset, 1
