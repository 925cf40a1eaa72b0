"""Our Faust transport: group membership and the mirror's own topics by aiokafka as ever, source topics as fetch slices of our own.

Every private of Faust and of aiokafka's consumer that the mirror relies on is in this module; tests/unit/test_seams.py fails when
one moves.

Facts this rests on (each was a bug first):

- Faust drops delivered messages silently in several cases while positions move on; therefore slices carry their offsets, and
  whoever collects them asks again from the end of what it has.
- Faust seeks to committed offsets after every rebalance: source partitions are hidden from that, and from aiokafka's fetcher.
- What arrives before ``App.on_rebalance_end`` may be dropped three ways: sources are sought only after it.
- An exception in aiokafka's background tasks is logged, and the worker then sits idle for ever: here it crashes.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from aiokafka import TopicPartition as KafkaTopicPartition
from aiokafka import errors as kafka_errors
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.structs import OffsetAndMetadata
from faust.transport.consumer import ensure_TP, ensure_TPset
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage

from mirror.core.group_log import OWN_COMMIT_METADATA
from mirror.core.positions import TopicPartition
from mirror.core.slices import FetchSlice
from mirror.kafka.client import MirrorClient
from mirror.kafka.connection import aiokafka_options

__all__ = ["Consumer", "Parcel", "Producer", "Transport"]

log = logging.getLogger(__name__)

_WAIT_MS = 500


class _PatientClient(MirrorClient):
    """For clients that Faust starts, once: brokers that go away in that moment would end the worker."""

    async def bootstrap(self) -> None:
        while True:
            try:
                return await super().bootstrap()
            except kafka_errors.KafkaConnectionError as error:
                log.warning("Kafka cannot be reached at the start, tried again: %s", error)
                await asyncio.sleep(1.0)


class _InternalView:
    """The assignment as aiokafka's fetcher may see it: without sources."""

    def __init__(self, assignment: Any, is_source: Any) -> None:
        self.tps = [tp for tp in assignment.tps if not is_source(tp.topic)]
        self.state_value = assignment.state_value


class InternalFetcher(Fetcher):
    """aiokafka's fetcher for the mirror's own topics only."""

    is_source: Any = None

    def _get_actions_per_node(self, assignment: Any) -> Any:
        return super()._get_actions_per_node(_InternalView(assignment, self.is_source))


class RebalanceListener(driver.ConsumerRebalanceListener):
    """Tells the pipeline, in the main loop, before Faust does anything."""

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> Any:
        consumer = self._thread.consumer
        self._thread.parent_loop.call_soon_threadsafe(consumer.app.sources_revoked)
        return super().on_partitions_revoked(revoked)

    async def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        app = self._thread.app
        sources = {TopicPartition(tp.topic, tp.partition) for tp in assigned if app.is_source(tp.topic)}
        self._thread.parent_loop.call_soon_threadsafe(app.sources_assigned, sources)
        await super().on_partitions_assigned(assigned)


