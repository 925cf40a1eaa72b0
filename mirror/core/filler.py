"""Batches of empty records: they take offsets and nothing else.

A restore that gives records the offsets of the source fills with them what has no records: the range before the first
one (deleted afterwards), and, where transaction markers may not be written, holes inside aborted transactions. A million
of them are one batch of 0.7 MB, under the broker's default ``max.message.bytes``.
"""

import functools
import struct
from typing import Final

import crc32c
import numpy as np
import zstandard
from numpy.typing import NDArray

from mirror.core.record_batch import (
    ATTRIBUTES_POSITION,
    CRC_POSITION,
    HEADER,
    HEADER_BYTES,
    LENGTH_OVERHEAD_BYTES,
    MAGIC,
    TRANSACTIONAL_BIT,
)
from mirror.core.records import RawRecord

__all__ = ["FILLER_RECORDS_MAX", "filler_batch", "is_filler", "is_filler_body"]

FILLER_RECORDS_MAX: Final = 1_000_000
"""Records of one filler batch at most."""

_ZSTD: Final = 4
_ZSTD_LEVEL: Final = 5
_TAIL: Final = b"\x01\x01\x00"  # null key, null value, no headers
_FIXED_BYTES: Final = 2 + len(_TAIL)  # attributes and timestamp delta, both 0, and the tail
_VARINT_LIMITS: Final = (1 << 6, 1 << 13, 1 << 20)  # deltas below these take one, two, three bytes


def filler_batch(
    count: int, *, timestamp_ms: int, producer: tuple[int, int, int] = (-1, -1, -1), is_transactional: bool = False
) -> bytes:
    """One batch of ``count`` records with null key and value, all of one time.

    The body of a count that was asked for recently is kept: repeating it costs a copy and a CRC.

    Args:
        count: records, 1 to `FILLER_RECORDS_MAX`.
        timestamp_ms: of every record.
        producer: producer id, epoch and base sequence; -1 for none.
        is_transactional: whether the batch is part of a transaction.

    Raises:
        ValueError: too few or too many records.
    """
    if not 1 <= count <= FILLER_RECORDS_MAX:
        raise ValueError(f"a filler batch has 1 to {FILLER_RECORDS_MAX} records, not {count}")
    body = _body(count)
    length = HEADER_BYTES - LENGTH_OVERHEAD_BYTES + len(body)
    attributes = _ZSTD | (TRANSACTIONAL_BIT if is_transactional else 0)
    batch = bytearray(
        HEADER.pack(0, length, -1, MAGIC, 0, attributes, count - 1, timestamp_ms, timestamp_ms, *producer, count)
    )
    batch += body
    with memoryview(batch) as view:
        struct.pack_into(">I", batch, CRC_POSITION, crc32c.crc32c(view[ATTRIBUTES_POSITION:]))
    return bytes(batch)


def is_filler(record: RawRecord) -> bool:
    """Whether a record is empty as fillers are (a producer may have sent one just as empty)."""
    return record.attributes == 0 and bytes(record.tail) == _TAIL


def is_filler_body(count: int, body: bytes | memoryview) -> bool:
    """Whether ``count`` records, unpacked, are just those of a filler batch: as `is_filler` of each, a hundred times as fast."""
    return 1 <= count <= FILLER_RECORDS_MAX and body == _plain_body(count)


@functools.lru_cache(maxsize=16)
def _body(count: int) -> bytes:
    return zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=True).compress(_plain_body(count))


def _plain_body(count: int) -> bytes:
    """The records; by groups of equal size, never record by record."""
    first = 0
    groups: list[bytes] = []
    for size_bytes, limit in enumerate(_VARINT_LIMITS, start=1):
        following = min(limit, count)
        if first < following:
            groups.append(_records(np.arange(first, following, dtype=np.uint32), size_bytes))
            first = following
    return b"".join(groups)


def _records(deltas: NDArray[np.uint32], delta_bytes: int) -> bytes:
    """Records whose offset delta takes ``delta_bytes`` as a varint."""
    zigzag = deltas << 1
    records = np.zeros((len(deltas), 1 + _FIXED_BYTES + delta_bytes), dtype=np.uint8)
    records[:, 0] = 2 * (_FIXED_BYTES + delta_bytes)
    for number in range(delta_bytes):
        more = 0x80 if number < delta_bytes - 1 else 0
        records[:, 3 + number] = zigzag >> (7 * number) & 0x7F | more
    records[:, 3 + delta_bytes :] = np.frombuffer(_TAIL, dtype=np.uint8)
    return records.tobytes()
