"""Zigzag varints of whole columns at once: what `read_varint` and `write_varint` do one by one."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Int64s", "read_varints", "varint_bytes", "write_varints", "zigzag"]

Int64s = NDArray[np.int64]

_READ_BYTES_MAX = 9  # hold 63 bits


def read_varints(data: NDArray[np.uint8], at: Int64s) -> tuple[Int64s, Int64s] | None:
    """The varints at these positions, and the positions after them; None if one has more than nine bytes.

    Nothing beyond the end of ``data`` is read, but a varint that is cut there gives some value: its end tells, which lies beyond.
    """
    byte = data.take(at, mode="clip").astype(np.int64)
    value = byte & 0x7F
    at = at + 1
    more = np.flatnonzero(byte >= 0x80)
    shift = 7
    while len(more):
        if shift == 7 * _READ_BYTES_MAX:
            return None
        byte = data.take(at[more], mode="clip").astype(np.int64)
        value[more] |= (byte & 0x7F) << shift
        at[more] += 1
        more = more[byte >= 0x80]
        shift += 7
    return (value >> 1) ^ -(value & 1), at


def zigzag(values: Int64s) -> NDArray[np.uint64]:
    """What is written for signed values."""
    return ((values << 1) ^ (values >> 63)).view(np.uint64)


def varint_bytes(raw: NDArray[np.uint64]) -> Int64s:
    """How many bytes each takes."""
    size_bytes = np.ones(len(raw), dtype=np.int64)
    rest = int(raw.max(initial=0)) >> 7
    shift = 7
    while rest:
        size_bytes += (raw >> np.uint64(shift)) != 0
        shift += 7
        rest >>= 7
    return size_bytes


def write_varints(out: NDArray[np.uint8], at: Int64s, raw: NDArray[np.uint64], size_bytes: NDArray[Any]) -> None:
    """Write each at its position in ``out``; ``size_bytes`` is what `varint_bytes` said."""
    out[at] = (raw & np.uint64(0x7F)) | (size_bytes > 1) * np.uint64(0x80)
    number = 1
    more = np.flatnonzero(size_bytes > 1)
    while len(more):
        size_bytes = size_bytes[more]
        at = at[more]
        raw = raw[more]
        out[at + number] = ((raw >> np.uint64(7 * number)) & np.uint64(0x7F)) | (size_bytes > number + 1) * np.uint64(
            0x80
        )
        number += 1
        more = np.flatnonzero(size_bytes > number)
