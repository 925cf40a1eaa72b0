"""Reading one partition of the source from an offset on, as a read_committed consumer would, but in whole batches."""

import asyncio
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.core.slices import SliceBody, read_slice
from mirror.errors import ClusterBusyError, MirrorError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import log_offsets
from mirror.kafka.errors import RETRIABLE_CODES, kafka_error_to_ours
from mirror.kafka.leaders import Leaders
from mirror.kafka.wire.fetch import FetchPartition, FetchRequest, fetch

__all__ = ["SourceReader"]

_CHUNK_BYTES: Final = 4 << 20
_WAIT_MS: Final = 500
_GIVE_UP_AFTER_S: Final = 30.0
_PAUSE_S: Final = 0.3
_OUT_OF_RANGE: Final = 1


class SourceReader:
    """Fetches by topic id, so that another incarnation is never read by mistake.

    Args:
        client: an open client.
        connection: requests of different values go over different connections.
        chunk_bytes: asked for at once; one batch comes even if it is larger.
    """

    def __init__(self, client: MirrorClient, connection: object = 0, *, chunk_bytes: int = _CHUNK_BYTES) -> None:
        self._client = client
        self._chunk_bytes = chunk_bytes
        self._leaders = Leaders(client)
        self._connection = connection

    async def read(self, tp: TopicPartition, topic_id: str, start_offset: int) -> tuple[SliceBody | None, int]:
        """The next committed batches from ``start_offset``, below the last stable offset, and the position after them.

        Returns:
            ``(None, offset where the log begins now)`` where retention has removed ``start_offset``.

        Raises:
            TopicNotFoundError: this incarnation is gone.
            AccessError, UnreachableError, ClusterError, ClusterBusyError: after 30 s of trying where that may help.
        """
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _GIVE_UP_AFTER_S
        while True:
            problem: MirrorError
            try:
                found = await self._once(tp, topic_id, start_offset)
                if not isinstance(found, MirrorError):
                    return found
                problem = found
            except MirrorError as error:
                if not error.transient:
                    raise
                problem = error
            if loop.time() > give_up_at:
                raise problem
            await asyncio.sleep(_PAUSE_S)
            await self._leaders.refresh([tp.topic])

    async def _once(
        self, tp: TopicPartition, topic_id: str, start_offset: int
    ) -> tuple[SliceBody | None, int] | MirrorError:
        if self._leaders.get(tp) is None:
            await self._leaders.refresh([tp.topic])
        leader = self._leaders.get(tp)
        if leader is None:
            error = self._leaders.error(tp)
            if not error.transient:
                raise error
            return error
        wanted = FetchPartition(
            topic_id=topic_id, partition=tp.partition, fetch_offset=start_offset, max_bytes=self._chunk_bytes
        )
        request = FetchRequest(partitions=(wanted,), max_wait_ms=_WAIT_MS, max_bytes=self._chunk_bytes)
        answer = await fetch(self._client, leader.node_id, request, connection=self._connection)
        what = f"fetch of {tp} from broker {leader.node_id}"
        if answer.error_code:
            raise kafka_error_to_ours(answer.error_code, what)
        part = answer.partitions[0]
        if part.error_code == _OUT_OF_RANGE:
            log = (await log_offsets(self._client, [tp]))[tp]
            if log.log_start_offset > start_offset:
                return None, log.log_start_offset
            raise kafka_error_to_ours(part.error_code, what)
        if part.error_code:
            error = kafka_error_to_ours(part.error_code, what)
            if part.error_code in RETRIABLE_CODES:
                return error
            raise error
        body = read_slice(part.records, start_offset, part.aborted_transactions)
        if body.next_offset > start_offset:
            return body, body.next_offset
        return ClusterBusyError(f"{what}: nothing at offset {start_offset}, though the log holds more")
