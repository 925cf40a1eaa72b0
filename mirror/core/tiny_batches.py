"""Runs of stored tiny batches whose records are read all at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple, Protocol

import numpy as np

from mirror.core.compression import unpack
from mirror.core.record_batch import CODEC_MASK, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, BatchColumns, BatchHeader
from mirror.core.segment.blocks import StoredBatch
from mirror.core.tiny_records import HeaderColumns
from mirror.core.varint_columns import Int64s
from mirror.errors import BatchDamageError, UnsupportedFormatError

__all__ = ["TINY_BYTES", "TINY_RECORDS", "Bodies", "FetchedRun", "TinyRun", "UnpackedRun"]

TINY_RECORDS = 8
TINY_BYTES = 8 << 10
_BODIES_LIMIT_BYTES = 32 << 20  # unpacked together; more is opened one by one

_WANTED = attrgetter(*HeaderColumns._fields)


class Bodies(NamedTuple):
    """Unpacked bodies: each is ``data[begin:following]``."""

    data: bytes
    begin: Int64s
    following: Int64s


class TinyRun(Protocol):
    """Consecutive tiny batches, known by their number in the run."""

    def __len__(self) -> int: ...

    def headers(self) -> HeaderColumns:
        """All headers."""

    def batch(self, row: int) -> StoredBatch:
        """One of them."""

    def whole(self, row: int) -> memoryview | None:
        """One of them as it was fetched, where it is stored so."""

    def bodies(self, rows: Int64s) -> Bodies | None:
        """Some of them unpacked; None where one cannot be, or all together would be large."""


@dataclass(frozen=True, slots=True)
class FetchedRun:
    """As fetched, in one buffer."""

    content: memoryview
    columns: BatchColumns

    def __len__(self) -> int:
        return len(self.columns)

    def headers(self) -> HeaderColumns:
        """All headers."""
        return HeaderColumns(*(self.columns.column(name) for name in HeaderColumns._fields))

    def batch(self, row: int) -> StoredBatch:
        """One of them."""
        whole = self.whole(row)
        return StoredBatch(BatchHeader._make(self.columns.headers[row].item()), whole[HEADER_BYTES:], False, whole)

    def whole(self, row: int) -> memoryview:
        """One of them as it was fetched."""
        position = self.columns.position[row]
        return self.content[position : position + LENGTH_OVERHEAD_BYTES + self.columns.headers["length"][row]]

    def bodies(self, rows: Int64s) -> Bodies | None:
        """Some of them unpacked; None where one cannot be, or all together would be large."""
        columns = self.columns
        begin = columns.position[rows] + HEADER_BYTES
        following = begin - HEADER_BYTES + columns.batch_bytes[rows]
        codecs = columns.column("attributes")[rows] & CODEC_MASK
        if not codecs.any():
            first = int(begin[0])
            return Bodies(bytes(self.content[first : int(following[-1])]), begin - first, following - first)
        spans = zip(codecs.tolist(), begin.tolist(), following.tolist(), strict=True)
        return _unpacked((codec, self.content[start:end]) for codec, start, end in spans)


@dataclass(frozen=True, slots=True)
class UnpackedRun:
    """Of a block that is stored unpacked."""

    batches: list[StoredBatch]

    def __len__(self) -> int:
        return len(self.batches)

    def headers(self) -> HeaderColumns:
        """All headers."""
        return HeaderColumns(*np.array([_WANTED(batch.header) for batch in self.batches], dtype=np.int64).T)

    def batch(self, row: int) -> StoredBatch:
        """One of them."""
        return self.batches[row]

    def whole(self, row: int) -> memoryview | None:
        """One of them as it was fetched, where it is stored so."""
        return self.batches[row].whole

    def bodies(self, rows: Int64s) -> Bodies | None:
        """Some of them unpacked; None where one cannot be, or all together would be large."""
        chosen = (self.batches[row] for row in rows.tolist())
        return _unpacked((0 if batch.unpacked else batch.header.codec, batch.body) for batch in chosen)


def _unpacked(packed: Iterable[tuple[int, memoryview]]) -> Bodies | None:
    parts: list[bytes | memoryview] = []
    room = _BODIES_LIMIT_BYTES
    try:
        for codec, body in packed:
            part = unpack(codec, body, limit_bytes=room)
            room -= len(part)
            parts.append(part)
    except (BatchDamageError, UnsupportedFormatError):
        return None
    if room < 0:
        return None
    following = np.cumsum([len(part) for part in parts])
    return Bodies(b"".join(parts), np.append(0, following[:-1]), following)
