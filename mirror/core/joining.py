"""Joins consecutive small batches to larger ones, all their records at once, without looking into any.

A produce request carries one batch per partition, and producer and broker do much of their work once for each batch. So batches that
are not packed, or must be packed again anyway, are joined. (Unpacking those that are packed takes as long as it saves.) Of every record
only the head changes, which tells its time and offset as differences from those of its batch; the tails are moved as they are.

Nothing is refused here: where anything is not as it must be, the answer is None, and the batches go one by one.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirror.core.producible import ProducibleBatch, made_batch
from mirror.core.record_heads import RecordHeads
from mirror.core.tiny_batches import Bodies
from mirror.core.tiny_records import LEAST_RECORD_BYTES, HeaderColumns, has_extremes
from mirror.core.varint_columns import Int64s, read_varints

__all__ = ["JOIN_TARGET_BYTES", "join_batches"]

JOIN_TARGET_BYTES = 256 << 10
_SHORT_LENGTHS = 1 << 16  # two bytes, the second one may belong to what follows


@cache  # not when a command is imported
def _record_sizes() -> NDArray[np.int32]:
    """By the first two bytes of a record (little-endian): the bytes of it with its length, 0 where these two do not tell."""
    pair = np.arange(_SHORT_LENGTHS)
    first, second = pair & 0xFF, pair >> 8
    one, two = first >> 1, ((first & 0x7F) | (second << 7)) >> 1
    is_one, is_two = first < 0x80, (first >= 0x80) & (second < 0x80)
    sizes = np.where(is_one, one + 1, two + 2)
    is_length = (first & 1 == 0) & (is_one | is_two) & (np.where(is_one, one, two) >= LEAST_RECORD_BYTES)
    return np.where(is_length, sizes, 0).astype(np.int32)


class _Records(NamedTuple):
    """All records in order: where each begins, where its tail begins, where it ends; its batch, attributes and time."""

    begin: Int64s
    tail: Int64s
    end: Int64s
    row: Int64s
    attributes: NDArray[np.uint8]
    timestamp_ms: Int64s


def join_batches(headers: HeaderColumns, bodies: Bodies, codec: int) -> list[ProducibleBatch] | None:
    """Join batches until each has `JOIN_TARGET_BYTES` of records, not packed.

    Args:
        headers: of batches with consecutive offsets, without holes, with create times and of at least one record each.
        bodies: of these, unpacked.
        codec: to pack with.

    Returns:
        None where the bodies are not what the headers say, a record has 8 KiB or more, or a time is extreme.
    """
    data, starts, following = _without_gaps(bodies)
    if not data or has_extremes(headers.base_timestamp):
        return None
    view = np.frombuffer(data, dtype=np.uint8)
    records = _read(view, headers, starts, following)
    if records is None:
        return None
    firsts = _first_batches(following)
    first_records = (np.cumsum(headers.record_count) - headers.record_count)[firsts]
    counts = np.diff(first_records, append=len(records.row))
    base_ms = records.timestamp_ms[first_records]
    max_ms = np.maximum.reduceat(records.timestamp_ms, first_records)
    out, ends = _moved(view, records, np.repeat(first_records, counts), np.repeat(base_ms, counts))
    bounds = [0, *ends[first_records[1:] - 1].tolist(), len(out)]
    made = out.data
    batches: list[ProducibleBatch] = []
    for number, (count, first_ms, last_ms, base_offset) in enumerate(
        zip(counts.tolist(), base_ms.tolist(), max_ms.tolist(), headers.base_offset[firsts].tolist(), strict=True)
    ):
        body = made[bounds[number] : bounds[number + 1]]
        batches.append(
            made_batch(
                body,
                codec=codec,
                record_count=count,
                base_offset=base_offset,
                base_timestamp_ms=first_ms,
                max_timestamp_ms=last_ms,
            )
        )
    return batches


def _without_gaps(bodies: Bodies) -> Bodies:
    data, begin, following = bodies
    if not int(begin[0]) and int(following[-1]) == len(data) and (begin[1:] == following[:-1]).all():
        return bodies
    view = memoryview(data)
    spans = zip(begin.tolist(), following.tolist(), strict=True)
    reached = np.cumsum(following - begin)
    return Bodies(b"".join([view[first:end] for first, end in spans]), np.append(0, reached[:-1]), reached)


def _first_batches(following: Int64s) -> Int64s:
    """The numbers of the batches that others are joined to."""
    firsts, reached = [0], 0
    while True:
        last = int(np.searchsorted(following, reached + JOIN_TARGET_BYTES))
        if last + 1 >= len(following):
            return np.array(firsts)
        reached = int(following[last])
        firsts.append(last + 1)


def _read(view: NDArray[np.uint8], headers: HeaderColumns, begin: Int64s, following: Int64s) -> _Records | None:
    count = headers.record_count
    at = _record_starts(view, count, begin, following)
    if at is None:
        return None
    end = np.append(at[1:], len(view))  # bodies have no gaps, and each holds its records and nothing else
    inner = at + 1 + (view[at] >= 0x80)
    times = read_varints(view, inner + 1)
    deltas = None if times is None else read_varints(view, times[1])
    if times is None or deltas is None:
        return None
    row = np.repeat(np.arange(len(count)), count)
    number = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    if (deltas[0] != number).any() or (deltas[1] > end).any() or has_extremes(times[0]):
        return None
    return _Records(at, deltas[1], end, row, view[inner], headers.base_timestamp[row] + times[0])


def _record_starts(view: NDArray[np.uint8], count: Int64s, begin: Int64s, following: Int64s) -> Int64s | None:
    """Where each record begins; the batches are walked in step, those with the most records first."""
    order = np.argsort(-count, kind="stable")
    slot = (np.cumsum(count) - count)[order]
    at = begin[order]
    counts = count[order]
    live = len(counts) - np.searchsorted(counts[::-1], np.arange(int(counts[0])), side="right")
    pairs = np.ndarray((len(view) - 1,), dtype="<u2", buffer=view, strides=(1,))
    starts = np.empty(int(count.sum()), dtype=np.int64)
    sizes = _record_sizes()
    try:
        for alive in live.tolist():
            here = at[:alive]
            starts[slot[:alive]] = here
            here += sizes[pairs[here]]
            slot[:alive] += 1
    except IndexError:  # past the end
        return None
    return starts if (at == following[order]).all() else None


def _moved(
    view: NDArray[np.uint8], records: _Records, first_record: Int64s, base_ms: Int64s
) -> tuple[NDArray[np.uint8], Int64s]:
    """The records with new heads, and where each of them ends."""
    offset_delta = np.arange(len(first_record)) - first_record
    tail_bytes = records.end - records.tail
    heads = RecordHeads.of(records.attributes, records.timestamp_ms - base_ms, offset_delta, tail_bytes)
    ends = np.cumsum(heads.size_bytes + tail_bytes)
    begin = np.append(0, ends[:-1])
    more_bytes = heads.size_bytes - (records.tail - records.begin)
    out = np.empty(int(ends[-1]), dtype=np.uint8)
    # Where a head grows there is room left before it, where one shrinks its first bytes are left out: the rest moves in one piece.
    kept = view[_mask(len(view), records.begin, -more_bytes)] if (more_bytes < 0).any() else view
    out[_mask(len(out), begin, more_bytes)] = kept
    heads.write(out, begin)
    return out, ends


def _mask(size: int, begin: Int64s, left_out: Int64s) -> NDArray[np.bool_]:
    """All bytes, but so many from each of these positions (none where the number is negative)."""
    mask = np.ones(size, dtype=np.bool_)
    number = 0
    while len(begin := begin[more := left_out > number]):
        mask[begin + number] = False
        left_out = left_out[more]
        number += 1
    return mask