class Thread(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer in its own thread: heartbeats go on whatever the main loop does."""

    async def on_start(self) -> None:
        self._consumer = self._create_consumer(loop=self.thread_loop)
        self.time_started = driver.monotonic()
        self._consumer._client.__class__ = _PatientClient  # never creates a topic that somebody deleted
        await self._consumer.start()
        fetcher = self._consumer._fetcher
        fetcher.__class__ = InternalFetcher
        fetcher.is_source = self.app.is_source
        fetcher._fetch_max_wait_ms = _WAIT_MS
        self._watch("aiokafka's fetcher", fetcher._fetch_task)
        self._watch("aiokafka's group coordinator", self._consumer._coordinator._coordination_task)

    def _create_worker_consumer(self, transport: Any) -> Any:
        # Faust knows fewer ways to log in than aiokafka; the options are set before the consumer connects.
        consumer = super()._create_worker_consumer(transport)
        options = aiokafka_options(self.app.connection)
        client = consumer._client
        client._security_protocol = options["security_protocol"]
        client._ssl_context = options["ssl_context"]
        if "sasl_mechanism" in options:
            client._sasl_mechanism = options["sasl_mechanism"]
            client._sasl_plain_username = options.get("sasl_plain_username")
            client._sasl_plain_password = options.get("sasl_plain_password")
            client._sasl_oauth_token_provider = options.get("sasl_oauth_token_provider")
        return consumer

    def _watch(self, name: str, task: "asyncio.Task[Any]") -> None:
        def ended(done: "asyncio.Task[Any]") -> None:
            consumer = self._consumer
            if consumer is None or consumer._closed or self.should_stop:
                return
            error = None if done.cancelled() else done.exception()
            reason = error or RuntimeError(f"{name} ended")
            log.critical("%s ended: %r", name, reason)
            app = self.app
            self.parent_loop.call_soon_threadsafe(app.crash_soon, reason)

        task.add_done_callback(ended)

    async def seek_to_committed(self) -> Mapping[Any, Any]:
        """Faust asks for it after every rebalance: internal topics only."""
        result: Mapping[Any, Any] = await self.call_thread(self._seek_internal)
        return result

    async def _seek_internal(self) -> dict[Any, Any]:
        consumer = self._ensure_consumer()
        tps = [tp for tp in consumer._subscription.assigned_partitions() if not self.app.is_source(tp.topic)]
        committed = await consumer._coordinator.fetch_committed_offsets(tps) if tps else {}
        out = {}
        for tp in tps:
            found = committed.get(tp)
            out[tp] = found.offset if found else None
            if found and found.offset > 0:
                consumer._fetcher.seek_to(tp, found.offset)
        return out

    async def _commit(self, offsets: Mapping[Any, int]) -> bool:
        # The stock one rebuilds the assignment for each partition, and crashes the worker on any error.
        consumer = self._ensure_consumer()
        assigned = consumer._subscription.assigned_partitions()
        wanted = {
            KafkaTopicPartition(tp.topic, tp.partition): OffsetAndMetadata(offset, OWN_COMMIT_METADATA)
            for tp, offset in offsets.items()
            if tp in assigned
        }
        if not wanted:
            return False
        try:
            await consumer.commit(wanted)
        except (kafka_errors.KafkaError, TimeoutError) as error:
            log.warning("group offsets were not committed, tried again with the next ones: %r", error)
            return False
        now = driver.monotonic()
        self.tp_last_committed_at.update({ensure_TP(tp): now for tp in wanted})
        return True

    def highwater(self, tp: Any) -> int:
        """Faust's monitor asks for every message."""
        if self.app.is_source(tp.topic):
            high: int = self.app.source_high_watermark(tp)
            return high
        try:
            found: int = super().highwater(tp)
        except AssertionError:  # a new subscription has just begun: nothing is assigned yet
            return 0
        return found


class _NoSourceReadOffset(defaultdict[Any, Any]):
    """Faust's «drop what was read before» must not apply to sources: after a seek backward it would drop silently."""

    def __init__(self, is_source: Any) -> None:
        super().__init__(lambda: None)
        self._is_source = is_source

    def __getitem__(self, tp: Any) -> Any:
        return None if self._is_source(tp.topic) else super().__getitem__(tp)


class Parcel:
    """A slice on its way through Faust, which keeps the last value until the next one comes, in several frames out of reach.

    What is taken out is in nobody else's hands: else the bytes of a whole fetch answer stay in memory and count, and with a small ceiling
    nothing is fetched ever again.
    """

    __slots__ = ("_piece",)

    def __init__(self, piece: FetchSlice) -> None:
        self._piece: FetchSlice | None = piece

    def take(self) -> FetchSlice | None:
        """The slice, once."""
        piece, self._piece = self._piece, None
        return piece


class Consumer(driver.Consumer):
    """Delivers slices of sources beside records of internal topics, and commits what is durable."""

    RebalanceListener = RebalanceListener

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._durable: dict[Any, int] = {}
        self._internal: asyncio.Future[Any] | None = None
        self._read_offset = _NoSourceReadOffset(self.app.is_source)

    def _new_consumer_thread(self) -> Thread:
        return Thread(self, loop=self.loop, beacon=self.beacon)

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> Any:
        is_source = self.app.is_source
        active = active_partitions or set()
        internal = {tp for tp in active if not is_source(tp.topic)}
        sources = len(internal) < len(active)
        pipeline = self.app.pipeline
        if pipeline is None or not sources:
            return await self._own_records(internal, timeout) if internal else await self._nothing(timeout)
        if not self.flow_active:
            return {}
        # The request for internal records outlives this call: cancelling it could lose what it has already taken.
        if self._internal is None and internal:
            self._internal = asyncio.ensure_future(self._own_records(internal, timeout))
        waits = [asyncio.ensure_future(pipeline.fetcher.wait_ready())]
        if self._internal is not None:
            waits.append(self._internal)
        try:
            await asyncio.wait(waits, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waits[0].cancel()
        records: dict[Any, Any] = {}
        if self._internal is not None and self._internal.done():
            done, self._internal = self._internal, None
            records.update(done.result())
        for tp, pieces in pipeline.fetcher.take().items():
            records[TP(tp.topic, tp.partition)] = pieces
        return records

    async def _own_records(self, tps: set[Any], timeout: float) -> Any:
        """Records of the mirror's own topics; none while they cannot be read: the table is a hint, backup goes on without it."""
        try:
            return await super()._getmany(tps, timeout)
        except kafka_errors.KafkaError as error:
            log.warning("the mirror's own topics cannot be read, tried again: %r", error)
            await asyncio.sleep(1.0)
            return {}

    async def _nothing(self, timeout: float) -> dict[Any, Any]:
        await asyncio.sleep(min(timeout, 0.1))
        return {}

    def _to_message(self, tp: Any, record: Any) -> Any:
        if type(record) is not FetchSlice:
            return super()._to_message(tp, record)
        return ConsumerMessage(
            record.topic,
            record.partition,
            record.start_offset,
            record.watermarks.fetched_at_ms / 1000,
            0,
            None,
            None,
            Parcel(record),
            0,
            0,
            record.size_bytes,
            tp,
            generation_id=self.app.consumer_generation_id,
        )

    # --- Kafka's committed offsets: for lag dashboards only, what is durable

    def mark_durable(self, tp: TopicPartition, next_offset: int) -> None:
        """Commit this position with the next commit."""
        self._durable[TP(tp.topic, tp.partition)] = next_offset

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterator[Any]:
        yield from super()._filter_tps_with_pending_acks(topics)
        for tp, offset in list(self._durable.items()):
            if self._committed_offset[tp] != offset and (topics is None or tp in topics or tp.topic in topics):
                yield tp

    def _should_commit(self, tp: Any, offset: int) -> bool:
        if self.app.is_source(tp.topic):
            return bool(self._committed_offset[tp] != offset)
        return bool(super()._should_commit(tp, offset))

    def _new_offset(self, tp: Any) -> int | None:
        if self.app.is_source(tp.topic):
            return self._durable.get(tp)
        found: int | None = super()._new_offset(tp)
        return found

    def verify_event_path(self, now: float, tp: Any) -> None:
        """Faust's livelock detector is off: aiokafka never fetches sources (health watches them), and topics that are looked for anew
        again and again make it cry wolf about the others, of which nothing but a hint depends."""

    async def on_partitions_revoked(self, revoked: set[Any]) -> None:
        """Commit what is durable while the partitions are still ours."""
        await self.commit()
        await super().on_partitions_revoked(revoked)
        for tp in ensure_TPset(revoked):
            self._durable.pop(tp, None)


class Producer(driver.Producer):
    """Faust's producer with our ways to log in."""

    def _settings_auth(self) -> Mapping[str, Any]:
        return aiokafka_options(self.app.connection)

    def _new_producer(self, transactional_id: str | None = None) -> Any:
        producer = super()._new_producer(transactional_id)
        producer.client.__class__ = _PatientClient
        return producer


class Transport(driver.Transport):
    """Loaded by Faust for URLs ``mirror+kafka://…``."""

    Consumer = Consumer
    Producer = Producer
