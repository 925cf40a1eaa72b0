"""The records at the edge of a recovery point: the last one that comes back, and the first one that does not."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

from mirror.core.coverage import PartitionCoverage
from mirror.core.cuts import clip
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.records import RawRecord
from mirror.core.recovery_point import ALL_TIMES, PointKind, RecoveryPoint
from mirror.core.restore_plan import PartitionPlan, RestorePlan
from mirror.core.run_pieces import RunPieces
from mirror.service.restore.resume_exact import kept_records, last_kept_before
from mirror.storage.repository import Repository

__all__ = ["Boundary", "RecordAt", "find_boundaries"]

_READERS = 4


class RecordAt(NamedTuple):
    """A record, by where and when it was."""

    offset: int
    timestamp_ms: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """None where there is no such record."""

    last_kept: RecordAt | None
    first_dropped: RecordAt | None


def find_boundaries(
    repository: Repository, plan: RestorePlan, coverages: Mapping[PartitionId, PartitionCoverage], *, most: int
) -> dict[TopicPartition, Boundary]:
    """The boundaries of the plan's first ``most`` partitions that hold something; reads about two runs of each.

    Raises:
        DamageError: a run at the edge cannot be read.
        UnreachableError, AccessError, StoreError: as the store says.
    """
    if plan.point.kind is PointKind.LATEST:
        return {}
    wanted = [
        (
            TopicPartition(topic.topic, partition.partition),
            partition,
            coverages[PartitionId(topic.topic_id, partition.partition)],
        )
        for topic in plan.topics
        for partition in topic.partitions
        if partition.coverage is not None
    ][:most]
    with ThreadPoolExecutor(_READERS, thread_name_prefix="boundaries") as pool:
        found = pool.map(lambda one: _boundary(repository, plan.point, one[1], one[2]), wanted)
        return {name: boundary for (name, _, _), boundary in zip(wanted, found, strict=True)}


def _boundary(
    repository: Repository, point: RecoveryPoint, partition: PartitionPlan, whole: PartitionCoverage
) -> Boundary:
    assert partition.coverage is not None
    bounds = point.bounds
    last = last_kept_before(repository, partition.coverage, bounds, partition.coverage.next_offset)
    after = clip(whole, partition.coverage.next_offset, whole.next_offset).runs
    until_ms = bounds.until_ms
    if until_ms is not None:  # within what is kept, records of later times are left out
        pieces = RunPieces.of(partition.coverage.runs)
        inside = pieces.chosen(pieces.column("max_timestamp_ms") > until_ms)
        for piece in inside:
            for record in kept_records(repository, piece, ALL_TIMES):
                if record.timestamp_ms > until_ms:
                    return Boundary(_at(last), RecordAt(record.offset, record.timestamp_ms))
    first = next((record for piece in after for record in kept_records(repository, piece, ALL_TIMES)), None)
    return Boundary(_at(last), _at(first))


def _at(record: RawRecord | None) -> RecordAt | None:
    return None if record is None else RecordAt(record.offset, record.timestamp_ms)
