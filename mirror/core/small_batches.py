"""Which consecutive stored batches are worth joining to larger ones; see `mirror.core.joining`."""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from mirror.core.record_batch import CODEC_MASK
from mirror.core.tiny_records import HeaderColumns
from mirror.core.varint_columns import Int64s

__all__ = ["small_stretches"]

_SMALL_BYTES = 64 << 10  # of larger ones the brokers' work for each batch is a small part
_FEW_BATCHES = 4
_TOGETHER_BYTES = 2 << 20  # stored, joined in one go


def small_stretches(
    headers: HeaderColumns, sizes: Int64s, joinable: NDArray[np.bool_]
) -> Iterator[tuple[int, int, bool]]:
    """First batch, batch after the last, and whether they are to be joined; every batch is in one stretch.

    Args:
        headers: of batches in order.
        sizes: of each, in stored bytes.
        joinable: which of them may go as they are, and cost nothing to unpack.

    Those of a stretch to be joined are joinable, small, of one codec, and without an offset left out between them.
    """
    codec = headers.attributes & CODEC_MASK
    small = joinable & (sizes <= _SMALL_BYTES)
    goes_on = small[1:] & small[:-1] & (codec[1:] == codec[:-1])
    goes_on &= headers.base_offset[1:] == (headers.base_offset + headers.last_offset_delta + 1)[:-1]
    edges = np.concatenate(([0], np.flatnonzero(~goes_on) + 1, [len(sizes)]))
    reached = np.cumsum(sizes)
    done = 0
    for number in np.flatnonzero(np.diff(edges) >= _FEW_BATCHES).tolist():
        first, following = int(edges[number]), int(edges[number + 1])
        if done < first:
            yield done, first, False
        before = int(reached[first]) - int(sizes[first])
        marks = np.arange(before + _TOGETHER_BYTES, int(reached[following - 1]), _TOGETHER_BYTES)
        bounds = np.unique(np.concatenate(([first], np.searchsorted(reached, marks, side="right"), [following])))
        for begin, end in pairwise(bounds.tolist()):
            yield begin, end, True
        done = following
    if done < len(sizes):
        yield done, len(sizes), False
