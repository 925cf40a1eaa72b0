"""Batches as a producer takes them."""

from typing import NamedTuple

from mirror.core.compression import pack
from mirror.core.record_batch import CODEC_MASK, HEADER, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, BatchHeader

__all__ = ["ProducibleBatch", "packed_batch"]


class ProducibleBatch(NamedTuple):
    """A whole batch for the producer, and how many records it holds; ``is_stored`` if its bytes are those that were stored.

    ``base_offset`` is the source offset of its first record (the base offset in ``data`` itself says nothing). The CRC in ``data`` may
    be any: the producer computes it anew.
    """

    data: bytes | memoryview
    record_count: int
    is_stored: bool
    base_offset: int


def packed_batch(header: BatchHeader, records: bytes | memoryview, codec: int) -> bytes:
    """A batch with this header around ``records``, packed; its CRC is left as it was."""
    body = pack(codec, records)
    attributes = header.attributes & ~CODEC_MASK | codec
    head = header._replace(length=HEADER_BYTES - LENGTH_OVERHEAD_BYTES + len(body), attributes=attributes)
    return b"".join((HEADER.pack(*head), body))
