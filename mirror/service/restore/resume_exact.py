"""What an earlier restore with exact offsets left of a partition: found out from the target alone, compared with the repository.

The log's end is an offset of the source, so it says by itself what is there. Proved are: the last record before it (offset, time, key,
value, headers), its sequence, that nothing but fillers of holes stands after that record, and where the log begins. Where no record is
there yet, what is there must be filler or markers.
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mirror.core.compression import unpack
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.cuts import clip
from mirror.core.filler import is_filler_body
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import HEADER_BYTES, TRANSACTIONAL_BIT, BatchHeader
from mirror.core.records import RawRecord, iterate_records
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.restore_plan import PartitionPlan, TopicPlan, is_exact
from mirror.errors import RefusedError
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.reading import ReadTask, load_task
from mirror.service.restore.keeping import lead_to
from mirror.service.restore.log_reading import read_log
from mirror.service.restore.rest import PartitionRest
from mirror.storage.repository import Repository

__all__ = ["compare_exact", "count_before", "expected_log_start", "kept_records", "last_kept_before"]

_CHUNK_BYTES = 1 << 20


class _Batch(NamedTuple):
    header: BatchHeader
    body: memoryview

    def holds(self, record: RawRecord) -> bool:
        """Whether it ends with just this record."""
        if self.header.is_control or self.header.next_offset != record.offset + 1:
            return False
        last = _last_of(iterate_records(self.header, unpack(self.header.codec, self.body)))
        return last is not None and (last.offset, last.timestamp_ms, last.tail) == (
            record.offset,
            record.timestamp_ms,
            record.tail,
        )

    @property
    def is_filler(self) -> bool:
        """Whether it is one of the batches that bring a log to its beginning."""
        if self.header.is_control:
            return False
        return is_filler_body(self.header.record_count, unpack(self.header.codec, self.body))

    @property
    def is_hole(self) -> bool:
        """Whether it only fills a hole: a marker, or filler in a transaction that is aborted (records are never in one)."""
        return self.header.is_control or bool(self.header.attributes & TRANSACTIONAL_BIT and self.is_filler)

    @property
    def identity(self) -> ProducerIdentity:
        """Who wrote it."""
        return ProducerIdentity(producer_id=self.header.producer_id, producer_epoch=self.header.producer_epoch)

    @property
    def next_sequence(self) -> int:
        """What its producer sends next."""
        return (self.header.base_sequence + self.header.record_count) % SEQUENCE_MODULUS


async def compare_exact(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    partition: PartitionPlan,
    log: LogOffsets,
    times: TimeBounds,
) -> PartitionRest:
    """What is left to load of a partition that has something.

    Raises:
        RefusedError: what is there is not the beginning of just this restore.
        DamageError, UnreachableError, ClusterError: the comparison was not possible.
    """
    name = TopicPartition(topic.target_topic, partition.partition)
    log_end = log.high_watermark
    coverage = partition.coverage
    limit = 0 if coverage is None else coverage.next_offset
    if coverage is None or log_end > limit:
        raise _other(topic, name, f"its log ends at {log_end:,}, beyond the {limit:,} of this restore")
    last = await asyncio.to_thread(last_kept_before, repository, coverage, times, log_end)
    begin = await asyncio.to_thread(expected_log_start, repository, partition, times)
    if last is None:
        return await _without_records(client, topic, name, coverage, log, begin)
    if log.log_start_offset != begin:
        raise _other(topic, name, f"its log begins at {log.log_start_offset:,}, not at {begin:,}")
    found, *after = await _batches_from(client, name, last.offset, log_end)
    if not found.holds(last) or not all(batch.is_hole for batch in after):
        raise _other(topic, name, f"what it holds from offset {last.offset:,} on is not what the repository holds")
    done_records = await asyncio.to_thread(count_before, repository, coverage, times, log_end)
    if found.next_sequence != (begin + done_records) % SEQUENCE_MODULUS:
        # Sequences count filler and records: one too many or too few is somebody else's, or lost.
        raise _other(
            topic, name, f"its last batch is not number {done_records:,} of the records before offset {log_end:,}"
        )
    return PartitionRest(
        pieces=clip(coverage, log_end, coverage.next_offset).runs,
        done_records=done_records,
        identity=found.identity,
        next_sequence=found.next_sequence,
        position=log_end,
        log_start_offset=log.log_start_offset,
        is_blank=False,
    )


async def _without_records(
    client: MirrorClient,
    topic: TopicPlan,
    name: TopicPartition,
    coverage: PartitionCoverage,
    log: LogOffsets,
    begin: int,
) -> PartitionRest:
    """A partition in whose log no record stands yet that is restored; it shall begin at ``begin``."""
    start_offset, log_end = log.log_start_offset, log.high_watermark
    is_blank = start_offset == log_end
    identity = None
    next_sequence = start_offset  # of the filler that is deleted; the leader remembers it
    if not is_blank:
        *_, last = await _batches_from(client, name, log_end - 1, log_end)
        if not (last.is_hole or last.is_filler):
            raise _other(topic, name, "it holds a record where the repository has none")
        if not last.is_hole:
            is_blank, identity, next_sequence = True, last.identity, last.next_sequence
    if start_offset > begin or (log_end > begin if is_blank else start_offset < begin):
        raise _other(topic, name, f"it holds offsets [{start_offset:,}, {log_end:,}), but shall begin at {begin:,}")
    return PartitionRest(
        pieces=clip(coverage, log_end, coverage.next_offset).runs,
        identity=identity,
        next_sequence=next_sequence % SEQUENCE_MODULUS,
        position=log_end,
        log_start_offset=start_offset,
        is_blank=is_blank,
    )


def expected_log_start(repository: Repository, partition: PartitionPlan, times: TimeBounds) -> int:
    """Where the log of a restored partition begins."""
    coverage = partition.coverage
    if coverage is None:
        return 0
    first = next(
        (record.offset for piece in coverage.runs for record in kept_records(repository, piece, times)),
        partition.log_end_offset,
    )
    return partition.lead_offset if first is None else lead_to(partition.lead_offset, first)


def last_kept_before(
    repository: Repository, coverage: PartitionCoverage, times: TimeBounds, log_end: int
) -> RawRecord | None:
    """The last restored record below ``log_end``."""
    for piece in reversed(clip(coverage, coverage.start_offset, log_end).runs):
        last = _last_of(kept_records(repository, piece, times))
        if last is not None:
            return last
    return None


def _last_of(records: Iterator[RawRecord]) -> RawRecord | None:
    return next(iter(deque(records, maxlen=1)), None)


def count_before(repository: Repository, coverage: PartitionCoverage, times: TimeBounds, log_end: int) -> int:
    """How many of the restored records have an offset below ``log_end``."""
    count = 0
    reached = -1
    for piece in clip(coverage, coverage.start_offset, log_end).runs:
        exact = times == ALL_TIMES and is_exact(piece, is_first=piece.start_offset != reached)
        reached = piece.next_offset
        count += piece.run.record_count if exact else sum(1 for _ in kept_records(repository, piece, times))
    return count


def kept_records(repository: Repository, piece: CoveredRun, times: TimeBounds) -> Iterator[RawRecord]:
    """The records of a piece that these times keep, in order."""
    for loaded in load_task(repository, ReadTask(piece.object_key, (piece,))):
        for clipped in loaded.batches():
            if not clipped.batch.header.is_control:
                yield from (record for record in clipped.records() if times.keeps(record.timestamp_ms))


async def _batches_from(client: MirrorClient, name: TopicPartition, offset: int, log_end: int) -> Sequence[_Batch]:
    """Every batch from the one that holds ``offset`` to the log's end; at least one.

    Raises:
        RefusedError: the log does not end there any more.
    """
    batches: list[_Batch] = []
    answers = read_log(client, name, start_offset=offset, next_offset=log_end, chunk_bytes=_CHUNK_BYTES)
    async for view, columns in answers:
        for position, row in zip(columns.position.tolist(), columns.headers, strict=True):
            header = BatchHeader._make(row.item())
            batches.append(_Batch(header, view[position + HEADER_BYTES : position + header.batch_bytes]))
    if batches[-1].header.next_offset > log_end:
        raise RefusedError(
            f"{name} on the target: records arrive while it is compared: another run of this restore is at work, or a stranger",
            hint="leave it to the other run, or stop it; then the same command goes on",
        )
    return batches


def _other(topic: TopicPlan, name: TopicPartition, why: str) -> RefusedError:
    return RefusedError(
        f"{name} on the target: {why}: not an unfinished restore of this",
        hint=f"restore under another name (--rename {topic.topic}=…) or delete that topic first",
    )
