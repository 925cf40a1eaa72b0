"""Bodies of batches in Kafka's codecs."""

import struct
import zlib

import cramjam
import pytest
import zstandard
from xxhash import xxh32_intdigest

from mirror.core.compression import UnpackLimitError, pack, unpack
from mirror.core.record_batch import CODEC_NAMES
from mirror.errors import BatchDamageError, UnsupportedFormatError

DATA = b"".join(b"record %d " % (number * 7919 % 10007) for number in range(20_000))
CODECS = pytest.mark.parametrize("codec", range(1, 5), ids=CODEC_NAMES[1:])


@pytest.mark.parametrize("codec", range(5), ids=CODEC_NAMES)
@pytest.mark.parametrize("data", [b"", b"x", DATA], ids=["empty", "byte", "many"])
def test_unpack_gives_what_was_packed(codec: int, data: bytes) -> None:
    """Every codec gives back the records byte for byte."""
    assert bytes(unpack(codec, pack(codec, data))) == data


@CODECS
def test_limit_is_exact(codec: int) -> None:
    """As much as the limit comes out; one byte more does not."""
    packed = pack(codec, DATA)
    assert bytes(unpack(codec, packed, limit_bytes=len(DATA))) == DATA
    for limit_bytes in (len(DATA) - 1, 1000, 0):
        with pytest.raises(UnpackLimitError):
            unpack(codec, packed, limit_bytes=limit_bytes)


@CODECS
@pytest.mark.parametrize("limit_bytes", [1 << 28, len(DATA)])
def test_truncated_body_is_never_short_data(codec: int, limit_bytes: int) -> None:
    """Wherever a body is cut, it is damage: no part of the records is returned as if it were all.

    Xerial's snappy framing has no end mark: cut exactly between two blocks it cannot be told; the batch's CRC and record count can.
    """
    packed = bytes(pack(codec, DATA))
    block_ends = set()
    if codec == 2:
        position = 16
        while position < len(packed):
            block_ends.add(position)
            position += 4 + struct.unpack_from(">i", packed, position)[0]
    for size in [*range(40), *range(40, len(packed), 997), *range(len(packed) - 40, len(packed))]:
        if size not in block_ends:
            with pytest.raises(BatchDamageError):
                unpack(codec, packed[:size], limit_bytes=limit_bytes)


@CODECS
def test_bytes_after_the_end_are_damage(codec: int) -> None:
    """What follows a body is never dropped silently."""
    with pytest.raises(BatchDamageError):
        unpack(codec, bytes(pack(codec, DATA)) + b"trailing")


def test_zstd_without_size_is_read_and_its_cuts_are_found() -> None:
    """Streaming producers leave the content size out of the frame."""
    compressor = zstandard.ZstdCompressor().compressobj()
    packed = compressor.compress(DATA) + compressor.flush()
    assert unpack(4, packed) == DATA
    for size in range(1, len(packed), 499):
        with pytest.raises(BatchDamageError):
            unpack(4, packed[:size])
    with pytest.raises(BatchDamageError, match="after its zstd frame"):
        unpack(4, packed + b"trailing")


def test_snappy_block_without_framing_is_read() -> None:
    """librdkafka and others write one bare snappy block."""
    assert unpack(2, bytes(cramjam.snappy.compress_raw(DATA))) == DATA


@pytest.mark.parametrize("flags", range(8), ids=lambda flags: f"flags-{flags}")
def test_lz4_frames_of_every_kind_are_walked(flags: int) -> None:
    """Content size, content checksum and block checksums move the blocks and the end; frames with each of them are read, cuts found."""
    block = DATA[:1000]
    flag_byte = 0x60 | (0x08 if flags & 1 else 0) | (0x04 if flags & 2 else 0) | (0x10 if flags & 4 else 0)
    descriptor = bytes((flag_byte, 0x40)) + (struct.pack("<Q", len(block)) if flags & 1 else b"")
    frame = struct.pack("<I", 0x184D2204) + descriptor + bytes((xxh32_intdigest(descriptor) >> 8 & 0xFF,))
    frame += struct.pack("<I", len(block) | 1 << 31) + block
    frame += struct.pack("<I", xxh32_intdigest(block)) if flags & 4 else b""
    frame += struct.pack("<I", 0)
    frame += struct.pack("<I", xxh32_intdigest(block)) if flags & 2 else b""
    assert unpack(3, frame) == block
    for size in range(len(frame)):
        with pytest.raises(BatchDamageError):
            unpack(3, frame[:size])


def _zeros_gzip(mebibytes: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes)) + packer.flush()


def _zeros_snappy(mebibytes: int) -> bytes:
    block = bytes(cramjam.snappy.compress_raw(bytes(1 << 20)))
    return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + (struct.pack(">i", len(block)) + block) * mebibytes


def _zeros_zstd(mebibytes: int) -> bytes:
    packer = zstandard.ZstdCompressor().compressobj()
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(mebibytes)) + packer.flush()


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    ("codec", "bomb"),
    [
        (1, _zeros_gzip),
        (2, _zeros_snappy),
        (3, lambda size: bytes(cramjam.lz4.compress(bytes(size << 20)))),
        (4, _zeros_zstd),
    ],
    ids=CODEC_NAMES[1:],
)
def test_bomb_is_stopped_at_the_limit(codec: int, bomb: object) -> None:
    """A small body that unpacks to much more than the limit costs neither the memory nor the time of what it claims."""
    body = bomb(128)  # type: ignore[operator]
    with pytest.raises(UnpackLimitError):
        unpack(codec, body, limit_bytes=1 << 20)


def test_snappy_claim_beyond_its_bytes_is_damage() -> None:
    """A block of a few bytes cannot hold what it claims: nothing is allocated for it."""
    with pytest.raises(BatchDamageError, match="claim"):
        unpack(2, b"\xff\xff\xff\x7f" + b"\x00" * 8)


def test_zstd_claim_beyond_the_limit_allocates_nothing() -> None:
    """The frame's declared size is looked at first."""
    packed = bytearray(zstandard.ZstdCompressor().compress(bytes(70_000_000)))
    with pytest.raises(UnpackLimitError):
        unpack(4, bytes(packed), limit_bytes=1 << 20)


@pytest.mark.parametrize("codec", [5, 6, 7, -1])
def test_unknown_codec_is_refused(codec: int) -> None:
    """Three bits hold eight codecs, of which five are known."""
    with pytest.raises(UnsupportedFormatError):
        unpack(codec, b"")
    with pytest.raises(UnsupportedFormatError):
        pack(codec, b"")
