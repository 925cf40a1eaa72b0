"""Produces the rest of many partitions at once: one reader for all of them, one task and one order for each.

The reader visits each object once and hands the runs to their partitions, at most ``buffer_bytes`` ahead of them. Unpacking and encoding
again happen in threads; what goes as it is stored is only copied once, by the producer.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.reencode import BatchMaker, ProducibleBatch
from mirror.errors import ClusterError, MirrorError
from mirror.kafka.batch_producer import OFFSET_UNKNOWN, BatchProducer
from mirror.service.reading import LoadedRun, iterate_runs
from mirror.service.restore.rate import RateLimit
from mirror.storage.repository import Repository

__all__ = ["Loader", "PartitionJob"]

_BUFFER_BYTES = 96 << 20
_AT_ONCE = 128  # batches made in one visit of a thread
_THREADS = 2

Advanced = Callable[[TopicPartition, int, int], None]
"""``(target partition, records, bytes)`` that the target has acknowledged."""


@dataclass(slots=True, kw_only=True)
class PartitionJob:
    """One partition to load.

    Attributes:
        target: where to.
        coverage: what is left to read.
        skip_records: of that, already there.
        base_offset: where the next record goes.
        producer: who sends it.
        sent_records, acknowledged_records: by this job.
        is_finished: everything of it was sent.
    """

    target: TopicPartition
    coverage: PartitionCoverage
    skip_records: int
    base_offset: int
    producer: BatchProducer
    sent_records: int = 0
    acknowledged_records: int = 0
    is_finished: bool = False

    @property
    def is_done(self) -> bool:
        """Whether all of it is on the target."""
        return self.is_finished and self.acknowledged_records == self.sent_records


class Loader:
    """Loads partitions; used once.

    Args:
        repository: where from.
        jobs: the partitions, each of another incarnation or number.
        on_advance: told of what is acknowledged, from the event loop.
        rate: bytes per second, if limited.
        buffer_bytes: stored bytes that wait for their partitions.
        limit_bytes: of the unpacked records of a batch that is encoded again.
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
    ) -> None:
        self._repository = repository
        self._jobs = jobs
        self._on_advance = on_advance
        self._rate = rate
        self._buffer_bytes = buffer_bytes
        self._limit_bytes = limit_bytes
        self._queues: dict[PartitionId, asyncio.Queue[LoadedRun | None]] = {}
        self._waiting_bytes = 0
        self._room = threading.Condition()
        self._stop = threading.Event()
        self._failure: MirrorError | None = None
        self._failed = asyncio.Event()

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
        watch = asyncio.create_task(self._failed.wait())
        try:
            work: asyncio.Future[list[None]] = asyncio.gather(reader, *tasks)
            waited: set[asyncio.Future[Any]] = {work, watch}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if self._failure is not None:
                work.cancel()
                raise self._failure
            await work
            for producer in {id(job.producer): job.producer for job in self._jobs}.values():
                await producer.flush()
            if self._failure is not None:
                raise self._failure
        finally:
            self._stop.set()
            with self._room:
                self._room.notify_all()
            for task in (*tasks, watch):
                task.cancel()
            await asyncio.gather(*tasks, watch, reader, return_exceptions=True)
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
        maker = BatchMaker(skip_records=job.skip_records, limit_bytes=self._limit_bytes)
        queue = self._queues[job.coverage.partition_id]
        loop = asyncio.get_running_loop()
        while (loaded := await queue.get()) is not None:
            batches = _batches(loaded, maker)
            while made := await loop.run_in_executor(pool, _some, batches):
                await self._send(job, made)
            self._give_back(len(loaded.stored))
        await self._send(job, list(maker.finish()))
        job.is_finished = True

    async def _send(self, job: PartitionJob, batches: list[ProducibleBatch]) -> None:
        topic, partition = job.target
        for batch in batches:
            size_bytes = len(batch.data)
            if self._rate is not None:
                await self._rate.wait(size_bytes)
            future = await job.producer.send(topic, partition, batch.data)
            expected = job.base_offset + job.sent_records
            job.sent_records += batch.record_count
            future.add_done_callback(partial(self._acknowledged, job, expected, batch.record_count, size_bytes))

    def _acknowledged(
        self, job: PartitionJob, expected: int, record_count: int, size_bytes: int, future: "asyncio.Future[int]"
    ) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._fail(error if isinstance(error, MirrorError) else ClusterError(f"{job.target}: {error}"))
            return
        if future.result() not in (expected, OFFSET_UNKNOWN):
            self._fail(
                ClusterError(
                    f"{job.target}: a batch was appended at offset {future.result()} instead of {expected}: "
                    "somebody else writes to the topic",
                    hint="stop that producer, delete the topic and restore again",
                )
            )
            return
        job.acknowledged_records += record_count
        self._on_advance(job.target, record_count, size_bytes)

    def _fail(self, error: MirrorError) -> None:
        if self._failure is None:
            self._failure = error
            self._failed.set()


def _batches(loaded: LoadedRun, maker: BatchMaker) -> Iterator[ProducibleBatch]:
    piece, unpacked = loaded.piece, loaded.run.unpacked
    for content in loaded.contents():
        yield from maker.add(content, unpacked=unpacked, start_offset=piece.start_offset, next_offset=piece.next_offset)


def _some(batches: Iterator[ProducibleBatch]) -> list[ProducibleBatch]:
    return list(islice(batches, _AT_ONCE))
