"""The frame of a segment object: header, the runs' bytes, footer index, trailer. See docs/format.md for the byte tables."""

import struct
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import xxhash
import zstandard

from mirror.core.segment.index import FORMAT_VERSION, RunEntry, SegmentIndex, decode_json, encode_json, require_features
from mirror.errors import DamageError

__all__ = [
    "HEADER_BYTES",
    "INDEX_LIMIT_BYTES",
    "TRAILER_BYTES",
    "Trailer",
    "check_header",
    "checksum_of",
    "decode_index",
    "decode_trailer",
    "encode_object",
    "encode_rollup_frame",
]

HEADER_MAGIC = b"MIRRSEGM"
TRAILER_MAGIC = b"MGESRRIM"
_HEADER = struct.Struct(">8sHHI")
_TRAILER = struct.Struct(">QIIHHI")
_TRAILER_END = struct.Struct(">Q8s")
HEADER_BYTES = _HEADER.size
TRAILER_BYTES = _TRAILER.size + _TRAILER_END.size
INDEX_LIMIT_BYTES = 256 << 20
HEADER = _HEADER.pack(HEADER_MAGIC, FORMAT_VERSION, 0, 0)


class Trailer(NamedTuple):
    """Where the index of one object stands, and its size as stored and as JSON."""

    index_position: int
    index_stored_bytes: int
    index_raw_bytes: int


def checksum_of(parts: Sequence[bytes | memoryview]) -> str:
    """xxh3_128 over the parts, as 32 hexadecimal digits."""
    digest = xxhash.xxh3_128()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def encode_object(body: Sequence[bytes | memoryview], index: SegmentIndex) -> bytes:
    """The whole object: ``body`` are the runs' bytes in the order of ``index.runs``, which tile it without holes."""
    frame = _index_frame(sum(len(part) for part in body), encode_json(index))
    return b"".join((HEADER, *body, *frame))


def encode_rollup_frame(payload: bytes, body: bytes = b"") -> bytes:
    """The same frame around other JSON objects that deserve a checksum; that of ``body``, if there is one, must stand in the JSON."""
    return b"".join((HEADER, body, *_index_frame(len(body), payload)))


def _index_frame(body_bytes: int, payload: bytes) -> tuple[bytes, bytes, bytes]:
    stored = zstandard.ZstdCompressor(level=3, write_content_size=True).compress(payload)
    head = _TRAILER.pack(HEADER_BYTES + body_bytes, len(stored), len(payload), FORMAT_VERSION, 0, 0)
    return stored, head, _TRAILER_END.pack(xxhash.xxh3_64_intdigest(stored + head), TRAILER_MAGIC)


def decode_trailer(tail: bytes, object_bytes: int, where: str) -> Trailer:
    """Where the index stands, from the last bytes of an object.

    Raises:
        DamageError: not a segment object, or cut.
        UnsupportedFormatError: a newer format version.
    """
    if len(tail) < TRAILER_BYTES or object_bytes < HEADER_BYTES + TRAILER_BYTES:
        raise DamageError(f"{where}: {object_bytes} bytes are too few for a segment object")
    position, stored_bytes, raw_bytes, version, reserved_1, reserved_2 = _TRAILER.unpack_from(
        tail, len(tail) - TRAILER_BYTES
    )
    _, magic = _TRAILER_END.unpack_from(tail, len(tail) - _TRAILER_END.size)
    if magic != TRAILER_MAGIC:
        raise DamageError(f"{where}: does not end as a segment object: truncated or overwritten")
    require_features(version, [], where)
    if (
        reserved_1
        or reserved_2
        or raw_bytes > INDEX_LIMIT_BYTES
        or position + stored_bytes + TRAILER_BYTES != object_bytes
        or position < HEADER_BYTES
    ):
        raise DamageError(f"{where}: trailer does not fit the object's {object_bytes} bytes: truncated or overwritten")
    return Trailer(position, stored_bytes, raw_bytes)


