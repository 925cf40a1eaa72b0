"""Fetches source partitions as slices: one request per broker at a time, by topic id, stopping at the last stable offset.

It never decides a position: out of range, a fork or a lost incarnation is a :class:`~mirror.kafka.source_state.Notice` to the owner, who
seeks. Trouble with one partition never stops the others; trouble with a broker is retried for ever. Everything runs in one event loop.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable

from mirror.core.positions import TopicPartition, Watermarks
from mirror.core.slices import FetchSlice, read_slice
from mirror.errors import DamageError, MirrorError, UnsupportedFormatError
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.fetch_requests import RequestMaker
from mirror.kafka.fetch_settings import FetchSettings, FetchStatistics
from mirror.kafka.memory_budget import Lease, MemoryBudget
from mirror.kafka.source_state import FetchPosition, Notice, SourcePartition
from mirror.kafka.source_troubles import SourceTroubles
from mirror.kafka.wire.fetch import FetchedPartition, FetchResponse, fetch_encoded

__all__ = ["SourceFetcher"]

log = logging.getLogger(__name__)

_REPLICA_SECONDS = 300.0
_PAUSE_SECONDS = 0.2
_IDLE_AFTER_SECONDS = 5.0
_HELD_SECONDS = 3.0


class SourceFetcher:
    """Fetches what it is told to, from where it is told to, as fast as the memory budget lets it.

    Args:
        view: topics and leaders.
        budget: a full one stops fetching; ``on_full`` is told, since only a flush empties it.
        settings: sizes and manners.
        on_notice: told, in this loop, what only the owner of positions can decide.
        on_full: see ``budget``.
        nothing_will_leave: whether no bytes wait for a flush or for the store.
    """

    def __init__(
        self,
        view: ClusterView,
        budget: MemoryBudget,
        settings: FetchSettings,
        *,
        on_notice: Callable[[Notice], None],
        on_full: Callable[[], None] = lambda: None,
        nothing_will_leave: Callable[[], bool] = lambda: False,
    ) -> None:
        self.view = view
        self.statistics = FetchStatistics()
        self.started_at = time.monotonic()
        self._budget = budget
        self._settings = settings
        self._on_full = on_full
        self._nothing_will_leave = nothing_will_leave
        self._loop = asyncio.get_running_loop()
        self._sources: dict[TopicPartition, SourcePartition] = {}
        self._ready: dict[TopicPartition, deque[FetchSlice]] = {}
        self._ready_event = asyncio.Event()
        self._wake = asyncio.Event()
        self._nodes: dict[int, asyncio.Task[None]] = {}
        self._next_read_at = 0.0
        self._last_data_at = time.monotonic()
        self._stale: set[str] = set()
        self._held_since = 0.0
        self._troubles = SourceTroubles(
            view,
            is_current=lambda source: self._sources.get(source.topic_partition) is source,
            on_notice=on_notice,
            on_stale=self._note_stale,
            on_wake=self._wake_all,
        )
        budget.add_listener(self._bytes_came_back)

    # --- the owner's side

    def clear(self) -> None:
        """Forget every partition and every slice that was not taken: a rebalance has begun."""
        self._sources.clear()
        self._ready.clear()
        self._ready_event.clear()

    def seek(self, tp: TopicPartition, to: FetchPosition, assignment_epoch: int) -> None:
        """Fetch ``tp`` from there; what was fetched of it before and not taken is dropped."""
        old = self._sources.get(tp)
        source = SourcePartition(tp, to.topic_id, assignment_epoch, to.offset, to.leader_epoch)
        if old is not None and old.topic_id == to.topic_id:
            source.held = old.held
            source.watermarks = old.watermarks
        self._sources[tp] = source
        self._drop_ready(tp)
        self._wake_all()

    def drop(self, tp: TopicPartition) -> None:
        """Stop fetching ``tp``."""
        self._sources.pop(tp, None)
        self._drop_ready(tp)

    def hold(self, tp: TopicPartition) -> None:
        """Fetch no more of ``tp`` until it is released: its buffer is full."""
        source = self._sources.get(tp)
        if source is not None:
            source.held = True

    def release(self, tp: TopicPartition) -> None:
        """Go on with ``tp``."""
        source = self._sources.get(tp)
        if source is not None and source.held:
            source.held = False
            self._wake_all()

    def take(self, tps: Iterable[TopicPartition] | None = None) -> dict[TopicPartition, list[FetchSlice]]:
        """The slices that are ready, in order per partition; of ``tps`` only, if given."""
        wanted = list(self._ready) if tps is None else [tp for tp in tps if tp in self._ready]
        taken = {tp: list(self._ready.pop(tp)) for tp in wanted}
        for tp in taken:
            source = self._sources.get(tp)
            if source is not None:
                source.queued_bytes = 0
        if not self._ready:
            self._ready_event.clear()
        return taken

    async def wait_ready(self) -> None:
        """Wait until :meth:`take` would give something."""
        await self._ready_event.wait()

    @property
    def is_full(self) -> bool:
        """Whether nothing is fetched because the memory ceiling is reached."""
        return not self._budget.may_fetch(self._settings.max_bytes)

    @property
    def error_count(self) -> int:
        """Requests that failed and partitions that could not be read, since the start."""
        return self.statistics.failed_requests + self._troubles.errors

    @property
    def sources(self) -> dict[TopicPartition, SourcePartition]:
        """The partitions and their state; read only."""
        return self._sources

    async def run(self) -> None:
        """Fetch until cancelled. Ends with an exception only on a bug: then the worker must crash, not sit idle."""
        try:
            while True:
                self._start_missing_nodes()
                for node_id, task in list(self._nodes.items()):
                    if task.done():
                        del self._nodes[node_id]
                        task.result()
                await self._sleep(1.0)
        finally:
            for task in self._nodes.values():
                task.cancel()
            await asyncio.gather(*self._nodes.values(), return_exceptions=True)

    # --- per broker

    def _start_missing_nodes(self) -> None:
        leaderless: set[str] = set()
        now = time.monotonic()
        for tp, source in self._sources.items():
            leader = self.view.leader(tp)
            if leader is None or leader.topic_id != source.topic_id:
                if not source.waiting_for_owner and now >= source.retry_at:
                    leaderless.add(tp.topic)
            else:
                node_id = self._node_for(source, leader.node_id, now)
                if node_id not in self._nodes:
                    self._nodes[node_id] = self._loop.create_task(self._fetch_from(node_id), name=f"fetch-{node_id}")
        leaderless |= self._stale
        if leaderless and -1 not in self._nodes:
            self._stale.clear()
            self._nodes[-1] = self._loop.create_task(self._look_for_leaders(leaderless), name="fetch-leaders")

    def _node_for(self, source: SourcePartition, leader: int, now: float) -> int:
        if source.replica is not None and now < source.replica_until:
            return source.replica
        source.replica = None
        return leader

    async def _look_for_leaders(self, topics: set[str]) -> None:
        await self._refresh(topics)
        now = time.monotonic()
        for tp, source in list(self._sources.items()):
            if tp.topic in topics:
                self._troubles.check_incarnation(source)
                if self.view.leader(tp) is None:
                    source.retry_at = max(source.retry_at, now + _PAUSE_SECONDS)

    async def _fetch_from(self, node_id: int) -> None:
        """Fetch from one broker until it leads nothing of ours."""
        failures = 0
        requests = RequestMaker(self.view, self._settings)
        while True:
            await self._mind_the_rate()
            chosen = self._choose(node_id)
            if chosen is None:
                return
            if not chosen:
                await self._sleep(_PAUSE_SECONDS)
                continue
            reserve = self._settings.max_bytes
            if not self._budget.try_take(reserve, limit_bytes=self._budget.limit_bytes - self._budget.headroom_bytes):
                self._on_full()
                if not self._is_held_elsewhere():
                    await self._sleep(_PAUSE_SECONDS)
                    continue
                log.warning(
                    "%d bytes of memory are in use, and no flush will free them: fetching goes on past the ceiling",
                    self._budget.used_bytes,
                )
                self._budget.take(reserve)
            self._held_since = 0.0
            lease = Lease(self._budget, reserve, taken=True)
            try:
                is_idle = time.monotonic() - self._last_data_at > _IDLE_AFTER_SECONDS
                body = requests.body(chosen, is_idle=is_idle)
                response = await fetch_encoded(self.view.client, node_id, body, connection="sources")
            except MirrorError as error:
                failures += 1
                self.statistics.failed_requests += 1
                level = logging.WARNING if failures in (1, 10) or failures % 100 == 0 else logging.DEBUG
                log.log(level, "fetch from broker %d failed (%d in a row): %s", node_id, failures, error)
                del lease
                await asyncio.sleep(min(_PAUSE_SECONDS * 2 ** min(failures, 6), 5.0))
                await self._refresh({source.topic_partition.topic for source in chosen})
                continue
            failures = 0
            del lease  # what came is counted instead of what might have come
            self._handle(response, chosen)
            del response

    def _is_held_elsewhere(self) -> bool:
        """Whether the memory is full of what will not leave by a flush. Rather pass the ceiling by one answer than stand still for ever."""
        if self._ready or not self._nothing_will_leave():
            self._held_since = 0.0
            return False
        now = time.monotonic()
        self._held_since = self._held_since or now
        return now - self._held_since > _HELD_SECONDS

    def _choose(self, node_id: int) -> list[SourcePartition] | None:
        """What to ask this broker for now; None where it leads nothing of ours any more."""
        now = time.monotonic()
        mine = False
        chosen: list[SourcePartition] = []
        cap = self._settings.partition_bytes * 2
        for tp, source in self._sources.items():
            leader = self.view.leader(tp)
            if leader is None or leader.topic_id != source.topic_id:
                continue
            if self._node_for(source, leader.node_id, now) != node_id:
                continue
            mine = True
            if source.ready(now) and source.queued_bytes < cap:
                chosen.append(source)
        return chosen if mine else None

    # --- answers

    def _handle(self, response: FetchResponse, chosen: list[SourcePartition]) -> None:
        now = time.monotonic()
        now_ms = int(time.time() * 1000)
        self.statistics.requests += 1
        self.statistics.last_answer_at = now
        asked = {(source.topic_id, source.topic_partition.partition): source for source in chosen}
        if response.error_code:
            log.warning("fetch answered %s", kafka_error_to_ours(response.error_code, "fetch"))
        total = sum(len(answer.records) for answer in response.partitions)
        self.statistics.fetched_bytes += total
        if self._settings.max_read_bytes_per_second and total:
            self._next_read_at = max(now, self._next_read_at) + total / self._settings.max_read_bytes_per_second
        lease = Lease(self._budget, total) if total else None
        for answer in response.partitions:
            source = asked.get((answer.topic_id, answer.partition))
            if source is None or self._sources.get(source.topic_partition) is not source:
                continue
            if answer.error_code or answer.diverging_epoch is not None:
                self._troubles.handle(source, answer, now)
            else:
                self._handle_records(source, answer, lease, now, now_ms)
        if total:
            self._last_data_at = now
            # Whoever got data goes to the end of the next request: a broker fills its answers from the front.
            for answer in response.partitions:
                source = asked.get((answer.topic_id, answer.partition)) if len(answer.records) else None
                if source is not None and self._sources.get(source.topic_partition) is source:
                    self._sources[source.topic_partition] = self._sources.pop(source.topic_partition)

    def _handle_records(
        self, source: SourcePartition, answer: FetchedPartition, lease: Lease | None, now: float, now_ms: int
    ) -> None:
        if answer.preferred_read_replica >= 0:
            source.replica = answer.preferred_read_replica
            source.replica_until = now + _REPLICA_SECONDS
            self._wake_all()
        watermarks = Watermarks(
            fetched_at_ms=now_ms,
            log_start_offset=answer.log_start_offset,
            high_watermark=answer.high_watermark,
            last_stable_offset=answer.last_stable_offset,
        )
        source.watermarks = watermarks
        if not len(answer.records):
            return
        try:
            body = read_slice(answer.records, source.position, answer.aborted_transactions)
        except (DamageError, UnsupportedFormatError) as error:
            self._troubles.quarantine(source, error, now)
            return
        if lease is not None:
            lease.grow(body.columns.headers.nbytes + body.columns.position.nbytes)
        if body.next_offset == source.position:
            return  # only the start of a batch fitted; it comes whole once this partition is first in a request
        piece = FetchSlice(
            source.topic_partition.topic,
            source.topic_id,
            source.topic_partition.partition,
            source.assignment_epoch,
            source.position,
            body,
            watermarks,
            lease,
        )
        source.position = body.next_offset
        if piece.leader_epoch >= 0:
            source.leader_epoch = piece.leader_epoch
            source.check_epoch = True
        source.failures = 0
        source.quarantine = None
        source.queued_bytes += piece.size_bytes
        self.statistics.slices += 1
        self._ready.setdefault(source.topic_partition, deque()).append(piece)
        self._ready_event.set()

    # --- metadata

    def _note_stale(self, topic: str) -> None:
        self._stale.add(topic)
        self._wake_all()

    async def _refresh(self, topics: set[str]) -> None:
        try:
            await self.view.refresh(topics)
        except MirrorError as error:
            log.warning("no metadata: %s", error)
            await asyncio.sleep(1.0)

    # --- waiting

    def _drop_ready(self, tp: TopicPartition) -> None:
        self._ready.pop(tp, None)
        if not self._ready:
            self._ready_event.clear()

    async def _mind_the_rate(self) -> None:
        pause = self._next_read_at - time.monotonic()
        if pause > 0:
            await asyncio.sleep(pause)

    async def _sleep(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._wake.wait(), seconds)
        except TimeoutError:
            return

    def _wake_all(self) -> None:
        # Several loops wait on one event: a new one for the next time, so that none can clear it under another.
        self._wake.set()
        self._wake = asyncio.Event()

    def _bytes_came_back(self) -> None:
        # Called from any thread, also from a garbage collector: it must never raise.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._wake_all)
