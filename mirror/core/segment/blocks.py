"""Blocks: the unit of compression and of random access inside a run.

Content of a block, by the run's ``body_codec`` and ``unpacked``:

- ``passthrough``: batches as fetched, byte for byte.
- ``zstd``: one zstd frame (content size and checksum in the frame) around batches as fetched.
- ``zstd`` and ``unpacked``: one zstd frame around entries ``header (61 bytes, as fetched) · size (u32) · records``, where
  ``records`` is the batch's body without its own compression, or, if the size has its top bit set, the body as fetched
  (its codec did not open it).
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import zstandard
from numpy.typing import NDArray

from mirror.core.compression import unpack
from mirror.core.record_batch import (
    CODEC_MASK,
    HEADER_BYTES,
    BatchColumns,
    BatchHeader,
    read_header,
    scan_batches,
)
from mirror.errors import BatchDamageError, DamageError, UnsupportedFormatError

__all__ = [
    "BLOCK_LIMIT_BYTES",
    "PASSTHROUGH_BLOCK_BYTES",
    "ZSTD_BLOCK_BYTES",
    "StoredBatch",
    "decode_block",
    "encode_zstd_block",
    "iterate_block",
    "split_blocks",
]

PASSTHROUGH_BLOCK_BYTES = 256 << 10
ZSTD_BLOCK_BYTES = 1 << 20
BLOCK_LIMIT_BYTES = 1 << 30  # no writer makes a larger block; a claim above it is damage
REPACK_LIMIT_BYTES = 32 << 20  # a batch that unpacks to more is stored as fetched
REPACK_BLOCK_BYTES = 128 << 20  # so is what follows once a block's content has grown to this
_AS_FETCHED = 1 << 31
_SIZE = struct.Struct(">I")


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch read from a run: its header as fetched, and its body.

    Attributes:
        header: as the producer and broker wrote it (its length, codec and CRC describe the body *as fetched*).
        body: the bytes after the header; without the batch's own compression if ``unpacked``.
        whole: header and body as one view of the stored bytes, only if not ``unpacked``.
    """

    header: BatchHeader
    body: memoryview
    unpacked: bool
    whole: memoryview | None


def split_blocks(batch_bytes: NDArray[np.int64], target_bytes: int) -> NDArray[np.int64]:
    """Indices of the first batch of each block, when blocks are closed once they reach ``target_bytes``.

    Args:
        batch_bytes: size of each batch, at least one.
    """
    slot = (np.cumsum(batch_bytes) - batch_bytes) // target_bytes
    return np.flatnonzero(np.diff(slot, prepend=-1))


def encode_zstd_block(parts: Sequence[memoryview], *, level: int, repack: bool) -> tuple[bytes, int]:
    """One zstd frame around whole batches.

    Args:
        parts: byte views that together hold whole batches.
        level: zstd level.
        repack: store the bodies of compressed batches unpacked.

    Returns:
        The frame and its content's size in bytes.
    """
    content: bytes | memoryview
    if repack:  # noqa: SIM108 - three cases in one expression read worse
        content = b"".join(_entries(parts))
    else:
        content = parts[0] if len(parts) == 1 else b"".join(parts)
    compressor = zstandard.ZstdCompressor(level=level, write_checksum=True, write_content_size=True)
    return compressor.compress(content), len(content)


def _entries(parts: Sequence[memoryview]) -> Iterator[bytes | memoryview]:
    room = REPACK_BLOCK_BYTES
    for part in parts:
        columns = scan_batches(part, check_crc=False, allow_partial=False)
        sizes = columns.batch_bytes.tolist()
        codecs = (columns.column("attributes") & CODEC_MASK).tolist()
        for start, size, codec in zip(columns.position.tolist(), sizes, codecs, strict=True):
            body = part[start + HEADER_BYTES : start + size]
            yield part[start : start + HEADER_BYTES]
            try:
                records = unpack(codec, body, limit_bytes=min(REPACK_LIMIT_BYTES, room))
            except (DamageError, UnsupportedFormatError):
                # The producer's CRC holds, so these are the producer's bytes: they are kept as they came.
                yield _SIZE.pack(len(body) | _AS_FETCHED)
                yield body
            else:
                room = max(0, room - len(records))
                yield _SIZE.pack(len(records))
                yield records


def decode_block(stored: bytes | memoryview, *, body_codec: str, raw_bytes: int) -> memoryview:
    """The content of a block.

    Raises:
        DamageError: not a frame of exactly ``raw_bytes`` content.
    """
    if raw_bytes < 0 or (raw_bytes > BLOCK_LIMIT_BYTES and body_codec != "passthrough"):
        raise DamageError(f"block claims {raw_bytes} bytes")
    if body_codec == "passthrough":
        content = memoryview(stored)
    else:
        try:
            if zstandard.frame_content_size(stored) != raw_bytes:
                raise DamageError("block's zstd frame does not hold what the index says")
            content = memoryview(zstandard.ZstdDecompressor().decompress(stored, allow_extra_data=False))
        except zstandard.ZstdError as error:
            raise DamageError(f"block is not a valid zstd frame: {error}") from error
    if len(content) != raw_bytes:
        raise DamageError(f"block holds {len(content)} bytes, the index says {raw_bytes}")
    return content


def iterate_block(content: memoryview, *, unpacked: bool, check_crc: bool = False) -> Iterator[StoredBatch]:
    """The batches of a block's content, in order.

    Args:
        content: what :func:`decode_block` gave.
        unpacked: the run's flag.
        check_crc: verify the producer's CRC where the body is as fetched.

    Raises:
        BatchDamageError: the content is not whole batches.
    """
    if unpacked:
        yield from _iterate_unpacked(content, check_crc)
        return
    columns: BatchColumns = scan_batches(content, check_crc=check_crc, allow_partial=False)
    headers = columns.headers.tolist()
    for start, size, fields in zip(columns.position.tolist(), columns.batch_bytes.tolist(), headers, strict=True):
        whole = content[start : start + size]
        yield StoredBatch(BatchHeader._make(fields), whole[HEADER_BYTES:], False, whole)


def _iterate_unpacked(content: memoryview, check_crc: bool) -> Iterator[StoredBatch]:
    position = 0
    size = len(content)
    while position < size:
        begin = position
        header = read_header(content, begin)
        position += HEADER_BYTES
        if size - position < _SIZE.size:
            raise BatchDamageError("stored batch without its size")
        (body_bytes,) = _SIZE.unpack_from(content, position)
        position += _SIZE.size
        as_fetched = bool(body_bytes & _AS_FETCHED)
        body_bytes &= ~_AS_FETCHED
        if position + body_bytes > size:
            raise BatchDamageError(f"stored batch at offset {header.base_offset} runs past its block")
        body = content[position : position + body_bytes]
        position += body_bytes
        if as_fetched or header.codec == 0:
            whole = memoryview(b"".join((content[begin : begin + HEADER_BYTES], body)))
            if len(whole) != header.batch_bytes:
                raise BatchDamageError(f"stored batch at offset {header.base_offset} is not as long as its header says")
            if check_crc:
                scan_batches(whole, allow_partial=False)
            yield StoredBatch(header, body, False, whole)
        else:
            yield StoredBatch(header, body, True, None)
