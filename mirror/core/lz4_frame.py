"""LZ4 frames as Kafka reads them: version 1, *independent* blocks of at most 64 KiB (``Lz4BlockInputStream`` refuses linked ones).

cramjam's own frames have linked blocks, so only its blocks are used. Frame (little-endian)::

    magic u32 · FLG · BD · header checksum · [block size u32 · block]… · 0 u32

A block size with its top bit set is followed by the bytes as they are.
"""

import struct

import cramjam
import xxhash

__all__ = ["pack_lz4"]

_SIZE = struct.Struct("<I")
_BLOCK_BYTES = 64 << 10
_DESCRIPTOR = b"\x60\x40"  # version 1, independent blocks, no checksums, no content size; blocks of 64 KiB
_HEAD = (
    _SIZE.pack(0x184D2204) + _DESCRIPTOR + bytes((xxhash.xxh32_intdigest(_DESCRIPTOR) >> 8 & 0xFF,))
)  # second byte of the checksum, by the frame's specification
_NOT_PACKED = 1 << 31
_END = _SIZE.pack(0)


def pack_lz4(records: bytes | memoryview) -> bytes:
    """One frame around ``records``."""
    view = memoryview(records)
    parts = [_HEAD]
    for position in range(0, len(view), _BLOCK_BYTES):
        block = view[position : position + _BLOCK_BYTES]
        packed = bytes(cramjam.lz4.compress_block(block, store_size=False))
        if len(packed) < len(block):
            parts += (_SIZE.pack(len(packed)), packed)
        else:
            parts += (_SIZE.pack(len(block) | _NOT_PACKED), bytes(block))
    parts.append(_END)
    return b"".join(parts)
