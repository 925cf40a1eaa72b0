"""Batches as a producer takes them."""

from typing import NamedTuple

from mirror.core.compression import pack
from mirror.core.record_batch import CODEC_MASK, HEADER, HEADER_BYTES, LENGTH_OVERHEAD_BYTES, BatchHeader
from mirror.core.records import encode_header

__all__ = ["ProducibleBatch", "made_batch", "packed_batch"]


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


def made_batch(
    records: bytes | memoryview,
    *,
    codec: int,
    record_count: int,
    base_offset: int,
    base_timestamp_ms: int,
    max_timestamp_ms: int,
) -> ProducibleBatch:
    """A new batch of CreateTime records around their wire form, packed.

    Raises:
        BatchDamageError: a time is none.
    """
    body = pack(codec, records)
    header = encode_header(
        base_offset=0,
        body_bytes=len(body),
        codec=codec,
        record_count=record_count,
        base_timestamp_ms=base_timestamp_ms,
        max_timestamp_ms=max_timestamp_ms,
    )
    return ProducibleBatch(b"".join((header, body)), record_count, False, base_offset)
