"""What a restore will do, as values: a pure function from the repository's coverage and the target's state to a frozen plan.

Nothing here reads a record or asks a broker. Offsets of the target are dense: record *i* of a partition's coverage gets offset *i*.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import PartitionId
from mirror.core.restore_configs import HeldConfig, final_configs, load_configs, unfinished_mark
from mirror.core.restore_selection import RestoreSelection, choose_incarnations, refuse_colliding
from mirror.core.segment.index import TopicObject
from mirror.errors import NoMatchError, RefusedError, UsageError

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
    "instructions_of",
    "is_exact",
    "plan_restore",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetTopic:
    """A topic that the target has; ``configs`` are those set on the topic, ``logs`` the ``(log start, log end)`` by partition."""

    partition_count: int
    configs: Mapping[str, str]
    logs: Sequence[tuple[int, int]]

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever written to it."""
        return all(log_end == 0 for _, log_end in self.logs)


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetCluster:
    """What a plan must know of the target.

    ``topics`` holds those of the wanted names that exist; ``default_configs`` what applies to a topic that sets nothing, by the names of
    topic configs; ``topic_names`` are all topics that exist, as far as we may see them.
    """

    alias: str
    cluster_id: str
    bootstrap: str
    broker_count: int
    topics: Mapping[str, TargetTopic]
    default_configs: Mapping[str, str]
    topic_names: frozenset[str] = frozenset()


class TopicState(StrEnum):
    """What there is of a topic on the target before the restore."""

    ABSENT = "absent"
    EMPTY = "empty"
    UNFINISHED = "unfinished"  # marked as being loaded by an earlier run; what is there is compared before it goes on
    FILLED = "filled"  # not marked: only good if it holds exactly what this restore would load
    COMPLETE = "complete"  # compared: everything is there already


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """One partition: what is loaded. ``done_records`` are on the target already, ``records`` includes them.

    ``records`` is exact only if ``is_exact``: pieces cut by trimming or overlap are counted when they are read.
    """

    partition: int
    coverage: PartitionCoverage | None
    records: int
    is_exact: bool
    stored_bytes: int
    done_records: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicPlan:
    """One topic: from which incarnation, to which name, with which settings while it is loaded and afterwards."""

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

    @property
    def records(self) -> int:
        """Records of all partitions."""
        return sum(partition.records for partition in self.partitions)

    @property
    def stored_bytes(self) -> int:
        """Bytes to be read from the repository for it."""
        return sum(partition.stored_bytes for partition in self.partitions)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestorePlan:
    """The whole restore."""

    target_alias: str
    target_cluster_id: str
    target_bootstrap: str
    target_is_source: bool
    topics: tuple[TopicPlan, ...]

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
    """Create it with the settings for loading; where it exists, empty or unfinished, give it those settings."""

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
    return [
        *(CreateTopic(topic) for topic in open_topics),
        LoadPartitions(open_topics),
        *(CheckLogEnd(topic) for topic in open_topics),
        *(PutConfigs(topic) for topic in open_topics),
    ]


def plan_restore(
    selection: RestoreSelection,
    *,
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
    target: TargetCluster,
    source_cluster_id: str,
    now_ms: int,
) -> RestorePlan:
    """The plan of a full restore.

    Args:
        selection: which topics, under which names, and what the user allowed.
        coverages: of every partition incarnation in the repository.
        topics: the newest capture of every incarnation.
        target: its state now.
        source_cluster_id: the cluster the repository belongs to.
        now_ms: of the caller's clock: whether retention would delete what is restored.

    Raises:
        NoMatchError: nothing is selected.
        UsageError: names that cannot be.
        RefusedError: a decision is needed: several incarnations, offsets missing, a target topic that is not empty, the source cluster.
    """
    target_is_source = target.cluster_id == source_cluster_id
    if target_is_source and not selection.target_is_source:
        raise RefusedError(
            f"THIS IS THE SOURCE CLUSTER: {target.alias} ({target.bootstrap}) is the cluster this repository is a backup of",
            hint="say --target-is-source if it is meant, or name another cluster with --target",
        )
    chosen = choose_incarnations(selection, coverages, topics)
    if not chosen:
        raise NoMatchError(
            "no topic of the repository is selected", hint="`mirror inspect` lists what the repository holds"
        )
    present = target.topic_names | target.topics.keys()
    refuse_colliding({name: selection.target_name(name) for name in chosen}, present)
    plans = tuple(
        _plan_topic(name, topic_id, selection, coverages, topics, target, now_ms) for name, topic_id in chosen.items()
    )
    refuse_missing(plans, allow_missing=selection.allow_missing)
    return RestorePlan(
        target_alias=target.alias,
        target_cluster_id=target.cluster_id,
        target_bootstrap=target.bootstrap,
        target_is_source=target_is_source,
        topics=plans,
    )


