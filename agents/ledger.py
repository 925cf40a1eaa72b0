"""The table of last backed-up offsets, and the stream it is folded from.

``<worker id>-sealed`` carries one SegmentSealed event an object (docs/format.md): the public stream of what is safe now. One agent folds it
into a GlobalTable, of which every worker has all, so any worker answers for any partition. The table is a hint: it can be behind the
store, never ahead of it, and `mirror repair table` makes it again.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec

from mirror.core.events import SealedEvent, SealedRun, decode_event, encode_event
from mirror.core.polled_groups import is_polled
from mirror.core.positions import PartitionId
from mirror.core.safe_positions import SafePosition
from mirror.errors import MirrorError

__all__ = ["EventPublisher", "LedgerRow", "fold_event", "ledger_key", "row_position"]

log = logging.getLogger(__name__)

_MOST_UNSENT_RUNS = 500_000


def ledger_key(partition_id: PartitionId) -> str:
    """The table's key."""
    return f"{partition_id.topic_id}:{partition_id.partition}"


class LedgerRow(msgspec.Struct):
    """A row of the table, as JSON-able values."""

    topic: str
    partition: int
    topic_id: str
    repository_id: str
    next_offset: int
    leader_epoch: int
    sealed_at_ms: int
    pending: list[tuple[int, int, int]] = []


def row_position(row: Any, repository_id: str) -> SafePosition | None:
    """The position a row stands for; None where it speaks of another repository (or there is none)."""
    if not row:
        return None
    try:
        known = msgspec.convert(row, LedgerRow)
    except msgspec.ValidationError as error:
        log.warning("a row of the table is not understood and not used: %s", error)
        return None
    if known.repository_id != repository_id:
        return None
    return SafePosition(known.next_offset, known.leader_epoch, list(known.pending))


def fold_event(table: Any, event: SealedEvent) -> None:
    """Fold one event into the table: contiguous ranges only, back only at a fork or by a repair; none of polled sessions."""
    for fork in event.forks:  # also of a partition that has no run in this object
        key = ledger_key(PartitionId(fork.topic_id, fork.partition))
        row = table.get(key)
        position = row_position(row, event.repository_id)
        if position is not None and position.fork(fork.fork_offset, fork.last_leader_epoch):
            table[key] = {
                **row,
                "next_offset": position.next_offset,
                "leader_epoch": position.leader_epoch,
                "pending": position.pending,
                "sealed_at_ms": event.sealed_at_ms,
            }
    for run in event.runs:
        if is_polled(run.topic_id):
            continue  # nobody goes on from there
        key = ledger_key(PartitionId(run.topic_id, run.partition))
        position = row_position(table.get(key), event.repository_id)
        if position is None or event.repair:
            position = SafePosition(run.start_offset)
        next_offset = _uncut(run, event)
        if next_offset > run.start_offset:
            position.cover(run.start_offset, next_offset, run.leader_epoch)
        table[key] = msgspec.to_builtins(
            LedgerRow(
                topic=run.topic,
                partition=run.partition,
                topic_id=run.topic_id,
                repository_id=event.repository_id,
                next_offset=position.next_offset,
                leader_epoch=position.leader_epoch,
                sealed_at_ms=event.sealed_at_ms,
                pending=position.pending,
            )
        )


def _uncut(run: SealedRun, event: SealedEvent) -> int:
    """Where the run ends, or where a fork of the same event cuts it.

    Buffers are closed at forks, so the epochs of a run are all older or all newer.
    """
    cuts = [
        fork.fork_offset
        for fork in event.forks
        if (fork.topic_id, fork.partition) == (run.topic_id, run.partition)
        and run.leader_epoch <= fork.last_leader_epoch
    ]
    return min([run.next_offset, *cuts])


class EventPublisher:
    """Sends events in order, and keeps them while Kafka does not take them: backup goes on meanwhile.

    Args:
        send: sends one encoded event and waits until the brokers have it.
    """

    def __init__(self, send: Callable[[str, bytes], Any]) -> None:
        self._send = send
        self._unsent: deque[SealedEvent] = deque()
        self._unsent_runs = 0
        self._more = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()
        self.dropped = 0
        self.failing = False
        self._task = asyncio.create_task(self._run(), name="event-publisher")

    @property
    def unsent(self) -> int:
        """Events that wait."""
        return len(self._unsent)

    def publish(self, event: SealedEvent) -> None:
        """Send it soon."""
        self._unsent.append(event)
        self._unsent_runs += len(event.runs)
        while self._unsent_runs > _MOST_UNSENT_RUNS and len(self._unsent) > 1:
            self._unsent_runs -= len(self._unsent.popleft().runs)
            self.dropped += 1
            if self.dropped == 1:
                log.error(
                    "too many unsent events, the oldest are dropped: `mirror repair table` when Kafka takes them again"
                )
        self._empty.clear()
        self._more.set()

    async def drain(self, timeout_seconds: float) -> bool:
        """Wait until all are sent; False where that took longer. What is not sent, the next start reads from the store."""
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_seconds)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Stop."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        pause = 0.2
        while True:
            await self._more.wait()
            self._more.clear()
            while self._unsent:
                event = self._unsent[0]
                try:
                    await self._send(event.writer, encode_event(event))
                except Exception as error:  # noqa: BLE001 - Faust's producer raises what it likes; nothing may be lost
                    if not self.failing:
                        log.warning("events cannot be sent, kept and tried again (backup goes on): %r", error)
                    self.failing = True
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 10.0)
                    continue
                if self.failing:
                    log.warning("events are sent again, %d were waiting", len(self._unsent))
                self.failing = False
                pause = 0.2
                if self._unsent and self._unsent[0] is event:
                    self._unsent.popleft()
                    self._unsent_runs -= len(event.runs)
            self._empty.set()


def decode_sealed(data: bytes) -> SealedEvent | None:
    """An event from the stream; None (and a log line) for what is not one: one bad message never stops the fold."""
    try:
        return decode_event(data)
    except MirrorError as error:
        log.error("a message of the sealed stream is not an event: %s", error)
        return None
