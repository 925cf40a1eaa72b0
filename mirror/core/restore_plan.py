"""What a restore will do, as values; `restore_planning` makes them.

Nothing here reads a record or asks a broker. With exact offsets every record gets the offset it had; else offsets of the target are dense:
record *i* of what is restored of a partition gets offset *i*.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mirror.core.coverage import CoveredRun, PartitionCoverage, free_ranges
from mirror.core.cuts import PartitionCut
from mirror.core.group_plan import GroupPlan
from mirror.core.not_empty import DoomedLog, IfNotEmpty
from mirror.core.positions import OffsetRange
from mirror.core.recovery_point import OffsetMode, RecoveryPoint
from mirror.core.restore_configs import HeldConfig
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_scope import RestoreScope
from mirror.core.state_plan import StatePlan

__all__ = [
    "CheckLogEnd",
    "CreateTopic",
    "Instruction",
    "LoadPartitions",
    "PartitionPlan",
    "PutConfigs",
    "RestorePlan",
    "TargetCluster",
    "TargetTopic",
    "TopicPlan",
    "TopicState",
    "UnreadableRange",
    "instructions_of",
    "is_exact",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTopic:
    """A topic that the target has; ``configs`` are those set on the topic, ``logs`` the ``(log start, log end)`` by partition.

    ``replication_factor`` is the least of its partitions; None where nobody asked.
    """

    partition_count: int
    configs: Mapping[str, str]
    logs: Sequence[tuple[int, int]]
    replication_factor: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it."""
        return all(log_end == 0 for _, log_end in self.logs)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCluster:
    """What a plan must know of the target.

    ``topics`` holds those of the wanted names that exist; ``default_configs`` what applies to a topic that sets nothing, by the names of
    topic configs; ``topic_names`` are all topics that exist, as far as we may see them. ``takes_markers`` says whether we may fill holes
    with transaction markers.
    """

    alias: str
    cluster_id: str
    bootstrap: str
    broker_count: int
    topics: Mapping[str, TargetTopic]
    default_configs: Mapping[str, str]
    topic_names: frozenset[str] = frozenset()
    takes_markers: bool = True


