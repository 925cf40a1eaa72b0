"""What an earlier restore left on the target: found out from the target alone, compared with the repository, never assumed.

With exact offsets see `resume_exact`. Else offsets of the target are dense, so a partition's log end *is* the number of records it
has. That they are ours is proved by comparison: the
last record must be the repository's record of that number. The last batch also carries the producer id, epoch and sequence of the run that
was interrupted; going on with the same identity lets the broker refuse or recognise whatever of that run still arrives.
See docs/decisions/0005-restore-resume.md.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import replace

from mirror.core.compression import unpack
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.cuts import clip
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import HEADER_BYTES, read_header
from mirror.core.records import RawRecord, iterate_records
from mirror.core.recovery_point import ALL_TIMES, OffsetMode, TimeBounds
from mirror.core.restore_plan import (
    PartitionPlan,
    RestorePlan,
    TargetCluster,
    TopicPlan,
    TopicState,
    is_exact,
)
from mirror.errors import ClusterBusyError, ClusterError, RefusedError
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.leaders import Leaders
from mirror.kafka.log_ends import log_ends
from mirror.kafka.wire.fetch import READ_UNCOMMITTED, FetchPartition, FetchRequest, fetch
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.reading import ClippedBatch, LoadedRun, ReadTask, load_task
from mirror.service.restore.equality import compare_partition
from mirror.service.restore.rest import PartitionRest, Rests
from mirror.service.restore.resume_exact import compare_exact, expected_log_start
from mirror.service.restore.watching import was_open_to_loss
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["compare_with_target"]

_SETTLED_AFTER_S = 0.3
_SETTLE_TIMEOUT_S = 60.0


async def compare_with_target(
    repository: Repository, client: MirrorClient, plan: RestorePlan, target: TargetCluster
) -> tuple[RestorePlan, Rests]:
    """The plan with what is done already, and what is left of each of its partitions that has something.

    Raises:
        RefusedError: a target topic is not empty and not an unfinished restore of just this.
        DamageError, UnreachableError, ClusterError: the comparison was not possible.
    """
    rests: Rests = {}
    topics: list[TopicPlan] = []
    for topic in plan.topics:
        if topic.state not in (TopicState.UNFINISHED, TopicState.FILLED) or target.topics[topic.target_topic].is_empty:
            topics.append(topic)
            continue
        exact = plan.offsets is OffsetMode.EXACT
        logs = await _settled_logs(client, topic, may_begin_later=exact)
        if topic.state is TopicState.FILLED:
            # Without the mark of a restore nothing is taken for granted: another topic may have as many records, and the same last one.
            if not exact:
                _refuse_other_counts(topic, [log.high_watermark for log in logs], target.alias)
            counts = await _equal_records(repository, client, topic, logs, plan.point.bounds, exact=exact)
            if counts is None:
                raise _not_empty(topic, target.alias)
            done = (
                replace(partition, done_records=count, records=count, is_exact=True)
                for partition, count in zip(topic.partitions, counts, strict=True)
            )
            topics.append(replace(topic, partitions=tuple(done), state=TopicState.COMPLETE))
            continue
        partitions: list[PartitionPlan] = []
        for partition, log in zip(topic.partitions, logs, strict=True):
            if not log.high_watermark:
                partitions.append(partition)
                continue
            if exact:
                rest = await compare_exact(repository, client, topic, partition, log, plan.point.bounds)
                partitions.append(replace(partition, done_records=rest.done_records))
            else:
                rest = await _compare(repository, client, topic, partition, log.high_watermark, plan.point.bounds)
                total = rest.total_records or 0
                partitions.append(replace(partition, done_records=log.high_watermark, records=total, is_exact=True))
            if was_open_to_loss(topic) and rest.done_records:
                await _require_whole(repository, client, topic, partition, log, plan.point.bounds, exact=exact)
            rests[TopicPartition(topic.target_topic, partition.partition)] = rest
        topics.append(replace(topic, partitions=tuple(partitions)))
    return replace(plan, topics=tuple(topics)), rests


async def _equal_records(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    logs: list[LogOffsets],
    times: TimeBounds,
    *,
    exact: bool,
) -> list[int] | None:
    """How many records each partition has, all compared and equal; None where something differs."""
    topic_id = (await describe_cluster(client, [topic.target_topic])).topics[topic.target_topic].topic_id
    reader = SourceReader(client)
    counts: list[int] = []
    for partition, log in zip(topic.partitions, logs, strict=True):
        target = TopicPartition(topic.target_topic, partition.partition)
        coverage = partition.coverage
        if exact:
            begin = await asyncio.to_thread(expected_log_start, repository, partition, times)
            if log.log_start_offset != begin or partition.log_end_offset not in (None, log.high_watermark):
                return None
        if coverage is None:
            if log.high_watermark:
                return None
            counts.append(0)
            continue
        compared = await compare_partition(
            repository, coverage, reader, target, topic_id, log, times=times, keeps_offsets=exact
        )
        if not compared.is_equal:
            return None
        counts.append(compared.records)
    return counts


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


def _refuse_other_counts(topic: TopicPlan, logs: list[int], alias: str) -> None:
    for partition, log_end in zip(topic.partitions, logs, strict=True):
        # Pieces that are not exact hold at most so many records.
        if log_end > partition.records or (partition.is_exact and log_end != partition.records):
            raise _not_empty(topic, alias)


def _not_empty(topic: TopicPlan, alias: str) -> RefusedError:
    return RefusedError(
        f"topic {topic.target_topic} on {alias} is not empty",
        hint=f"restore under another name (--rename {topic.topic}={topic.target_topic}-restored) or delete that topic first",
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


async def _compare(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    partition: PartitionPlan,
    log_end: int,
    times: TimeBounds,
) -> PartitionRest:
    name = TopicPartition(topic.target_topic, partition.partition)
    last, identity, sequence = await _last_record(client, name, log_end)
    coverage = partition.coverage
    counts = await asyncio.to_thread(_count_pieces, repository, coverage, times) if coverage else []
    if coverage is None or sum(counts) < log_end:
        raise RefusedError(
            f"{name} on the target has {log_end:,} records, the repository {sum(counts):,}: not an unfinished restore of it",
            hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
        )
    index, before = _locate(counts, log_end - 1)
    stored = await asyncio.to_thread(_record_at, repository, coverage.runs[index], times, log_end - 1 - before)
    # Every record's sequence is its offset, or somebody else's record stands before it.
    is_ours = sequence == (log_end - 1) % SEQUENCE_MODULUS
    if stored is None or not is_ours or (stored.timestamp_ms, stored.tail) != (last.timestamp_ms, last.tail):
        raise RefusedError(
            f"{name} on the target: its last record is not record {log_end - 1:,} of the repository's "
            f"{topic.topic}-{partition.partition}: not an unfinished restore of it",
            hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
        )
    if log_end == before + counts[index]:
        index, before = index + 1, log_end
    return PartitionRest(
        pieces=tuple(coverage.runs[index:]),
        skip_records=log_end - before,
        done_records=log_end,
        total_records=sum(counts),
        identity=identity,
        next_sequence=log_end,
        position=log_end,
    )


def _locate(counts: list[int], record: int) -> tuple[int, int]:
    """Which piece holds the record of that number, and how many records stand before the piece."""
    before = 0
    for index, count in enumerate(counts):
        if record < before + count:
            return index, before
        before += count
    raise ValueError("no such record")


def _count_pieces(repository: Repository, coverage: PartitionCoverage, times: TimeBounds) -> list[int]:
    counts: list[int] = []
    reached = -1
    for piece in coverage.runs:
        exact = times == ALL_TIMES and is_exact(piece, is_first=piece.start_offset != reached)
        reached = piece.next_offset
        counts.append(piece.run.record_count if exact else sum(1 for _ in _records(repository, piece, times)))
    return counts


def _record_at(repository: Repository, piece: CoveredRun, times: TimeBounds, number: int) -> RawRecord | None:
    for loaded in load_task(repository, ReadTask(piece.object_key, (piece,))):
        before = 0
        for clipped in _data_batches(loaded):
            count = clipped.batch.header.record_count
            whole = not clipped.is_cut and times == ALL_TIMES
            if whole and before + count <= number:
                before += count
                continue
            for record in clipped.records():
                if not times.keeps(record.timestamp_ms):
                    continue
                if before == number:
                    return record
                before += 1
    return None


def _records(repository: Repository, piece: CoveredRun, times: TimeBounds) -> Iterator[RawRecord]:
    for loaded in load_task(repository, ReadTask(piece.object_key, (piece,))):
        for clipped in _data_batches(loaded):
            yield from (record for record in clipped.records() if times.keeps(record.timestamp_ms))


async def _last_record(
    client: MirrorClient, name: TopicPartition, log_end: int
) -> tuple[RawRecord, ProducerIdentity, int]:
    """It, who wrote it, and its sequence."""
    leaders = Leaders(client)
    await leaders.refresh([name.topic])
    leader = leaders.get(name)
    if leader is None:
        raise leaders.error(name)
    wanted = FetchPartition(
        topic_id=leader.topic_id, partition=name.partition, fetch_offset=log_end - 1, max_bytes=1 << 20
    )
    request = FetchRequest(partitions=(wanted,), max_wait_ms=1000, max_bytes=1 << 20, isolation_level=READ_UNCOMMITTED)
    answer = await fetch(client, leader.node_id, request)
    part = answer.partitions[0]
    if part.error_code:
        raise kafka_error_to_ours(part.error_code, f"reading the end of {name}")
    if not len(part.records):
        raise ClusterError(f"reading the end of {name}: the leader gave no batch at offset {log_end - 1}")
    header = read_header(part.records)
    body = unpack(header.codec, part.records[HEADER_BYTES : header.batch_bytes])
    for record in iterate_records(header, body):
        if record.offset == log_end - 1:
            identity = ProducerIdentity(producer_id=header.producer_id, producer_epoch=header.producer_epoch)
            sequence = (header.base_sequence + record.offset - header.base_offset) % SEQUENCE_MODULUS
            return record, identity, sequence
    raise ClusterError(f"reading the end of {name}: no record at offset {log_end - 1}")


def _data_batches(loaded: LoadedRun) -> Iterator[ClippedBatch]:
    return (clipped for clipped in loaded.batches() if not clipped.batch.header.is_control)
