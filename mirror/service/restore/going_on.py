"""Topics that hold records and carry no mark: an earlier restore ended with them. Is what they hold all of this one, or its beginning?

Nothing is taken for granted: every record is compared, in order, with its offset (exact offsets), and where the log begins. All of it
there: the topic is complete. Else a topic is gone on with behind its log end if everything in it is the beginning of what is
restored now, and was loaded by a restore: its last batch has the id and the sequence of one. So a record of a stranger, one that was
changed, one that is missing (retention, compaction), or one below the log end that was not wanted then (`--until`), is refused, with the
first difference.
See docs/decisions/0013-into-topics-that-hold-records.md.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from mirror.core.cuts import clip
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import TimeBounds
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicPlan, TopicState
from mirror.errors import RefusedError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster
from mirror.service.restore.equality import PartitionProof, compare_partition
from mirror.service.restore.identity import is_of_a_restore
from mirror.service.restore.rest import PartitionRest, Rests
from mirror.service.restore.resume_dense import compare_dense
from mirror.service.restore.resume_exact import compare_exact, expected_log_start, kept_records, last_kept_before
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["compare_filled", "look_again", "with_complete_ones"]


async def compare_filled(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    logs: list[LogOffsets],
    times: TimeBounds,
    *,
    alias: str,
    exact: bool,
) -> tuple[TopicPlan, Rests]:
    """The topic as complete, or as the beginning of what is restored, with what is left of it.

    Args:
        repository, client: where from, and the target's.
        topic: what is restored.
        logs: of its partitions on the target, in order.
        times: which records are kept.
        alias: of the target.
        exact: whether records keep their offsets.

    Raises:
        RefusedError: it holds something else; names the first difference.
        DamageError, AccessError, UnreachableError, ClusterError: the comparison was not possible.
    """
    topic, is_complete = await _compare_records(repository, client, topic, logs, times, alias=alias, exact=exact)
    if is_complete:
        return replace(topic, state=TopicState.COMPLETE), {}
    rests = await _rests(repository, client, topic, logs, times, alias=alias, exact=exact)
    return replace(topic, state=TopicState.BEGINNING), rests


async def look_again(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    logs: list[LogOffsets],
    times: TimeBounds,
    *,
    alias: str,
    exact: bool,
    policy: str,
) -> tuple[TopicPlan, Rests]:
    """Right before a topic is gone on with: a person may have thought for long about the plan.

    Records are compared once more where compaction may have taken some, by the topic's cleanup ``policy``; what retention takes shows in
    where the log begins.

    Raises:
        As :func:`compare_filled`.
    """
    there = [partition.there_next_offset for partition in topic.partitions]
    if there != [log.high_watermark for log in logs]:
        raise _not_empty(topic, alias, "it changed since the plan was made")
    if "compact" in policy:
        await _compare_records(repository, client, topic, logs, times, alias=alias, exact=exact)
    return topic, await _rests(repository, client, topic, logs, times, alias=alias, exact=exact)


async def with_complete_ones(
    repository: Repository,
    client: MirrorClient,
    plan: RestorePlan,
    logs: Mapping[str, list[LogOffsets]],
    *,
    alias: str,
    exact: bool,
) -> tuple[RestorePlan, Rests]:
    """Where some topics are gone on with, those that are complete go with them: so their groups get to the new moment too.

    ``logs`` are of the topics that were compared now. One that no restore loaded stays as it is.

    Raises:
        DamageError, AccessError, UnreachableError, ClusterError: the comparison was not possible.
    """
    rests: Rests = {}
    if all(topic.state is not TopicState.BEGINNING for topic in plan.topics):
        return plan, rests
    topics: list[TopicPlan] = []
    for topic in plan.topics:
        if topic.state is TopicState.COMPLETE and topic.target_topic in logs:
            there = logs[topic.target_topic]
            with suppress(RefusedError):
                rests |= await _rests(repository, client, topic, there, plan.point.bounds, alias=alias, exact=exact)
                topic = replace(topic, state=TopicState.BEGINNING)
        topics.append(topic)
    return replace(plan, topics=tuple(topics)), rests


async def _compare_records(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    logs: list[LogOffsets],
    times: TimeBounds,
    *,
    alias: str,
    exact: bool,
) -> tuple[TopicPlan, bool]:
    """The topic with what it has, and whether that is all."""
    topic_id = (await describe_cluster(client, [topic.target_topic])).topics[topic.target_topic].topic_id
    reader = SourceReader(client)
    partitions: list[PartitionPlan] = []
    is_complete = True
    for partition, log in zip(topic.partitions, logs, strict=True):
        name = TopicPartition(topic.target_topic, partition.partition)
        log_end = log.high_watermark
        coverage = partition.coverage
        if coverage is None:
            if log_end:
                raise _not_empty(topic, alias, f"{name} holds offsets up to {log_end:,}, and nothing is restored there")
            partitions.append(partition)
            continue
        limit = coverage.next_offset if exact else partition.records
        if log_end > limit:
            raise _not_empty(topic, alias, f"{name} ends at offset {log_end:,}, beyond the {limit:,} of this restore")
        if exact and log_end:
            begin = await asyncio.to_thread(expected_log_start, repository, partition, times)
            if log.log_start_offset > begin:
                why = (
                    f"{name} begins at offset {log.log_start_offset:,}, not at {begin:,}: what stood before was deleted"
                )
                raise _not_empty(topic, alias, why)
        part = clip(coverage, coverage.start_offset, log_end) if exact else coverage
        compared = await compare_partition(
            repository, part, reader, name, topic_id, log, times=times, keeps_offsets=exact
        )
        if not (compared.is_equal or (not exact and compared.records == log_end)):
            raise _not_empty(topic, alias, f"{name}: {compared.difference}")
        whole = compared.is_equal and (not exact or await _is_whole(repository, partition, log, times))
        is_complete = is_complete and whole
        partitions.append(_as_compared(partition, compared, log_end, is_whole=whole))
    return replace(topic, partitions=tuple(partitions)), is_complete


def _as_compared(partition: PartitionPlan, compared: PartitionProof, log_end: int, *, is_whole: bool) -> PartitionPlan:
    partition = replace(partition, done_records=compared.records, there_next_offset=log_end)
    return replace(partition, records=compared.records, is_exact=True) if is_whole else partition


async def _is_whole(repository: Repository, partition: PartitionPlan, log: LogOffsets, times: TimeBounds) -> bool:
    """Whether a log whose records are those below its end begins and ends as it shall, with exact offsets."""
    coverage = partition.coverage
    assert coverage is not None
    if log.log_start_offset != await asyncio.to_thread(expected_log_start, repository, partition, times):
        return False
    if partition.log_end_offset is not None:
        return partition.log_end_offset == log.high_watermark

    def is_any_left() -> bool:
        left = clip(coverage, log.high_watermark, coverage.next_offset)
        return any(True for piece in left.runs for _ in kept_records(repository, piece, times))

    return not await asyncio.to_thread(is_any_left)


async def _rests(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    logs: list[LogOffsets],
    times: TimeBounds,
    *,
    alias: str,
    exact: bool,
) -> Rests:
    rests: Rests = {}
    for partition, log in zip(topic.partitions, logs, strict=True):
        name = TopicPartition(topic.target_topic, partition.partition)
        if not log.high_watermark:
            continue
        try:
            if exact:
                rest = await compare_exact(repository, client, topic, partition, log, times)
                await _require_end(repository, topic, partition, log, times, alias=alias)
            else:
                rest = await compare_dense(repository, client, topic, partition, log.high_watermark, times)
        except RefusedError as error:
            raise _not_empty(topic, alias, error.message) from error
        _require_loaded(topic, name, rest, alias)
        rests[name] = rest
    return rests


async def _require_end(
    repository: Repository,
    topic: TopicPlan,
    partition: PartitionPlan,
    log: LogOffsets,
    times: TimeBounds,
    *,
    alias: str,
) -> None:
    """Where the log's end depends on records (`--until`), it must not lie beyond the last one already."""
    coverage = partition.coverage
    if coverage is None or partition.log_end_offset is not None:
        return
    last = await asyncio.to_thread(last_kept_before, repository, coverage, times, coverage.next_offset)
    begin = await asyncio.to_thread(expected_log_start, repository, partition, times)
    log_end = begin if last is None else last.offset + 1
    if log.high_watermark > log_end:
        name = TopicPartition(topic.target_topic, partition.partition)
        raise _not_empty(topic, alias, f"{name} ends at offset {log.high_watermark:,}, beyond {log_end:,}")


def _require_loaded(topic: TopicPlan, name: TopicPartition, rest: PartitionRest, alias: str) -> None:
    if rest.identity is not None and not is_of_a_restore(rest.identity):
        raise _not_empty(
            topic, alias, f"{name} holds the beginning of what would be restored, but no restore loaded that"
        )


def _not_empty(topic: TopicPlan, alias: str, why: str) -> RefusedError:
    return RefusedError(
        f"topic {topic.target_topic} on {alias} is not empty, and not the beginning of this restore: {why}",
        hint=f"restore under another name (--rename {topic.topic}={topic.target_topic}-restored) or delete that topic first",
    )
