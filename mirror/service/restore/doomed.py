"""What deleting a topic on the target would destroy: every record of it, and which of them this repository does not have.

A record is stored if some incarnation of the topic (of the source's name or of the one on the target) has it in the same partition: at the
same offset, or, in a copy with translated offsets, as the record of the same number. Time, key, value and headers are compared. What cannot
be told counts as not stored.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence

from mirror.core.compression import unpack
from mirror.core.coverage import PartitionCoverage
from mirror.core.not_empty import DoomedLog, UnstoredRange
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.records import RawRecord, iterate_records
from mirror.core.restore_plan import RestorePlan, TopicPlan
from mirror.core.segment.blocks import iterate_block
from mirror.core.slices import SliceBody
from mirror.errors import RefusedError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.service.reading import iterate_stored
from mirror.service.verify_fetch import SourceReader
from mirror.storage.repository import Repository

__all__ = ["find_doomed", "refuse_unstored"]

_SHOWN = 20


async def find_doomed(
    repository: Repository,
    client: MirrorClient,
    topic: TopicPlan,
    coverages: Mapping[PartitionId, PartitionCoverage],
) -> tuple[DoomedLog, ...]:
    """Read the whole topic on the target and look for every record of it; changes nothing.

    Args:
        repository: what is stored.
        client: of the target.
        topic: what would take its place.
        coverages: of every partition incarnation in the repository.

    Raises:
        DamageError: the repository cannot be read.
        TopicNotFoundError, AccessError, UnreachableError, ClusterError: the target cannot be read.
    """
    name = topic.target_topic
    described = (await describe_cluster(client, [name])).topics[name]
    names = [TopicPartition(name, number) for number in range(len(described.partitions))]
    logs = await log_offsets(client, names)
    reader = SourceReader(client)
    doomed: list[DoomedLog] = []
    for target in names:
        mine = [
            coverage
            for pid, coverage in coverages.items()
            if pid.partition == target.partition and coverage.topic in (topic.topic, name)
        ]
        survey = _Survey(repository, mine, logs[target])
        at = logs[target].log_start_offset
        while at < logs[target].high_watermark:
            body, at = await reader.read(target, described.topic_id, at)
            if body is not None:
                await asyncio.to_thread(survey.add, body)
        doomed.append(survey.result(target.partition))
    return tuple(doomed)


def refuse_unstored(plan: RestorePlan) -> None:
    """Nothing is destroyed that is stored nowhere, unless that was said.

    Raises:
        RefusedError: names the ranges.
    """
    lines = [
        f"{topic.target_topic}-{log.partition}: [{part.start_offset:,}, {part.next_offset:,}), {part.records:,} records"
        for topic in plan.topics
        for log in topic.doomed
        for part in log.unstored
    ]
    if not lines or plan.discard_unstored:
        return
    records = sum(log.unstored_records for topic in plan.topics for log in topic.doomed)
    more = [f"… and {len(lines) - _SHOWN} ranges more"] if len(lines) > _SHOWN else []
    listed = "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])
    raise RefusedError(
        f"{records:,} records that would be destroyed on {plan.target_alias} are not in this repository:{listed}",
        hint="restore beside them (--rename, --prefix), or, if nobody needs them, --discard-unstored",
    )


class _Survey:
    """Of one partition of the target: give it the records in order."""

    def __init__(self, repository: Repository, coverages: Sequence[PartitionCoverage], log: LogOffsets) -> None:
        self._log = log
        self._by_offset = [_ByOffset(_records(repository, coverage)) for coverage in coverages]
        self._by_number = [_ByNumber(_records(repository, coverage)) for coverage in coverages]
        self._records = 0
        self._unstored: list[UnstoredRange] = []
        self._is_open = False

    def add(self, body: SliceBody) -> None:
        """Look for the next records."""
        for part in body.parts:
            for batch in iterate_block(part, unpacked=False):
                if batch.header.is_control:
                    continue
                for record in iterate_records(batch.header, unpack(batch.header.codec, batch.body)):
                    if self._log.log_start_offset <= record.offset < self._log.high_watermark:
                        self._look(record)

    def _look(self, record: RawRecord) -> None:
        self._records += 1
        # All of them are asked: each follows the target by itself.
        found = [one.has(record) for one in self._by_offset] + [one.has(record) for one in self._by_number]
        if any(found):
            self._is_open = False
            return
        if self._is_open:
            last = self._unstored[-1]
            self._unstored[-1] = UnstoredRange(last.start_offset, record.offset + 1, last.records + 1)
        else:
            self._unstored.append(UnstoredRange(record.offset, record.offset + 1, 1))
            self._is_open = True

    def result(self, partition: int) -> DoomedLog:
        """What was found."""
        return DoomedLog(
            partition=partition,
            start_offset=self._log.log_start_offset,
            next_offset=self._log.high_watermark,
            records=self._records,
            unstored=tuple(self._unstored),
        )


class _ByOffset:
    """The stored records beside those of the target, by offset."""

    def __init__(self, records: Iterator[RawRecord]) -> None:
        self._records = records
        self._next: RawRecord | None = None
        self._is_begun = False

    def has(self, record: RawRecord) -> bool:
        """Whether just this is stored at its offset; offsets ascend from call to call."""
        if not self._is_begun:
            self._next, self._is_begun = next(self._records, None), True
        while self._next is not None and self._next.offset < record.offset:
            self._next = next(self._records, None)
        stored = self._next
        return stored is not None and stored.offset == record.offset and _is_same(stored, record)


class _ByNumber:
    """The stored records beside those of the target, one for one, until they differ."""

    def __init__(self, records: Iterator[RawRecord]) -> None:
        self._records = records
        self._is_same = True

    def has(self, record: RawRecord) -> bool:
        """Whether this one, and every one before it, is the stored record of the same number."""
        if self._is_same:
            stored = next(self._records, None)
            self._is_same = stored is not None and _is_same(stored, record)
        return self._is_same


def _is_same(stored: RawRecord, record: RawRecord) -> bool:
    return (stored.timestamp_ms, stored.tail) == (record.timestamp_ms, record.tail)


def _records(repository: Repository, coverage: PartitionCoverage) -> Iterator[RawRecord]:
    for clipped in iterate_stored(repository, coverage):
        if not clipped.batch.header.is_control:
            yield from clipped.records()
