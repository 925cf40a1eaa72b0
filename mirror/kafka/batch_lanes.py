"""The state of a `BatchProducer`: what waits and what is in flight, per partition and per connection."""

import asyncio
from collections import deque
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterBusyError, MirrorError

__all__ = ["Lane", "Pending", "Route", "named", "out_of_time"]

_BROKER_REMEMBERS_BATCHES: Final = 5
"""Of each producer and partition: among so many it recognises a duplicate."""


class Pending:
    """A batch that is not acknowledged; ``order`` counts within its lane."""

    __slots__ = ("batch", "deadline_s", "future", "order", "size_bytes")

    def __init__(self, batch: bytearray, order: int, future: asyncio.Future[int], deadline_s: float) -> None:
        self.batch = batch
        self.order = order
        self.size_bytes = len(batch)
        self.future = future
        self.deadline_s = deadline_s


class Route:
    """One connection to one broker."""

    __slots__ = ("connection", "node_id", "ready", "requests")

    def __init__(self, node_id: int, connection: str) -> None:
        self.node_id = node_id
        self.connection = connection
        self.ready: dict[Lane, None] = {}  # lanes with something to send, longest waiting first
        self.requests = 0


class Lane:
    """One partition."""

    __slots__ = (
        "error",
        "failed",
        "in_flight",
        "next_order",
        "next_sequence",
        "number",
        "proven",
        "queue",
        "recovering",
        "route",
        "topic_id",
        "tp",
        "unknown_since_s",
    )

    def __init__(self, tp: TopicPartition, *, number: int, next_sequence: int) -> None:
        self.tp = tp
        self.number = number
        self.next_sequence = next_sequence
        self.next_order = 0
        self.queue: deque[Pending] = deque()
        self.in_flight: deque[Pending] = deque()
        self.route: Route | None = None
        self.topic_id: str | None = None  # the incarnation that it began with
        self.proven = False  # the leader has acknowledged something since the last (re)start
        self.recovering = True  # nothing new goes out until the leader is found (again)
        self.error: MirrorError | None = None  # why it recovers
        self.failed: MirrorError | None = None  # why it never will
        self.unknown_since_s: float | None = None  # since when brokers say that there is no such topic

    @property
    def may_send(self) -> bool:
        """Whether the head of the queue may go out now."""
        if not self.queue or self.recovering or self.failed is not None:
            return False
        return len(self.in_flight) < (_BROKER_REMEMBERS_BATCHES if self.proven else 1)

    def add(self, batch: bytearray, record_count: int, deadline_s: float, *, modulus: int) -> Pending:
        """Queue a batch behind all others."""
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        pending = Pending(batch, self.next_order, future, deadline_s)
        self.next_order += 1
        self.next_sequence = (self.next_sequence + record_count) % modulus
        self.queue.append(pending)
        return pending

    def land(self, pending: Pending) -> bool:
        """Take a batch out of what is in flight; False where it is not any more."""
        if self.in_flight and self.in_flight[0] is pending:
            self.in_flight.popleft()
        elif pending in self.in_flight:
            self.in_flight.remove(pending)
        else:
            return False
        return True

    def put_back(self, pending: Pending) -> None:
        """Return what was in flight to its place in the queue."""
        self.in_flight.remove(pending)
        before = 0
        while before < len(self.queue) and self.queue[before].order < pending.order:
            before += 1
        self.queue.insert(before, pending)

    def is_out_of_time(self, now_s: float) -> bool:
        """Whether the oldest batch has waited longer than it may."""
        return bool(self.queue) and self.queue[0].deadline_s < now_s


def named(error: MirrorError, tp: TopicPartition) -> MirrorError:
    """The error, with the partition that it is about."""
    return type(error)(f"produce to {tp}: {error.message}", hint=error.hint)


def out_of_time(lane: Lane) -> MirrorError:
    """Why a lane is given up whose oldest batch has waited too long."""
    error = lane.error or ClusterBusyError("not acknowledged")
    return type(error)(f"gave up producing to {lane.tp} after its delivery timeout: {error.message}", hint=error.hint)
