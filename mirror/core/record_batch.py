"""Record batches of message format v2: their 61-byte header, read in columns and never record by record.

Wire layout (Kafka ``DefaultRecordBatch``; big-endian)::

    offset size field
         0    8 base_offset                 not under the CRC
         8    4 length                      bytes after this field: batch bytes − 12
        12    4 partition_leader_epoch      not under the CRC
        16    1 magic                       2
        17    4 crc                         CRC-32C of everything from byte 21
        21    2 attributes                  bits 0–2 codec, 3 LogAppendTime, 4 transactional, 5 control
        23    4 last_offset_delta
        27    8 base_timestamp              timestamp of the first record (not the smallest)
        35    8 max_timestamp               of all records; the append time where bit 3 is set
        43    8 producer_id
        51    2 producer_epoch
        53    4 base_sequence
        57    4 record_count
        61    … records, compressed together
"""

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import crc32c
import numpy as np
from numpy.typing import NDArray

from mirror.errors import BatchDamageError, UnsupportedFormatError

__all__ = [
    "ATTRIBUTES_POSITION",
    "CODEC_MASK",
    "CODEC_NAMES",
    "CONTROL_BIT",
    "CRC_POSITION",
    "HEADER",
    "HEADER_BYTES",
    "LOG_APPEND_TIME_BIT",
    "TRANSACTIONAL_BIT",
    "BatchColumns",
    "BatchHeader",
    "control_type",
    "is_commit_key",
    "read_header",
    "scan_batches",
]

HEADER = struct.Struct(">qiibIhiqqqhii")
HEADER_BYTES = 61
LENGTH_OVERHEAD_BYTES = 12
CRC_POSITION = 17
ATTRIBUTES_POSITION = 21
CODEC_MASK = 0x07
LOG_APPEND_TIME_BIT = 0x08
TRANSACTIONAL_BIT = 0x10
CONTROL_BIT = 0x20
CODEC_NAMES = ("none", "gzip", "snappy", "lz4", "zstd")
MAGIC = 2

_COMMIT = 1
_LARGEST_BASE_OFFSET = 2**63 - 2**31 - 1  # so that no sum with a delta leaves 64 bits
_LENGTH = struct.Struct(">i")
_HEADER_DTYPE = np.dtype(
    [
        ("base_offset", ">i8"),
        ("length", ">i4"),
        ("leader_epoch", ">i4"),
        ("magic", "i1"),
        ("crc", ">u4"),
        ("attributes", ">i2"),
        ("last_offset_delta", ">i4"),
        ("base_timestamp", ">i8"),
        ("max_timestamp", ">i8"),
        ("producer_id", ">i8"),
        ("producer_epoch", ">i2"),
        ("base_sequence", ">i4"),
        ("record_count", ">i4"),
    ]
)
_HEADER_BLOB = np.dtype(("V", HEADER_BYTES))


class BatchHeader(NamedTuple):
    """The header of one batch, fields as on the wire."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def next_offset(self) -> int:
        """The offset after the last one the batch covers (also where compaction removed its last record)."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def batch_bytes(self) -> int:
        """Size of the whole batch, header included."""
        return self.length + LENGTH_OVERHEAD_BYTES

    @property
    def codec(self) -> int:
        """0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd."""
        return self.attributes & CODEC_MASK

    @property
    def is_control(self) -> bool:
        """Whether it is a transaction marker and not data."""
        return bool(self.attributes & CONTROL_BIT)

    @property
    def has_append_time(self) -> bool:
        """Whether every record's timestamp is ``max_timestamp``, the broker's append time."""
        return bool(self.attributes & LOG_APPEND_TIME_BIT)

    @property
    def has_holes(self) -> bool:
        """Whether compaction removed records: the broker refuses such a batch from a producer."""
        return self.last_offset_delta + 1 != self.record_count


