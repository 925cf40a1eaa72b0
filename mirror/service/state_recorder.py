"""Keeps the captures of the source's state up to date: looks on a schedule and when topics come or go, stores what changed.

Its troubles are logged and never more: a backup does not stop for them.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from mirror.core.cluster_state import ClusterState, is_same_state
from mirror.errors import DamageError, MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import open_client
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.connection import ClusterConnection
from mirror.service.cluster_states import list_states, put_state, read_state
from mirror.service.state_capture import capture_state
from mirror.storage.repository import Repository

__all__ = ["StateRecorder"]

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 300.0
_AFTER_TROUBLE_SECONDS: Final = 60.0
_PATIENCE_SECONDS: Final = 120.0
_HOUR_MS: Final = 60 * 60 * 1000
_SPAN_MS: Final = 12 * _HOUR_MS
_MOST_IN_SPAN: Final = 12

_Signature = dict[str, tuple[str, int]]


class StateRecorder:
    """For one worker of several.

    A change is stored at once, up to 12 times in 12 hours, then once an hour; a change of nothing but brokers once an hour.

    Args:
        repository: where.
        connection: to the source. Each look has connections of its own: a broker that stumbles over a question holds up nobody else.
        admin: of the source, for as long as this lives; without one each look makes its own, whose end takes a moment.
    """

    def __init__(self, repository: Repository, connection: ClusterConnection, admin: Admin | None = None) -> None:
        self._repository = repository
        self._connection = connection
        self._admin = admin
        self._looked_at: _Signature | None = None
        self._next_look = 0.0
        self._is_failing = False
        self._last: ClusterState | None = None

    async def run(self, view: ClusterView, is_mine: Callable[[], bool], interval_seconds: float) -> None:
        """Look until cancelled, as long as it is this worker's task.

        Args:
            view: of the source; somebody else refreshes it.
            is_mine: whether it is, now.
            interval_seconds: how often topics that came or went are looked for.
        """
        while True:
            await asyncio.sleep(interval_seconds)
            if not is_mine():
                continue
            signature = _signature(view)
            if time.monotonic() < self._next_look and signature == self._looked_at:
                continue
            self._looked_at = signature
            self._next_look = time.monotonic() + _LOOK_SECONDS
            try:
                await asyncio.wait_for(self.look(time.time_ns() // 1_000_000), _PATIENCE_SECONDS)
                self._is_failing = False
            except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to stop a backup
                self._next_look = time.monotonic() + _AFTER_TROUBLE_SECONDS
                told = str(error) if isinstance(error, MirrorError) else repr(error)
                log.log(
                    logging.DEBUG if self._is_failing else logging.WARNING,
                    "the cluster's state is not captured, tried again: %s",
                    told,
                )
                self._is_failing = True

    async def look(self, now_ms: int, *, at_once: bool = False) -> bool:
        """Capture the state, and store it if it is another one than the last; whether it was stored.

        Args:
            now_ms: the caller's clock.
            at_once: a person waits for it: every change is stored, however many there were lately.

        Raises:
            UnreachableError, AccessError, ClusterError: the source does not tell.
            StoreError and others: the store cannot be read or written.
        """
        async with await open_client(self._connection) as client:
            admin = self._admin or Admin(self._connection, client)
            state = await capture_state(client, admin, self._repository.identity, now_ms)
        return await asyncio.to_thread(self.store, state, at_once=at_once)

    def store(self, state: ClusterState, *, at_once: bool = False) -> bool:
        """Store a capture if it is another one than the last; whether it was. Blocks.

        Raises:
            AccessError, UnreachableError, StoreError: the store.
        """
        recent = list_states(self._repository, since_ms=state.captured_at_ms - _SPAN_MS)
        last = self._newest(recent)
        if last is not None:
            is_old = at_once or state.captured_at_ms - last.captured_at_ms >= _HOUR_MS
            if is_same_state(last, state, with_brokers=is_old) or (len(recent) >= _MOST_IN_SPAN and not is_old):
                return False
        put_state(self._repository, state)
        self._last = state
        log.info("the cluster's state is captured: %d topics", len(state.topics))
        return True

    def _newest(self, recent: list[int]) -> ClusterState | None:
        """The last capture; None without one, and where it is damaged."""
        if not recent:
            if self._last is not None:
                return self._last
            recent = list_states(self._repository)
        if recent and (self._last is None or self._last.captured_at_ms != recent[-1]):
            try:
                self._last = read_state(self._repository, recent[-1])
            except DamageError as error:
                log.error("the last capture of the cluster's state is damaged, another one is made: %s", error)
                return None
        return self._last


def _signature(view: ClusterView) -> _Signature:
    return {name: (topic.topic_id, len(topic.partitions)) for name, topic in view.topics.items()}
