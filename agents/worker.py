"""One worker process: prepare, run the Faust app, drain, end with an exit code."""

import asyncio
import contextlib
import gc
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from typing import Any

import faust
from faust.exceptions import ConsistencyError, ConsumerNotStarted
from faust.types import TP

from agents.app import MirrorApp, make_app
from agents.discovery import Discovery
from agents.gauges import Gauges
from agents.group_table import GroupTableWriter
from agents.health import Health
from agents.ledger import EventPublisher, ledger_key, row_position
from agents.own_topics import OwnTopics
from agents.table_folder import TableFolder, hold_data_dir
from agents.web import add_pages
from mirror.config import Config
from mirror.core.events import sealed_event
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.positions import PartitionId
from mirror.core.safe_positions import SafePosition
from mirror.errors import MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.fetch_settings import FetchSettings
from mirror.kafka.memory_budget import MemoryBudget
from mirror.metrics import WorkerMetrics
from mirror.service.backup.flusher import Flusher, FlusherSettings, SealedSegment
from mirror.service.backup.group_intake import GroupIntake
from mirror.service.backup.pipeline import BackupPipeline, PipelineSettings
from mirror.service.backup.resolver import PositionResolver
from mirror.service.backup.topic_recorder import TopicRecorder
from mirror.service.group_capture import GroupCapture
from mirror.service.group_following import GroupFollower
from mirror.service.group_poller import GroupPoller
from mirror.service.housekeeping import Housekeeper
from mirror.service.state_recorder import StateRecorder
from mirror.service.wiring import COMMAND_PATIENCE, connection_for, internal_topics, store_for
from mirror.storage.repository import Repository, open_repository
from mirror.storage.retrying import RetryingStore

__all__ = ["run"]

log = logging.getLogger(__name__)

_HEADROOM_SLACK_BYTES = 2 << 20
_RETRY_SECONDS = 2.0
_GOODBYE_SECONDS = 15.0
_GIVE_UP_SECONDS = 5.0


class _FaustWorker(faust.Worker):
    """Faust's worker without its own logging and its spinner."""

    def _setup_logging(self) -> None:
        return

    def setup_logging(self) -> None:
        """Ours is set up already, with redaction."""


def run(config: Config) -> int:
    """Run a worker until it is stopped; the exit code: 0 drained, 1 crashed or could not drain.

    Raises:
        MirrorError: it cannot start: no repository, another cluster's repository, rights, configuration.
    """
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    process = WorkerProcess(config)
    loop.run_until_complete(process.prepare())
    worker = _FaustWorker(process.app, loop=loop, quiet=True, loglevel=None, redirect_stdouts=False)
    worker.spinner = None
    _calm_the_collector()
    code: Any = 0
    try:
        worker.execute_from_commandline()
    except SystemExit as ended:
        code = ended.code
    except Exception as error:  # noqa: BLE001 - whatever ended Faust is told in a line, not as a traceback
        if isinstance(error, ConsistencyError):
            # The changelog is younger than our copy of the table (it was truncated). The copy is a cache: begin again without it.
            process.table_folder.discard()
            log.error(
                "the local copy of the table is ahead of its changelog: it was discarded, the worker starts again"
            )
            logging.shutdown()
            os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - this very command again
        log.critical("the worker crashed: %r", error)
        return 1
    if process.app.crash_reason_seen is not None or not process.drained:
        return 1
    return code if isinstance(code, int) else 0


