"""The backup of the partitions that are assigned to this worker, from positions to durable objects.

::

    assigned ─ resolver ─ seek ─▶ SourceFetcher ─ slices ─▶ (Faust stream, agent) ─▶ Collector ─ flush ─▶ Flusher ─▶ store
                                       ▲                                                │ hole: seek                │
                                       └────────────────────────────────────────────────┘          on_sealed ◀──────┘

Everything here runs in one event loop and knows nothing of Faust.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from mirror.core.positions import PartitionId, TopicPartition, Watermarks
from mirror.core.segment.index import StartEntry
from mirror.core.slices import FetchSlice
from mirror.errors import MirrorError
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.fetch_settings import FetchSettings
from mirror.kafka.memory_budget import MemoryBudget
from mirror.kafka.source_fetcher import SourceFetcher
from mirror.kafka.source_state import FetchPosition, Notice
from mirror.service.backup.ages import BehindTracker
from mirror.service.backup.collector import Collector, FlushBatch, Verdict
from mirror.service.backup.counters import BackupCounters
from mirror.service.backup.flusher import Flusher, SealedSegment
from mirror.service.backup.group_intake import GroupIntake
from mirror.service.backup.lost_slices import LostSlices
from mirror.service.backup.notices import NoticeHandler
from mirror.service.backup.quiet import quiet_since, say_while_quiet
from mirror.service.backup.resolver import PositionResolver

__all__ = ["BackupPipeline", "PipelineSettings"]

log = logging.getLogger(__name__)

_RESOLVE_PAUSE_SECONDS = 1.0
_AGES_EVERY_SECONDS = 1.0
_BACKLOG_LOOK_MS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSettings:
    """When to flush."""

    flush_interval_ms: int
    flush_bytes: int
    put_threads: int
    idle_interval_ms: int


class BackupPipeline:
    """See the module.

    Args:
        view: topics and leaders of the source cluster.
        budget: the worker's memory.
        fetch: how to fetch.
        settings: when to flush.
        make_flusher: given the callback for durable objects.
        make_resolver: given the function that makes starts durable.
        on_sealed: awaited for each durable object, in order.
        intake: what of the group log is not stored.
    """

    def __init__(
        self,
        view: ClusterView,
        budget: MemoryBudget,
        fetch: FetchSettings,
        settings: PipelineSettings,
        *,
        make_flusher: Callable[[Callable[[SealedSegment], Awaitable[None]]], Flusher],
        make_resolver: Callable[[Callable[[list[StartEntry]], Awaitable[None]]], PositionResolver],
        on_sealed: Callable[[SealedSegment], Awaitable[None]],
        intake: GroupIntake,
    ) -> None:
        self.counters = BackupCounters()
        self.intake = intake
        self.budget = budget
        self.view = view
        self.collector = Collector()
        self.flusher = make_flusher(self._sealed)
        self.resolver = make_resolver(self._put_starts)
        self.fetcher = SourceFetcher(
            view,
            budget,
            fetch,
            on_notice=self._on_notice,
            on_full=self._memory_is_full,
            nothing_will_leave=lambda: not self.collector.first_buffered_at_ms and not self.flusher.in_flight,
        )
        self._notices = NoticeHandler(
            self.collector,
            self.counters,
            seek_to_buffer=self._seek_to_buffer,
            resolve_again=self._resolve_again,
            flush_soon=self._flush_soon,
        )
        self.assignment_epoch = 0
        self.ages_ms: dict[TopicPartition, int] = {}
        self.blocked_since_ms: dict[TopicPartition, int] = {}
        self.resolving: set[TopicPartition] = set()
        self._settings = settings
        self._tell_sealed = on_sealed
        self._owned: set[TopicPartition] = set()
        self._must_read_store = True
        self._trackers: dict[TopicPartition, BehindTracker] = {}
        self._lost = LostSlices()
        self._gate = asyncio.Event()
        self._flush_now = asyncio.Event()
        self._backlog = False
        self._stopping = False
        self._assigning: asyncio.Task[None] | None = None
        self._tasks = [
            asyncio.create_task(self.fetcher.run(), name="source-fetcher"),
            asyncio.create_task(self._flush_loop(), name="flush-loop"),
            asyncio.create_task(self._age_loop(), name="age-loop"),
            asyncio.create_task(say_while_quiet(self.flusher, self._quiet_since, settings.idle_interval_ms)),
        ]

    # --- assignment

    @property
    def owned(self) -> set[TopicPartition]:
        """The source partitions that are assigned to this worker."""
        return self._owned

    def revoked(self) -> None:
        """A rebalance begins: fetching stops; buffers wait, since most partitions come back."""
        self.assignment_epoch += 1
        self._gate.clear()
        self.fetcher.clear()
        if self._assigning is not None:
            self._assigning.cancel()

    def assigned(self, tps: set[TopicPartition]) -> None:
        """The source partitions that are ours now. Their positions are resolved at once, and sought once :meth:`release` was called."""
        self.assignment_epoch += 1
        self.counters.rebalances += 1
        self._gate.clear()
        self.fetcher.clear()
        # Stays true until it was done: an assignment may be cut short by the next one, to which the same partitions are nothing new.
        self._must_read_store = self._must_read_store or bool(tps - self._owned)
        lost = self._owned - tps
        self.collector.retire({tp for tp in lost if self.view.topic_id(tp.topic) is None})
        dropped = self.collector.forget(lost)
        if dropped:
            log.info(
                "%d bytes of %d revoked partitions were not flushed: their new owner fetches them", dropped, len(lost)
            )
        self._owned = set(tps)
        for tp in lost:
            self._trackers.pop(tp, None)
            self.ages_ms.pop(tp, None)
            self.blocked_since_ms.pop(tp, None)
        if self._assigning is not None:
            self._assigning.cancel()
        self._assigning = asyncio.create_task(self._assign(self.assignment_epoch, set(tps)), name="assign")

    def release(self) -> None:
        """The rebalance is over: what is delivered from now on arrives."""
        self._gate.set()

    async def _assign(self, epoch: int, tps: set[TopicPartition]) -> None:
        """Seek every partition once its position is known. One that cannot be resolved never stops the others."""
        self.resolving = set(tps)
        while self.resolving and epoch == self.assignment_epoch:
            try:
                if self._must_read_store:
                    await self.resolver.load()
                    self._must_read_store = False
                # Before the rebalance is over the table is not recovered, and what arrives may be dropped.
                await self._gate.wait()
                found = await self.resolver.resolve(set(self.resolving))
            except MirrorError as error:
                self.counters.resolve_failures += 1
                log.error("positions of %d partitions are not known yet, tried again: %s", len(self.resolving), error)
                await asyncio.sleep(_RESOLVE_PAUSE_SECONDS)
                continue
            if epoch != self.assignment_epoch:
                return
            for tp, position in found.items():
                self._seek(tp, position)
                self.resolving.discard(tp)
            if self.resolving:
                await asyncio.sleep(_RESOLVE_PAUSE_SECONDS)
                await self._refresh_view({tp.topic for tp in self.resolving})

    async def _refresh_view(self, topics: set[str]) -> None:
        try:
            await self.view.refresh(topics)
        except MirrorError as error:
            log.warning("no metadata: %s", error)

    def _seek(self, tp: TopicPartition, position: FetchPosition) -> None:
        buffer = self.collector.expect(
            tp, position.topic_id, position.offset, position.leader_epoch, self.assignment_epoch
        )
        self.fetcher.seek(
            tp, FetchPosition(buffer.topic_id, buffer.expected, buffer.leader_epoch), self.assignment_epoch
        )

    def _seek_to_buffer(self, tp: TopicPartition) -> None:
        buffer = self.collector.buffers.get(tp)
        if buffer is not None:
            buffer.seeking = True
            self.fetcher.seek(
                tp, FetchPosition(buffer.topic_id, buffer.expected, buffer.leader_epoch), self.assignment_epoch
            )

    # --- slices

    def add(self, piece: FetchSlice) -> Verdict:
        """A slice that came through the stream. Never blocks."""
        piece, is_quiet = self.intake.take_in(piece)
        verdict = self.collector.add(piece, is_quiet=is_quiet)
        counters = self.counters
        if verdict is Verdict.ACCEPTED:
            counters.slices += 1
            counters.fetched_bytes += piece.size_bytes
            if self.collector.size_bytes >= self._settings.flush_bytes:
                self._flush_soon()
        elif verdict is Verdict.HOLE:
            buffer = self.collector.buffers[piece.topic_partition]
            if not buffer.seeking:
                counters.holes += 1
                log.info(
                    "%s: slice [%d, %d) came, %d was expected: fetched again",
                    piece.topic_partition,
                    piece.start_offset,
                    piece.next_offset,
                    buffer.expected,
                )
                self._seek_to_buffer(piece.topic_partition)
        else:
            counters.stale_slices += 1
        return verdict

    def _on_notice(self, notice: Notice) -> None:
        if notice.assignment_epoch == self.assignment_epoch:
            self._notices.handle(notice)

    def _resolve_again(self, tp: TopicPartition) -> None:
        self.fetcher.drop(tp)
        self.resolving.add(tp)
        if self._assigning is None or self._assigning.done():
            self._assigning = asyncio.create_task(
                self._assign(self.assignment_epoch, self.resolving), name="assign-again"
            )

    # --- flushing

    async def _put_starts(self, starts: list[StartEntry]) -> None:
        await self.flusher.submit(FlushBatch([], [], [], starts))

    def _flush_soon(self) -> None:
        self._flush_now.set()

    def _memory_is_full(self) -> None:
        # What is on its way to the store frees memory by itself; flushing now would only cut what comes next into small objects.
        if not self.flusher.in_flight:
            self._flush_soon()

    def _is_at_end(self) -> bool:
        """Whether every log is collected up to its end, as far as the last answers tell."""
        for tp, source in self.fetcher.sources.items():
            buffer = self.collector.buffers.get(tp)
            if source.watermarks is None or buffer is None or buffer.expected < source.watermarks.last_stable_offset:
                return False
        return True

    async def _flush_loop(self) -> None:
        interval = self._settings.flush_interval_ms
        while True:
            first = self.collector.first_buffered_at_ms
            wait_ms = first + interval - int(time.time() * 1000) if first else 1000
            # After a backlog the rest goes as soon as the end is reached: its age is no reason to wait.
            if wait_ms > 0 and not (self._backlog and first and self._is_at_end()):
                try:
                    longest_ms = _BACKLOG_LOOK_MS if self._backlog else 1000
                    await asyncio.wait_for(self._flush_now.wait(), min(wait_ms, longest_ms) / 1000)
                except TimeoutError:
                    continue
            self._flush_now.clear()
            # While the store is slow, more of the same age goes into fewer objects; a full buffer always goes.
            if self.flusher.in_flight >= self._settings.put_threads and not self._must_flush():
                await asyncio.sleep(0.05)
                continue
            # Behind at a flush by size means a backlog; a steady load that fills a buffer is at the end of its logs.
            self._backlog = self._must_flush() and not self._is_at_end()
            self._flush()

    def _quiet_since(self, now_ms: int) -> int | None:
        return None if self.resolving else quiet_since(self._owned, self.fetcher.sources, self.collector, now_ms)

    def _must_flush(self) -> bool:
        return self.collector.size_bytes >= self._settings.flush_bytes

    def _flush(self) -> None:
        batch = self.collector.take()
        if batch:
            self.flusher.submit(batch)

    async def _sealed(self, sealed: SealedSegment) -> None:
        counters = self.counters
        counters.objects += 1
        counters.stored_bytes += sealed.size_bytes
        counters.records += sum(run.record_count for run in sealed.index.runs)
        self.resolver.fold(sealed.index)
        await self._tell_sealed(sealed)

    # --- ages

    def safe_offset(self, tp: TopicPartition, topic_id: str) -> int:
        """How far a partition is durable, or quiet: nothing of what follows up to here must be stored."""
        durable = self.resolver.durable_offset(PartitionId(topic_id, tp.partition))
        buffer = self.collector.buffers.get(tp)
        if buffer is None or buffer.topic_id != topic_id or durable < buffer.loud_offset:
            return durable
        return max(durable, buffer.expected)

    async def _age_loop(self) -> None:
        while True:
            await asyncio.sleep(_AGES_EVERY_SECONDS)
            now_ms = int(time.time() * 1000)
            for tp, source in self.fetcher.sources.items():
                if source.watermarks is None:
                    continue
                durable = self.safe_offset(tp, source.topic_id)
                buffer = self.collector.buffers.get(tp)
                if buffer is not None:
                    buffer.observe(source.watermarks)
                # Everything is safe, and was when we last looked: thousands of partitions are idle.
                if durable >= source.watermarks.high_watermark and self.ages_ms.get(tp) == 0:
                    continue
                tracker = self._trackers.setdefault(tp, BehindTracker())
                # Up to the high watermark: what an open transaction holds back is not safe either.
                self.ages_ms[tp] = tracker.observe(source.watermarks.high_watermark, durable, now_ms)
                self._observe_transaction(tp, source.watermarks, source.position, now_ms)
                if buffer is not None and self._lost.are_certain(tp, source.position, buffer.expected):
                    self.counters.holes += 1
                    log.warning(
                        "%s: [%d, %d) was fetched and never came: fetched again", tp, buffer.expected, source.position
                    )
                    self._seek_to_buffer(tp)
            self._lost.keep(self.fetcher.sources.keys())

    def _observe_transaction(self, tp: TopicPartition, watermarks: Watermarks, position: int, now_ms: int) -> None:
        """Since when an open transaction holds a partition back; a rebalance does not begin this anew."""
        if position >= watermarks.last_stable_offset and watermarks.last_stable_offset < watermarks.high_watermark:
            self.blocked_since_ms.setdefault(tp, now_ms)
        else:
            self.blocked_since_ms.pop(tp, None)

    # --- ending

    @property
    def crashed(self) -> BaseException | None:
        """Why the pipeline cannot go on, if it cannot: the worker must crash, never sit idle."""
        for task in [*self._tasks, *([self._assigning] if self._assigning else [])]:
            if task.done() and not task.cancelled():
                error = task.exception()
                if error is not None:
                    return error
        return self.flusher.crashed

    async def drain(self, timeout_seconds: float, *, queue_is_empty: Callable[[], bool]) -> bool:
        """Stop fetching, flush what is here, wait until it is durable and told.

        Args:
            timeout_seconds: for all of it.
            queue_is_empty: whether everything delivered has reached :meth:`add`.

        Returns:
            Whether everything is durable; what is not, the next owner fetches again.
        """
        deadline = time.monotonic() + timeout_seconds
        self.fetcher.clear()
        if self._assigning is not None:
            self._assigning.cancel()
        while not queue_is_empty() and time.monotonic() < deadline:  # noqa: ASYNC110 - Faust's queue tells nobody
            await asyncio.sleep(0.01)
        self._flush()
        return await self.flusher.drain(max(0.0, deadline - time.monotonic()))

    async def close(self) -> None:
        """Stop everything."""
        tasks = [*self._tasks, *([self._assigning] if self._assigning else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.flusher.close()
