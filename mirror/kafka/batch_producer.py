"""Produces stored batches as they are: idempotent, pipelined, bounded in memory, in order per partition.

Invariants, per partition (a `Lane`):

A. Batches get their sequences in the order of `send`, and are appended in that order.
B. What is in flight is a prefix of what is unacknowledged, all of it on one connection.
C. After a failure that may pass nothing new goes out until every answer of this lane is in; then all that is
   unacknowledged goes again, in order, with the same sequences. A batch that had arrived after all is answered as a
   duplicate, with the offset that it already has.
D. Until the leader has acknowledged one batch since the last such start, only one is in flight: a broker that knows
   nothing of our producer id accepts *any* first sequence, so a second batch could overtake a failed first one.
"""

import asyncio
import contextlib
import functools
from types import TracebackType
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterError, MirrorError, TopicNotFoundError
from mirror.kafka.batch_lanes import Lane, Pending, Route, named, out_of_time
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS, prepare
from mirror.kafka.byte_budget import ByteBudget
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import RETRIABLE_CODES, kafka_error_to_ours
from mirror.kafka.leaders import Leader, Leaders
from mirror.kafka.wire.init_producer_id import ProducerIdentity, init_producer_id
from mirror.kafka.wire.produce import ProducedPartition, produce, produce_now

__all__ = ["OFFSET_UNKNOWN", "BatchProducer"]

OFFSET_UNKNOWN: Final = -1
"""Result for a batch that the broker had appended so long ago that it no longer remembers where."""

_Taken = dict[TopicPartition, tuple[Lane, Pending]]
_OUT_OF_ORDER: Final = 45
_DUPLICATE: Final = 46
_TOPIC_UNKNOWN: Final = frozenset({3, 100})
_FIRST_BACKOFF_S: Final = 0.05
_LAST_BACKOFF_S: Final = 1.0
_TOPIC_GRACE_S: Final = 10.0


