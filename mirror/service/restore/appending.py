"""Loading behind what a topic holds (`--if-not-empty append`), resumable without a note of where that began.

An append has a computed producer id of its own, so its batches are found in the log by that (`own_batches`): the first one says where the
append began, the last one how many records are there; they are compared with the repository. Records of others behind or between them:
complete if all of them are there, else refused, since nothing can follow the last one without a hole in the order.
"""

import asyncio
from dataclasses import replace

from mirror.core.coverage import PartitionCoverage
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicPlan, TopicState
from mirror.errors import RefusedError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.service.restore.equality import compare_partition
from mirror.service.restore.identity import restore_identity
from mirror.service.restore.own_batches import OwnBatches, find_own_batches
from mirror.service.restore.rest import PartitionRest, Rests
from mirror.service.restore.resume_dense import pieces_after
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["compare_appended", "require_same_ends", "with_appended"]


async def compare_appended(
    repository: Repository, client: MirrorClient, plan: RestorePlan, topic: TopicPlan, logs: list[LogOffsets]
) -> tuple[TopicPlan, Rests]:
    """The topic with where the append begins in each of its partitions, and what is left of it; complete if nothing is.

    Args:
        repository, client: where from, and the target's.
        plan: what is restored.
        topic: one that holds something.
        logs: of its partitions on the target, in order.

    Raises:
        RefusedError: an earlier run cannot be gone on with; says why.
        DamageError, AccessError, UnreachableError, ClusterError: the comparison was not possible.
    """
    rests: Rests = {}
    partitions: list[PartitionPlan] = []
    is_complete = topic.state is TopicState.FILLED
    for partition, log in zip(topic.partitions, logs, strict=True):
        name = TopicPartition(topic.target_topic, partition.partition)
        partition = replace(partition, there_next_offset=log.high_watermark)
        if partition.coverage is None:
            partitions.append(partition)
            continue
        own = await _appended(repository, client, plan, name, log)
        rest = PartitionRest(
            pieces=tuple(partition.coverage.runs), position=log.high_watermark, log_start_offset=log.log_start_offset
        )
        is_whole = False
        if own is not None:
            rest, is_whole = await _rest(repository, client, plan, partition.coverage, name, log, own)
            if own.next_offset < log.high_watermark and not (is_whole and topic.state is TopicState.FILLED):
                raise _refused(plan, name, f"others wrote behind it, from offset {own.next_offset:,} on")
        is_complete = is_complete and is_whole
        partitions.append(
            replace(
                partition,
                base_offset=log.high_watermark if own is None else own.start_offset,
                done_records=rest.done_records,
                records=partition.records if rest.total_records is None else rest.total_records,
                is_exact=partition.is_exact or rest.total_records is not None,
            )
        )
        rests[name] = rest
    if is_complete:
        return replace(topic, partitions=tuple(partitions), state=TopicState.COMPLETE), {}
    return replace(topic, partitions=tuple(partitions), state=TopicState.APPENDED), rests


async def _appended(
    repository: Repository, client: MirrorClient, plan: RestorePlan, name: TopicPartition, log: LogOffsets
) -> OwnBatches | None:
    """What runs of just this append have put into a partition; None where nothing.

    Raises:
        AccessError, UnreachableError, ClusterError: the log cannot be read.
    """
    writer = restore_identity(repository.identity.repository_id, plan.point, plan.offsets, appends=True)
    return await find_own_batches(client, name, log, writer.producer_id)


async def with_appended(repository: Repository, client: MirrorClient, plan: RestorePlan) -> RestorePlan:
    """The plan with where each append begins and ends on the target; others stay as they are. For a proof.

    Raises:
        AccessError, UnreachableError, ClusterError: the target cannot be read.
    """
    if plan.if_not_empty is not IfNotEmpty.APPEND:
        return plan
    there = (await describe_cluster(client)).topics.keys()
    topics: list[TopicPlan] = []
    for topic in plan.topics:
        partitions: list[PartitionPlan] = []
        for partition in topic.partitions if topic.target_topic in there else ():
            name = TopicPartition(topic.target_topic, partition.partition)
            own = await _appended(repository, client, plan, name, (await log_offsets(client, [name]))[name])
            if own is not None:
                partition = replace(partition, base_offset=own.start_offset, there_next_offset=own.next_offset)
            partitions.append(partition)
        topics.append(replace(topic, partitions=tuple(partitions)) if partitions else topic)
    return replace(plan, topics=tuple(topics))


async def _rest(
    repository: Repository,
    client: MirrorClient,
    plan: RestorePlan,
    coverage: PartitionCoverage,
    name: TopicPartition,
    log: LogOffsets,
    own: OwnBatches,
) -> tuple[PartitionRest, bool]:
    """What is left behind the batches that are there, and whether that is nothing."""
    if not own.is_whole:
        raise _refused(plan, name, "others wrote between its records, or some of them are gone")
    topic_id = (await describe_cluster(client, [name.topic])).topics[name.topic].topic_id
    count = own.next_offset - own.start_offset
    part = LogOffsets(own.start_offset, own.next_offset, own.next_offset)
    times = plan.point.bounds
    compared = await compare_partition(repository, coverage, SourceReader(client), name, topic_id, part, times=times)
    if compared.records != count:
        raise _refused(plan, name, compared.difference)
    pieces, skip_records, total = await asyncio.to_thread(pieces_after, repository, coverage, times, count)
    rest = PartitionRest(
        pieces=pieces,
        skip_records=skip_records,
        done_records=count,
        total_records=total,
        next_sequence=count,
        position=own.next_offset,
        log_start_offset=log.log_start_offset,
        is_blank=False,
    )
    return rest, compared.is_equal


async def require_same_ends(client: MirrorClient, plan: RestorePlan, topic: TopicPlan) -> None:
    """Right before it is loaded: nobody wrote since the plan was made.

    Raises:
        RefusedError: names the partition.
        AccessError, UnreachableError, ClusterError: the logs cannot be asked for.
    """
    noted = {TopicPartition(topic.target_topic, p.partition): p.there_next_offset for p in topic.partitions}
    found = await log_offsets(client, list(noted))
    for name, next_offset in noted.items():
        now = found[name].high_watermark
        if now != next_offset:
            raise RefusedError(
                f"{name} on {plan.target_alias} ended at offset {next_offset:,} when the plan was made, and ends at {now:,} now",
                hint="stop its producers; the same command looks again",
            )


def _refused(plan: RestorePlan, name: TopicPartition, why: str) -> RefusedError:
    return RefusedError(
        f"{name} on {plan.target_alias} has a part of this append, and it cannot go on: {why}",
        hint="restore beside it under another name (--rename, --prefix), and take from there what is missing",
    )
