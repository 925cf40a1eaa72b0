"""The proof of a restore: everything that the plan wanted is on the target, compared record by record, and nothing else."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from mirror.core.group_plan import GroupPlan
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicPlan
from mirror.core.restore_scope import RestoreScope
from mirror.errors import TopicNotFoundError
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.kafka.group_admin import committed_positions
from mirror.service.restore.appending import with_appended
from mirror.service.restore.equality import PartitionProof, compare_partition
from mirror.service.restore.groups import wanted_positions
from mirror.service.restore.resume_exact import expected_log_start
from mirror.service.restore.state import state_differences
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["RestoreProof", "TopicProof", "prove_restore"]

_NAMED: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicProof:
    """One topic: its partitions in order, and what else differs (partitions, settings)."""

    topic: str
    target_topic: str
    partitions: tuple[PartitionProof, ...]
    differences: tuple[str, ...]

    @property
    def records(self) -> int:
        """Records that were compared and are equal."""
        return sum(partition.records for partition in self.partitions)

    @property
    def found(self) -> list[str]:
        """All differences, each naming its partition."""
        named = [
            f"{self.target_topic}-{number}: {partition.difference}"
            for number, partition in enumerate(self.partitions)
            if partition.difference
        ]
        return [*named, *(f"{self.target_topic}: {text}" for text in self.differences)]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreProof:
    """All topics, and the differences of groups, ACLs and quotas.

    ``lacking`` says what the repository itself does not have of the recovery point.
    """

    topics: tuple[TopicProof, ...]
    groups: int
    group_differences: tuple[str, ...]
    lacking: tuple[str, ...]
    state_differences: tuple[str, ...] = ()

    @property
    def differences(self) -> list[str]:
        """Everything that is not as the plan wanted it."""
        return [
            *(text for topic in self.topics for text in topic.found),
            *self.group_differences,
            *self.state_differences,
        ]


async def prove_restore(
    repository: Repository,
    client: MirrorClient,
    admin: Admin,
    plan: RestorePlan,
    *,
    on_progress: Callable[[str, int], None],
    proved: dict[TopicPartition, PartitionProof] | None = None,
) -> RestoreProof:
    """Compare all topics and groups of a plan with the target. Reads everything, changes nothing.

    Args:
        repository: what should be there.
        client, admin: of the target.
        plan: what was restored.
        on_progress: told ``(TOPIC-PARTITION of the target, records compared)`` for each partition.
        proved: partitions that were compared already, and are not again; those that are compared are added.

    Raises:
        DamageError: the repository cannot be read.
        AccessError, UnreachableError, ClusterError: the target cannot be read.
    """
    plan = await with_appended(repository, client, plan)
    proved = {} if proved is None else proved
    topics = [await _prove_topic(repository, client, admin, plan, topic, on_progress, proved) for topic in plan.topics]
    there = {topic.target_topic: len(topic.partitions) for topic in topics}
    differences = await _group_differences(repository, client, plan, there)
    return RestoreProof(
        topics=tuple(topics),
        groups=len(plan.groups),
        group_differences=tuple(differences),
        lacking=tuple(_lacking(plan)),
        state_differences=tuple(state_differences(plan.state)),
    )


def _lacking(plan: RestorePlan) -> Iterator[str]:
    yield from map(str, plan.unreadable)
    for topic in plan.topics:
        for partition in topic.partitions:
            name, cut = f"{topic.topic}-{partition.partition}", partition.cut
            for lost in partition.coverage.missing if partition.coverage else ():
                yield f"{name}: [{lost.start_offset:,}, {lost.next_offset:,}) are MISSING from the repository"
            if cut is not None and cut.is_short:
                yield f"{name}: SHORT, stored to offset {cut.next_offset:,} of {cut.wanted_next_offset:,}"


async def _prove_topic(
    repository: Repository,
    client: MirrorClient,
    admin: Admin,
    plan: RestorePlan,
    topic: TopicPlan,
    on_progress: Callable[[str, int], None],
    proved: dict[TopicPartition, PartitionProof],
) -> TopicProof:
    name = topic.target_topic
    described = (await describe_cluster(client, [name])).topics.get(name)
    if described is None:
        return TopicProof(topic=topic.topic, target_topic=name, partitions=(), differences=("it is not on the target",))
    differences: list[str] = []
    if len(described.partitions) != len(topic.partitions):
        differences.append(f"{len(described.partitions)} partitions instead of {len(topic.partitions)}")
    there = non_default((await admin.topic_configs([name]))[name])
    released = {hold.name: hold.wanted for hold in topic.held}  # a hold may be over, or still be there
    for key in sorted(there.keys() | topic.final_configs.keys()):
        wanted, found = topic.final_configs.get(key, "the default"), there.get(key, "the default")
        is_released = key in released and there.get(key) == released[key]
        if wanted != found and not is_released:
            differences.append(f"{key} is {found} instead of {wanted}")
    numbers = range(min(len(described.partitions), len(topic.partitions)))
    logs = await log_offsets(client, [TopicPartition(name, number) for number in numbers])
    reader = SourceReader(client)
    partitions: list[PartitionProof] = []
    for number in numbers:
        target = TopicPartition(name, number)
        if target not in proved:
            proved[target] = await _prove_partition(
                repository, reader, plan, topic.partitions[number], target, described.topic_id, logs[target]
            )
            on_progress(f"{name}-{number}", proved[target].records)
        partitions.append(proved[target])
    return TopicProof(
        topic=topic.topic, target_topic=name, partitions=tuple(partitions), differences=tuple(differences)
    )


async def _prove_partition(
    repository: Repository,
    reader: SourceReader,
    plan: RestorePlan,
    partition: PartitionPlan,
    target: TopicPartition,
    topic_id: str,
    log: LogOffsets,
) -> PartitionProof:
    exact = plan.offsets is OffsetMode.EXACT
    times = plan.point.bounds
    if plan.scope is RestoreScope.STATE:
        return PartitionProof(records=0, digest="", difference="")
    if partition.coverage is None:
        is_alone = plan.if_not_empty is not IfNotEmpty.APPEND
        difference = f"it holds offsets up to {log.high_watermark}" if log.high_watermark and is_alone else ""
        return PartitionProof(records=0, digest="", difference=difference)
    if partition.there_next_offset:  # just what was appended
        log = LogOffsets(partition.base_offset, partition.there_next_offset, partition.there_next_offset)
    elif not exact and log.log_start_offset and plan.if_not_empty is not IfNotEmpty.APPEND:
        gone = f"offsets [0, {log.log_start_offset}) are missing on the target"
        return PartitionProof(records=0, digest="", difference=gone)
    proof = await compare_partition(
        repository, partition.coverage, reader, target, topic_id, log, times=times, keeps_offsets=exact
    )
    if proof.difference or not exact:
        return proof
    begin = await asyncio.to_thread(expected_log_start, repository, partition, times)
    end = log.high_watermark if partition.log_end_offset is None else partition.log_end_offset
    if (log.log_start_offset, log.high_watermark) == (begin, end):
        return proof
    difference = f"its log is [{log.log_start_offset}, {log.high_watermark}) instead of [{begin}, {end})"
    return PartitionProof(records=proof.records, digest=proof.digest, difference=difference)


async def _group_differences(
    repository: Repository, client: MirrorClient, plan: RestorePlan, there: Mapping[str, int]
) -> list[str]:
    """Of all positions in partitions that are on the target, ``there`` by topic; the others are named."""
    differences: list[str] = []
    groups: list[GroupPlan] = []
    for group in plan.groups:
        known = tuple(p for p in group.positions if p.target.partition < there.get(p.target.topic, 0))
        lacking = sorted({str(p.target) for p in group.positions if p not in known})
        if lacking:
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            differences.append(
                f"group {group.target_group} is not compared in {', '.join(lacking[:_NAMED])}{more}: not on the target"
            )
        groups.append(replace(group, positions=known))
    try:
        wanted = await wanted_positions(repository, client, replace(plan, groups=tuple(groups)))
    except TopicNotFoundError as error:
        return [*differences, error.message]
    for group in groups:
        stood = await committed_positions(client, group.target_group) if group.positions else {}
        for tp, position in sorted(wanted[group.target_group].items()):
            found = stood.get(tp)
            if found != position:
                stands = "nowhere" if found is None else f"at {found.offset:,}"
                differences.append(f"group {group.target_group} stands {stands} in {tp} instead of {position.offset:,}")
    return differences