class BatchProducer:
    """Sends whole record batches to the leaders of their partitions.

    Args:
        client: an open client; its connections for produce requests are the producer's own.
        identity: producer id and epoch to go on with after an interruption; None means a new one.
        max_buffered_bytes: of batches not acknowledged; `send` waits while it is reached.
        max_request_bytes: of one request (one batch always goes).
        max_requests_per_connection: in flight at once.
        connections_per_broker: a broker works on one request per connection at a time.
        delivery_timeout_ms: from `send` to giving up on retries.
    """

    def __init__(
        self,
        client: MirrorClient,
        *,
        identity: ProducerIdentity | None = None,
        max_buffered_bytes: int = 64 << 20,
        max_request_bytes: int = 8 << 20,
        max_requests_per_connection: int = 5,
        connections_per_broker: int = 1,
        delivery_timeout_ms: int = 120_000,
    ) -> None:
        self._client = client
        self._identity = identity
        self._budget = ByteBudget(max_buffered_bytes)
        self._max_request_bytes = max_request_bytes
        self._max_requests = max_requests_per_connection
        self._connections = connections_per_broker
        self._delivery_timeout_s = delivery_timeout_ms / 1000
        self._leaders = Leaders(client)
        self._lanes: dict[TopicPartition, Lane] = {}
        self._routes: dict[tuple[int, str], Route] = {}
        self._unacknowledged = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._lost: set[Lane] = set()
        self._recovery: asyncio.Task[None] | None = None
        self._requests: set[asyncio.Task[None]] = set()
        self._pump_scheduled = False
        self._closed = False
        self._first_failure: MirrorError | None = None

    async def start(self) -> ProducerIdentity:
        """Get an identity if none was given; asks again while the cluster cannot give one yet, as right after its start.

        Raises:
            AccessError: the right to write idempotently is missing.
            UnreachableError, ClusterError: no broker gave one.
        """
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + self._delivery_timeout_s
        while self._identity is None:
            try:
                self._identity = await init_producer_id(self._client, await self._client.any_broker())
            except MirrorError as error:
                if not error.transient or loop.time() > give_up_at_s:
                    raise
                await asyncio.sleep(_FIRST_BACKOFF_S)
        return self._identity

    async def __aenter__(self) -> "BatchProducer":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if error is None:
                await self.flush()
        finally:
            await self.close()

    @property
    def buffered_bytes(self) -> int:
        """Bytes of batches that are not acknowledged yet."""
        return self._budget.used_bytes

    def set_next_sequence(self, topic: str, partition: int, next_sequence: int) -> None:
        """Go on with a kept identity at this sequence; before the partition's first `send`."""
        tp = TopicPartition(topic, partition)
        if tp in self._lanes:
            raise ValueError(f"{tp} has been produced to already")
        self._lane(tp).next_sequence = next_sequence % SEQUENCE_MODULUS

    async def send(self, topic: str, partition: int, batch: bytes | bytearray | memoryview) -> asyncio.Future[int]:
        """Queue one batch; its future gives the base offset in the target (or `OFFSET_UNKNOWN`).

        Waits while too much is buffered. The order of calls is the order in the partition. The batch is copied.

        Raises:
            MirrorError: the partition has failed earlier; nothing more can be sent to it in order.
            BatchDamageError, UnsupportedFormatError, ValueError: see `prepare`.
        """
        if self._identity is None or self._closed:
            raise ClusterError("the batch producer is not open")
        tp = TopicPartition(topic, partition)
        lane = self._lane(tp)
        if lane.failed is not None:
            raise lane.failed
        if not self._budget.take_now(len(batch)):
            await self._budget.take(len(batch))
        try:
            if lane.failed is not None:  # while we waited for memory
                raise lane.failed  # noqa: TRY301 - the bytes go back below
            ready, record_count = prepare(
                batch,
                producer_id=self._identity.producer_id,
                producer_epoch=self._identity.producer_epoch,
                base_sequence=lane.next_sequence,
            )
        except BaseException:
            self._budget.give_back(len(batch))
            raise
        deadline_s = asyncio.get_running_loop().time() + self._delivery_timeout_s
        pending = lane.add(ready, record_count, deadline_s, modulus=SEQUENCE_MODULUS)
        self._unacknowledged += 1
        self._idle.clear()
        self._offer(lane)
        return pending.future

    def _lane(self, tp: TopicPartition) -> Lane:
        lane = self._lanes.get(tp)
        if lane is None:
            lane = self._lanes[tp] = Lane(tp, number=len(self._lanes), next_sequence=0)
        return lane

    async def flush(self) -> None:
        """Wait until everything sent is acknowledged or failed.

        Raises:
            MirrorError: the first failure of any partition since the start.
        """
        await self._idle.wait()
        if self._first_failure is not None:
            raise self._first_failure

    async def close(self) -> None:
        """Drop what is not acknowledged; its futures are cancelled. The client stays open."""
        self._closed = True
        tasks = [*self._requests, *([self._recovery] if self._recovery is not None else [])]
        for task in tasks:
            task.cancel()
        for task in tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await task
        for lane in self._lanes.values():
            for pending in (*lane.in_flight, *lane.queue):
                pending.future.cancel()
            lane.in_flight.clear()
            lane.queue.clear()
        self._budget.close(ClusterError("the batch producer was closed"))
        self._idle.set()

    # sending

    def _offer(self, lane: Lane) -> None:
        """Put the lane where the pump, or the recovery, finds it."""
        if lane.recovering:
            if not lane.in_flight and lane.failed is None:
                self._lost.add(lane)
                if self._recovery is None or self._recovery.done():
                    self._recovery = asyncio.get_running_loop().create_task(self._recover())
                    self._recovery.add_done_callback(self._crashed)
        elif lane.route is not None and lane.may_send:
            lane.route.ready[lane] = None
            if not self._pump_scheduled:  # later: what is sent in this turn of the loop shares requests
                self._pump_scheduled = True
                asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        if self._closed:
            return
        for route in self._routes.values():
            while route.ready and route.requests < self._max_requests:
                self._launch(route)

    def _launch(self, route: Route) -> None:
        taken: _Taken = {}
        size_bytes = 0
        for lane in list(route.ready):
            if not lane.may_send or lane.route is not route:
                del route.ready[lane]
                continue
            if taken and size_bytes + lane.queue[0].size_bytes > self._max_request_bytes:
                break
            del route.ready[lane]
            pending = lane.queue.popleft()
            lane.in_flight.append(pending)
            taken[lane.tp] = lane, pending
            size_bytes += pending.size_bytes
            if lane.may_send:
                route.ready[lane] = None  # to the end: first the others
        if not taken:
            return
        route.requests += 1
        batches = {tp: pending.batch for tp, (_, pending) in taken.items()}
        # A task for every request would cost as much as the request.
        on_answer = functools.partial(self._finished, route, taken)
        if produce_now(self._client, route.node_id, batches, connection=route.connection, on_answer=on_answer):
            return
        task = asyncio.get_running_loop().create_task(self._request(route, taken, batches))
        self._requests.add(task)
        task.add_done_callback(self._requests.discard)
        task.add_done_callback(self._crashed)

    async def _request(self, route: Route, taken: _Taken, batches: dict[TopicPartition, bytearray]) -> None:
        answers: list[ProducedPartition] | MirrorError
        try:
            answers = await produce(self._client, route.node_id, batches, connection=route.connection)
        except MirrorError as error:
            answers = error
        self._finished(route, taken, answers)

    def _finished(self, route: Route, taken: _Taken, answers: list[ProducedPartition] | MirrorError) -> None:
        route.requests -= 1
        if self._closed:
            return
        try:
            if isinstance(answers, MirrorError):
                for tp, (lane, pending) in taken.items():
                    self._failed_once(lane, pending, named(answers, tp), transient=answers.transient)
            else:
                by_tp = {TopicPartition(answer.topic, answer.partition): answer for answer in answers}
                for tp, (lane, pending) in taken.items():
                    self._answered(lane, pending, by_tp.get(tp), route.node_id)
            self._pump()
        except Exception as bug:  # noqa: BLE001 - whatever it is, nobody may wait for ever
            self._stop(bug)

    def _answered(self, lane: Lane, pending: Pending, answer: ProducedPartition | None, node_id: int) -> None:
        if answer is None:
            missing = ClusterError(f"produce to {lane.tp}: broker {node_id} left the partition out of its answer")
            self._failed_once(lane, pending, missing, transient=False)
            return
        code = answer.error_code
        if code in (0, _DUPLICATE):
            self._acknowledged(lane, pending, answer.base_offset if code == 0 else OFFSET_UNKNOWN)
            return
        detail = "; ".join(
            text for text in (answer.error_message, *(message for _, message in answer.record_errors[:3])) if text
        )
        error = kafka_error_to_ours(code, f"produce to {lane.tp} on broker {node_id}", detail)
        now_s = asyncio.get_running_loop().time()
        if code in _TOPIC_UNKNOWN:
            lane.unknown_since_s = lane.unknown_since_s or now_s
            transient = now_s - lane.unknown_since_s < _TOPIC_GRACE_S
        else:
            # Out of order only because a batch before it failed in the same flight: C sends both again.
            transient = code in RETRIABLE_CODES or (code == _OUT_OF_ORDER and lane.recovering)
        self._failed_once(lane, pending, error, transient=transient)

    def _acknowledged(self, lane: Lane, pending: Pending, base_offset: int) -> None:
        if not lane.land(pending):
            return  # the lane was given up while this one was on its way
        lane.proven = not lane.recovering
        lane.unknown_since_s = None
        if not pending.future.done():
            pending.future.set_result(base_offset)
        self._forget(pending)
        self._offer(lane)

    def _forget(self, pending: Pending) -> None:
        self._unacknowledged -= 1
        if self._unacknowledged == 0:
            self._idle.set()
        self._budget.give_back(pending.size_bytes)

    # failure

    def _failed_once(self, lane: Lane, pending: Pending, error: MirrorError, *, transient: bool) -> None:
        if pending not in lane.in_flight:
            return  # the lane was given up while this one was on its way
        if not transient:
            self._give_up(lane, error)
            return
        if not lane.recovering:
            lane.recovering, lane.proven, lane.error = True, False, error
        lane.put_back(pending)
        self._offer(lane)

    def _give_up(self, lane: Lane, error: MirrorError) -> None:
        lane.failed = error
        self._first_failure = self._first_failure or error
        self._lost.discard(lane)
        for pending in (*lane.in_flight, *lane.queue):
            if not pending.future.done():
                pending.future.set_exception(error)
                pending.future.exception()  # seen: `flush` and the next `send` raise it even if nobody awaits this one
            self._forget(pending)
        lane.in_flight.clear()
        lane.queue.clear()

    def _crashed(self, task: asyncio.Task[None]) -> None:
        """A bug of ours must not leave anybody waiting."""
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._stop(bug)

    def _stop(self, bug: BaseException) -> None:
        error = ClusterError(f"the batch producer stopped: {type(bug).__name__}: {bug}")
        error.__cause__ = bug
        for lane in self._lanes.values():
            self._give_up(lane, error)

    async def _recover(self) -> None:
        """Find the leaders of lost lanes and let them send again, until there are none."""
        loop = asyncio.get_running_loop()
        backoff_s = 0.0
        while self._lost:
            if backoff_s or any(lane.error is not None for lane in self._lost):
                backoff_s = min(max(2 * backoff_s, _FIRST_BACKOFF_S), _LAST_BACKOFF_S)
                await asyncio.sleep(backoff_s)
            problem: MirrorError | None = None
            lost = list(self._lost)
            try:
                await self._leaders.refresh({lane.tp.topic for lane in lost})
            except MirrorError as error:
                problem = error
            for lane in lost:
                leader = None if problem else self._leaders.get(lane.tp)
                if leader is not None:
                    self._lost.discard(lane)
                    self._resume(lane, leader)
                else:
                    self._still_lost(lane, named(problem or self._leaders.error(lane.tp), lane.tp), loop.time())

    def _resume(self, lane: Lane, leader: Leader) -> None:
        lane.topic_id = lane.topic_id or leader.topic_id
        if lane.topic_id != leader.topic_id:
            error = TopicNotFoundError(
                f"produce to {lane.tp}: the topic was deleted and created anew meanwhile "
                f"(id {lane.topic_id}, now {leader.topic_id})"
            )
            self._give_up(lane, error)
            return
        if lane.is_out_of_time(asyncio.get_running_loop().time()):
            self._give_up(lane, out_of_time(lane))
            return
        key = leader.node_id, f"produce-{lane.number % self._connections}"
        lane.route = self._routes.get(key) or self._routes.setdefault(key, Route(*key))
        lane.recovering = False
        self._offer(lane)

    def _still_lost(self, lane: Lane, error: MirrorError, now_s: float) -> None:
        lane.error = error
        if isinstance(error, TopicNotFoundError):
            lane.unknown_since_s = lane.unknown_since_s or now_s
            if now_s - lane.unknown_since_s >= _TOPIC_GRACE_S:
                self._give_up(lane, error)
        elif not error.transient:
            self._give_up(lane, error)
        elif lane.is_out_of_time(now_s):
            self._give_up(lane, out_of_time(lane))
