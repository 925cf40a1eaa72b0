"""Single records inside a batch: the slow path, for batches that must be encoded again and for reading what is stored.

Record (Kafka ``DefaultRecord``; all integers zigzag varints)::

    length  attributes:int8  timestamp_delta  offset_delta  key_length key  value_length value
    header_count [key_length key value_length value]…

A length of −1 is null. Re-encoding keeps everything after ``offset_delta`` as raw bytes: keys, values and headers are never taken apart.
"""

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import crc32c

from mirror.core.compression import pack
from mirror.core.record_batch import (
    ATTRIBUTES_POSITION,
    CODEC_MASK,
    CRC_POSITION,
    HEADER,
    HEADER_BYTES,
    LENGTH_OVERHEAD_BYTES,
    MAGIC,
    BatchHeader,
    read_varint,
)
from mirror.errors import BatchDamageError

__all__ = [
    "RawRecord",
    "Record",
    "decode_record",
    "encode_batch",
    "encode_head",
    "encode_header",
    "iterate_records",
    "write_varint",
]

_LEADER_EPOCH_NONE = -1


class RawRecord(NamedTuple):
    """A record with its own coordinates and everything else untouched.

    ``tail`` is the wire form from the key's length to the last header.
    """

    offset: int
    timestamp_ms: int
    attributes: int
    tail: memoryview


class Record(NamedTuple):
    """A record as a consumer sees it; headers in order, repeated keys kept, null values as None."""

    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


def iterate_records(header: BatchHeader, records: bytes | memoryview) -> Iterator[RawRecord]:
    """The records of a batch whose body is unpacked, in order.

    The timestamp is the one a consumer sees: the append time where the batch carries the LogAppendTime bit.

    Raises:
        BatchDamageError: lengths run past the body, offsets leave the batch's range or do not ascend, or the count is wrong.
    """
    view = memoryview(records)
    size = len(view)
    position = 0
    previous_delta = -1
    fixed_time = header.max_timestamp if header.has_append_time else None
    for _ in range(header.record_count):
        length, position = read_varint(view, position)
        following = position + length
        if length < 5 or following > size:
            raise BatchDamageError(f"record of batch {header.base_offset} runs past the end of the batch")
        attributes = view[position]
        timestamp_delta, position = read_varint(view, position + 1)
        offset_delta, position = read_varint(view, position)
        if not previous_delta < offset_delta <= header.last_offset_delta or position > following:
            raise BatchDamageError(
                f"record of batch {header.base_offset} has offset delta {offset_delta} out of order or range"
            )
        previous_delta = offset_delta
        timestamp_ms = header.base_timestamp + timestamp_delta if fixed_time is None else fixed_time
        yield RawRecord(header.base_offset + offset_delta, timestamp_ms, attributes, view[position:following])
        position = following
    if position != size:
        raise BatchDamageError(f"batch {header.base_offset} has {size - position} bytes after its last record")


def decode_record(raw: RawRecord) -> Record:
    """Key, value and headers of a record.

    Raises:
        BatchDamageError: a length inside the record runs past it.
    """
    tail = raw.tail
    key, position = _field(tail, 0)
    value, position = _field(tail, position)
    count, position = read_varint(tail, position)
    if not 0 <= count <= len(tail):
        raise BatchDamageError(f"record at offset {raw.offset} claims {count} headers")
    headers: list[tuple[str, bytes | None]] = []
    for _ in range(count):
        name, position = _field(tail, position)
        header_value, position = _field(tail, position)
        if name is None:
            raise BatchDamageError(f"record at offset {raw.offset} has a header without a key")
        headers.append((name.decode("utf-8", "surrogateescape"), header_value))
    if position != len(tail):
        raise BatchDamageError(f"record at offset {raw.offset} has {len(tail) - position} bytes after its last header")
    return Record(raw.offset, raw.timestamp_ms, key, value, tuple(headers))


def _field(tail: memoryview, position: int) -> tuple[bytes | None, int]:
    length, position = read_varint(tail, position)
    if length < 0:
        return None, position
    following = position + length
    if following > len(tail):
        raise BatchDamageError("a field runs past the end of its record")
    return bytes(tail[position:following]), following


def encode_batch(records: Sequence[RawRecord], *, codec: int = 0, base_offset: int | None = None) -> bytes:
    """One batch of CreateTime records with dense offsets: record *i* gets ``base_offset + i``.

    Used where the broker would refuse the stored batch (holes left by compaction, a batch cut at a boundary, append times) and
    to merge many tiny batches. Timestamps, keys, values and headers are kept; producer fields are left unset (−1).

    Raises:
        ValueError: no records.
        BatchDamageError: a timestamp or offset is none (records of a damaged batch).
    """
    if not records:
        raise ValueError("a batch has at least one record")
    base_timestamp = records[0].timestamp_ms
    body = bytearray()
    for delta, record in enumerate(records):
        body += encode_head(record, base_timestamp, delta)
        body += record.tail
    packed = pack(codec, bytes(body))
    batch = bytearray(
        encode_header(
            base_offset=records[0].offset if base_offset is None else base_offset,
            body_bytes=len(packed),
            codec=codec,
            record_count=len(records),
            base_timestamp_ms=base_timestamp,
            max_timestamp_ms=max(record.timestamp_ms for record in records),
        )
    )
    batch += packed
    struct.pack_into(">I", batch, CRC_POSITION, crc32c.crc32c(memoryview(batch)[ATTRIBUTES_POSITION:]))
    return bytes(batch)


def encode_head(record: RawRecord, base_timestamp_ms: int, offset_delta: int) -> bytes:
    """What stands before the tail of a record in a batch.

    Raises:
        BatchDamageError: its timestamp is none (a record of a damaged batch).
    """
    time_delta = record.timestamp_ms - base_timestamp_ms
    if not -(2**63) <= time_delta < 2**63:
        raise BatchDamageError(f"record at offset {record.offset} has the impossible timestamp {record.timestamp_ms}")
    head = bytes((record.attributes,)) + write_varint(time_delta) + write_varint(offset_delta)
    return write_varint(len(head) + len(record.tail)) + head


def encode_header(
    *,
    base_offset: int,
    body_bytes: int,
    codec: int,
    record_count: int,
    base_timestamp_ms: int,
    max_timestamp_ms: int,
) -> bytes:
    """The header of a CreateTime batch without holes; its producer fields are unset (-1), its CRC is 0.

    Raises:
        BatchDamageError: a timestamp or offset is none.
    """
    try:
        return HEADER.pack(
            base_offset,
            HEADER_BYTES - LENGTH_OVERHEAD_BYTES + body_bytes,
            _LEADER_EPOCH_NONE,
            MAGIC,
            0,
            codec & CODEC_MASK,
            record_count - 1,
            base_timestamp_ms,
            max_timestamp_ms,
            -1,
            -1,
            -1,
            record_count,
        )
    except struct.error as error:
        raise BatchDamageError(f"records from offset {base_offset} do not fit a batch header: {error}") from error


def write_varint(value: int) -> bytes:
    """A 64-bit integer as a zigzag varint."""
    value = (value << 1) ^ (value >> 63)
    if value < 0x80:
        return bytes((value,))
    out = bytearray()
    while value > 0x7F:
        out.append((value & 0x7F) | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