def _calm_the_collector() -> None:
    """What is loaded by now stays: the cyclic collector need not look at it again with every thousand partitions that are answered for."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class WorkerProcess:
    """Everything of one worker. ``app`` and ``table_folder`` exist after :meth:`prepare`."""

    app: MirrorApp
    table_folder: TableFolder

    def __init__(self, config: Config) -> None:
        self.config = config
        self.drained = True
        self.metrics = WorkerMetrics()
        self.writer = secrets.token_hex(6)
        self._topics = internal_topics(config.worker.id)
        self._rules = config.worker.topic_filter(own_topics=frozenset(self._topics.values()))

    async def prepare(self) -> None:
        """Reach store and cluster, with patience for what passes, and put the parts together.

        Raises:
            MirrorError: what does not pass.
        """
        config = self.config
        self._held_data_dir = hold_data_dir(config.worker.data_dir)
        connection = connection_for(config.source_cluster)
        store = store_for(config.repository(), connections=config.worker.upload_threads + 20)
        repository = await _with_patience(lambda: asyncio.to_thread(open_repository, store), "the repository")
        client: MirrorClient = await _with_patience(lambda: open_client(connection), "the source cluster")
        view = ClusterView(client)
        await _with_patience(view.refresh, "the source cluster")
        repository.require_cluster(view.cluster_id)
        admin = Admin(connection, client)
        replication = config.worker.internal_topic_replication or min(3, view.broker_count)
        self._own_topics = OwnTopics(self._topics, admin, view, replication)
        await _with_patience(self._own_topics.ensure, "the source cluster, for the mirror's own topics")
        await _with_patience(view.refresh, "the source cluster")
        self._groups = GroupCapture(config.worker.groups, client, config.worker.id)
        await _with_patience(lambda: self._groups.begin(admin, view, self._rules), "the source cluster")
        selected = self._rules.among(view.topics).select(view.topics)
        log.info(
            "worker %s of %s backs up %d of %d topics%s of cluster %s to %s",
            self.writer,
            config.worker.id,
            len(selected),
            len(view.topics),
            " and the consumer groups" if self._groups.is_on or self._groups.is_polling else "",
            view.cluster_id,
            repository.address,
        )
        if not selected:
            log.warning("no topic matches the rules yet; new ones are looked for")
        changelogs = [view.topic_id(self._topics[purpose]) or "unknown" for purpose in ("ledger", "groups")]
        self.table_folder = TableFolder(config.worker.data_dir, ".".join(changelogs))
        self.app = make_app(
            config,
            connection,
            sources=self._groups.with_log(selected, view.topics),
            replication_factor=replication,
            table_store=self.table_folder.open(),
            table_path=self.table_folder.path,
        )
        self._assemble(repository, view, admin)

    def _assemble(self, repository: Repository, view: ClusterView, admin: Admin) -> None:
        worker = self.config.worker
        app = self.app
        headroom = min(worker.flush_bytes + _HEADROOM_SLACK_BYTES, worker.memory_bytes * 3 // 4)
        budget = MemoryBudget(worker.memory_bytes, headroom)
        rate = worker.max_read_bytes_per_second
        # A request is only sent when its whole answer fits: it must be able to, also in a small memory.
        fetch_bytes = min(16 << 20, (budget.limit_bytes - headroom) // (2 * max(1, view.broker_count)))
        fetch = FetchSettings(
            max_bytes=min(fetch_bytes, max(64 << 10, rate)) if rate else fetch_bytes,
            partition_bytes=min(4 << 20, fetch_bytes),
            wait_ms=min(500, max(50, worker.flush_interval_ms // 4)),
            max_read_bytes_per_second=rate,
            rack=app.connection.client_rack,
        )
        # Reading is repeated in place; a put that fails is told at once, and repeated by the flusher under a name of its time.
        reading = Repository(RetryingStore(repository.store, COMMAND_PATIENCE), repository.identity)
        self.repository = repository
        self.publisher = EventPublisher(self._send_event)
        self.recorder = TopicRecorder(reading, admin, lambda topic_id: self.pipeline.resolver.stored_at_start(topic_id))
        self.pipeline = BackupPipeline(
            view,
            budget,
            fetch,
            PipelineSettings(
                flush_interval_ms=worker.flush_interval_ms,
                idle_interval_ms=max(worker.idle_interval_ms, worker.flush_interval_ms),
                flush_bytes=worker.flush_bytes,
                put_threads=worker.upload_threads,
            ),
            make_flusher=lambda on_sealed: Flusher(
                repository,
                budget,
                FlusherSettings(
                    writer=self.writer,
                    body_mode=worker.body_codec,  # type: ignore[arg-type]
                    zstd_level=worker.zstd_level,
                    put_threads=worker.upload_threads,
                ),
                on_sealed=on_sealed,
                on_attempt=self._put_attempted,
            ),
            make_resolver=lambda put_starts: PositionResolver(
                reading,
                view,
                look_up=self._look_up,
                put_starts=put_starts,
                start=worker.start,  # type: ignore[arg-type]
            ),
            on_sealed=self._sealed,
            intake=GroupIntake(self._groups.own_groups),
        )
        self.discovery = Discovery(
            app,
            view,
            self._rules,
            self._groups,
            interval_seconds=worker.discovery_interval_ms / 1000,
            on_topics=self._record_topics,
        )
        self.health = Health(app, self.pipeline, self.discovery, self.publisher)
        self.gauges = Gauges(self.metrics, self.pipeline, self.publisher, self.discovery, self.recorder)
        add_pages(app, self.metrics, self.gauges, self.health, repository.identity.repository_id)
        app.pipeline = self.pipeline
        follower = GroupFollower(reading)
        app.group_writer = GroupTableWriter(
            app.groups,
            repository.identity.repository_id,
            lambda events: asyncio.to_thread(follower.follow, events),
            follower.forget,
        )
        app.on_end = self._end
        state = StateRecorder(reading, app.connection, admin)
        poller = GroupPoller(app.connection, self.pipeline.flusher.submit, worker.flush_interval_ms / 1000)
        loop = asyncio.get_running_loop()
        watch = loop.create_task(self._watch(), name="watch")
        watch.add_done_callback(self._watch_ended)
        self._tasks = [
            watch,
            loop.create_task(self._discover(), name="discover"),
            loop.create_task(poller.run(self._poll_term, lambda: self._groups.own_groups), name="poll-groups"),
            loop.create_task(Housekeeper(reading, self.writer).run(self._keeps_house), name="housekeeping"),
            loop.create_task(state.run(view, self._keeps_house, worker.discovery_interval_ms / 1000), name="state"),
        ]

    # --- durable objects

    async def _sealed(self, sealed: SealedSegment) -> None:
        """Order of effects: the object is durable → event (→ table) → Kafka's committed offset."""
        self.publisher.publish(sealed_event(sealed.key, sealed.size_bytes, sealed.index))
        for run in sealed.index.runs:
            if run.topic == GROUP_LOG_TOPIC:
                continue  # a commit for it would be a record of it
            safe = self.pipeline.resolver.safe_position(run.partition_id)
            if safe is not None and run.topic_partition in self.pipeline.owned:
                self.app.consumer.mark_durable(run.topic_partition, safe.next_offset)

    async def _send_event(self, key: str, value: bytes) -> None:
        # Not through Faust's topic: each refused event would leave a future there whose error is logged with a traceback.
        sending = self.app.producer.send_and_wait(self._topics["sealed"], key.encode(), value, None, None, None)
        await asyncio.wait_for(sending, 60.0)

    def _look_up(self, partition_id: PartitionId) -> SafePosition | None:
        return row_position(self.app.ledger.get(ledger_key(partition_id)), self.repository.identity.repository_id)

    def _put_attempted(self, seconds: float, _size_bytes: int, error: MirrorError | None) -> None:
        self.metrics.put_seconds.labels("ok" if error is None else "failed").observe(seconds)
        if error is not None:
            self.metrics.errors.labels("store").inc()

    # --- background

    async def _watch(self) -> None:
        """A worker that cannot go on crashes at once: an idle one that looks healthy is worse."""
        while True:
            await asyncio.sleep(1.0)
            self.health.observe()
            reason = self.pipeline.crashed or self._coordinator_error()
            for task in self._tasks[1:]:
                if task.done() and not task.cancelled():
                    reason = reason or task.exception()
            if reason is not None:
                self.app.crash_soon(reason)

    def _watch_ended(self, watch: "asyncio.Task[None]") -> None:
        if not watch.cancelled():
            self.app.crash_soon(watch.exception() or RuntimeError("the watch ended"))

    def _coordinator_error(self) -> BaseException | None:
        # Faust never asks aiokafka's coordinator whether it gave up.
        thread = getattr(self.app.consumer, "_thread", None) if self.app._consumer is not None else None
        consumer = getattr(thread, "_consumer", None)
        coordinator = getattr(consumer, "_coordinator", None)
        error: BaseException | None = getattr(coordinator, "_pending_exception", None)
        return error

    async def _discover(self) -> None:
        await self._record_topics([])
        await self.discovery.run()

    async def _record_topics(self, selected: list[str]) -> None:
        """Each worker captures the topics of which it has the first partition."""
        topics = self.pipeline.view.topics
        self.pipeline.intake.know(self._groups.own_groups)
        if self._own_topics.are_missing:
            log.error("topics of the mirror itself are gone: they are created anew, backup goes on")
            await self._own_topics.ensure()
        mine = {tp.topic for tp in self.pipeline.owned if tp.partition == 0}
        if topics:
            await self.recorder.record([topics[name] for name in sorted(mine) if name in topics], present=topics)

    def _keeps_house(self) -> bool:
        """Of several workers one makes the caches for readers and captures the cluster's state."""
        if self.app.rebalancing or self.app._consumer is None:
            return False
        with contextlib.suppress(ConsumerNotStarted):
            return TP(self._topics["sealed"], 0) in self.app.consumer.assignment()
        return False

    def _poll_term(self) -> int | None:
        """Another worker may have polled since this was another number."""
        return self.pipeline.assignment_epoch if self._groups.is_polling and self._keeps_house() else None

    # --- ending

    async def _end(self) -> None:
        """Drain within the deadline; what is not durable by then, the next owner fetches again."""
        for task in self._tasks:
            task.cancel()
        if self.app.crash_reason_seen is not None:
            self._leave_by_force(1, "after a crash")
            await self.pipeline.close()
            return
        begun = time.monotonic()
        timeout_s = self.config.worker.drain_timeout_ms / 1000
        self.drained = await self.pipeline.drain(timeout_s, queue_is_empty=self.app.slices_are_delivered)
        crashed = bool(self.app.crashed)
        if self.drained:
            # Faust and aiokafka then say goodbye to the brokers, and wait without limit for ones that are gone.
            self._leave_by_force(1 if crashed else 0, "everything is durable, but the brokers do not answer")
        else:
            self._leave_by_force(1, "with a put still running")
        left_s = max(0.5, timeout_s - (time.monotonic() - begun))
        if self.drained:
            if not await self.publisher.drain(min(left_s, 5.0)):
                log.warning("%d events were not sent: the next worker reads the store instead", self.publisher.unsent)
            with contextlib.suppress(Exception):
                await asyncio.wait_for(self.app.consumer.commit(), min(left_s, 5.0))
            log.info("drained in %.1f s", time.monotonic() - begun)
        else:
            log.error(
                "not everything was durable after %.0f s (%s): the next owner fetches it again",
                timeout_s,
                self.pipeline.flusher.health.last_error or "the store is slow",
            )
        await self.publisher.close()
        await self.pipeline.close()

    def _leave_by_force(self, code: int, why: str) -> None:
        """Neither a put that hangs in a thread nor brokers that are gone may keep the process from ending."""

        def leave() -> None:
            log.error("ended by force: %s", why)
            logging.shutdown()
            os._exit(code)

        timer = threading.Timer(_GOODBYE_SECONDS if code == 0 else _GIVE_UP_SECONDS, leave)
        timer.daemon = True
        timer.start()


async def _with_patience(attempt: Callable[[], Awaitable[Any]], what: str) -> Any:
    """Repeat for as long as the error may pass."""
    failures = 0
    while True:
        try:
            return await attempt()
        except MirrorError as error:
            if not error.transient:
                raise
            failures += 1
            if failures == 1 or failures % 30 == 0:
                log.error("%s cannot be reached, tried again: %s", what, error)
            await asyncio.sleep(_RETRY_SECONDS)
