"""`verify --against-source`: what is stored, compared with what the brokers still hold.

Every covered offset that is still in the log of the same incarnation is fetched (read_committed) and compared: batches by base offset and
producer's CRC, the bodies of unpacked ones byte for byte; what does not match as a batch (compaction rewrote it, or it is damaged) record
by record. Records that only the repository has are normal: the log was trimmed or compacted since.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mirror.core.compression import unpack
from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.own_groups import OwnGroups
from mirror.core.polled_groups import is_polled
from mirror.core.positions import OffsetRange, PartitionId, TopicPartition
from mirror.core.record_batch import BatchHeader
from mirror.core.records import RawRecord, decode_record, iterate_records
from mirror.core.segment.blocks import StoredBatch, iterate_block
from mirror.core.slices import SliceBody
from mirror.core.topic_filter import TopicFilter
from mirror.errors import DamageError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.service.group_capture import own_groups
from mirror.service.group_tail import quiet_until
from mirror.service.reading import ClippedBatch, iterate_stored
from mirror.service.status_committed import gone_offsets
from mirror.service.verify_fetch import SourceReader
from mirror.service.verify_findings import Finding, FindingKind, Note, VerifyReport
from mirror.storage.repository import Repository

__all__ = ["compare_with_source"]

_PARTITIONS_AT_ONCE = 16
_CONNECTIONS = 4
_CHUNK_BYTES = 1 << 20
OnOffsets = Callable[[int, int], None]


async def compare_with_source(
    repository: Repository,
    coverage: Mapping[PartitionId, PartitionCoverage],
    client: MirrorClient,
    report: VerifyReport,
    *,
    on_offsets: OnOffsets | None = None,
    committed: Mapping[TopicPartition, int] | None = None,
    worker_id: str = "",
) -> None:
    """Compare and add what was found to ``report``.

    Args:
        repository: of the same cluster.
        coverage: of the partitions to compare.
        client: an open client of the source.
        report: gets the findings; call its ``finish`` afterwards.
        on_offsets: told ``(offsets compared so far, offsets in all)``.
        committed: the committed offsets of the mirror's consumer group, see :mod:`mirror.service.status_committed`; None: not known, so
            an object that is gone from the end of what is stored is only a note.
        worker_id: of the mirror, whose own commits are never stored.

    Raises:
        WrongRepositoryError: the client is connected to another cluster.
        AccessError, UnreachableError, ClusterError: the source cannot be read: that is no verdict.
    """
    names = {entry.topic for entry in coverage.values()}
    description = await describe_cluster(client, names)
    repository.require_cluster(description.cluster_id)
    report.compared_with = description.cluster_id
    own = OwnGroups()
    if GROUP_LOG_TOPIC in names:
        own = OwnGroups(own_groups(worker_id, TopicFilter(), (await describe_cluster(client)).topics))
    live: dict[TopicPartition, PartitionCoverage] = {}
    for partition_id, entry in coverage.items():
        if is_polled(partition_id.topic_id):
            continue  # never was at the source
        topic = description.topics.get(entry.topic)
        if topic is None or topic.topic_id != partition_id.topic_id:
            report.notes.append(
                _note("not_compared", "this incarnation of the topic is no longer at the source", entry)
            )
        else:
            live[TopicPartition(entry.topic, partition_id.partition)] = entry
    logs = await log_offsets(client, live)
    gone = await asyncio.to_thread(_find_gone, repository, live, logs, committed or {})
    report.findings += [_gone_finding(live[tp], offsets) for tp, offsets in gone.items()]
    jobs = []
    for tp, entry in live.items():
        start_offset = max(entry.start_offset, logs[tp].log_start_offset)
        next_offset = min(entry.next_offset, logs[tp].last_stable_offset)
        if entry.next_offset > logs[tp].high_watermark:
            message = f"the log ends at {logs[tp].high_watermark}: it was truncated, what lies behind is only stored"
            report.notes.append(_note("source_shorter", message, entry))
        stored_to = max(entry.position, logs[tp].log_start_offset)
        if tp.topic == GROUP_LOG_TOPIC:
            topic_id = entry.partition_id.topic_id
            stored_to = await quiet_until(client, tp, topic_id, stored_to, logs[tp].last_stable_offset, own)
        behind = OffsetRange(stored_to, logs[tp].last_stable_offset)
        if behind.length > 0 and tp not in gone:
            said = "not yet, or the object that held them is gone"
            message = f"{behind.length} offsets [{behind.start_offset}, {behind.next_offset}) of the source are not stored: {said}"
            report.notes.append(_note("not_stored", message, entry))
        if start_offset < next_offset:
            is_group_log = tp.topic == GROUP_LOG_TOPIC
            jobs.append(
                _Comparison(repository, entry, tp, start_offset, next_offset, own if is_group_log else OwnGroups())
            )
    total = sum(job.next_offset - job.start_offset for job in jobs)
    done = 0
    gate = asyncio.Semaphore(_PARTITIONS_AT_ONCE)

    def advance(count: int) -> None:
        nonlocal done
        done += count
        if on_offsets:
            on_offsets(done, total)

    # A broker answers the requests of one connection one after another.
    readers = [SourceReader(client, number, chunk_bytes=_CHUNK_BYTES) for number in range(_CONNECTIONS)]

    with ThreadPoolExecutor(_PARTITIONS_AT_ONCE, thread_name_prefix="compare") as threads:

        async def run(number: int, job: "_Comparison") -> None:
            async with gate:
                await job.run(readers[number % _CONNECTIONS], threads, advance)

        try:
            async with asyncio.TaskGroup() as group:
                for number, job in enumerate(jobs):
                    group.create_task(run(number, job))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from failed
    for job in jobs:
        report.findings += job.findings()
        report.counts.source_batches_equal += job.batches_equal
        report.counts.source_records_compared += job.records_compared
        report.counts.source_records_gone += job.records_gone


def _find_gone(
    repository: Repository,
    live: Mapping[TopicPartition, PartitionCoverage],
    logs: Mapping[TopicPartition, LogOffsets],
    committed: Mapping[TopicPartition, int],
) -> dict[TopicPartition, OffsetRange]:
    def find(entries: Mapping[TopicPartition, PartitionCoverage]) -> dict[TopicPartition, OffsetRange]:
        found = {tp: gone_offsets(tp, entry, logs.get(tp), committed) for tp, entry in entries.items()}
        return {tp: offsets for tp, offsets in found.items() if offsets.length}

    if not (suspected := find(live)):
        return {}
    # The coverage was read before the committed offsets: what came since must be in it. Damaged objects were named already.
    listed = {info.key for info in repository.list_segments()}
    loaded = repository.load_indexes(on_damage=lambda _key, _error: None)
    newer = build_coverage((entry.key, entry.index) for entry in loaded if entry.key in listed)
    now = {tp: newer.get(live[tp].partition_id, live[tp]) for tp in suspected}
    return find(now)


def _gone_finding(coverage: PartitionCoverage, offsets: OffsetRange) -> Finding:
    topic_id, partition = coverage.partition_id
    return Finding(
        kind="newest_missing",
        message=(
            "a worker has committed these offsets as stored, the repository ends before them: the object that held them is gone; "
            "after a restart the workers fetch again what the source still has"
        ),
        topic=coverage.topic,
        topic_id=topic_id,
        partition=partition,
        start_offset=offsets.start_offset,
        next_offset=offsets.next_offset,
    )


@dataclass(frozen=True, slots=True)
class _Digest:
    """A record without its offset, for comparison."""

    timestamp_ms: int
    tail: bytes


class _Comparison:
    """One partition, from ``start_offset`` to ``next_offset``."""

    def __init__(
        self,
        repository: Repository,
        coverage: PartitionCoverage,
        tp: TopicPartition,
        start_offset: int,
        next_offset: int,
        own: OwnGroups,
    ) -> None:
        self._own = own
        self.tp, self.start_offset, self.next_offset = tp, start_offset, next_offset
        self.batches_equal = self.records_compared = self.records_gone = 0
        self._repository, self._coverage = repository, coverage
        self._stored = _Window(iterate_stored(repository, coverage))
        self._problems: list[tuple[FindingKind, int, int, str]] = []

    async def run(self, reader: SourceReader, threads: ThreadPoolExecutor, advance: Callable[[int], None]) -> None:
        loop = asyncio.get_running_loop()
        at = self.start_offset
        topic_id = self._coverage.partition_id.topic_id
        while at < self.next_offset:
            body, at_next = await reader.read(self.tp, topic_id, at)
            if body is None:  # retention removed it while we read
                advance(min(at_next, self.next_offset) - at)
                at = at_next
                continue
            upper = min(at_next, self.next_offset)
            try:
                await loop.run_in_executor(threads, self._compare, body, at, upper)
            except DamageError as error:
                # The repository's own damage: verify has named it, or will; nothing behind it can be compared here.
                self._problems.append(("run_damaged", at, self.next_offset, error.message))
                advance(self.next_offset - at)
                return
            advance(upper - at)
            at = at_next

    def findings(self) -> list[Finding]:
        """What was found, neighbouring offsets joined."""
        joined: list[tuple[FindingKind, int, int, str]] = []
        for kind, start_offset, next_offset, message in sorted(self._problems):
            last = joined[-1] if joined else None
            if last is not None and last[0] == kind and last[2] >= start_offset:
                joined[-1] = (kind, last[1], max(last[2], next_offset), last[3])
            else:
                joined.append((kind, start_offset, next_offset, message))
        topic_id, partition = self._coverage.partition_id
        return [
            Finding(
                kind=kind,
                message=message,
                topic=self.tp.topic,
                topic_id=topic_id,
                partition=partition,
                start_offset=start_offset,
                next_offset=next_offset,
            )
            for kind, start_offset, next_offset, message in joined
        ]

    def _compare(self, body: SliceBody, start_offset: int, next_offset: int) -> None:
        stored = self._stored.between(start_offset, next_offset)
        by_identity = {(c.batch.header.base_offset, c.batch.header.crc): c for c in stored}
        odd: list[StoredBatch] = []
        matched: set[tuple[int, int]] = set()
        for part in body.parts:
            for batch in iterate_block(part, unpacked=False, check_crc=True):
                identity = (batch.header.base_offset, batch.header.crc)
                twin = by_identity.get(identity)
                if twin is not None and _same_body(batch, twin.batch):
                    matched.add(identity)
                    self.batches_equal += 1
                elif batch.header.base_offset < next_offset and not batch.header.is_control:
                    odd.append(batch)
        rest = [c for c in stored if (c.batch.header.base_offset, c.batch.header.crc) not in matched]
        self._compare_records(odd, rest, start_offset, next_offset)

    def _compare_records(
        self, at_source: Sequence[StoredBatch], stored: Sequence[ClippedBatch], start_offset: int, next_offset: int
    ) -> None:
        ours: dict[int, _Digest] = {}
        for clipped in stored:
            if not clipped.batch.header.is_control:
                ours.update(
                    (offset, digest)
                    for offset, digest in _records(clipped.batch)
                    if max(start_offset, clipped.start_offset) <= offset < min(next_offset, clipped.next_offset)
                )
        for batch in at_source:
            for offset, digest in _records(batch):
                if not start_offset <= offset < next_offset:
                    continue
                mine = ours.pop(offset, None)
                if mine is None:
                    if not self._is_named_gap(offset) and not self._is_own(digest):
                        self._add("source_only", offset, "the brokers hold records that the repository lacks")
                    continue
                self.records_compared += 1
                if mine != digest:
                    self._add("source_differs", offset, "the brokers hold other bytes than the repository")
        self.records_gone += len(ours)

    def _is_own(self, digest: _Digest) -> bool:
        """Whether it is a mirror's own commit: these are not stored."""
        if not self._own.names:
            return False
        return self._own.owns(decode_record(RawRecord(0, digest.timestamp_ms, 0, memoryview(digest.tail))).key)

    def _is_named_gap(self, offset: int) -> bool:
        return any(gap.start_offset <= offset < gap.next_offset for gap in self._coverage.gaps)

    def _add(self, kind: FindingKind, offset: int, message: str) -> None:
        self._problems.append((kind, offset, offset + 1, f"{message} at these offsets of {self.tp}"))