def decode_index(tail: bytes, object_bytes: int, where: str) -> SegmentIndex:
    """The index of a segment object from its last bytes, which must hold all of it.

    Raises:
        DamageError: checksum, shape or tiling is wrong.
        UnsupportedFormatError: a newer format version or an unknown required feature.
    """
    trailer = decode_trailer(tail, object_bytes, where)
    index = decode_json(SegmentIndex, decode_payload(tail, trailer, where), where)
    _check_tiling(index, trailer.index_position, where)
    return index


def decode_payload(tail: bytes, trailer: Trailer, where: str) -> bytes:
    """The JSON between body and trailer, its checksum verified.

    Raises:
        DamageError: the checksum does not match or the frame is not what the trailer says.
    """
    begin = len(tail) - TRAILER_BYTES - trailer.index_stored_bytes
    if begin < 0:
        raise ValueError("the tail does not hold the whole index")
    stored = tail[begin : len(tail) - TRAILER_BYTES]
    (checksum,) = struct.unpack_from(">Q", tail, len(tail) - _TRAILER_END.size)
    head = tail[len(tail) - TRAILER_BYTES : len(tail) - _TRAILER_END.size]
    if xxhash.xxh3_64_intdigest(stored + head) != checksum:
        raise DamageError(f"{where}: the index does not match its checksum")
    try:
        if zstandard.frame_content_size(stored) != trailer.index_raw_bytes:
            raise DamageError(f"{where}: the index is not of the size the trailer says")
        return zstandard.ZstdDecompressor().decompress(stored)
    except zstandard.ZstdError as error:
        raise DamageError(f"{where}: the index cannot be unpacked: {error}") from error


def check_header(head: bytes, where: str) -> None:
    """The first bytes of an object.

    Raises:
        DamageError: not a segment object.
        UnsupportedFormatError: a newer format version.
    """
    if len(head) < HEADER_BYTES:
        raise DamageError(f"{where}: truncated inside its header")
    magic, version, reserved_1, reserved_2 = _HEADER.unpack_from(head)
    if magic != HEADER_MAGIC or reserved_1 or reserved_2:
        raise DamageError(f"{where}: does not begin as a segment object")
    require_features(version, [], where)


def _check_tiling(index: SegmentIndex, index_position: int, where: str) -> None:
    position = HEADER_BYTES
    for run in index.runs:
        if run.position != position:
            raise DamageError(f"{where}: the runs do not tile the object at {run.topic_partition}")
        if run.start_offset >= run.next_offset:
            raise DamageError(f"{where}: run of {run.topic_partition} covers [{run.start_offset}, {run.next_offset})")
        _check_blocks(run, where)
        _check_epochs(run, where)
        position += run.stored_bytes
    if position != index_position:
        raise DamageError(f"{where}: {index_position - position} bytes belong to no run")


def _check_blocks(run: RunEntry, where: str) -> None:
    blocks = run.blocks
    if blocks is None:
        if run.stored_bytes or run.raw_bytes or run.batch_count or run.record_count:
            raise DamageError(f"{where}: run of {run.topic_partition} has bytes but no blocks")
        return
    lengths = {len(blocks.base_offsets), len(blocks.positions), len(blocks.raw_bytes), len(blocks.record_counts)}
    lengths |= {len(blocks.min_base_timestamps_ms), len(blocks.max_timestamps_ms)}
    ascending = all(a < b for a, b in pairwise(blocks.positions)) and all(
        a < b for a, b in pairwise(blocks.base_offsets)
    )
    if (
        len(lengths) != 1
        or not blocks.positions
        or blocks.positions[0] != 0
        or not ascending
        or blocks.positions[-1] >= run.stored_bytes
        or sum(blocks.raw_bytes) != run.raw_bytes
        or blocks.base_offsets[-1] >= run.next_offset
        or (run.body_codec == "passthrough" and (run.unpacked or run.raw_bytes != run.stored_bytes))
    ):
        raise DamageError(f"{where}: the block index of {run.topic_partition} cannot be")


def _check_epochs(run: RunEntry, where: str) -> None:
    offsets = [offset for _, offset in run.leader_epochs]
    if offsets and (
        offsets[0] != run.start_offset or offsets[-1] >= run.next_offset or any(a >= b for a, b in pairwise(offsets))
    ):
        raise DamageError(f"{where}: the leader epochs of {run.topic_partition} are out of order")
