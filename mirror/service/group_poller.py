"""Polls where consumer groups stand, where the group log may not be read, and stores what changed as the same records.

Its troubles are logged and never more: a backup does not stop for them. Of a group that cannot be asked nothing is stored: it keeps the
position that it had.
"""

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Final

from mirror.core.group_log import CommitKey
from mirror.core.polled_groups import (
    SESSION_RANDOM_BYTES,
    changed_records,
    run_of_records,
    session_id,
    start_of_session,
    without_mirrors,
)
from mirror.errors import MirrorError
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.group_positions import all_positions
from mirror.service.backup.collector import FlushBatch

__all__ = ["GroupPoller", "PollSession"]

log = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 120.0
_AFTER_TROUBLE_SECONDS: Final = 30.0
_LONGEST_REST_SECONDS: Final = 300.0
_REST: Final = 9  # times as long as a poll took: brokers are not asked all the time

_Positions = dict[CommitKey, tuple[int, str]]


class PollSession:
    """What one worker wrote of the groups since it began to poll.

    Args:
        submit: stores a batch; the result is there once it is durable.
    """

    def __init__(self, submit: Callable[[FlushBatch], Awaitable[object]]) -> None:
        self.topic_id = session_id(os.urandom(SESSION_RANDOM_BYTES))
        self.known: _Positions = {}
        self._submit = submit
        self._next_offset = 0
        self._has_begun = False

    async def tell(self, found: _Positions, at_ms: int) -> int:
        """Store what changed; how many positions did."""
        records = changed_records(self.known, found, at_ms)
        if not records and self._has_begun:
            return 0
        batch = FlushBatch([], [], [], first_buffered_at_ms=at_ms)
        if not self._has_begun:
            batch.starts.append(start_of_session(self.topic_id, at_ms))
        if records:
            batch.drafts.append(run_of_records(self.topic_id, self._next_offset, records, at_ms))
        await self._submit(batch)
        self._has_begun = True
        self.known = found
        self._next_offset += len(records)
        return len(records)


class GroupPoller:
    """For one worker of several.

    Args:
        connection: to the source; it gets a connection of its own.
        submit: see :class:`PollSession`.
        interval_seconds: between polls, or longer where a poll takes long.
    """

    def __init__(
        self,
        connection: ClusterConnection,
        submit: Callable[[FlushBatch], Awaitable[object]],
        interval_seconds: float,
    ) -> None:
        self._connection = connection
        self._submit = submit
        self._interval_seconds = interval_seconds
        self._client: MirrorClient | None = None
        self._session: PollSession | None = None
        self._term: object = None
        self._is_failing = False
        self._refused: frozenset[str] = frozenset()

    async def run(self, term: Callable[[], object], own_groups: Callable[[], Collection[str]]) -> None:
        """Poll until cancelled.

        Args:
            term: what stays the same for as long as no other worker can have polled in between; None while it is not this worker's task.
                A new term is a new session.
            own_groups: the groups of mirrors, as far as they are known.
        """
        try:
            while True:
                begun = time.monotonic()
                pause = await self._turn(term, own_groups())
                took = time.monotonic() - begun
                await asyncio.sleep(max(pause, min(took * _REST, _LONGEST_REST_SECONDS)))
        finally:
            await self._leave()

    async def _turn(self, ask_term: Callable[[], object], own_groups: Collection[str]) -> float:
        """One poll; how many seconds to wait then."""
        term = ask_term()
        if term is None or term != self._term:
            self._session, self._term = None, term
        if term is None:
            await self._leave()
            return min(1.0, self._interval_seconds)
        try:
            session = self._session or PollSession(self._submit)
            found = await asyncio.wait_for(self._ask(session, own_groups), _PATIENCE_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is no reason to stop a backup
            told = str(error) if isinstance(error, MirrorError) else repr(error)
            level = logging.DEBUG if self._is_failing else logging.WARNING
            log.log(level, "consumer groups cannot be polled, tried again: %s", told)
            self._is_failing = True
            await self._leave()
            return max(self._interval_seconds, _AFTER_TROUBLE_SECONDS)
        self._is_failing = False
        if ask_term() != term:
            return 0.0  # somebody else may have begun a session meanwhile: one that begins now would hide it
        changed = await session.tell(found, time.time_ns() // 1_000_000)
        if self._session is None:
            log.info("consumer groups are polled: %d positions", changed)
        self._session = session
        return self._interval_seconds

    async def _ask(self, session: PollSession, own_groups: Collection[str]) -> _Positions:
        """Where all groups stand; those that cannot be asked, where they stood."""
        if self._client is None:
            self._client = await open_client(self._connection)
        # A group that is listed no more is asked by its name: it may be hidden only, since a right was taken away or a broker is down.
        known = {key.group for key in session.known}
        answer = await all_positions(self._client, without_groups=own_groups, also=known)
        found: _Positions = {
            CommitKey(group, tp.topic, tp.partition): (one.offset, one.metadata)
            for group, positions in answer.positions.items()
            for tp, one in positions.items()
        }
        found.update({key: position for key, position in session.known.items() if key.group in answer.errors})
        refused = frozenset(answer.errors)
        if refused - self._refused:
            some = ", ".join(sorted(refused)[:5])
            log.warning("%d consumer groups cannot be asked, such as %s: %s", len(refused), some, _first(answer.errors))
        self._refused = refused
        return without_mirrors(found)

    async def _leave(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def _first(errors: Mapping[str, MirrorError]) -> str:
    return str(errors[min(errors)])
