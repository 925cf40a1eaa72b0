"""What an earlier restore left on the target: found out from the target alone, compared with the repository, never assumed.

Offsets of the target are dense, so a partition's log end *is* the number of records it has. That they are ours is proved by comparison: the
last record must be the repository's record of that number. The last batch also carries the producer id, epoch and sequence of the run that
was interrupted; going on with the same identity lets the broker refuse or recognise whatever of that run still arrives.
See docs/decisions/0005-restore-resume.md.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mirror.core.compression import unpack
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import HEADER_BYTES, read_header
from mirror.core.records import RawRecord, iterate_records
from mirror.core.restore_plan import (
    PartitionPlan,
    RestorePlan,
    TargetCluster,
    TopicPlan,
    TopicState,
    is_exact,
)
from mirror.errors import ClusterError, RefusedError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster, log_offsets
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.leaders import Leaders
from mirror.kafka.wire.fetch import READ_UNCOMMITTED, FetchPartition, FetchRequest, fetch
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.reading import ClippedBatch, LoadedRun, ReadTask, load_task
from mirror.service.restore.equality import holds_the_same
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["PartitionRest", "compare_with_target", "rest_of"]

_SETTLED_AFTER_S = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRest:
    """What is left to load of one partition.

    Attributes:
        pieces: to be read; the first ``skip_records`` records of them are on the target already.
        done_records: on the target already, which is also the next offset there.
        total_records: of the whole partition, where it was counted.
        identity: of the producer that wrote what is there; None where nothing is.
    """

    pieces: tuple[CoveredRun, ...]
    skip_records: int
    done_records: int
    total_records: int | None
    identity: ProducerIdentity | None


Rests = dict[TopicPartition, PartitionRest]


def rest_of(partition: PartitionPlan) -> PartitionRest:
    """All of a partition of which nothing is on the target."""
    pieces = tuple(partition.coverage.runs) if partition.coverage else ()
    return PartitionRest(pieces=pieces, skip_records=0, done_records=0, total_records=None, identity=None)


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
        logs = await _settled_logs(client, topic)
        if topic.state is TopicState.FILLED:
            _refuse_other_counts(topic, logs, target.alias)
        partitions: list[PartitionPlan] = []
        for partition in topic.partitions:
            log_end = logs[partition.partition]
            done = partition
            if log_end:
                rest = await _compare(repository, client, topic, partition, log_end)
                rests[TopicPartition(topic.target_topic, partition.partition)] = rest
                done = replace(partition, done_records=log_end, records=rest.total_records or 0, is_exact=True)
            partitions.append(done)
        state: TopicState = topic.state
        if state is TopicState.FILLED:
            # Without the mark of a restore nothing is taken for granted: another topic may have as many records, and the same last one.
            if any(p.done_records != p.records for p in partitions) or not await _is_equal(
                repository, client, topic, logs
            ):
                raise _not_empty(topic, target.alias)
            state = TopicState.COMPLETE
        topics.append(replace(topic, partitions=tuple(partitions), state=state))
    return replace(plan, topics=tuple(topics)), rests


async def _is_equal(repository: Repository, client: MirrorClient, topic: TopicPlan, logs: list[int]) -> bool:
    topic_id = (await describe_cluster(client, [topic.target_topic])).topics[topic.target_topic].topic_id
    reader = SourceReader(client)
    for partition in topic.partitions:
        log_end = logs[partition.partition]
        if not log_end:
            continue
        target = TopicPartition(topic.target_topic, partition.partition)
        coverage = partition.coverage
        if coverage is None or not await holds_the_same(repository, coverage, reader, target, topic_id, log_end):
            return False
    return True


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


async def _settled_logs(client: MirrorClient, topic: TopicPlan) -> list[int]:
    """The log ends, once nothing of an interrupted run arrives any more.

    Raises:
        RefusedError: the beginning of a log is gone, so its end says nothing.
    """
    names = [TopicPartition(topic.target_topic, partition.partition) for partition in topic.partitions]
    previous: list[int] | None = None
    while True:
        logs = await log_offsets(client, names)
        trimmed = [str(name) for name in names if logs[name].log_start_offset]
        if trimmed:
            raise RefusedError(
                f"{', '.join(trimmed)}: the log no longer begins at offset 0, so an earlier restore cannot go on",
                hint=f"delete topic {topic.target_topic} on the target and restore it again",
            )
        ends = [logs[name].high_watermark for name in names]
        if ends == previous:
            return ends
        previous = ends
        await asyncio.sleep(_SETTLED_AFTER_S)


async def _compare(
    repository: Repository, client: MirrorClient, topic: TopicPlan, partition: PartitionPlan, log_end: int
) -> PartitionRest:
    name = TopicPartition(topic.target_topic, partition.partition)
    last, identity = await _last_record(client, name, log_end)
    coverage = partition.coverage
    counts = await asyncio.to_thread(_count_pieces, repository, coverage) if coverage else []
    if coverage is None or sum(counts) < log_end:
        raise RefusedError(
            f"{name} on the target has {log_end:,} records, the repository {sum(counts):,}: not an unfinished restore of it",
            hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
        )
    index, before = _locate(counts, log_end - 1)
    stored = await asyncio.to_thread(_record_at, repository, coverage.runs[index], log_end - 1 - before)
    if stored is None or (stored.timestamp_ms, stored.tail) != (last.timestamp_ms, last.tail):
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
    )


def _locate(counts: list[int], record: int) -> tuple[int, int]:
    """Which piece holds the record of that number, and how many records stand before the piece."""
    before = 0
    for index, count in enumerate(counts):
        if record < before + count:
            return index, before
        before += count
    raise ValueError("no such record")


def _count_pieces(repository: Repository, coverage: PartitionCoverage) -> list[int]:
    counts: list[int] = []
    reached = -1
    for piece in coverage.runs:
        exact = is_exact(piece, is_first=piece.start_offset != reached)
        reached = piece.next_offset
        counts.append(piece.run.record_count if exact else sum(1 for _ in _records(repository, piece)))
    return counts


def _record_at(repository: Repository, piece: CoveredRun, number: int) -> RawRecord | None:
    for loaded in load_task(repository, ReadTask(piece.object_key, (piece,))):
        before = 0
        for clipped in _data_batches(loaded):
            count = clipped.batch.header.record_count
            if not clipped.is_cut and before + count <= number:
                before += count
                continue
            for record in clipped.records():
                if before == number:
                    return record
                before += 1
    return None


def _records(repository: Repository, piece: CoveredRun) -> Iterator[RawRecord]:
    for loaded in load_task(repository, ReadTask(piece.object_key, (piece,))):
        for clipped in _data_batches(loaded):
            yield from clipped.records()


async def _last_record(client: MirrorClient, name: TopicPartition, log_end: int) -> tuple[RawRecord, ProducerIdentity]:
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
            return record, identity
    raise ClusterError(f"reading the end of {name}: no record at offset {log_end - 1}")


def _data_batches(loaded: LoadedRun) -> Iterator[ClippedBatch]:
    return (clipped for clipped in loaded.batches() if not clipped.batch.header.is_control)