class _Window:
    """The stored batches of a partition, read in order as the comparison moves up."""

    def __init__(self, batches: Iterator[ClippedBatch]) -> None:
        self._batches = batches
        self._held: list[ClippedBatch] = []
        self._ended = False

    def between(self, start_offset: int, next_offset: int) -> list[ClippedBatch]:
        """Batches that hold something of ``[start_offset, next_offset)``; ``start_offset`` never goes back."""
        self._held = [clipped for clipped in self._held if _end_of(clipped) > start_offset]
        while not self._ended and (not self._held or self._held[-1].batch.header.base_offset < next_offset):
            clipped = next(self._batches, None)
            if clipped is None:
                self._ended = True
            elif _end_of(clipped) > start_offset:
                self._held.append(clipped)
        return [clipped for clipped in self._held if clipped.batch.header.base_offset < next_offset]


def _end_of(clipped: ClippedBatch) -> int:
    return min(clipped.batch.header.next_offset, clipped.next_offset)


def _same_body(fetched: StoredBatch, stored: StoredBatch) -> bool:
    """Whether two batches with the same CRC are the same: bodies kept as fetched are vouched for by it."""
    if stored.unpacked:
        return memoryview(unpack(fetched.header.codec, fetched.body)) == stored.body
    return fetched.body == stored.body


def _records(batch: StoredBatch) -> Iterable[tuple[int, _Digest]]:
    header: BatchHeader = batch.header
    records = batch.body if batch.unpacked else unpack(header.codec, batch.body)
    for raw in iterate_records(header, records):
        yield raw.offset, _Digest(raw.timestamp_ms, bytes(raw.tail))


def _note(kind: str, message: str, coverage: PartitionCoverage) -> Note:
    topic_id, partition = coverage.partition_id
    return Note(kind=kind, message=message, topic=coverage.topic, topic_id=topic_id, partition=partition)
