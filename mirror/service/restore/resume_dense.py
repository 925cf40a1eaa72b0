"""What an earlier restore with translated offsets left of a partition: found out from the target alone, compared with the repository.

Offsets of the target are dense, so a partition's log end *is* the number of records it has. That they are ours is proved by comparison: the
last record must be the repository's record of that number, and its sequence that number.
"""

import asyncio
from collections.abc import Iterator

from mirror.core.compression import unpack
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import HEADER_BYTES, BatchHeader
from mirror.core.records import RawRecord, iterate_records
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.restore_plan import PartitionPlan, TopicPlan, is_exact
from mirror.errors import ClusterError, RefusedError
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.client import MirrorClient
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.reading import ClippedBatch, LoadedRun, ReadTask, load_task
from mirror.service.restore.log_reading import read_log
from mirror.service.restore.rest import PartitionRest
from mirror.storage.repository import Repository

__all__ = ["compare_dense", "pieces_after"]

_CHUNK_BYTES = 1 << 20


async def compare_dense(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    partition: PartitionPlan,
    log_end: int,
    times: TimeBounds,
) -> PartitionRest:
    """What is left to load of a partition whose log holds ``log_end`` records.

    Raises:
        RefusedError: what is there is not the beginning of just this restore.
        DamageError, UnreachableError, ClusterError: the comparison was not possible.
    """
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
    if not is_ours:
        raise RefusedError(
            f"{name} on the target: its last batch is not number {log_end - 1:,} of a restore's records: not an unfinished restore of it",
            hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
        )
    if stored is None or (stored.timestamp_ms, stored.tail) != (last.timestamp_ms, last.tail):
        raise RefusedError(
            f"{name} on the target: its last record is not record {log_end - 1:,} of the repository's "
            f"{topic.topic}-{partition.partition}: not an unfinished restore of it",
            hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
        )
    if log_end == before + counts[index]:
        index, before = index + 1, log_end
    return PartitionRest(
        pieces=coverage.runs[index:],
        skip_records=log_end - before,
        done_records=log_end,
        total_records=sum(counts),
        identity=identity,
        next_sequence=log_end,
        position=log_end,
    )


def pieces_after(
    repository: Repository, coverage: PartitionCoverage, times: TimeBounds, count: int
) -> tuple[tuple[CoveredRun, ...], int, int]:
    """The pieces behind the first ``count`` records, how many of theirs are among those, and how many records there are in all.

    Raises:
        DamageError, UnreachableError, AccessError, StoreError: the repository cannot be read.
    """
    counts = _count_pieces(repository, coverage, times)
    if count >= sum(counts):
        return (), 0, sum(counts)
    index, before = _locate(counts, count)
    return tuple(coverage.runs[index:]), count - before, sum(counts)


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
    answers = read_log(
        client, name, start_offset=log_end - 1, next_offset=log_end, chunk_bytes=_CHUNK_BYTES, check_crc=False
    )
    view, columns = await anext(answers)
    header = BatchHeader._make(columns.headers[0].item())
    body = unpack(header.codec, view[HEADER_BYTES : header.batch_bytes])
    for record in iterate_records(header, body):
        if record.offset == log_end - 1:
            identity = ProducerIdentity(producer_id=header.producer_id, producer_epoch=header.producer_epoch)
            sequence = (header.base_sequence + record.offset - header.base_offset) % SEQUENCE_MODULUS
            return record, identity, sequence
    raise ClusterError(f"reading the end of {name}: no record at offset {log_end - 1}")


def _data_batches(loaded: LoadedRun) -> Iterator[ClippedBatch]:
    return (clipped for clipped in loaded.batches() if not clipped.batch.header.is_control)
