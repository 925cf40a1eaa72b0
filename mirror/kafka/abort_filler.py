"""Fills holes with aborted transactions, by the ordinary protocol: for clusters that take no markers from us.

A hole of one offset is a transaction with no record: its abort marker takes the offset. A longer one gets filler records
before the marker, which consumers that read uncommitted see. Needs WRITE on the topic, WRITE and DESCRIBE on the
transactional ids ``<transactional_id>-0`` to ``-3``.

The fence is Kafka's own: asking for an identity anew, as every run does first, aborts the transactions that an earlier run left
open (their markers take offsets that this run would have filled) and refuses whatever that run still sends. So `start` comes
before anybody looks at log ends. A doubtful request is dealt with in the same way.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from mirror.core.filler import FILLER_RECORDS_MAX, filler_batch
from mirror.core.positions import TopicPartition
from mirror.errors import AccessError, ClusterBusyError, ClusterError, MirrorError
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.by_leader import ASK_AGAIN_CODES
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import error_name, kafka_error_to_ours
from mirror.kafka.hole_filler import went_back_error
from mirror.kafka.leaders import Leader, Leaders
from mirror.kafka.log_ends import log_end_or_error, log_ends
from mirror.kafka.wire.add_partitions_to_txn import add_partitions_to_txn
from mirror.kafka.wire.end_txn import end_txn
from mirror.kafka.wire.find_coordinator import TRANSACTION, find_coordinator
from mirror.kafka.wire.init_producer_id import ProducerIdentity, init_producer_id
from mirror.kafka.wire.log_end import log_ends_at
from mirror.kafka.wire.produce import produce

__all__ = ["AbortFiller"]

_LANES: Final = 4
"""Transactions at once. Every run has the same lanes: it could not fence others."""

_NO_ID_RIGHT: Final = 53
_FENCED_CODES: Final = frozenset({47, 90})
_DOUBTFUL_CODES: Final = frozenset({45, 48, 49, 59})
"""Sequence, state or id not as the broker has it: a new identity puts all of them right."""

_COORDINATOR_MOVES: Final = frozenset({14, 15, 16})
_CONCURRENT: Final = 51
_FIRST_BACKOFF_S: Final = 0.05
_LAST_BACKOFF_S: Final = 1.0
_POLL_S: Final = 0.002
_LONGEST_POLL_S: Final = 0.05
_MARKER_TIMEOUT_S: Final = 30.0


@dataclass(slots=True, kw_only=True)
class _Lane:
    """One transactional id; used by one fill at a time."""

    transactional_id: str
    coordinator: int = -1
    identity: ProducerIdentity | None = None
    next_sequences: dict[TopicPartition, int] = field(default_factory=dict)


class AbortFiller:
    """Fills holes with aborted transactions; a `HoleFiller`.

    Args:
        client: an open client.
        transactional_id: of this restore, the same for all of its runs; the beginning of the ids that are used.
        timestamp_ms: of filler records; None means the time of filling.
        give_up_after_ms: without any progress on a partition.
    """

    def __init__(
        self,
        client: MirrorClient,
        *,
        transactional_id: str,
        timestamp_ms: int | None = None,
        give_up_after_ms: int = 120_000,
    ) -> None:
        self._client = client
        self._timestamp_ms = timestamp_ms
        self._give_up_after_s = give_up_after_ms / 1000
        self._leaders = Leaders(client)
        self._lanes = [_Lane(transactional_id=f"{transactional_id}-{number}") for number in range(_LANES)]
        self._idle: asyncio.Queue[_Lane] = asyncio.Queue()
        self._starting: asyncio.Task[ProducerIdentity] | None = None

    async def start(self) -> ProducerIdentity:
        """Take over all lanes, which ends the transactions of an earlier run. Gives the identity of the first lane.

        Raises:
            AccessError: a right on the transactional ids is missing.
            UnreachableError, ClusterBusyError, ClusterError: no coordinator could be had.
        """
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(self._start())
        try:
            return await asyncio.shield(self._starting)
        except MirrorError:
            self._starting = None
            raise

    async def _start(self) -> ProducerIdentity:
        give_up_at_s = asyncio.get_running_loop().time() + self._give_up_after_s
        first, *_ = await asyncio.gather(*(self._take_over(lane, give_up_at_s) for lane in self._lanes))
        for lane in self._lanes:
            self._idle.put_nowait(lane)
        return first

    async def close(self) -> None:
        """Let go of what is under way; the broker aborts an open transaction after a minute. The client stays open."""
        if self._starting is not None:
            self._starting.cancel()
            await asyncio.gather(self._starting, return_exceptions=True)

    async def fill(self, tp: TopicPartition, *, start_offset: int, count: int) -> None:
        """Move the log end from ``start_offset`` to ``start_offset + count``, see `HoleFiller.fill`.

        Raises:
            AccessError: WRITE on the topic, or WRITE or DESCRIBE on the transactional id, is missing.
            ClusterError: somebody else writes to the partition, or a newer run of this restore has taken over.
            TopicNotFoundError: the topic is gone.
            UnreachableError, ClusterBusyError: no progress for too long; what is filled stays filled.
        """
        await self.start()
        lane = await self._idle.get()
        try:
            await self._fill(lane, tp, start_offset, start_offset + count)
        finally:
            self._idle.put_nowait(lane)

    async def _fill(self, lane: _Lane, tp: TopicPartition, start_offset: int, next_offset: int) -> None:
        loop = asyncio.get_running_loop()
        log_end = start_offset
        give_up_at_s = loop.time() + self._give_up_after_s
        backoff_s = 0.0
        while log_end < next_offset:
            wanted = min(next_offset - log_end, FILLER_RECORDS_MAX + 1)
            try:
                if lane.identity is None:  # the fill before this one was interrupted
                    await self._take_over(lane, give_up_at_s)
                await self._transaction(lane, tp, wanted, give_up_at_s)
                await self._moved(tp, log_end + wanted)
            except BaseException as error:
                lane.identity = None
                self._leaders = Leaders(self._client)
                if not isinstance(error, MirrorError) or not error.transient or loop.time() > give_up_at_s:
                    raise
                backoff_s = min(max(2 * backoff_s, _FIRST_BACKOFF_S), _LAST_BACKOFF_S)
                await asyncio.sleep(backoff_s)
                await self._take_over(lane, give_up_at_s)
                found = (await log_ends(self._client, [tp]))[tp]
                if found < log_end:
                    raise went_back_error(tp, known_offset=log_end, found_offset=found) from error
                if found > next_offset:
                    raise _beyond(tp, next_offset, found) from error
                if found == log_end:
                    continue
                log_end = found
            else:
                log_end += wanted
            backoff_s = 0.0
            give_up_at_s = loop.time() + self._give_up_after_s

    async def _take_over(self, lane: _Lane, give_up_at_s: float) -> ProducerIdentity:
        """A new epoch for the lane; whatever its transactional id had open is aborted, with markers written, before."""
        lane.identity = None
        loop = asyncio.get_running_loop()
        while lane.identity is None:
            try:
                await self._find_coordinator(lane)
                lane.identity = await init_producer_id(
                    self._client, lane.coordinator, transactional_id=lane.transactional_id
                )
            except MirrorError as error:
                if isinstance(error, AccessError):
                    raise _no_right(lane, error.message) from error
                if not error.transient or loop.time() > give_up_at_s:
                    raise
                await asyncio.sleep(_FIRST_BACKOFF_S)
        lane.next_sequences.clear()
        return lane.identity

    async def _find_coordinator(self, lane: _Lane) -> None:
        lane.coordinator = await find_coordinator(
            self._client, await self._client.any_broker(), TRANSACTION, lane.transactional_id
        )
        await self._client.know_brokers([lane.coordinator])

    async def _transaction(self, lane: _Lane, tp: TopicPartition, wanted: int, give_up_at_s: float) -> None:
        identity = lane.identity
        assert identity is not None, "taken over"

        async def add() -> int:
            codes = await add_partitions_to_txn(self._client, lane.coordinator, lane.transactional_id, identity, [tp])
            return codes.get(tp, -1)

        async def end() -> int:
            return await end_txn(self._client, lane.coordinator, lane.transactional_id, identity, commit=False)

        await self._asked(lane, add, f"transaction on {tp}", give_up_at_s)
        if wanted > 1:
            await self._produce(lane, identity, tp, wanted - 1)
        await self._asked(lane, end, f"end of the transaction on {tp}", give_up_at_s)

    async def _asked(self, lane: _Lane, ask: Callable[[], Awaitable[int]], what: str, give_up_at_s: float) -> None:
        """Ask the coordinator until it has time for it: it refuses while it still writes the markers of the transaction before."""
        poll_s = _POLL_S
        while code := await ask():
            if code not in _COORDINATOR_MOVES and code != _CONCURRENT:
                raise _error(lane, code, what)
            if asyncio.get_running_loop().time() > give_up_at_s:
                raise ClusterBusyError(f"{what}: the coordinator answered {error_name(code)} for too long")
            await asyncio.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)
            if code in _COORDINATOR_MOVES:
                await self._find_coordinator(lane)

    async def _produce(self, lane: _Lane, identity: ProducerIdentity, tp: TopicPartition, count: int) -> None:
        leader = await self._leader(tp)
        sequence = lane.next_sequences.get(tp, 0)
        timestamp_ms = int(time.time() * 1000) if self._timestamp_ms is None else self._timestamp_ms
        batch = filler_batch(
            count,
            timestamp_ms=timestamp_ms,
            producer=(identity.producer_id, identity.producer_epoch, sequence),
            is_transactional=True,
        )
        answers = await produce(
            self._client, leader.node_id, {tp: batch}, transactional_id=lane.transactional_id, connection="aborts"
        )
        what = f"filler records to {tp} on broker {leader.node_id}"
        if len(answers) != 1:
            raise ClusterBusyError(f"{what}: the broker gave {len(answers)} answers")
        if answers[0].error_code:
            raise _error(lane, answers[0].error_code, what, answers[0].error_message)
        lane.next_sequences[tp] = (sequence + count) % SEQUENCE_MODULUS

    async def _moved(self, tp: TopicPartition, expected_offset: int) -> None:
        """Wait until the coordinator's marker is in the log."""
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + _MARKER_TIMEOUT_S
        poll_s = _POLL_S
        leader = await self._leader(tp)
        while True:
            (listed,) = await log_ends_at(self._client, leader.node_id, {tp: leader.leader_epoch})
            found = log_end_or_error(listed, leader.node_id)
            if isinstance(found, MirrorError):
                raise found
            if found == expected_offset:
                return
            if found > expected_offset:
                raise _beyond(tp, expected_offset, found)
            if loop.time() > give_up_at_s:
                raise ClusterBusyError(f"{tp} ends at {found}: the marker of an aborted transaction does not come")
            await asyncio.sleep(poll_s)
            poll_s = min(2 * poll_s, _LONGEST_POLL_S)

    async def _leader(self, tp: TopicPartition) -> Leader:
        leader = self._leaders.get(tp)
        if leader is None:
            await self._leaders.refresh([tp.topic])
            leader = self._leaders.get(tp)
        if leader is None:
            raise self._leaders.error(tp)
        return leader


