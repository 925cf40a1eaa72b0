"""The records of many tiny batches at once, as columns: what `iterate_records` does record by record.

The batches are read in step: the first record of each, then the second of each that has one. Nothing is refused here: what is not as
it must be (and what never is, such as times beyond 2⁶¹ ms) is left to the slow path, which takes it or says what is wrong, and where.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirror.core.record_batch import LOG_APPEND_TIME_BIT
from mirror.core.varint_columns import Int64s, read_varints

__all__ = ["LARGEST_TIME_MS", "LEAST_RECORD_BYTES", "HeaderColumns", "RecordColumns", "has_extremes", "read_records"]

LARGEST_TIME_MS = 1 << 61  # so that neither sum nor difference leaves 64 bits
LEAST_RECORD_BYTES = 5


class HeaderColumns(NamedTuple):
    """What the headers of batches say of their records."""

    base_offset: Int64s
    attributes: Int64s
    last_offset_delta: Int64s
    base_timestamp: Int64s
    max_timestamp: Int64s
    record_count: Int64s

    def select(self, rows: Int64s) -> "HeaderColumns":
        """Those of these numbers."""
        return HeaderColumns(*(column[rows] for column in self))


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordColumns:
    """Records in order, as columns of equal length.

    Attributes:
        data: holds the tail of each, from byte ``begin`` to before ``following``.
        row: the number of its batch in what was given.
        offset, timestamp_ms, attributes: as in `RawRecord`.
    """

    data: bytes
    row: Int64s
    offset: Int64s
    timestamp_ms: Int64s
    attributes: Int64s
    begin: Int64s
    following: Int64s

    def __len__(self) -> int:
        return len(self.row)

    def select(self, keep: NDArray[np.bool_]) -> "RecordColumns":
        """The records where the mask says so."""
        return RecordColumns(
            data=self.data,
            row=self.row[keep],
            offset=self.offset[keep],
            timestamp_ms=self.timestamp_ms[keep],
            attributes=self.attributes[keep],
            begin=self.begin[keep],
            following=self.following[keep],
        )


def read_records(headers: HeaderColumns, data: bytes, begin: Int64s, following: Int64s) -> RecordColumns | None:
    """The records of batches with these headers, of at least one record each, whose unpacked bodies are ``data[begin:following]``.

    None where `iterate_records` must look.
    """
    if not data or has_extremes(headers.base_timestamp) or has_extremes(headers.max_timestamp):
        return None
    count = headers.record_count
    first = np.cumsum(count) - count
    total = int(count.sum())
    time_delta, offset_delta, attributes, tail_begin, tail_following = (np.empty(total, np.int64) for _ in range(5))
    view = np.frombuffer(data, dtype=np.uint8)
    at = begin
    previous = np.full(len(count), -1, dtype=np.int64)
    live = np.arange(len(count))  # the batches that have a record of this number
    for number in range(int(count.max(initial=0))):
        if number:
            goes_on = count[live] > number
            live, at, previous = live[goes_on], at[goes_on], previous[goes_on]
        read = _read_heads(view, at)
        if read is None:
            return None
        end, kind, times, deltas, tail = read
        if ((end > following[live]) | (deltas <= previous) | (deltas > headers.last_offset_delta[live])).any():
            return None
        slot = first[live] + number
        attributes[slot], time_delta[slot], offset_delta[slot] = kind, times, deltas
        tail_begin[slot], tail_following[slot] = tail, end
        at, previous = end, deltas
        if ((at != following[live]) & (count[live] == number + 1)).any():
            return None
    if has_extremes(time_delta):
        return None
    row = np.repeat(np.arange(len(count)), count)
    timestamp_ms = headers.base_timestamp[row] + time_delta
    has_append_time = ((headers.attributes & LOG_APPEND_TIME_BIT) != 0)[row]
    timestamp_ms[has_append_time] = headers.max_timestamp[row[has_append_time]]
    return RecordColumns(
        data=data,
        row=row,
        offset=headers.base_offset[row] + offset_delta,
        timestamp_ms=timestamp_ms,
        attributes=attributes,
        begin=tail_begin,
        following=tail_following,
    )


def _read_heads(view: NDArray[np.uint8], at: Int64s) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s] | None:
    """Of the records at these positions: where they end, attributes, time deltas, offset deltas, where their tails begin."""
    read = read_varints(view, at)
    if read is None:
        return None
    length, at = read
    if (length < LEAST_RECORD_BYTES).any():
        return None
    end = at + length
    attributes = view.take(at, mode="clip").astype(np.int64)
    read = read_varints(view, at + 1)
    if read is None:
        return None
    times, at = read
    read = read_varints(view, at)
    if read is None:
        return None
    deltas, at = read
    if (at > end).any():
        return None
    return end, attributes, times, deltas, at


def has_extremes(times_ms: Int64s) -> bool:
    """Whether one of them is beyond `LARGEST_TIME_MS`, either way."""
    return bool(((times_ms > LARGEST_TIME_MS) | (times_ms < -LARGEST_TIME_MS)).any())
