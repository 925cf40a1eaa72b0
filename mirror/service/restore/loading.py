"""Produces the rest of many partitions at once: one reader for all of them, one task and one order for each.

The reader visits each object once and hands the runs to their partitions, at most ``buffer_bytes`` ahead of them. Unpacking and encoding
again happen in threads; what goes as it is stored is only copied once, by the producer.

With kept offsets a batch may begin beyond the log's end: then the `OffsetKeeper` fills the hole first (see `keeping.py`).
"""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Protocol

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.recovery_point import ALL_TIMES, TimeBounds
from mirror.core.reencode import BatchMaker, ProducibleBatch
from mirror.errors import ClusterError
from mirror.kafka.batch_producer import OFFSET_UNKNOWN, BatchProducer
from mirror.service.reading import LoadedRun, iterate_runs
from mirror.service.restore.rate import RateLimit
from mirror.storage.repository import Repository

__all__ = ["Keeper", "Loader", "PartitionJob"]

_BUFFER_BYTES = 96 << 20
_AT_ONCE = 128  # batches made in one visit of a thread, or
_AT_ONCE_BYTES = 4 << 20
_THREADS = 2

Advanced = Callable[[TopicPartition, int, int], None]
"""``(target partition, records, bytes)`` that the target has acknowledged."""


class InFlight(NamedTuple):
    """A batch that was sent: where it must land."""

    future: "asyncio.Future[int]"
    base_offset: int
    record_count: int
    size_bytes: int


@dataclass(slots=True, kw_only=True)
class PartitionJob:
    """One partition to load.

    Attributes:
        target: where to.
        coverage: what is left to read.
        skip_records: of that, already there.
        done_records: on the target already, by an earlier run.
        position: the log's end once everything that was sent has been appended: where the next record goes.
        log_start_offset: where the target's log begins.
        producer: who sends it.
        times: which records are kept by their own timestamp.
        keep_offsets: whether records get the offsets they had; then `log_end_offset` is where the log must end (None: after its last
            record), `lead_offset` where it begins, and `is_blank` whether it holds nothing but filler yet.
        in_flight: sent, and not known to be acknowledged.
        sent_records, acknowledged_records: by this job.
        is_finished: everything of it was sent.
    """

    target: TopicPartition
    coverage: PartitionCoverage
    producer: BatchProducer
    skip_records: int = 0
    done_records: int = 0
    position: int = 0
    log_start_offset: int = 0
    times: TimeBounds = ALL_TIMES
    keep_offsets: bool = False
    log_end_offset: int | None = None
    lead_offset: int = 0
    is_blank: bool = True
    in_flight: deque[InFlight] = field(default_factory=deque)
    sent_records: int = 0
    acknowledged_records: int = 0
    is_finished: bool = False

    @property
    def is_done(self) -> bool:
        """Whether all of it is on the target."""
        return self.is_finished and self.acknowledged_records == self.sent_records

    def collect(self) -> tuple[int, int]:
        """Take note of what was acknowledged: its records and bytes. (A callback for every batch would cost more than all of this.)

        Raises:
            MirrorError: a batch was refused, or did not land where it must.
        """
        records = size_bytes = 0
        while self.in_flight and self.in_flight[0].future.done():
            sent = self.in_flight.popleft()
            base_offset = sent.future.result()
            if base_offset not in (sent.base_offset, OFFSET_UNKNOWN):
                raise ClusterError(
                    f"{self.target}: a batch was appended at offset {base_offset} instead of {sent.base_offset}: "
                    "somebody else writes to the topic",
                    hint="stop that producer, delete the topic and restore again",
                )
            records += sent.record_count
            size_bytes += sent.size_bytes
        self.acknowledged_records += records
        return records, size_bytes


class Keeper(Protocol):
    """Brings the log of a job's partition to an offset."""

    async def reach(self, job: PartitionJob, offset: int) -> None:
        """Fill the offsets from the log's end to ``offset``; everything that was sent is acknowledged."""


