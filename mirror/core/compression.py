"""The bodies of record batches: Kafka's five codecs, with a bound on what may come out.

Kafka does not store the unpacked size, so a batch of a few kilobytes may claim gigabytes: every decoder here stops at ``limit_bytes``.
Snappy comes in two shapes: Xerial's framing (Java clients) and one bare block (some others); both are read, framing is written.
"""

import struct
import zlib
from collections.abc import Callable

import cramjam
import numpy as np
import zstandard

from mirror.core.lz4_frame import pack_lz4
from mirror.core.record_batch import CODEC_NAMES
from mirror.errors import BatchDamageError, UnsupportedFormatError

__all__ = ["UNPACK_LIMIT_BYTES", "UnpackLimitError", "pack", "unpack"]

UNPACK_LIMIT_BYTES = 256 << 20
_XERIAL_MAGIC = b"\x82SNAPPY\x00"
_XERIAL_HEADER = _XERIAL_MAGIC + struct.pack(">ii", 1, 1)
_XERIAL_BLOCK_BYTES = 32 << 10
_LZ4_MAGIC = 0x184D2204
_LZ4_BLOCK_BYTES = {4: 64 << 10, 5: 256 << 10, 6: 1 << 20, 7: 4 << 20}
_LZ4_STORED = 1 << 31
_SNAPPY_RATIO = 64  # a two-byte tag copies at most 64 bytes
_ZSTD_STEP_BYTES = 4 << 10
_ZSTD_WINDOW_BYTES = 1 << 27