class TopicState(StrEnum):
    """What there is of a topic on the target before the restore."""

    ABSENT = "absent"
    EMPTY = "empty"
    UNFINISHED = "unfinished"  # marked as being loaded by an earlier run; what is there is compared before it goes on
    FILLED = "filled"  # not marked: only good if it holds exactly what this restore would load, or the beginning of it
    BEGINNING = "beginning"  # compared: exactly the beginning of what this restore loads; it goes on behind that
    APPENDED = "appended"  # holds records that stay; all of this restore is loaded behind them
    MISFIT = "misfit"  # something else, by its partitions or its mark; only good to be replaced
    REPLACED = "replaced"  # something else: it is deleted, and made anew
    COMPLETE = "complete"  # compared: everything is there already


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """One partition: what is loaded. ``done_records`` are on the target already, ``records`` includes them.

    ``coverage`` is that of what is restored. ``records`` is exact only if ``is_exact``: pieces cut by trimming, overlap or a recovery
    point, and records dropped by their time, are counted when they are read. With exact offsets the log will begin at ``lead_offset``
    (or at the first record, if that lies far beyond) and end at ``log_end_offset`` (None: after the last record); ``hole_offsets`` is how
    many offsets must be filled, at least, and ``fill_s`` how long that may take. ``there_next_offset``: where a log that was compared ends.
    ``base_offset``: where an append begins.
    """

    partition: int
    coverage: PartitionCoverage | None
    records: int
    is_exact: bool
    stored_bytes: int
    done_records: int = 0
    there_next_offset: int = 0
    base_offset: int = 0
    cut: PartitionCut | None = None
    lead_offset: int = 0
    log_end_offset: int | None = None
    hole_offsets: int = 0
    fill_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """One topic: from which incarnation, to which name, with which settings while it is loaded and afterwards.

    ``doomed`` are the logs on the target that are deleted before.
    """

    topic: str
    topic_id: str
    target_topic: str
    state: TopicState
    partitions: tuple[PartitionPlan, ...]
    replication_factor: int
    present_configs: Mapping[str, str]
    load_configs: Mapping[str, str]
    final_configs: Mapping[str, str]
    held: tuple[HeldConfig, ...]
    notes: tuple[str, ...]
    mark: RestoreMark
    doomed: tuple[DoomedLog, ...] = ()

    @property
    def records(self) -> int:
        """Records of all partitions."""
        return sum(partition.records for partition in self.partitions)

    @property
    def stored_bytes(self) -> int:
        """Bytes to be read from the repository for it."""
        return sum(partition.stored_bytes for partition in self.partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableRange:
    """Offsets ``[start_offset, next_offset)`` of a partition that only a run held which cannot be read, and in which object.

    ``object_key`` is empty where no object that is there holds them.
    """

    topic: str
    partition: int
    start_offset: int
    next_offset: int
    object_key: str

    def __str__(self) -> str:
        offsets = f"[{self.start_offset:,}, {self.next_offset:,})"
        why = f"cannot be read: {self.object_key}" if self.object_key else "are missing from the repository"
        return f"{self.topic}-{self.partition}: offsets {offsets} {why}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """The whole restore; ``left_out`` says of selected topics that are not restored why, ``group_notes`` the same of groups.

    ``state`` is what is put beside topics and groups, where it was asked for.
    ``in_use`` says who reads or writes its topics on the target now.
    ``transaction_doubts`` say where transactions may come back in part.
    ``allow_missing`` says whether it goes on where something cannot be read; ``unreadable`` is what was found to be so until now.
    """

    target_alias: str
    target_cluster_id: str
    target_bootstrap: str
    target_is_source: bool
    topics: tuple[TopicPlan, ...]
    point: RecoveryPoint
    offsets: OffsetMode
    left_out: tuple[str, ...] = ()
    groups: tuple[GroupPlan, ...] = ()
    group_notes: tuple[str, ...] = ()
    scope: RestoreScope = RestoreScope.ALL
    state: StatePlan | None = None
    in_use: tuple[str, ...] = ()
    if_not_empty: IfNotEmpty = IfNotEmpty.REFUSE
    discard_unstored: bool = False
    transaction_doubts: tuple[str, ...] = ()
    allow_missing: bool = False
    unreadable: tuple[UnreadableRange, ...] = ()

    @property
    def not_restored(self) -> tuple[UnreadableRange, ...]:
        """All offsets that do not come back although they were stored: those that cannot be read, and those that are missing."""
        missing: list[UnreadableRange] = []
        for topic in self.topics:
            for partition in topic.partitions:
                named = sorted(
                    OffsetRange(lost.start_offset, lost.next_offset)
                    for lost in self.unreadable
                    if (lost.topic, lost.partition) == (topic.topic, partition.partition)
                )
                for hole in () if partition.coverage is None else partition.coverage.missing:
                    missing += (
                        UnreadableRange(
                            topic=topic.topic,
                            partition=partition.partition,
                            start_offset=start_offset,
                            next_offset=next_offset,
                            object_key="",
                        )
                        for start_offset, next_offset in free_ranges(named, *hole)
                    )
        return (*self.unreadable, *missing)

    @property
    def records(self) -> int:
        """Records of all topics."""
        return sum(topic.records for topic in self.topics)

    @property
    def stored_bytes(self) -> int:
        """Bytes to be read from the repository."""
        return sum(topic.stored_bytes for topic in self.topics)


@dataclass(frozen=True, slots=True)
class CreateTopic:
    """Create it with the settings for loading, after deleting what is in its place; where it is gone on with, give it those settings."""

    topic: TopicPlan


@dataclass(frozen=True, slots=True)
class LoadPartitions:
    """Produce what is not there yet of all partitions of these topics, all at once."""

    topics: tuple[TopicPlan, ...]


@dataclass(frozen=True, slots=True)
class CheckLogEnd:
    """Every partition must end where its record count says."""

    topic: TopicPlan


@dataclass(frozen=True, slots=True)
class PutConfigs:
    """Give the topic its final settings, and remove those that were only for loading."""

    topic: TopicPlan


Instruction = CreateTopic | LoadPartitions | CheckLogEnd | PutConfigs


def instructions_of(plan: RestorePlan) -> list[Instruction]:
    """The steps of a plan, in order. Settings come last, so that a marked topic is one that may be unfinished."""
    open_topics = tuple(topic for topic in plan.topics if topic.state is not TopicState.COMPLETE)
    if plan.scope is RestoreScope.STATE:
        absent = [topic for topic in open_topics if topic.state is TopicState.ABSENT]
        return [*map(CreateTopic, absent), *map(PutConfigs, open_topics)]
    return [
        *(CreateTopic(topic) for topic in open_topics),
        LoadPartitions(open_topics),
        *(CheckLogEnd(topic) for topic in open_topics),
        *(PutConfigs(topic) for topic in open_topics),
    ]


def is_exact(piece: CoveredRun, *, is_first: bool) -> bool:
    """Whether the run's record count is that of the piece: it is neither clipped nor may its first batch begin below it.

    ``is_first``: nothing stored stands directly before it, so the log may have been trimmed inside its first batch.
    """
    whole = piece.start_offset == piece.run.start_offset and piece.next_offset == piece.run.next_offset
    return whole and (not is_first or piece.start_offset == 0 or not piece.run.record_count)