def read_header(buffer: bytes | memoryview, position: int = 0) -> BatchHeader:
    """The header at ``position``.

    Raises:
        BatchDamageError: fewer than 61 bytes are left, or the length field cannot be.
        UnsupportedFormatError: the magic byte is not 2.
    """
    if len(buffer) - position < HEADER_BYTES:
        raise BatchDamageError(
            f"record batch header truncated: {max(0, len(buffer) - position)} of {HEADER_BYTES} bytes"
        )
    header = BatchHeader._make(HEADER.unpack_from(buffer, position))
    _check_shape(header.base_offset, header.length, header.magic, header.last_offset_delta, header.record_count)
    return header


def _check_shape(base_offset: int, length: int, magic: int, last_offset_delta: int, record_count: int) -> None:
    if magic != MAGIC:
        raise UnsupportedFormatError(
            f"record batch at offset {base_offset} has message format v{magic}; only v2 is supported",
            hint="old formats exist only in logs written before Kafka 0.11: rewrite the topic (for example with a compaction "
            "on a broker of version 2.x) or exclude it",
        )
    if (
        length < HEADER_BYTES - LENGTH_OVERHEAD_BYTES
        or not 0 <= base_offset <= _LARGEST_BASE_OFFSET
        or last_offset_delta < 0
        or record_count < 0
    ):
        raise BatchDamageError(
            f"record batch header at offset {base_offset} cannot be: length {length}, last offset delta {last_offset_delta}, "
            f"records {record_count}"
        )


@dataclass(frozen=True, slots=True)
class BatchColumns:
    """The headers of consecutive whole batches in one buffer, as columns of equal length.

    Attributes:
        position: byte position of each batch in the buffer.
        headers: structured array with the header's fields (big-endian, as on the wire).
        scanned_bytes: bytes of whole batches; the rest of the buffer is the start of a batch that was cut by the fetch size.
    """

    position: NDArray[np.int64]
    headers: NDArray[np.void]
    scanned_bytes: int

    def __len__(self) -> int:
        return len(self.position)

    def column(self, name: str) -> NDArray[np.int64]:
        """One header field as native 64-bit integers."""
        return self.headers[name].astype(np.int64)

    @property
    def batch_bytes(self) -> NDArray[np.int64]:
        """Size of each batch, header included."""
        return self.column("length") + LENGTH_OVERHEAD_BYTES

    @property
    def next_offset(self) -> NDArray[np.int64]:
        """Offset after the last one of each batch."""
        return self.column("base_offset") + self.column("last_offset_delta") + 1

    def select(self, keep: NDArray[Any]) -> "BatchColumns":
        """The batches where ``keep`` (a mask or indices) says so; positions stay those of the same buffer."""
        return BatchColumns(self.position[keep], self.headers[keep], self.scanned_bytes)


def scan_batches(buffer: bytes | memoryview, *, check_crc: bool = True, allow_partial: bool = True) -> BatchColumns:
    """Find every whole batch in ``buffer`` and read all headers at once.

    Args:
        buffer: consecutive batches; a fetch answer may end inside one.
        check_crc: verify the producer's CRC-32C of each batch.
        allow_partial: whether a cut last batch is ignored (a fetch answer) or damage (a stored run).

    Raises:
        BatchDamageError: a header cannot be, offsets do not ascend, or a CRC does not match; names the offset.
        UnsupportedFormatError: a batch of an old message format.
    """
    view = memoryview(buffer)
    size = len(view)
    positions, crcs, scanned_bytes = _walk(view, check_crc)
    if scanned_bytes != size and not allow_partial:
        raise BatchDamageError(
            f"{size - scanned_bytes} bytes after the last whole batch: the run is truncated or its lengths are damaged"
        )
    starts = np.array(positions, dtype=np.int64)
    if len(starts):
        # A window of 61 bytes begins at every byte; the gather copies those at the batches' starts.
        windows = np.ndarray((size - HEADER_BYTES + 1,), dtype=_HEADER_BLOB, buffer=view, strides=(1,))
        headers = windows[starts].view(_HEADER_DTYPE)
    else:
        headers = np.empty(0, dtype=_HEADER_DTYPE)
    columns = BatchColumns(starts, headers, scanned_bytes)
    _check_columns(columns)
    if check_crc:
        _check_crcs(columns, crcs)
    return columns