class UnpackLimitError(BatchDamageError):
    """A body unpacks to more than the limit: kept as it is, never opened."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(f"record batch unpacks to more than {limit_bytes} bytes")


def unpack(codec: int, body: bytes | memoryview, *, limit_bytes: int = UNPACK_LIMIT_BYTES) -> bytes | memoryview:
    """The records of a batch body, unpacked; the body itself where the codec is 0.

    Raises:
        BatchDamageError: the body is not what its codec says.
        UnpackLimitError: more than ``limit_bytes`` would come out.
        UnsupportedFormatError: a codec this version does not know.
    """
    if codec == 0:
        return body
    if not 0 < codec < len(CODEC_NAMES):
        raise UnsupportedFormatError(f"record batch with unknown compression codec {codec}")
    try:
        return _UNPACKERS[codec](body, limit_bytes)
    except BatchDamageError:
        raise
    except (
        cramjam.DecompressionError,
        zstandard.ZstdError,
        zlib.error,
        struct.error,
        ValueError,
        OSError,
        EOFError,
    ) as error:
        raise BatchDamageError(f"record batch body is not valid {CODEC_NAMES[codec]}: {error}") from error


def pack(codec: int, records: bytes | memoryview) -> bytes | memoryview:
    """Records compressed as a producer would, for a batch that must be encoded again."""
    if codec == 0:
        return records
    if codec == 1:
        return zlib.compress(records, level=6, wbits=31)
    if codec == 2:
        return _pack_xerial(records)
    if codec == 3:
        return pack_lz4(records)
    if codec == 4:
        return zstandard.ZstdCompressor(level=3, write_content_size=True).compress(records)
    raise UnsupportedFormatError(f"unknown compression codec {codec}")


def _unpack_gzip(body: bytes | memoryview, limit_bytes: int) -> bytes:
    decoder = zlib.decompressobj(wbits=31)
    out = decoder.decompress(body, limit_bytes + 1)
    if len(out) > limit_bytes:
        raise UnpackLimitError(limit_bytes)
    if not decoder.eof:
        raise BatchDamageError("record batch body is truncated gzip")
    if decoder.unused_data:
        raise BatchDamageError("record batch body has bytes after its gzip member")
    return out


def _unpack_snappy(body: bytes | memoryview, limit_bytes: int) -> bytes:
    view = memoryview(body)
    if bytes(view[:8]) != _XERIAL_MAGIC:
        return _unpack_snappy_block(view, limit_bytes)
    if len(view) < len(_XERIAL_HEADER):
        raise BatchDamageError("record batch body is truncated snappy")
    parts: list[bytes] = []
    total = 0
    position = len(_XERIAL_HEADER)
    while position < len(view):
        (size,) = struct.unpack_from(">i", view, position)
        position += 4
        if size < 0 or position + size > len(view):
            raise BatchDamageError("record batch body is truncated snappy")
        part = _unpack_snappy_block(view[position : position + size], limit_bytes - total)
        parts.append(part)
        total += len(part)
        position += size
    return b"".join(parts)


def _unpack_snappy_block(block: memoryview, limit_bytes: int) -> bytes:
    # The block opens with its unpacked length as a little-endian base-128 number: it is checked before anything is allocated.
    length = shift = 0
    for byte in bytes(block[:5]):
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
    else:
        raise BatchDamageError("record batch body is not valid snappy: no length")
    if length > _SNAPPY_RATIO * len(block):
        raise BatchDamageError(f"record batch body is not valid snappy: {len(block)} bytes claim {length}")
    if length > limit_bytes:
        raise UnpackLimitError(limit_bytes)
    out = bytes(cramjam.snappy.decompress_raw(bytes(block)))
    if len(out) != length:
        raise BatchDamageError(f"record batch body is not valid snappy: {len(out)} bytes where {length} are claimed")
    return out


def _unpack_lz4(body: bytes | memoryview, limit_bytes: int) -> bytes:
    # The frame is walked first: decoders have returned short data for a frame that lacks its end mark.
    most_bytes = _walk_lz4(memoryview(body))
    if most_bytes <= limit_bytes:
        return bytes(cramjam.lz4.decompress(body))
    room = np.empty(limit_bytes, dtype=np.uint8)  # memory is taken only as far as it is written
    try:
        size = cramjam.lz4.decompress_into(body, room.data)
    except cramjam.DecompressionError as error:
        if "write" in str(error):
            raise UnpackLimitError(limit_bytes) from error
        raise
    return bytes(room[:size])


def _walk_lz4(view: memoryview) -> int:
    """Check that ``view`` is one whole lz4 frame; the most bytes that its blocks can unpack to."""
    magic, flags, descriptor = struct.unpack_from("<IBB", view)
    block_bytes = _LZ4_BLOCK_BYTES.get(descriptor >> 4 & 7)
    if magic != _LZ4_MAGIC or flags >> 6 != 1 or block_bytes is None:
        raise BatchDamageError("record batch body is not an lz4 frame")
    position = 7 + (8 if flags & 0x08 else 0) + (4 if flags & 0x01 else 0)
    trailing = 4 if flags & 0x10 else 0
    most_bytes = 0
    while True:
        (size,) = struct.unpack_from("<I", view, position)
        position += 4
        if not size:
            break
        stored = size & ~_LZ4_STORED
        most_bytes += stored if size & _LZ4_STORED else min(block_bytes, stored * 255)
        position += stored + trailing
    position += 4 if flags & 0x04 else 0
    if position != len(view):
        raise BatchDamageError("record batch body is a truncated lz4 frame, or has bytes after its end")
    return most_bytes


def _unpack_zstd(body: bytes | memoryview, limit_bytes: int) -> bytes:
    declared = zstandard.frame_content_size(body)
    if declared > limit_bytes:
        raise UnpackLimitError(limit_bytes)
    context = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    if declared > 0:
        return context.decompress(body, allow_extra_data=False)
    # Streaming producers leave the size out. A block of 4 bytes can unpack to 128 KiB, so a step adds at most 128 MiB.
    view = memoryview(body)
    decoder = context.decompressobj()
    parts: list[bytes] = []
    total = 0
    for position in range(0, len(view), _ZSTD_STEP_BYTES):
        part = decoder.decompress(view[position : position + _ZSTD_STEP_BYTES])
        total += len(part)
        if total > limit_bytes:
            raise UnpackLimitError(limit_bytes)
        parts.append(part)
    if not decoder.eof:
        raise BatchDamageError("record batch body is truncated zstd")
    if decoder.unused_data:
        raise BatchDamageError("record batch body has bytes after its zstd frame")
    return b"".join(parts)


def _pack_xerial(records: bytes | memoryview) -> bytes:
    view = memoryview(records)
    parts = [_XERIAL_HEADER]
    for position in range(0, len(view), _XERIAL_BLOCK_BYTES):
        block = bytes(cramjam.snappy.compress_raw(bytes(view[position : position + _XERIAL_BLOCK_BYTES])))
        parts += (struct.pack(">i", len(block)), block)
    return b"".join(parts)


_UNPACKERS: dict[int, Callable[[bytes | memoryview, int], bytes]] = {
    1: _unpack_gzip,
    2: _unpack_snappy,
    3: _unpack_lz4,
    4: _unpack_zstd,
}
