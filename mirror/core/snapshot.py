"""A snapshot: a recovery point with a name, as it is stored and as people write it."""

import re

import msgspec

from mirror.core.coverage import PartitionCoverage
from mirror.core.keys import SnapshotKey
from mirror.core.moments import format_moment, utc_second
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.segment.index import Count, Offset, Timestamp

__all__ = [
    "ShortPartition",
    "Snapshot",
    "SnapshotGroup",
    "SnapshotPartition",
    "SnapshotPosition",
    "SnapshotTopic",
    "find_shortfall",
    "is_snapshot_name",
    "names_of",
    "shown_name",
]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)


class _Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Common options of all stored values."""


class SnapshotPartition(_Stored, frozen=True):
    """What a partition's leader said: the snapshot holds ``[log_start_offset, last_stable_offset)``."""

    partition: Count
    log_start_offset: Offset
    last_stable_offset: Offset


class SnapshotTopic(_Stored, frozen=True):
    """A topic at that moment; ``configs`` are those that are not the cluster's default, null where they could not be read."""

    topic: str
    topic_id: str
    replication_factor: Count
    partitions: list[SnapshotPartition]
    configs: dict[str, str] | None = None


class SnapshotPosition(_Stored, frozen=True):
    """Where a group reads next, and the text that its consumer kept with it."""

    topic: str
    partition: Count
    offset: Offset
    metadata: str = ""


class SnapshotGroup(_Stored, frozen=True):
    """A consumer group's positions in the topics of the snapshot."""

    group: str
    positions: list[SnapshotPosition]


class Snapshot(_Stored, frozen=True):
    """The ends of all partitions and the positions of all groups at one moment.

    All of it was asked in ``[taken_at_ms - skew_ms, taken_at_ms]``, groups first: none stands ahead of its data.
    ``notes`` say in words what is left out and why.
    """

    format_version: Count
    repository_id: str
    cluster_id: str
    name: str
    taken_at_ms: Timestamp
    skew_ms: Count
    topics: list[SnapshotTopic]
    groups: list[SnapshotGroup] = []
    notes: list[str] = []
    required_features: list[str] = []

    @property
    def key(self) -> SnapshotKey:
        """Under which it is stored."""
        return SnapshotKey(self.taken_at_ms, self.name)


class ShortPartition(msgspec.Struct, frozen=True, kw_only=True):
    """A partition that is not stored as the snapshot has it.

    Attributes:
        topic_partition: which.
        stored_to: the end of what is stored without a hole; None where nothing is.
        missing_offsets: offsets up to the snapshot's end that are not stored yet.
        lost_offsets: offsets of the snapshot that are lost for a named reason: they never will be.
    """

    topic_partition: TopicPartition
    stored_to: int | None
    missing_offsets: int
    lost_offsets: int


def is_snapshot_name(text: str) -> bool:
    """Whether a snapshot may have this name: 1 to 64 of letters, digits and ``._-``, beginning with a letter or digit."""
    return _NAME.fullmatch(text) is not None


def shown_name(key: SnapshotKey) -> str:
    """``before-deploy@2026-11-23T02:41:07Z``; without a name just the time."""
    moment = utc_second(key.taken_at_ms)
    return f"{key.name}@{moment}" if key.name else moment


def names_of(key: SnapshotKey) -> frozenset[str]:
    """All that a person may type for it: as it is shown, to the millisecond, and its name alone."""
    exact = format_moment(key.taken_at_ms)
    return frozenset({shown_name(key), f"{key.name}@{exact}", key.name} if key.name else {shown_name(key), exact})


def find_shortfall(snapshot: Snapshot, coverages: dict[PartitionId, PartitionCoverage]) -> list[ShortPartition]:
    """The partitions of which something of the snapshot is not stored; none: it can be restored whole.

    What lies before the start of a partition's backup was never wanted, and is not counted.
    """
    found: list[ShortPartition] = []
    for topic in snapshot.topics:
        for one in topic.partitions:
            if one.log_start_offset >= one.last_stable_offset:
                continue
            coverage = coverages.get(PartitionId(topic.topic_id, one.partition))
            stored_to = one.log_start_offset if coverage is None else coverage.position
            lost = 0
            for gap in () if coverage is None else coverage.gaps:
                first, following = (
                    max(gap.start_offset, one.log_start_offset),
                    min(gap.next_offset, one.last_stable_offset),
                )
                lost += max(0, following - first)
            missing = max(0, one.last_stable_offset - max(stored_to, one.log_start_offset))
            if missing or lost:
                found.append(
                    ShortPartition(
                        topic_partition=TopicPartition(topic.topic, one.partition),
                        stored_to=None if coverage is None else coverage.position,
                        missing_offsets=missing,
                        lost_offsets=lost,
                    )
                )
    return found
