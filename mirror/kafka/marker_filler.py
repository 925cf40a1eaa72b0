"""Fills holes with the markers of aborted transactions that never were: each takes one offset, and no consumer sees it.

Facts, all proved on a broker 4.3.1 by the tests of this module:

- `WriteTxnMarkers` is what a transaction coordinator sends to the leaders of a transaction's partitions. A leader takes it
  from anybody who has CLUSTER_ACTION on the cluster (since Kafka 3.8 ALTER is enough, KIP-1037); it asks for no right on the
  topic. Without either: code 31.
- It needs no transaction. A marker of a producer id that the partition never saw is appended all the same, and opens nothing.
- A lower *producer epoch* than the partition has seen of that producer id is refused with 47, a lower *coordinator epoch*
  with 52; an equal one is not. Both are kept with the producer's state on every replica, for ``producer.id.expiration.ms``
  (1 day) after its last append. This is the fence, see below.
- The data producer's own id would do too as long as the epoch is the same, but a raised epoch then demands sequence 0 of the
  next batch, which would end the detection of repeated batches: so markers have a producer id of their own.
- Markers carry the broker's time. So a look-up of an offset by time may answer a marker's offset, which is before the
  first record of that time (it may re-read, it never skips), and time-based retention counts the segment as new.

The fence: a restore keeps its marker identity and raises its epoch by one for every run. Within a run every doubtful request
raises the coordinator epoch (run × 2¹⁶ + attempt, so it never falls from run to run). The first request to a partition, and
the first after a doubtful one, is a single marker: once that is in, nothing older can be appended any more, and the log end,
read after it, tells exactly what is still missing.
"""

import asyncio
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import AccessError, ClusterBusyError, ClusterError, MirrorError, TopicNotFoundError
from mirror.kafka.by_leader import ASK_AGAIN_CODES
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import error_name, kafka_error_to_ours
from mirror.kafka.hole_filler import went_back_error, written_beyond_error
from mirror.kafka.leaders import Leader, Leaders
from mirror.kafka.log_ends import log_ends
from mirror.kafka.marker_requests import MARKERS_PER_REQUEST, MarkerAnswer, MarkerRequests
from mirror.kafka.producers import FILLER_EPOCH_BITS
from mirror.kafka.wire import write_txn_markers as wire
from mirror.kafka.wire.init_producer_id import ProducerIdentity, init_producer_id
from mirror.kafka.wire.write_txn_markers import MarkerStamp, write_abort_markers

__all__ = ["MarkerFiller", "may_write_markers"]

_NO_CLUSTER_RIGHT: Final = 31
_FENCED_CODES: Final = frozenset({47, 52})
_TOPIC_UNKNOWN: Final = frozenset({3, 100})
_FIRST_EPOCH: Final = 1
_FIRST_BACKOFF_S: Final = 0.05
_LAST_BACKOFF_S: Final = 1.0
_SETTLE_S: Final = 1.0
"""How long a log end stays the same until we believe that no request of ours is still on its way."""

_NOWHERE: Final = TopicPartition("no topic can have this name?", 0)


async def may_write_markers(client: MirrorClient) -> bool:
    """Whether the cluster would take markers from us. Asks by a marker for a partition that cannot exist: changes nothing.

    Raises:
        UnreachableError, ClusterError: no broker could be asked.
    """
    node_id = await client.any_broker()
    least, most = (await client.api_versions(node_id)).get(wire.API.key, (0, -1))
    if not least <= wire.API.version <= most:
        return False
    stamp = MarkerStamp(producer_id=0, producer_epoch=0, coordinator_epoch=0)
    return (await write_abort_markers(client, node_id, stamp, {_NOWHERE: 1})).get(_NOWHERE) != _NO_CLUSTER_RIGHT


