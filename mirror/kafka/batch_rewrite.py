"""A stored batch made ready to be produced: the few header fields that a broker wants otherwise, and the CRC again."""

import struct
from typing import Final

import crc32c

from mirror.core.record_batch import ATTRIBUTES_POSITION, CRC_POSITION, TRANSACTIONAL_BIT, read_header

__all__ = ["SEQUENCE_MODULUS", "prepare"]

SEQUENCE_MODULUS: Final = 2**31

_BASE_OFFSET: Final = struct.Struct(">q")
_LEADER_EPOCH: Final = struct.Struct(">i")
_LEADER_EPOCH_POSITION: Final = 12
_CRC: Final = struct.Struct(">I")
_ATTRIBUTES: Final = struct.Struct(">h")
_PRODUCER: Final = struct.Struct(">qhi")
_PRODUCER_POSITION: Final = 43


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
    header = read_header(memoryview(batch))
    if header.batch_bytes != len(batch):
        raise ValueError(
            f"batch at offset {header.base_offset} has {header.batch_bytes} bytes, {len(batch)} were given"
        )
    if header.is_control or header.has_holes:
        raise ValueError(
            f"batch at offset {header.base_offset} cannot be produced as it is: "
            + ("a control batch" if header.is_control else "compaction left holes in it")
        )
    copy = bytearray(batch)
    _BASE_OFFSET.pack_into(copy, 0, 0)
    _LEADER_EPOCH.pack_into(copy, _LEADER_EPOCH_POSITION, -1)
    _ATTRIBUTES.pack_into(copy, ATTRIBUTES_POSITION, header.attributes & ~TRANSACTIONAL_BIT)
    _PRODUCER.pack_into(copy, _PRODUCER_POSITION, producer_id, producer_epoch, base_sequence)
    with memoryview(copy) as view:
        _CRC.pack_into(copy, CRC_POSITION, crc32c.crc32c(view[ATTRIBUTES_POSITION:]))
    return copy, header.record_count
