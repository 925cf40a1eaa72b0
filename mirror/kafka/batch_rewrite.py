"""A stored batch made ready to be produced: the few header fields that a broker wants otherwise, and the CRC again."""

import struct
from typing import Final

import crc32c

from mirror.core.record_batch import (
    ATTRIBUTES_POSITION,
    CONTROL_BIT,
    CRC_POSITION,
    HEADER,
    HEADER_BYTES,
    LENGTH_OVERHEAD_BYTES,
    MAGIC,
    TRANSACTIONAL_BIT,
    read_header,
)

__all__ = ["SEQUENCE_MODULUS", "prepare"]

SEQUENCE_MODULUS: Final = 2**31

_CRC: Final = struct.Struct(">I")


def prepare(
    batch: bytes | bytearray | memoryview, *, producer_id: int, producer_epoch: int, base_sequence: int
) -> tuple[bytearray, int]:
    """A copy of the batch as our producer sends it, and its record count.

    Base offset 0, leader epoch -1, not transactional, producer id, epoch and sequence ours, CRC-32C anew. Records,
    timestamps and compression are untouched.

    Raises:
        BatchDamageError, UnsupportedFormatError: this is not exactly one whole v2 batch.
        ValueError: a broker would refuse it as it is (a control batch, or one with holes): re-encode it first.
    """
    if len(batch) < HEADER_BYTES:
        read_header(memoryview(batch))  # raises
    ready = bytearray(batch)
    (
        base_offset,
        length,
        _,
        magic,
        _,
        attributes,
        last_offset_delta,
        base_timestamp,
        max_timestamp,
        _,
        _,
        _,
        record_count,
    ) = HEADER.unpack_from(ready)
    if (
        not 0 <= base_offset < 1 << 62
        or magic != MAGIC
        or length + LENGTH_OVERHEAD_BYTES != len(ready)
        or attributes & CONTROL_BIT
        or record_count != last_offset_delta + 1
        or record_count <= 0
    ):
        _check(memoryview(batch))
    HEADER.pack_into(
        ready,
        0,
        0,
        length,
        -1,
        MAGIC,
        0,
        attributes & ~TRANSACTIONAL_BIT,
        last_offset_delta,
        base_timestamp,
        max_timestamp,
        producer_id,
        producer_epoch,
        base_sequence,
        record_count,
    )
    _CRC.pack_into(ready, CRC_POSITION, crc32c.crc32c(memoryview(ready)[ATTRIBUTES_POSITION:]))
    return ready, record_count


def _check(batch: memoryview) -> None:
    header = read_header(batch)
    if header.batch_bytes != len(batch):
        raise ValueError(
            f"batch at offset {header.base_offset} has {header.batch_bytes} bytes, {len(batch)} were given"
        )
    if header.is_control or header.has_holes:
        raise ValueError(
            f"batch at offset {header.base_offset} cannot be produced as it is: "
            + ("a control batch" if header.is_control else "compaction left holes in it")
        )
