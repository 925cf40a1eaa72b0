"""Hostile bytes as batches and blocks: a typed error or the right answer, never another exception, a hang, or a silent skip."""

import contextlib
import struct
import time
import tracemalloc

import pytest
import zstandard
from hypothesis import example, given
from hypothesis import strategies as st

from mirror.core.compression import unpack
from mirror.core.record_batch import CRC_POSITION, HEADER_BYTES, read_header, scan_batches
from mirror.core.records import iterate_records
from mirror.core.segment.blocks import decode_block, encode_zstd_block, iterate_block
from mirror.core.slices import read_slice
from mirror.errors import DamageError, MirrorError
from tests.builders import a_batch, with_crc
from tests.fault.hostile import SETTINGS, mixed, only_typed, read_all_of

CODECS = range(1, 5)


@SETTINGS
@given(st.binary(max_size=400))
@example(bytes(61))
@example(b"\x7f" * 200)
def test_random_bytes_are_no_batches(data: bytes) -> None:
    """Any bytes as a fetch answer."""
    only_typed(lambda: scan_batches(data))
    only_typed(lambda: scan_batches(data, check_crc=False, allow_partial=False))
    only_typed(lambda: read_slice(data, 0, ((1, 0),)))
    only_typed(lambda: read_all_of(data))


@SETTINGS
@given(st.integers(0, 5), st.data())
def test_flipped_bits_in_a_batch_are_found_or_typed(number: int, data: st.DataObject) -> None:
    """Under the CRC a flipped bit is always found; with the CRC made right again, decoding ends in a typed error or in records."""
    batch = bytearray(mixed()[number])
    position = data.draw(st.integers(CRC_POSITION, len(batch) - 1))
    batch[position] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MirrorError):
        scan_batches(bytes(batch))
    forged = with_crc(bytes(batch))
    only_typed(lambda: read_slice(forged, 0, ((9, 0),)))
    only_typed(lambda: read_all_of(forged))


@SETTINGS
@given(st.integers(0, 5), st.integers(0, 60), st.binary(min_size=8, max_size=8))
def test_headers_that_lie_are_typed(number: int, position: int, lie: bytes) -> None:
    """Lengths, counts, offsets, times and codecs of any value, under a right CRC."""
    batch = bytearray(mixed()[number])
    batch[position : position + 8] = lie[: len(batch) - position]
    forged = with_crc(bytes(batch))
    only_typed(lambda: scan_batches(forged, allow_partial=False))
    only_typed(lambda: read_slice(forged + mixed()[0], 5, ((9, 0),)))
    only_typed(lambda: read_all_of(forged))


@SETTINGS
@given(st.binary(max_size=120), st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_bodies_that_lie_are_typed(body: bytes, record_count: int, last_offset_delta: int) -> None:
    """Any body under any count."""
    batch = bytearray(a_batch(0, 1, body=body))
    struct.pack_into(">i", batch, 57, record_count)
    struct.pack_into(">i", batch, 23, last_offset_delta)
    forged = with_crc(bytes(batch))
    only_typed(lambda: read_all_of(forged))
    struct.pack_into(">h", batch, 21, 0x30)
    control = with_crc(bytes(batch))
    only_typed(lambda: read_slice(control, 0, ((-1, 0),)))


def test_two_billion_records_claimed_cost_nothing() -> None:
    """A count is never believed before the bytes are there."""
    batch = bytearray(a_batch(0, 1))
    struct.pack_into(">i", batch, 57, 2**31 - 1)
    begun_s = time.thread_time()
    with pytest.raises(DamageError):
        read_all_of(with_crc(bytes(batch)))
    assert time.thread_time() - begun_s < 1


@SETTINGS
@given(st.sampled_from(list(CODECS)), st.binary(max_size=300))
def test_random_bodies_are_typed(codec: int, body: bytes) -> None:
    """Any bytes in any codec, also after the codec's own magic."""
    magics = {
        1: b"\x1f\x8b\x08\x00",
        2: b"\x82SNAPPY\x00" + bytes(8),
        3: b"\x04\x22\x4d\x18\x60\x40\x82",
        4: b"\x28\xb5\x2f\xfd",
    }
    for data in (body, magics[codec] + body):
        only_typed(lambda data=data: unpack(codec, data, limit_bytes=1 << 20))  # type: ignore[misc]


@SETTINGS
@given(st.sampled_from(list(CODECS)), st.data())
def test_changed_bodies_are_typed_and_bounded(codec: int, data: st.DataObject) -> None:
    """Flipped bits in a compressed body: what comes out is never more than the limit."""
    body = bytearray(a_batch(0, 60, codec=codec)[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(1, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with contextlib.suppress(MirrorError):
        assert len(unpack(codec, bytes(body), limit_bytes=100_000)) <= 100_000


@pytest.mark.parametrize("codec", CODECS)
def test_truncated_batch_body_is_never_short_data(codec: int) -> None:
    """A compressed body that is cut anywhere never gives a part of its records."""
    batch = a_batch(0, 200, codec=codec)
    header = read_header(batch)
    for cut in range(1, len(batch) - HEADER_BYTES):
        with pytest.raises(DamageError):
            list(iterate_records(header, unpack(codec, batch[HEADER_BYTES:-cut])))


@SETTINGS
@given(st.binary(max_size=200), st.integers(-(2**70), 2**70), st.booleans())
def test_random_blocks_are_typed(stored: bytes, raw_bytes: int, unpacked: bool) -> None:
    """Any bytes as a block of any claimed size."""
    for body_codec in ("passthrough", "zstd"):
        only_typed(lambda body_codec=body_codec: decode_block(stored, body_codec=body_codec, raw_bytes=raw_bytes))  # type: ignore[misc]
    only_typed(lambda: list(iterate_block(memoryview(stored), unpacked=unpacked, check_crc=True)))


@SETTINGS
@given(st.data())
def test_changed_unpacked_blocks_are_typed(data: st.DataObject) -> None:
    """Flipped bits in the content of an unpacked block (its checksum forged): every batch is opened, or a typed error tells."""
    parts = [memoryview(batch) for batch in mixed()]
    frame, raw_bytes = encode_zstd_block(parts, level=1, repack=True)
    content = bytearray(decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes))
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))

    def read() -> None:
        for batch in iterate_block(memoryview(content), unpacked=True, check_crc=True):
            body = batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)
            list(iterate_records(batch.header, body))

    only_typed(read)


def test_block_bomb_is_bounded_by_its_claim() -> None:
    """A frame that unpacks to something else than the index says is refused before it is unpacked."""
    bomb = zstandard.ZstdCompressor().compress(bytes(200 << 20))
    tracemalloc.start()
    try:
        for claim in (100, 1 << 20, (200 << 20) + 1, 1 << 40):
            with pytest.raises(DamageError):
                decode_block(bomb, body_codec="zstd", raw_bytes=claim)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
