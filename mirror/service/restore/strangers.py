"""Records of others at the end of a log that a restore loads: told by the producer id in every batch.

A restore stops at the first record that is not its own, so others' records stand at the log's end, or before what it had under way then.
Only that end is read. Markers, and empty records in a transaction that is aborted, fill holes: they are nobody's records.
"""

import asyncio
from collections.abc import Mapping

from mirror.core.compression import unpack
from mirror.core.filler import is_filler_body
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import HEADER_BYTES, TRANSACTIONAL_BIT, BatchHeader
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.restore.identity import is_of_a_restore
from mirror.service.restore.log_reading import read_log
from mirror.service.restore.together import each_of

__all__ = ["count_strangers_records"]

_AT_ONCE = 8
_CHUNK_BYTES = 256 << 10
_FIRST_SPAN = 16
_MOST_SPAN = 4096
_FARTHEST = 100_000
_OWN_ENOUGH = 16  # more than a producer has under way


async def count_strangers_records(
    client: MirrorClient, logs: Mapping[TopicPartition, LogOffsets]
) -> dict[TopicPartition, int]:
    """How many records at the end of each of these logs no restore wrote; of more than 100,000 offsets, those of the last ones.

    Args:
        client: of the target.
        logs: from their beginning on loaded by restores only, or so it should be.

    Raises:
        AccessError, UnreachableError, ClusterError: a log cannot be read.
    """
    found: dict[TopicPartition, int] = {}

    async def look(name: TopicPartition) -> None:
        found[name] = await _count(client, name, logs[name])

    await each_of(logs, look, at_once=_AT_ONCE)
    return found


async def _count(client: MirrorClient, name: TopicPartition, log: LogOffsets) -> int:
    strangers = own = 0
    at, span = log.high_watermark, _FIRST_SPAN
    nearest = max(log.log_start_offset, log.high_watermark - _FARTHEST)
    while at > nearest and own < _OWN_ENOUGH:
        start_offset = max(nearest, at - span)
        first = at
        answers = read_log(
            client, name, start_offset=start_offset, next_offset=at, chunk_bytes=_CHUNK_BYTES, check_crc=False
        )
        async for view, columns in answers:
            for position, row in zip(columns.position.tolist(), columns.headers, strict=True):
                header = BatchHeader._make(row.item())
                if header.base_offset >= at:
                    break
                first = min(first, header.base_offset)
                if is_of_a_restore(
                    ProducerIdentity(producer_id=header.producer_id, producer_epoch=header.producer_epoch)
                ):
                    own += 1
                    continue
                body = view[position + HEADER_BYTES : position + header.batch_bytes]
                if not await asyncio.to_thread(_fills_a_hole, header, body):
                    strangers += header.record_count
        at, span = min(first, start_offset), min(span * 4, _MOST_SPAN)
    return strangers


def _fills_a_hole(header: BatchHeader, body: memoryview) -> bool:
    if header.is_control:
        return True
    is_transactional = bool(header.attributes & TRANSACTIONAL_BIT)
    return is_transactional and is_filler_body(header.record_count, unpack(header.codec, body))