def is_exact(piece: CoveredRun, *, is_first: bool) -> bool:
    """Whether the run's record count is that of the piece: it is neither clipped nor may its first batch begin below it.

    ``is_first``: nothing stored stands directly before it, so the log may have been trimmed inside its first batch.
    """
    whole = piece.start_offset == piece.run.start_offset and piece.next_offset == piece.run.next_offset
    return whole and (not is_first or piece.start_offset == 0 or not piece.run.record_count)


def refuse_missing(plans: Iterable[TopicPlan], *, allow_missing: bool) -> None:
    """Raises RefusedError where offsets are missing for no named reason, unless that is allowed."""
    lines = [
        f"  {plan.topic}-{partition.partition}: [{lost.start_offset}, {lost.next_offset})"
        for plan in plans
        for partition in plan.partitions
        if partition.coverage is not None
        for lost in partition.coverage.missing
    ]
    if lines and not allow_missing:
        shown = "\n".join([*lines[:20], *([f"  … and {len(lines) - 20} more"] if len(lines) > 20 else [])])
        raise RefusedError(
            f"the repository lacks offsets that nothing explains:\n{shown}",
            hint="`mirror verify` says what is damaged; --allow-missing restores the rest",
        )


def _plan_topic(
    name: str,
    topic_id: str,
    selection: RestoreSelection,
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
    target: TargetCluster,
    now_ms: int,
) -> TopicPlan:
    target_name = selection.target_name(name)
    captured = next((t for t in topics if (t.topic, t.topic_id) == (name, topic_id)), None)
    mine = {pid.partition: c for pid, c in coverages.items() if pid.topic_id == topic_id}
    notes: list[str] = []
    if captured is None:
        notes.append("no capture of its settings is stored: partitions as far as they hold data, default settings")
    count = max([captured.partition_count if captured else 1, *(partition + 1 for partition in mine)])
    partitions = tuple(_plan_partition(partition, mine.get(partition)) for partition in range(count))
    present = target.topics.get(target_name)
    replication_factor = selection.replication_factor or min(
        captured.replication_factor if captured else 1, target.broker_count
    )
    if replication_factor > target.broker_count:
        raise UsageError(
            f"replication factor {replication_factor} is more than the {target.broker_count} brokers of {target.alias}"
        )
    if captured and not selection.replication_factor and replication_factor < captured.replication_factor:
        notes.append(
            f"replication factor {replication_factor} instead of {captured.replication_factor}: too few brokers"
        )
    final, held, config_notes = final_configs(
        captured.configs if captured else {},
        [c for c in mine.values() if c.runs],
        replication_factor=replication_factor,
        default_configs=target.default_configs,
        now_ms=now_ms,
    )
    state = _state_of(target_name, target, present, count)
    if state is TopicState.EMPTY and present and present.configs and dict(present.configs) != final:
        there = ", ".join(f"{key}={value}" for key, value in sorted(present.configs.items()))
        notes.append(f"the empty topic's own settings ({there}) are replaced by those of the source")
    return TopicPlan(
        topic=name,
        topic_id=topic_id,
        target_topic=target_name,
        state=state,
        partitions=partitions,
        replication_factor=replication_factor,
        present_configs=dict(present.configs) if present else {},
        load_configs=load_configs(final, list(mine.values())),
        final_configs=final,
        held=held,
        notes=(*notes, *config_notes),
    )


def _plan_partition(partition: int, coverage: PartitionCoverage | None) -> PartitionPlan:
    if coverage is None:
        return PartitionPlan(partition=partition, coverage=None, records=0, is_exact=True, stored_bytes=0)
    exact = True
    reached = -1
    records = 0
    for piece in coverage.runs:
        exact = exact and is_exact(piece, is_first=piece.start_offset != reached)
        reached = piece.next_offset
        records += piece.run.record_count
    return PartitionPlan(
        partition=partition,
        coverage=coverage,
        records=records,
        is_exact=exact,
        stored_bytes=coverage.stored_bytes,
    )


def _state_of(name: str, target: TargetCluster, present: TargetTopic | None, partition_count: int) -> TopicState:
    if present is None:
        return TopicState.ABSENT
    if present.partition_count != partition_count:
        raise RefusedError(
            f"topic {name} exists on {target.alias} with {present.partition_count} partitions, {partition_count} are needed",
            hint=f"delete it, or restore under another name: --rename TOPIC={name}-restored",
        )
    if unfinished_mark(present.configs):
        return TopicState.UNFINISHED
    return TopicState.EMPTY if present.is_empty else TopicState.FILLED
