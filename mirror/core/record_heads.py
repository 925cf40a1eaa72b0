"""What stands before the tail of each record of a batch (length, attributes, both deltas), for many records at once."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mirror.core.varint_columns import Int64s, varint_bytes, write_varints, zigzag

__all__ = ["RecordHeads"]


class RecordHeads(NamedTuple):
    """Heads that are ready to be written; ``size_bytes`` is how long each is. What ends in ``_bytes`` counts, the rest is written."""

    attributes: NDArray[Any]
    times: NDArray[np.uint64]
    offsets: NDArray[np.uint64]
    lengths: NDArray[np.uint64]
    time_bytes: Int64s
    offset_bytes: Int64s
    length_bytes: Int64s
    size_bytes: Int64s

    @classmethod
    def of(
        cls, attributes: NDArray[Any], time_delta: Int64s, offset_delta: Int64s, tail_bytes: Int64s
    ) -> "RecordHeads":
        """The heads of records with these values and so long tails."""
        times, offsets = zigzag(time_delta), zigzag(offset_delta)
        time_bytes, offset_bytes = varint_bytes(times), varint_bytes(offsets)
        inner_bytes = 1 + time_bytes + offset_bytes
        lengths = zigzag(inner_bytes + tail_bytes)
        length_bytes = varint_bytes(lengths)
        size_bytes = length_bytes + inner_bytes
        return cls(attributes, times, offsets, lengths, time_bytes, offset_bytes, length_bytes, size_bytes)

    def write(self, out: NDArray[np.uint8], begin: Int64s) -> None:
        """Write each head at its position in ``out``."""
        write_varints(out, begin, self.lengths, self.length_bytes)
        at = begin + self.length_bytes
        out[at] = self.attributes
        write_varints(out, at + 1, self.times, self.time_bytes)
        write_varints(out, at + 1 + self.time_bytes, self.offsets, self.offset_bytes)
