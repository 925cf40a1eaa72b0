"""Fetch v13: record batches by topic id, exactly as the leader stores them. The hot path.

The answer is parsed by hand from the frame; `records` are views on that frame, so a partition's records keep the whole
frame alive: copy them out (`bytes(...)`) if they outlive it by much.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = [
    "READ_COMMITTED",
    "READ_UNCOMMITTED",
    "FetchPartition",
    "FetchRequest",
    "FetchResponse",
    "FetchedPartition",
    "decode_fetch",
    "encode_fetch",
    "fetch",
    "fetch_encoded",
]

API: Final = Api("Fetch", 1, 13, since="3.1")

READ_UNCOMMITTED: Final = 0
READ_COMMITTED: Final = 1

_NO_SESSION_ID: Final = 0
_NO_SESSION_EPOCH: Final = -1
_CONSUMER: Final = -1
_FIXED_FIELDS: Final = struct.Struct(">ihqqq")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPartition:
    """What is wanted of one partition; an epoch of -1 means "not checked"."""

    topic_id: str
    partition: int
    fetch_offset: int
    max_bytes: int
    current_leader_epoch: int = -1
    last_fetched_epoch: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchRequest:
    """One fetch from one broker.

    Args:
        partitions: in the order in which they should be served.
        max_wait_ms: how long the broker may wait for ``min_bytes``.
        max_bytes: of the answer; the first batch comes even if it is larger.
        isolation_level: `READ_COMMITTED` stops at the last stable offset.
        rack: the client's zone, empty for none.
    """

    partitions: Sequence[FetchPartition]
    max_wait_ms: int
    max_bytes: int
    min_bytes: int = 1
    isolation_level: Literal[0, 1] = READ_COMMITTED
    rack: str = ""


@dataclass(slots=True)
class FetchedPartition:
    """One partition of an answer.

    ``diverging_epoch`` is (leader epoch, its end: exclusive) if the log was truncated under us; ``current_leader`` is
    (broker, leader epoch) if the leader moved; ``aborted_transactions`` are (producer id, first offset).
    ``preferred_read_replica`` is -1 if the answer came from where it should.
    """

    topic_id: str
    partition: int
    error_code: int
    high_watermark: int
    last_stable_offset: int
    log_start_offset: int
    aborted_transactions: list[tuple[int, int]]
    preferred_read_replica: int
    records: memoryview
    diverging_epoch: tuple[int, int] | None = None
    current_leader: tuple[int, int] | None = None

    def __repr__(self) -> str:
        return (
            f"<{self.topic_id}-{self.partition}: error {self.error_code}, {len(self.records)} bytes, "
            f"log start {self.log_start_offset}, last stable {self.last_stable_offset}, end {self.high_watermark}>"
        )


@dataclass(slots=True)
class FetchResponse:
    """An answer; ``error_code`` is that of the request as a whole."""

    throttle_ms: int
    error_code: int
    partitions: list[FetchedPartition]


_EMPTY: Final = memoryview(b"")

_EMPTY_PARTITION: Final = struct.Struct(">ihqqqBiBB")
"""Index, error, high watermark, last stable offset, log start, count of aborted + 1, read replica, bytes of records + 1, count of tags."""


def encode_fetch(request: FetchRequest) -> bytes:
    """The body of a request."""
    writer = Writer().i32(_CONSUMER).i32(request.max_wait_ms).i32(request.min_bytes).i32(request.max_bytes)
    writer.i8(request.isolation_level).i32(_NO_SESSION_ID).i32(_NO_SESSION_EPOCH)
    by_topic: dict[str, list[FetchPartition]] = {}
    for partition in request.partitions:
        by_topic.setdefault(partition.topic_id, []).append(partition)

    def write_partition(out: Writer, wanted: FetchPartition) -> None:
        out.i32(wanted.partition).i32(wanted.current_leader_epoch).i64(wanted.fetch_offset)
        out.i32(wanted.last_fetched_epoch).i64(-1).i32(wanted.max_bytes).no_tags()

    def write_topic(out: Writer, topic: tuple[str, list[FetchPartition]]) -> None:
        out.topic_id(topic[0]).array(topic[1], write_partition).no_tags()

    writer.array(by_topic.items(), write_topic)
    return writer.uvarint(1).string(request.rack).no_tags().finish()  # uvarint(1): no forgotten topics


def _aborted(reader: Reader) -> tuple[int, int]:
    pair = reader.i64(), reader.i64()
    reader.tags()
    return pair


def _epoch_and_offset(field: memoryview) -> tuple[int, int]:
    reader = Reader(field)
    return reader.i32(), reader.i64()


def _leader_and_epoch(field: memoryview) -> tuple[int, int]:
    reader = Reader(field)
    return reader.i32(), reader.i32()


def decode_fetch(reader: Reader) -> FetchResponse:
    """Parse an answer; MalformedError if it is not one."""
    throttle_ms, error_code = reader.i32(), reader.i16()
    reader.i32()  # session id
    partitions: list[FetchedPartition] = []

    def read_topic(source: Reader) -> None:
        topic_id = source.topic_id()

        def read_partition(part: Reader) -> None:
            idle = part.peek(_EMPTY_PARTITION)
            if idle is not None and idle[5] <= 1 and idle[7] <= 1 and idle[8] == 0:
                part.fields(_EMPTY_PARTITION)  # nothing aborted, no records, no tags: there are many of these
                number, error, high, stable, start, _, replica, _, _ = idle
                partitions.append(FetchedPartition(topic_id, number, error, high, stable, start, [], replica, _EMPTY))
                return
            partition, error_code, high_watermark, last_stable_offset, log_start_offset = part.fields(_FIXED_FIELDS)
            fetched = FetchedPartition(
                topic_id=topic_id,
                partition=partition,
                error_code=error_code,
                high_watermark=high_watermark,
                last_stable_offset=last_stable_offset,
                log_start_offset=log_start_offset,
                aborted_transactions=part.array(_aborted, least_item_bytes=17),
                preferred_read_replica=part.i32(),
                records=part.nullable_bytes() or _EMPTY,
            )
            tags = part.tags()
            if 0 in tags:
                fetched.diverging_epoch = _epoch_and_offset(tags[0])
            if 1 in tags:
                fetched.current_leader = _leader_and_epoch(tags[1])
            partitions.append(fetched)

        source.array(read_partition, least_item_bytes=37)
        source.tags()

    reader.array(read_topic, least_item_bytes=18)
    reader.tags()
    return FetchResponse(throttle_ms, error_code, partitions)


async def fetch(client: Sender, node_id: int, request: FetchRequest, *, connection: object = 0) -> FetchResponse:
    """Fetch from one broker; error codes are left to the caller, per partition.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`.
    """
    return await fetch_encoded(client, node_id, encode_fetch(request), connection=connection)


async def fetch_encoded(client: Sender, node_id: int, body: bytes, *, connection: object = 0) -> FetchResponse:
    """The same with a body that `encode_fetch` made: for whoever sends it again and again."""
    return decode_fetch(await ask(client, node_id, API, body, connection=connection))
