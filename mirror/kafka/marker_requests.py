"""Requests for transaction markers, shared by all partitions of one leader that want some at the same moment.

With replicas an answer takes milliseconds, whatever the request holds: sharing is what makes many small holes fast.
The log ends are asked for right behind, over the same connection. A broker works on one request per connection at a time,
so they are those after the markers, and cost no round trip of their own.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterError, MirrorError
from mirror.kafka.client import MirrorClient
from mirror.kafka.leaders import Leader
from mirror.kafka.log_ends import log_end_or_error
from mirror.kafka.wire.log_end import log_ends_at
from mirror.kafka.wire.write_txn_markers import MarkerStamp, write_abort_markers

__all__ = ["MARKERS_PER_REQUEST", "MarkerAnswer", "MarkerRequests"]

MARKERS_PER_REQUEST: Final = 500
"""All partitions together. More is not faster, and this many may be superfluous where a stranger interferes."""

_REQUESTS_PER_BROKER: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerAnswer:
    """What a leader said: an error code (0 proves nothing, see the wire module), and the log end afterwards."""

    node_id: int
    error_code: int
    log_end: int | MirrorError


@dataclass(slots=True, kw_only=True)
class _Wish:
    tp: TopicPartition
    leader: Leader
    count: int
    answer: asyncio.Future[MarkerAnswer]


@dataclass(slots=True, kw_only=True)
class _Route:
    node_id: int
    waiting: list[_Wish] = field(default_factory=list)
    idle_connections: list[str]


class MarkerRequests:
    """Writes markers; remembers nothing of partitions.

    Args:
        client: an open client.
        stamp: gives the producer and its epochs at the moment of sending.
    """

    def __init__(self, client: MirrorClient, stamp: Callable[[], MarkerStamp]) -> None:
        self._client = client
        self._stamp = stamp
        self._routes: dict[int, _Route] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, tp: TopicPartition, leader: Leader, count: int) -> MarkerAnswer:
        """Write up to `MARKERS_PER_REQUEST` markers and look at the log end.

        Raises:
            UnreachableError, AccessError, ClusterError: it is not known then whether markers were written.
        """
        route = self._routes.get(leader.node_id)
        if route is None:
            names = [f"markers-{number}" for number in range(_REQUESTS_PER_BROKER)]
            route = self._routes[leader.node_id] = _Route(node_id=leader.node_id, idle_connections=names)
        wish = _Wish(tp=tp, leader=leader, count=count, answer=asyncio.get_running_loop().create_future())
        route.waiting.append(wish)
        self._serve(route)
        return await wish.answer

    async def close(self) -> None:
        """Stop; whoever waits is cancelled."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for route in self._routes.values():
            for wish in route.waiting:
                wish.answer.cancel()

    def _serve(self, route: _Route) -> None:
        if route.waiting and route.idle_connections:
            task = asyncio.get_running_loop().create_task(self._rounds(route, route.idle_connections.pop()))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _rounds(self, route: _Route, connection: str) -> None:
        try:
            await asyncio.sleep(0)  # who wants some in this turn of the loop shares the request
            while route.waiting:
                await self._round(route, connection)
        finally:
            route.idle_connections.append(connection)

    async def _round(self, route: _Route, connection: str) -> None:
        wishes = _take(route.waiting)
        try:
            await self._client.ready(route.node_id, group=connection)  # else the two might race for the first place
            codes, ends = await asyncio.gather(
                write_abort_markers(
                    self._client,
                    route.node_id,
                    self._stamp(),
                    {wish.tp: wish.count for wish in wishes},
                    connection=connection,
                ),
                log_ends_at(
                    self._client,
                    route.node_id,
                    {wish.tp: wish.leader.leader_epoch for wish in wishes},
                    connection=connection,
                ),
            )
        except BaseException as error:
            failure = error if isinstance(error, MirrorError) else ClusterError("the marker filler was stopped")
            for wish in wishes:
                if not wish.answer.done():
                    wish.answer.set_exception(failure)
                    wish.answer.exception()  # seen, also where nobody waits any more
            if not isinstance(error, MirrorError):
                raise
            return
        found = {TopicPartition(one.topic, one.partition): log_end_or_error(one, route.node_id) for one in ends}
        for wish in wishes:
            if not wish.answer.done():
                silent = ClusterError(f"broker {route.node_id} left {wish.tp} out of its answer")
                answer = MarkerAnswer(
                    node_id=route.node_id,
                    error_code=codes.get(wish.tp, -1),
                    log_end=found.get(wish.tp, silent),
                )
                wish.answer.set_result(answer)


def _take(waiting: list[_Wish]) -> list[_Wish]:
    """As many of the oldest wishes as one request holds."""
    total = taken = 0
    for wish in waiting:
        if taken and total + wish.count > MARKERS_PER_REQUEST:
            break
        total += wish.count
        taken += 1
    wishes = waiting[:taken]
    del waiting[:taken]
    return wishes
