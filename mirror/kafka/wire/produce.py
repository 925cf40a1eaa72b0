"""Produce v9: whole record batches, one per partition and request, acknowledged by all in-sync replicas."""

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.errors import MirrorError
from mirror.kafka.wire.api import Api, ImmediateSender, Sender, ask, ask_now
from mirror.kafka.wire.codec import MalformedError, Reader, Writer

__all__ = ["ProducedPartition", "decode_produce", "encode_produce", "produce", "produce_now"]

API: Final = Api("Produce", 0, 9, since="2.8")

_ALL_IN_SYNC_REPLICAS: Final = -1
_TIMEOUT_MS: Final = 30_000
_FIXED_FIELDS: Final = struct.Struct(">ihqqq")
_WITHOUT_ERROR: Final = struct.Struct(">ihqqq3s")
_NOTHING_MORE: Final = b"\x01\x00\x00"  # no record errors, no message, no tags


@dataclass(slots=True)
class ProducedPartition:
    """What became of one partition's batch; offsets and times are -1 where there is none."""

    topic: str
    partition: int
    error_code: int
    base_offset: int
    log_append_time_ms: int
    log_start_offset: int
    error_message: str | None
    record_errors: list[tuple[int, str | None]]


def encode_produce(
    batches: Mapping[TopicPartition, bytes | bytearray | memoryview],
    *,
    timeout_ms: int,
    transactional_id: str | None = None,
) -> bytes:
    """The body of a request; the batches are copied once."""
    by_topic: dict[str, list[tuple[int, bytes | bytearray | memoryview]]] = {}
    for (topic, partition), batch in batches.items():
        by_topic.setdefault(topic, []).append((partition, batch))
    writer = Writer().string(transactional_id).i16(_ALL_IN_SYNC_REPLICAS).i32(timeout_ms).uvarint(len(by_topic) + 1)
    for topic, parts in by_topic.items():
        writer.string(topic).uvarint(len(parts) + 1)
        for partition, batch in parts:
            writer.i32(partition).nullable_bytes(batch).no_tags()
        writer.no_tags()
    return writer.no_tags().finish()


def _record_error(reader: Reader) -> tuple[int, str | None]:
    error = reader.i32(), reader.nullable_string()
    reader.tags()
    return error


def decode_produce(reader: Reader) -> list[ProducedPartition]:
    """Parse an answer; MalformedError if it is not one."""
    produced: list[ProducedPartition] = []

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            usual = part.peek(_WITHOUT_ERROR)
            record_errors: list[tuple[int, str | None]] = []
            message: str | None = None
            if usual is not None and usual[-1] == _NOTHING_MORE:  # as nearly all are: one look at each
                part.raw(_WITHOUT_ERROR.size)
                numbers = usual[:-1]
            else:
                numbers = part.fields(_FIXED_FIELDS)
                record_errors = part.array(_record_error, least_item_bytes=6)
                message = part.nullable_string()
                part.tags()
            partition, error_code, base_offset, log_append_time_ms, log_start_offset = numbers
            produced.append(
                ProducedPartition(
                    topic,
                    partition,
                    error_code,
                    base_offset,
                    log_append_time_ms,
                    log_start_offset,
                    message,
                    record_errors,
                )
            )

        source.array(read_partition, least_item_bytes=33)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.i32()  # throttle time
    reader.tags()
    return produced


async def produce(
    client: Sender,
    node_id: int,
    batches: Mapping[TopicPartition, bytes | bytearray | memoryview],
    *,
    timeout_ms: int = _TIMEOUT_MS,
    transactional_id: str | None = None,
    connection: object = 0,
) -> list[ProducedPartition]:
    """Send one record batch per (topic, partition) to their leader and wait until all in-sync replicas have them.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`; partitions carry their own error codes.
    """
    body = encode_produce(batches, timeout_ms=timeout_ms, transactional_id=transactional_id)
    return decode_produce(await ask(client, node_id, API, body, connection=connection))


def produce_now(
    client: ImmediateSender,
    node_id: int,
    batches: Mapping[TopicPartition, bytes | bytearray | memoryview],
    *,
    connection: object,
    on_answer: Callable[[list[ProducedPartition] | MirrorError], None],
) -> bool:
    """The same over a connection that is open already, see `ask_now`: for whoever sends many small requests."""

    def answered(answer: Reader | MirrorError) -> None:
        try:
            on_answer(answer if isinstance(answer, MirrorError) else decode_produce(answer))
        except MalformedError as error:
            on_answer(error)

    body = encode_produce(batches, timeout_ms=_TIMEOUT_MS)
    return ask_now(client, node_id, API, body, connection=connection, on_answer=answered)