def _walk(view: memoryview, check_crc: bool) -> tuple[list[int], list[int], int]:
    """Where each whole batch begins, the CRC-32C of what it covers (if asked for), and where the last one ends.

    The one loop over batches in Python: it costs half a microsecond a batch, most of it the CRC.
    """
    size = len(view)
    unpack = _LENGTH.unpack_from
    compute = crc32c.crc32c
    positions: list[int] = []
    crcs: list[int] = []
    position = 0
    last_start = size - HEADER_BYTES
    while position <= last_start:
        (length,) = unpack(view, position + 8)
        if length < 49:  # HEADER_BYTES - LENGTH_OVERHEAD_BYTES
            read_header(view, position)  # raises; an old format is named as such
        following = position + 12 + length  # LENGTH_OVERHEAD_BYTES
        if following > size:
            break
        if check_crc:
            crcs.append(compute(view[position + 21 : following]))  # ATTRIBUTES_POSITION
        positions.append(position)
        position = following
    return positions, crcs, position


def _check_columns(columns: BatchColumns) -> None:
    headers = columns.headers
    wrong = (
        (headers["magic"] != MAGIC)
        | (headers["base_offset"] < 0)
        | (headers["base_offset"] > _LARGEST_BASE_OFFSET)
        | (headers["last_offset_delta"] < 0)
        | (headers["record_count"] < 0)
    )
    if wrong.any():
        first = headers[int(np.argmax(wrong))]
        _check_shape(
            int(first["base_offset"]),
            int(first["length"]),
            int(first["magic"]),
            int(first["last_offset_delta"]),
            int(first["record_count"]),
        )
    if len(columns) > 1:
        disorder = columns.column("base_offset")[1:] < columns.next_offset[:-1]
        if disorder.any():
            at = int(np.argmax(disorder))
            raise BatchDamageError(
                f"record batches out of order: {int(headers['base_offset'][at + 1])} follows {int(headers['base_offset'][at])}"
            )


def _check_crcs(columns: BatchColumns, crcs: list[int]) -> None:
    wrong = np.array(crcs, dtype=np.uint32) != columns.headers["crc"]
    if wrong.any():
        base_offset = int(columns.headers["base_offset"][int(np.argmax(wrong))])
        raise BatchDamageError(f"record batch at offset {base_offset} does not match its CRC-32C")


def control_type(batch: bytes | memoryview, position: int = 0) -> int:
    """0 where the control batch at ``position`` is an abort marker, 1 for a commit, other values as on the wire.

    A control record's key is ``version int16, type int16`` (Kafka ``ControlRecordType``); control batches are never compressed.
    """
    cursor = position + HEADER_BYTES
    _, cursor = read_varint(batch, cursor)  # record length
    cursor += 1  # attributes
    _, cursor = read_varint(batch, cursor)  # timestamp delta
    _, cursor = read_varint(batch, cursor)  # offset delta
    key_bytes, cursor = read_varint(batch, cursor)
    if key_bytes < 4 or cursor + 4 > len(batch):
        raise BatchDamageError("control record without a type")
    kind: int = struct.unpack_from(">h", batch, cursor + 2)[0]
    return kind


def is_commit_key(key: bytes | None) -> bool:
    """Whether the key of a control record says that a transaction was committed, see :func:`control_type`.

    Raises:
        BatchDamageError: it is no such key.
    """
    if key is None or len(key) < 4:
        raise BatchDamageError("a transaction marker without a type")
    kind: int = struct.unpack_from(">h", key, 2)[0]
    return kind == _COMMIT


def read_varint(buffer: bytes | memoryview, position: int) -> tuple[int, int]:
    """A zigzag varint of up to 64 bits at ``position``: the value and the position after it.

    Raises:
        BatchDamageError: it runs past the buffer, or has more than ten bytes or 64 bits.
    """
    value = shift = 0
    try:
        while True:
            byte = buffer[position]
            position += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    raise BatchDamageError("varint of more than 64 bits")
                return (value >> 1) ^ -(value & 1), position
            shift += 7
            if shift > 63:
                raise BatchDamageError("varint of more than ten bytes")
    except IndexError:
        raise BatchDamageError("varint runs past the end of the record") from None
