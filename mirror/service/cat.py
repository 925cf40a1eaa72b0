"""`mirror cat`: records straight from the repository, opening only what must be opened to know that nothing is left out.

Order: objects as they were stored, oldest first; inside an object the partitions are merged by the records' times. So each partition's
records come in the order of their offsets, and what was written at about the same time stands together, at one request an object.
"""

import heapq
import threading
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from operator import attrgetter
from typing import NamedTuple

from mirror.core.compression import unpack
from mirror.core.positions import TopicPartition
from mirror.core.records import Record
from mirror.errors import DamageError, UnsupportedFormatError
from mirror.service.cat_choice import CatChoice, CatSelection
from mirror.service.cat_loading import blocks_of, describe, iterate_loaded
from mirror.service.read_planning import plan_reads
from mirror.service.reading import ClippedBatch, LoadedRun
from mirror.storage.metered import MeteredStore
from mirror.storage.repository import Repository

__all__ = ["CatReport", "FoundRecord", "LostRange", "RecordSearch"]


class FoundRecord(NamedTuple):
    """A record, where it is from, and whether its time is the broker's append time (not the producer's)."""

    partition: int
    has_append_time: bool
    timestamp_ms: int
    record: Record


class LostRange(NamedTuple):
    """Offsets inside what was looked at that are not stored; without a reason nothing explains it: an object is gone."""

    partition: TopicPartition
    start_offset: int
    next_offset: int
    reason: str | None
    detected_at_ms: int | None


@dataclass(slots=True, kw_only=True)
class CatReport:
    """What a search has done so far.

    Attributes:
        objects: opened.
        objects_in_all: that hold something of the chosen partitions; so with batches.
        batches: unpacked.
        read_bytes: fetched from the store for it, footers included.
        records: found.
        is_cut: there may be more: the limit was reached, or the reader stopped.
        lost: gaps and missing offsets inside what was looked at.
        damaged: what cannot be read, in words; its records are left out.
    """

    objects: int = 0
    objects_in_all: int = 0
    batches: int = 0
    batches_in_all: int = 0
    read_bytes: int = 0
    records: int = 0
    is_cut: bool = False
    lost: list[LostRange] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)

    @property
    def is_damaged(self) -> bool:
        """Whether something is left out that should be there."""
        return bool(self.damaged) or any(lost.reason is None for lost in self.lost)


class RecordSearch:
    """One pass over the records that somebody asked for; ``report`` is complete when the iteration ends or is closed.

    Args:
        repository: where from.
        choice: what to look at, see :func:`mirror.service.cat_choice.choose`.
        selection: what is wanted.
        on_object: told after each object how many of how many are done; says whether to go on.
    """

    def __init__(
        self,
        repository: Repository,
        choice: CatChoice,
        selection: CatSelection,
        *,
        on_object: Callable[[int, int], bool] = lambda _done, _of: True,
    ) -> None:
        self._choice = choice
        self._selection = selection
        self._on_object = on_object
        self._is_stopped = False
        self._reached: dict[int, int] = {}  # partition → offset up to which it was looked at
        self._lock = threading.Lock()
        self._repository = Repository(MeteredStore(repository.store, self._count_bytes), repository.identity)
        self.report = CatReport(
            objects_in_all=choice.object_count, batches_in_all=choice.batch_count, damaged=list(choice.unreadable)
        )

    def records(self) -> Generator[FoundRecord, None, None]:
        """The wanted records, at most as many as the limit.

        Raises:
            UnreachableError, AccessError, StoreError: the store.
            UnsupportedFormatError: an object of a newer version.
        """
        report, limit = self.report, self._selection.limit
        opened: list[str] = []
        found: FoundRecord | None = None
        report.is_cut = True
        try:
            for found in self._all(opened):
                report.records += 1
                yield found
                if report.records == limit:
                    return
            report.is_cut = self._is_stopped
        finally:
            report.objects = len(set(opened))
            if report.is_cut and found is not None:
                self._reached[found.partition] = found.record.offset + 1
            report.lost = self._lost()

    def _all(self, opened: list[str]) -> Iterator[FoundRecord]:
        tasks = plan_reads(self._choice.wanted)
        for number, (runs, damaged) in enumerate(iterate_loaded(self._repository, tasks, opened), start=1):
            self.report.damaged += damaged
            by_partition: dict[int, list[LoadedRun]] = {}
            for loaded in runs:
                by_partition.setdefault(loaded.run.partition, []).append(loaded)
            streams = [self._of_partition(number, mine) for number, mine in by_partition.items()]
            yield from heapq.merge(*streams, key=_TIME) if len(streams) > 1 else streams[0] if streams else ()
            if not self._on_object(number, len(tasks)) and number < len(tasks):
                self._is_stopped = True
                return

    def _of_partition(self, partition: int, runs: list[LoadedRun]) -> Iterator[FoundRecord]:
        wanted = self._selection.filter
        for loaded in runs:
            for batches in blocks_of(loaded, since_ms=wanted.since_ms, damaged=self.report.damaged):
                for clipped in batches:
                    if not wanted.wants_batch(clipped.batch.header):
                        continue
                    has_append_time = clipped.batch.header.has_append_time
                    for record in self._of_batch(loaded, clipped):
                        yield FoundRecord(partition, has_append_time, record.timestamp_ms, record)
            self._reached[partition] = loaded.piece.next_offset

    def _of_batch(self, loaded: LoadedRun, clipped: ClippedBatch) -> Iterator[Record]:
        batch = clipped.batch
        self.report.batches += 1
        try:
            body = batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)
            yield from self._selection.filter.records(batch.header, body, clipped.start_offset, clipped.next_offset)
        except (DamageError, UnsupportedFormatError) as error:
            self.report.damaged.append(f"{describe(loaded)}: {error.message}")

    def _lost(self) -> list[LostRange]:
        """Gaps found before ``since_ms`` are left out: what they held was older."""
        first, since_ms = self._selection.from_offset or 0, self._selection.filter.since_ms
        found: list[LostRange] = []
        for coverage in self._choice.coverages:
            name = TopicPartition(coverage.topic, coverage.partition_id.partition)
            reached = self._reached.get(name.partition, 0) if self.report.is_cut else coverage.next_offset
            lost = [
                LostRange(name, gap.start_offset, gap.next_offset, gap.reason, gap.detected_at_ms)
                for gap in coverage.gaps
                if since_ms is None or gap.detected_at_ms >= since_ms
            ]
            lost += [LostRange(name, hole.start_offset, hole.next_offset, None, None) for hole in coverage.missing]
            lost.sort(key=attrgetter("start_offset"))
            found += [one for one in lost if one.next_offset > first and one.start_offset < reached]
        return found

    def _count_bytes(self, _operation: str, _seconds: float, size_bytes: int, _outcome: str) -> None:
        with self._lock:
            self.report.read_bytes += size_bytes


_TIME = attrgetter("timestamp_ms")
