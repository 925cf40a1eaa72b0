"""What there is on the target already: found out from the target alone, compared with the repository, never assumed.

A topic with the mark of just this restore is gone on with where its logs end, see `resume_exact` and `resume_dense`. One without any mark
must hold all of what is restored, or just the beginning of it, see `going_on`. See docs/decisions/0005-restore-resume.md.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from mirror.core.coverage import PartitionCoverage
from mirror.core.cuts import clip
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.recovery_point import OffsetMode, TimeBounds
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TargetCluster, TopicPlan, TopicState
from mirror.errors import ClusterBusyError, RefusedError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.kafka.log_ends import log_ends
from mirror.service.restore.appending import compare_appended, require_same_ends
from mirror.service.restore.doomed import find_doomed, refuse_unstored
from mirror.service.restore.equality import compare_partition
from mirror.service.restore.going_on import compare_filled, look_again, with_complete_ones
from mirror.service.restore.rest import PartitionRest, Rests
from mirror.service.restore.resume_dense import compare_dense
from mirror.service.restore.resume_exact import compare_exact
from mirror.service.restore.unreadable import require_bodies
from mirror.service.restore.watching import was_open_to_loss
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["compare_with_target"]

_SETTLED_AFTER_S = 0.3
_SETTLE_TIMEOUT_S = 60.0
_COMPARED = (TopicState.UNFINISHED, TopicState.FILLED, TopicState.BEGINNING)


async def compare_with_target(
    repository: Repository,
    client: MirrorClient,
    plan: RestorePlan,
    target: TargetCluster,
    coverages: Mapping[PartitionId, PartitionCoverage],
    known: Mapping[TopicPartition, PartitionRest] | None = None,
) -> tuple[RestorePlan, Rests]:
    """The plan with what is done already, and what is left of each of its partitions that has something.

    Args:
        repository: where from.
        client: of the target.
        plan: by the topics that the target has.
        target: what it has.
        coverages: of every partition incarnation: what is stored of topics that are to be replaced.
        known: what was found when the plan was made, for topics that are appended to.

    Raises:
        UnreadableRunsError: what is there may be the beginning of just this, but for runs that cannot be read.
        RefusedError: a target topic is not empty and neither an unfinished restore of just this nor the beginning of it; or it is to be
            replaced, and holds records that are not stored.
        DamageError, UnreachableError, ClusterError: the comparison was not possible.
    """
    rests: Rests = {}
    topics: list[TopicPlan] = []
    logs_of: dict[str, list[LogOffsets]] = {}
    times = plan.point.bounds
    exact = plan.offsets is OffsetMode.EXACT
    appends = plan.if_not_empty is IfNotEmpty.APPEND
    for topic in plan.topics:
        if topic.state is TopicState.MISFIT:
            topics.append(await _doomed(repository, client, topic, coverages))
            continue
        if topic.state is TopicState.APPENDED:
            await require_same_ends(client, plan, topic)
            rests |= {name: rest for name, rest in (known or {}).items() if name.topic == topic.target_topic}
            topics.append(topic)
            continue
        if topic.state not in _COMPARED or target.topics[topic.target_topic].is_empty:
            topics.append(topic)
            continue
        try:
            logs = logs_of[topic.target_topic] = await _settled_logs(client, topic, may_begin_later=exact or appends)
            if appends:
                compared, left = await _appended(repository, client, plan, topic, logs)
            elif topic.state is TopicState.FILLED:
                compared, left = await compare_filled(
                    repository, client, topic, logs, times, alias=target.alias, exact=exact
                )
            elif topic.state is TopicState.BEGINNING:
                policy = topic.present_configs.get("cleanup.policy") or target.default_configs.get("cleanup.policy")
                compared, left = await look_again(
                    repository,
                    client,
                    topic,
                    logs,
                    times,
                    alias=target.alias,
                    exact=exact,
                    policy=policy or "compact",  # not known: it may be
                )
            else:
                compared, left = await _compare_unfinished(repository, client, topic, logs, times, exact=exact)
        except RefusedError:
            if plan.allow_missing:
                await asyncio.to_thread(require_bodies, repository, _below_ends(topic, logs_of, exact=exact))
            if plan.if_not_empty is not IfNotEmpty.REPLACE or topic.state is TopicState.BEGINNING:
                raise
            compared, left = await _doomed(repository, client, topic, coverages), {}
        topics.append(compared)
        rests |= left
    plan = replace(plan, topics=tuple(topics))
    refuse_unstored(plan)
    plan, others = await with_complete_ones(repository, client, plan, logs_of, alias=target.alias, exact=exact)
    return plan, rests | others


def _below_ends(topic: TopicPlan, logs_of: Mapping[str, list[LogOffsets]], *, exact: bool) -> list[PartitionCoverage]:
    """What should be on the target: it may differ just because an earlier run left out what it could not read."""
    logs = logs_of.get(topic.target_topic, ())
    return [
        clip(partition.coverage, partition.coverage.start_offset, log.high_watermark) if exact else partition.coverage
        for partition, log in zip(topic.partitions, logs, strict=False)
        if partition.coverage is not None
    ]


async def _appended(
    repository: Repository, client: MirrorClient, plan: RestorePlan, topic: TopicPlan, logs: list[LogOffsets]
) -> tuple[TopicPlan, Rests]:
    """One that holds all of the restore already, and nothing else, needs nothing behind it."""
    if topic.state is TopicState.FILLED and not any(log.log_start_offset for log in logs):
        with suppress(RefusedError):
            times = plan.point.bounds
            found, _ = await compare_filled(
                repository, client, topic, logs, times, alias=plan.target_alias, exact=False
            )
            if found.state is TopicState.COMPLETE:
                return found, {}
    return await compare_appended(repository, client, plan, topic, logs)


async def _doomed(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    coverages: Mapping[PartitionId, PartitionCoverage],
) -> TopicPlan:
    return replace(topic, state=TopicState.REPLACED, doomed=await find_doomed(repository, client, topic, coverages))


async def _compare_unfinished(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    logs: list[LogOffsets],
    times: TimeBounds,
    *,
    exact: bool,
) -> tuple[TopicPlan, Rests]:
    rests: Rests = {}
    partitions: list[PartitionPlan] = []
    for partition, log in zip(topic.partitions, logs, strict=True):
        if not log.high_watermark:
            partitions.append(partition)
            continue
        if exact:
            rest = await compare_exact(repository, client, topic, partition, log, times)
            partitions.append(replace(partition, done_records=rest.done_records))
        else:
            rest = await compare_dense(repository, client, topic, partition, log.high_watermark, times)
            total = rest.total_records or 0
            partitions.append(replace(partition, done_records=log.high_watermark, records=total, is_exact=True))
        if was_open_to_loss(topic) and rest.done_records:
            await _require_whole(repository, client, topic, partition, log, times, exact=exact)
        rests[TopicPartition(topic.target_topic, partition.partition)] = rest
    return replace(topic, partitions=tuple(partitions)), rests


async def _require_whole(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    partition: PartitionPlan,
    log: LogOffsets,
    times: TimeBounds,
    *,
    exact: bool,
) -> None:
    """Compare all that is there: somebody turned on what may delete or restamp records since they were loaded.

    Raises:
        RefusedError: a record is missing or another one.
    """
    name = TopicPartition(topic.target_topic, partition.partition)
    topic_id = (await describe_cluster(client, [topic.target_topic])).topics[topic.target_topic].topic_id
    coverage = partition.coverage
    assert coverage is not None, "it has records"
    compared = await compare_partition(
        repository,
        clip(coverage, coverage.start_offset, log.high_watermark) if exact else coverage,
        SourceReader(client),
        name,
        topic_id,
        log,
        times=times,
        keeps_offsets=exact,
    )
    if not compared.is_equal and (exact or compared.records != log.high_watermark):
        raise RefusedError(
            f"{name} on the target: its settings were changed since it was loaded, and {compared.difference}",
            hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
        )


async def _settled_logs(client: MirrorClient, topic: TopicPlan, *, may_begin_later: bool) -> list[LogOffsets]:
    """The logs, once nothing of an interrupted run arrives any more.

    Raises:
        RefusedError: the beginning of a log is gone, so its end says nothing.
        ClusterBusyError: replicas do not follow.
    """
    names = [TopicPartition(topic.target_topic, partition.partition) for partition in topic.partitions]
    previous: list[LogOffsets] | None = None
    give_up_at_s = asyncio.get_running_loop().time() + _SETTLE_TIMEOUT_S
    while True:
        found = await log_offsets(client, names)
        ends = await log_ends(client, names)  # a high watermark may stand before what the leader has
        logs = [found[name]._replace(high_watermark=ends[name]) for name in names]
        trimmed = [str(name) for name in names if found[name].log_start_offset]
        if trimmed and not may_begin_later:
            raise RefusedError(
                f"{', '.join(trimmed)}: the log no longer begins at offset 0, so an earlier restore cannot go on",
                hint=f"delete topic {topic.target_topic} on the target and restore it again",
            )
        late = [str(name) for name in names if found[name].high_watermark != ends[name]]
        if logs == previous and not late:
            return logs
        if late and asyncio.get_running_loop().time() > give_up_at_s:
            raise ClusterBusyError(
                f"{', '.join(late[:5])}: what the leader has is not replicated, so nobody can read it back",
                hint="are brokers of the target down? the same command goes on",
            )
        previous = logs
        await asyncio.sleep(_SETTLED_AFTER_S)