def _beyond(tp: TopicPartition, expected_offset: int, found_offset: int) -> ClusterError:
    """A coordinator that lost the answer of a leader which died writes its marker again, and Kafka appends it: one offset too many."""
    return ClusterError(
        f"{tp} ends at {found_offset} where {expected_offset} was expected: somebody else writes to the topic, or a leader died and the "
        "end of a transaction was written twice",
        hint="if nobody else writes: delete the topic and restore again; with ClusterAction on the cluster this cannot happen",
    )


def _error(lane: _Lane, code: int, what: str, detail: str | None = None) -> MirrorError:
    said = f"{what}: the broker answered {error_name(code)}"
    if code in _FENCED_CODES:
        return ClusterError(
            f"{said}: a newer run of this restore has taken over {lane.transactional_id} (or this one stood still)",
            hint="leave it to the newer run, or resume",
        )
    if code == _NO_ID_RIGHT:
        return _no_right(lane, said)
    if code in ASK_AGAIN_CODES or code in _DOUBTFUL_CODES:
        return ClusterBusyError(said)
    return kafka_error_to_ours(code, what, detail or "")


def _no_right(lane: _Lane, said: str) -> AccessError:
    return AccessError(
        f"{said}; WRITE and DESCRIBE on transactional id {lane.transactional_id} are needed",
        hint="grant them: kafka-acls --add --allow-principal User:... --operation Write --operation Describe "
        f"--transactional-id {lane.transactional_id.rpartition('-')[0]} --resource-pattern-type prefixed",
    )