class Loader:
    """Loads partitions; used once.

    Args:
        repository: where from.
        jobs: the partitions, each of another incarnation or number.
        on_advance: told of what is acknowledged, from the event loop.
        rate: bytes per second, if limited.
        buffer_bytes: stored bytes that wait for their partitions.
        limit_bytes: of the unpacked records of a batch that is encoded again.
        keeper: fills holes; needed by jobs that keep offsets.
    """

    def __init__(
        self,
        repository: Repository,
        jobs: list[PartitionJob],
        *,
        on_advance: Advanced,
        rate: RateLimit | None = None,
        buffer_bytes: int = _BUFFER_BYTES,
        limit_bytes: int = 8 << 20,
        keeper: Keeper | None = None,
    ) -> None:
        self._repository = repository
        self._jobs = jobs
        self._on_advance = on_advance
        self._rate = rate
        self._buffer_bytes = buffer_bytes
        self._limit_bytes = limit_bytes
        self._keeper = keeper
        self._queues: dict[PartitionId, asyncio.Queue[LoadedRun | None]] = {}
        self._waiting_bytes = 0
        self._room = threading.Condition()
        self._stop = threading.Event()

    async def run(self) -> None:
        """Load everything and wait until it is acknowledged.

        Raises:
            MirrorError: the first failure; what was acknowledged until then is counted in the jobs.
        """
        self._queues = {job.coverage.partition_id: asyncio.Queue() for job in self._jobs}
        loop = asyncio.get_running_loop()
        pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="encoding")
        reader = loop.run_in_executor(None, self._read, loop)
        tasks = [asyncio.create_task(self._load(job, pool)) for job in self._jobs]
        try:
            await asyncio.gather(reader, *tasks)
        finally:
            self._stop.set()
            with self._room:
                self._room.notify_all()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, reader, return_exceptions=True)
            for job in self._jobs:
                _settle(job)
            pool.shutdown(wait=False, cancel_futures=True)

    # the reader's thread

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        coverages = [job.coverage for job in self._jobs]
        for loaded in iterate_runs(self._repository, coverages, stop=self._stop):
            with self._room:
                while self._waiting_bytes >= self._buffer_bytes and not self._stop.is_set():
                    self._room.wait()
                self._waiting_bytes += len(loaded.stored)
            if self._stop.is_set():
                return
            loop.call_soon_threadsafe(self._queues[loaded.partition_id].put_nowait, loaded)
        for queue in self._queues.values():
            loop.call_soon_threadsafe(queue.put_nowait, None)

    def _give_back(self, size_bytes: int) -> None:
        with self._room:
            self._waiting_bytes -= size_bytes
            self._room.notify_all()

    # one task a partition

    async def _load(self, job: PartitionJob, pool: ThreadPoolExecutor) -> None:
        maker = BatchMaker(
            skip_records=job.skip_records,
            limit_bytes=self._limit_bytes,
            keep_offsets=job.keep_offsets,
            times=job.times,
        )
        queue = self._queues[job.coverage.partition_id]
        loop = asyncio.get_running_loop()
        while (loaded := await queue.get()) is not None:
            batches = _batches(loaded, maker)
            while made := await loop.run_in_executor(pool, _some, batches):
                await self._send(job, made)
            self._give_back(len(loaded.stored))
        await self._send(job, list(maker.finish()))
        if job.keep_offsets:
            await self._reach(job, job.position if job.log_end_offset is None else job.log_end_offset)
        job.is_finished = True
        await self._drain(job)

    async def _send(self, job: PartitionJob, batches: list[ProducibleBatch]) -> None:
        topic, partition = job.target
        for batch in batches:
            size_bytes = len(batch.data)
            if self._rate is not None:
                await self._rate.wait(size_bytes)
            if job.keep_offsets and (job.is_blank or batch.base_offset != job.position):
                await self._reach(job, batch.base_offset)
            future = await job.producer.send(topic, partition, batch.data)
            job.in_flight.append(InFlight(future, job.position, batch.record_count, size_bytes))
            job.position += batch.record_count
            job.sent_records += batch.record_count
            if self._rate is not None:
                self._collect(job)  # the next one may have to wait for long
        self._collect(job)

    async def _reach(self, job: PartitionJob, offset: int) -> None:
        await self._drain(job)
        if self._keeper is None:
            raise ValueError("a job that keeps offsets needs a keeper")
        await self._keeper.reach(job, offset)

    async def _drain(self, job: PartitionJob) -> None:
        while job.in_flight:
            await asyncio.wait((job.in_flight[0].future,))
            self._collect(job)

    def _collect(self, job: PartitionJob) -> None:
        records, size_bytes = job.collect()
        if records:
            self._on_advance(job.target, records, size_bytes)


def _settle(job: PartitionJob) -> None:
    """After a failure: count what did arrive, and let no future be forgotten with its error."""
    for sent in job.in_flight:
        if sent.future.done() and not sent.future.cancelled() and sent.future.exception() is None:
            job.acknowledged_records += sent.record_count
    job.in_flight.clear()


def _batches(loaded: LoadedRun, maker: BatchMaker) -> Iterator[ProducibleBatch]:
    piece, unpacked = loaded.piece, loaded.run.unpacked
    for content in loaded.contents():
        yield from maker.add(content, unpacked=unpacked, start_offset=piece.start_offset, next_offset=piece.next_offset)


def _some(batches: Iterator[ProducibleBatch]) -> list[ProducibleBatch]:
    some: list[ProducibleBatch] = []
    size_bytes = 0
    for batch in islice(batches, _AT_ONCE):
        some.append(batch)
        size_bytes += len(batch.data)
        if size_bytes >= _AT_ONCE_BYTES:
            break
    return some