class MarkerFiller:
    """Fills holes with markers; a `HoleFiller`. Invisible to consumers of either isolation level.

    Args:
        client: an open client; its connections for markers are the filler's own.
        identity: what `next_marker_identity` says: that of the last run with its epoch raised by one; None means a new one.
            Never the identity of the producer of data.
        give_up_after_ms: without any progress on a partition.
    """

    def __init__(
        self, client: MirrorClient, *, identity: ProducerIdentity | None = None, give_up_after_ms: int = 120_000
    ) -> None:
        self._client = client
        self._identity = identity
        self._give_up_after_s = give_up_after_ms / 1000
        self._attempt = 0
        self._leaders = Leaders(client)
        self._topic_ids: dict[TopicPartition, str] = {}
        self._fenced: set[TopicPartition] = set()
        self._busy: set[TopicPartition] = set()
        self._requests = MarkerRequests(client, self._stamp)

    async def start(self) -> ProducerIdentity:
        """Get an identity if none was given: to be kept, for the next run. Asks again while the cluster cannot give one yet.

        Raises:
            AccessError: the right to write idempotently is missing.
            UnreachableError, ClusterError: no broker gave one.
        """
        loop = asyncio.get_running_loop()
        give_up_at_s = loop.time() + self._give_up_after_s
        while self._identity is None:
            try:
                given = await init_producer_id(self._client, await self._client.any_broker())
                self._identity = ProducerIdentity(producer_id=given.producer_id, producer_epoch=_FIRST_EPOCH)
            except MirrorError as error:
                if not error.transient or loop.time() > give_up_at_s:
                    raise
                await asyncio.sleep(_FIRST_BACKOFF_S)
        return self._identity

    async def close(self) -> None:
        """Let go of what is under way. The client stays open."""
        await self._requests.close()

    async def fill(self, tp: TopicPartition, *, start_offset: int, count: int) -> None:
        """Move the log end from ``start_offset`` to ``start_offset + count``, see `HoleFiller.fill`.

        Raises:
            AccessError: CLUSTER_ACTION (or ALTER) on the cluster is missing.
            ClusterError: somebody else writes to the partition, or a newer run of this restore fills it; or the log ends
                before ``start_offset``.
            TopicNotFoundError: the topic is gone, or was created anew.
            UnreachableError, ClusterBusyError: no progress for too long; what is filled stays filled.
        """
        await self.start()
        if tp in self._busy:
            raise ValueError(f"{tp} is being filled already")
        self._busy.add(tp)
        try:
            await self._fill(tp, start_offset, start_offset + count)
        finally:
            self._busy.discard(tp)

    async def _fill(self, tp: TopicPartition, start_offset: int, next_offset: int) -> None:
        loop = asyncio.get_running_loop()
        log_end = start_offset
        give_up_at_s = loop.time() + self._give_up_after_s
        backoff_s = 0.0
        while log_end < next_offset:
            wanted = min(next_offset - log_end, MARKERS_PER_REQUEST) if tp in self._fenced else 1
            error = await self._write(tp, log_end, wanted)
            if error is None:
                self._fenced.add(tp)
                log_end += wanted
            else:
                if not error.transient or loop.time() > give_up_at_s:
                    raise error
                self._doubt(tp)
                backoff_s = min(max(2 * backoff_s, _FIRST_BACKOFF_S), _LAST_BACKOFF_S)
                await asyncio.sleep(backoff_s)
                found = await self._settled(tp, log_end, next_offset, give_up_at_s)
                if found == log_end:
                    continue
                log_end = found
            backoff_s = 0.0
            give_up_at_s = loop.time() + self._give_up_after_s

    def _stamp(self) -> MarkerStamp:
        assert self._identity is not None, "fill starts first"
        return MarkerStamp(
            producer_id=self._identity.producer_id,
            producer_epoch=self._identity.producer_epoch,
            coordinator_epoch=(self._identity.producer_epoch << FILLER_EPOCH_BITS) + self._attempt,
        )

    def _doubt(self, tp: TopicPartition) -> None:
        """Something of ours may still be on its way to this partition."""
        self._attempt = min(self._attempt + 1, (1 << FILLER_EPOCH_BITS) - 1)
        self._fenced.discard(tp)

    async def _write(self, tp: TopicPartition, log_end: int, wanted: int) -> MirrorError | None:
        """One request. None: all of it is in the log and nothing else; an error that is not transient: over."""
        try:
            leader = self._leaders.get(tp) or await self._find_leader(tp)
            answer = await self._requests.write(tp, leader, wanted)
        except MirrorError as error:
            return self._named(tp, error)
        return self._judged(tp, answer, log_end + wanted)

    def _judged(self, tp: TopicPartition, answer: MarkerAnswer, expected_offset: int) -> MirrorError | None:
        code, what = answer.error_code, f"transaction markers to {tp} on broker {answer.node_id}"
        said = f"{what}: the broker answered {error_name(code)}"
        if code == _NO_CLUSTER_RIGHT:
            return AccessError(
                f"{said}; CLUSTER_ACTION on the cluster is missing (ALTER is enough since Kafka 3.8)",
                hint="grant it: kafka-acls --add --allow-principal User:... --operation ClusterAction --cluster; "
                "or fill the holes by aborted transactions",
            )
        if code in _FENCED_CODES:
            return ClusterError(
                f"{said}: a newer run of this restore fills the partition",
                hint="leave it to the newer run: restore list",
            )
        if code in ASK_AGAIN_CODES:
            return ClusterBusyError(said)
        if code:
            return kafka_error_to_ours(code, what)
        if isinstance(answer.log_end, MirrorError):
            return answer.log_end
        if answer.log_end > expected_offset:
            return written_beyond_error(tp, expected_offset=expected_offset, found_offset=answer.log_end)
        if answer.log_end < expected_offset:
            return ClusterBusyError(f"{what}: the log ends at {answer.log_end}, {expected_offset} expected")
        return None

    async def _settled(self, tp: TopicPartition, known_offset: int, next_offset: int, give_up_at_s: float) -> int:
        """The log end, once it is certain that what was on its way has arrived or never will."""
        seen: int | None = None
        while True:
            try:
                await self._find_leader(tp)
                found = (await log_ends(self._client, [tp]))[tp]
            except MirrorError as error:
                if not error.transient or asyncio.get_running_loop().time() > give_up_at_s:
                    raise
                await asyncio.sleep(_FIRST_BACKOFF_S)
                continue
            if found < known_offset:
                raise went_back_error(tp, known_offset=known_offset, found_offset=found)
            if found > next_offset:
                raise written_beyond_error(tp, expected_offset=next_offset, found_offset=found)
            if found in (seen, next_offset):
                return found
            seen = found
            await asyncio.sleep(_SETTLE_S)

    async def _find_leader(self, tp: TopicPartition) -> Leader:
        await self._leaders.refresh([tp.topic])
        leader = self._leaders.get(tp)
        if leader is None:
            raise self._leaders.error(tp)
        first_id = self._topic_ids.setdefault(tp, leader.topic_id)
        if leader.topic_id != first_id:
            raise TopicNotFoundError(
                f"filling {tp}: the topic was deleted and created anew meanwhile (id {first_id}, now {leader.topic_id})"
            )
        return leader

    def _named(self, tp: TopicPartition, error: MirrorError) -> MirrorError:
        if str(tp) in error.message:
            return error
        return type(error)(f"transaction markers to {tp}: {error.message}", hint=error.hint)
