"""Keys and values of the records of a batch, quickly: a group log has millions of small records, and hardly any of them counts."""

from mirror.core.record_batch import BatchHeader
from mirror.core.records import decode_record, iterate_records

__all__ = ["KeyedRecord", "keyed_records"]

KeyedRecord = tuple[int, int, bytes | None, bytes | None]
"""Offset, timestamp (ms, as a consumer sees it), key, value."""


def keyed_records(header: BatchHeader, records: bytes | memoryview) -> list[KeyedRecord]:
    """The records of a batch whose body is unpacked, in order; headers are left out.

    Raises:
        BatchDamageError: as :func:`mirror.core.records.iterate_records` and :func:`mirror.core.records.decode_record`.
    """
    try:
        found = _without_headers(header, bytes(records))
    except IndexError:
        found = None
    if found is not None:
        return found
    decoded = (decode_record(raw) for raw in iterate_records(header, records))
    return [(record.offset, record.timestamp_ms, record.key, record.value) for record in decoded]


def _without_headers(header: BatchHeader, data: bytes) -> list[KeyedRecord] | None:
    """The same, for records without headers; None where anything is unusual: whoever reads slowly then says what is wrong.

    IndexError: it ends too early.
    """
    base_offset, base_timestamp, last_delta = header.base_offset, header.base_timestamp, header.last_offset_delta
    fixed_time = header.max_timestamp if header.has_append_time else None
    out: list[KeyedRecord] = []
    at, previous_delta = 0, -1
    for _ in range(header.record_count):
        size, at = _zigzag(data, at)
        following = at + size
        time_delta, at = _zigzag(data, at + 1)
        delta, at = _zigzag(data, at)
        key_bytes, at = _zigzag(data, at)
        key = None if key_bytes < 0 else data[at : at + key_bytes]
        at += max(0, key_bytes)
        value_bytes, at = _zigzag(data, at)
        value = None if value_bytes < 0 else data[at : at + value_bytes]
        at += max(0, value_bytes)
        if data[at] or at + 1 != following or not previous_delta < delta <= last_delta:
            return None
        at, previous_delta = following, delta
        out.append((base_offset + delta, base_timestamp + time_delta if fixed_time is None else fixed_time, key, value))
    return out if at == len(data) else None


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    """A varint of up to ten bytes, as :func:`mirror.core.record_batch.read_varint` reads it; longer ones end in IndexError too."""
    value = data[at]
    at += 1
    if value >= 0x80:
        value &= 0x7F
        shift = 7
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        if shift > 63 or value >> 64:
            raise IndexError
    return (value >> 1) ^ -(value & 1), at
