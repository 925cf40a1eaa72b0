"""From a flush batch to one durable object: encode, put, and tell in order.

Order of effects: object durable → told (event, table, Kafka commit). Objects are put in parallel, but a batch is told only once every batch
before it is durable: a position is the end of contiguous coverage.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field

from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.segment.index import FORMAT_VERSION, SegmentIndex
from mirror.core.segment.layout import HEADER_BYTES, encode_object
from mirror.core.segment.runs import BodyMode, encode_run
from mirror.errors import MirrorError
from mirror.kafka.memory_budget import Lease, MemoryBudget
from mirror.service.backup.collector import FlushBatch
from mirror.storage.repository import Repository

__all__ = ["Flusher", "FlusherSettings", "SealedSegment", "StoreHealth"]

log = logging.getLogger(__name__)

_ENCODE_SLACK_BYTES = 1 << 20
_SLOW_PUT_SECONDS = 120.0
_FIRST_PAUSE_SECONDS = 0.2
_LONGEST_PAUSE_SECONDS = 10.0
_LONGEST_PAUSE_REFUSED_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FlusherSettings:
    """How to write objects."""

    writer: str
    body_mode: BodyMode
    zstd_level: int
    put_threads: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedSegment:
    """A durable object."""

    key: str
    size_bytes: int
    index: SegmentIndex
    first_buffered_at_ms: int
    durable_at_ms: int
    put_seconds: float


@dataclass(slots=True)
class StoreHealth:
    """What the store did lately, for health and status. Times are milliseconds since the epoch, 0 for never."""

    last_success_at_ms: int = 0
    failing_since_ms: int = 0
    failures: int = 0
    last_error: MirrorError | None = None
    unanswered: dict[int, float] = field(default_factory=dict)
    """Sequence → monotonic time (seconds) at which a put that has no answer yet began: a store that hangs fails nothing for long."""

    def silent_seconds(self) -> float:
        """How long the oldest put has waited for its answer."""
        return time.monotonic() - min(self.unanswered.values()) if self.unanswered else 0.0


@dataclass(slots=True)
class _Job:
    batch: FlushBatch
    sequence: int
    durable: asyncio.Future[SealedSegment] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Flusher:
    """Writes batches as objects, for as long as it takes.

    Args:
        repository: where to.
        budget: the second copy that encoding makes is counted here.
        settings: names and codecs.
        on_sealed: awaited for every durable object, in order of submission.
        on_attempt: told of every put: seconds and the error, None for success.
    """

    def __init__(
        self,
        repository: Repository,
        budget: MemoryBudget,
        settings: FlusherSettings,
        *,
        on_sealed: Callable[[SealedSegment], Awaitable[None]],
        on_attempt: Callable[[float, int, MirrorError | None], None] = lambda _seconds, _size, _error: None,
    ) -> None:
        self.health = StoreHealth()
        self._repository = repository
        self._budget = budget
        self._settings = settings
        self._on_sealed = on_sealed
        self._on_attempt = on_attempt
        self._sequence = 0
        self._durable_sequence = 0
        self._encoders = ThreadPoolExecutor(2, thread_name_prefix="encode")
        self._putters = ThreadPoolExecutor(settings.put_threads, thread_name_prefix="put")
        self._encoding = asyncio.Lock()
        self._slots = asyncio.Semaphore(settings.put_threads)
        self._bytes_back = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[_Job] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._teller = self._loop.create_task(self._tell_in_order(), name="flusher-tell")
        self._in_flight = 0
        self._putting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = False
        budget.add_listener(self._wake)

    @property
    def in_flight(self) -> int:
        """Batches that were submitted and are not told yet."""
        return self._in_flight

    @property
    def crashed(self) -> BaseException | None:
        """A bug, or a listener that raised: the worker must not go on as if nothing happened."""
        if self._teller.done() and not self._teller.cancelled():
            return self._teller.exception() or RuntimeError("the flusher ended")
        return None

    def submit(self, batch: FlushBatch) -> asyncio.Future[SealedSegment]:
        """Write a batch; the future is done when its object is durable (before it is told)."""
        self._sequence += 1
        job = _Job(batch, self._sequence)
        self._in_flight += 1
        self._idle.clear()
        self._queue.put_nowait(job)
        task = self._loop.create_task(self._write(job), name=f"flush-{job.sequence}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job.durable

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until everything is told; False where that took longer."""
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Give up what is not durable yet; the next owner of the partitions fetches it again."""
        self._stopping = True
        for task in [*self._tasks, self._teller]:
            task.cancel()
        await asyncio.gather(*self._tasks, self._teller, return_exceptions=True)
        self._encoders.shutdown(wait=False, cancel_futures=True)
        self._putters.shutdown(wait=False, cancel_futures=True)

    # --- one batch

    async def _write(self, job: _Job) -> None:
        try:
            async with self._slots:
                async with self._encoding:
                    lease = await self._reserve(job.batch.size_bytes + _ENCODE_SLACK_BYTES)
                    body, index = await self._loop.run_in_executor(self._encoders, self._encode, job)
                first_buffered_at_ms = job.batch.first_buffered_at_ms
                job.batch = FlushBatch([], [], [])  # the fetched bytes go back to the budget here
                self._putting += 1
                try:
                    sealed = await self._put(body, index, first_buffered_at_ms)
                finally:
                    self._putting -= 1
                del body, lease
            job.durable.set_result(sealed)
        except asyncio.CancelledError:
            job.durable.cancel()
            raise
        except BaseException as error:  # noqa: BLE001 - whoever waits must learn of a bug
            if not job.durable.done():
                job.durable.set_exception(error)

    def _encode(self, job: _Job) -> tuple[bytes, SegmentIndex]:
        batch = job.batch
        runs = []
        parts: list[bytes | memoryview] = []
        position = HEADER_BYTES
        for draft in batch.drafts:
            entry, stored = encode_run(
                draft,
                position=position,
                mode=self._settings.body_mode,
                zstd_level=self._settings.zstd_level,
                run_blocks=lambda jobs: _in_threads(self._encoders, jobs),
            )
            runs.append(entry)
            parts += stored
            position += entry.stored_bytes
        identity = self._repository.identity
        index = SegmentIndex(
            format_version=FORMAT_VERSION,
            repository_id=identity.repository_id,
            cluster_id=identity.cluster_id,
            writer=self._settings.writer,
            sequence=job.sequence,
            sealed_at_ms=batch.looked_at_ms or _now_ms(),
            durable_sequence=self._durable_sequence,
            runs=runs,
            starts=batch.starts,
            gaps=batch.gaps,
            forks=batch.forks,
        )
        return encode_object(parts, index), index

    async def _reserve(self, size_bytes: int) -> Lease:
        # What is being put leaves sooner or later. With nothing on its way a batch may pass the ceiling: otherwise one giant record
        # batch could stop everything for ever.
        while not self._budget.try_take(size_bytes):
            if self._putting == 0:
                self._budget.take(size_bytes)
                break
            self._bytes_back.clear()
            await self._bytes_back.wait()
        return Lease(self._budget, size_bytes, taken=True)

    async def _put(self, body: bytes, index: SegmentIndex, first_buffered_at_ms: int) -> SealedSegment:
        store = self._repository.store
        attempt = 0
        while True:
            attempt += 1
            # The name tells when this attempt began: roll-ups rely on no object appearing long after its name's time.
            key = format_segment_key(SegmentKey(_now_ms(), self._settings.writer, index.sequence))
            begun = self.health.unanswered[index.sequence] = time.monotonic()
            try:
                await self._loop.run_in_executor(self._putters, store.put, key, body)
            except MirrorError as error:
                seconds = time.monotonic() - begun
                self._on_attempt(seconds, len(body), error)
                del self.health.unanswered[index.sequence]
                await self._after_failure(attempt, key, error)
                continue
            finally:
                self.health.unanswered.pop(index.sequence, None)
            seconds = time.monotonic() - begun
            self._on_attempt(seconds, len(body), None)
            if seconds > _SLOW_PUT_SECONDS:
                log.warning(
                    "put of %s took %.0f s: put again under a new name, so that no roll-up misses it", key, seconds
                )
                continue
            self._succeeded()
            return SealedSegment(
                key=key,
                size_bytes=len(body),
                index=index,
                first_buffered_at_ms=first_buffered_at_ms,
                durable_at_ms=_now_ms(),
                put_seconds=seconds,
            )

    async def _after_failure(self, attempt: int, key: str, error: MirrorError) -> None:
        health = self.health
        health.failures += 1
        health.last_error = error
        health.failing_since_ms = health.failing_since_ms or _now_ms()
        if attempt in (1, 5) or attempt % 20 == 0:
            hint = f" ({error.hint})" if error.hint else ""
            log.error("put of %s failed, attempt %d, tried again until it succeeds: %s%s", key, attempt, error, hint)
        longest = _LONGEST_PAUSE_SECONDS if error.transient else _LONGEST_PAUSE_REFUSED_SECONDS
        await asyncio.sleep(min(_FIRST_PAUSE_SECONDS * 2 ** min(attempt - 1, 10), longest))

    def _succeeded(self) -> None:
        if self.health.failing_since_ms:
            seconds = (_now_ms() - self.health.failing_since_ms) / 1000
            log.warning("the store takes objects again after %.1f s", seconds)
        self.health.failing_since_ms = 0
        self.health.last_success_at_ms = _now_ms()

    # --- telling

    async def _tell_in_order(self) -> None:
        while True:
            job = await self._queue.get()
            sealed = await job.durable
            self._durable_sequence = job.sequence
            await self._on_sealed(sealed)
            self._in_flight -= 1
            if self._in_flight == 0:
                self._idle.set()

    def _wake(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._bytes_back.set)


def _in_threads(executor: Executor, jobs: Sequence[Callable[[], tuple[bytes, int]]]) -> Iterable[tuple[bytes, int]]:
    """Half of the jobs here, half in another thread: this runs inside the executor, so it waits for one of its threads only."""
    if len(jobs) < 2:
        return [job() for job in jobs]
    middle = len(jobs) // 2
    second = executor.submit(lambda: [job() for job in jobs[middle:]])
    first = [job() for job in jobs[:middle]]
    return first + second.result()


def _now_ms() -> int:
    return int(time.time() * 1000)
