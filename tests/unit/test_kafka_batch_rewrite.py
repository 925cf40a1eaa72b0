"""Preparing a stored batch for a producer."""

import crc32c
import pytest

from mirror.core.record_batch import HEADER, HEADER_BYTES, read_header, scan_batches
from mirror.errors import BatchDamageError
from mirror.kafka.batch_rewrite import prepare


def make_batch(
    values: list[bytes],
    *,
    base_offset: int = 0,
    attributes: int = 0,
    timestamp_ms: int = 1_700_000_000_000,
    holes: int = 0,
    producer: tuple[int, int, int] = (-1, -1, -1),
) -> bytes:
    """An uncompressed v2 batch of short values without keys (each under 50 bytes)."""
    records = b""
    for delta, value in enumerate(values):
        body = bytes([0, 0, 2 * delta, 1, 2 * len(value)]) + value + b"\x00"
        records += bytes([2 * len(body)]) + body
    last = len(values) - 1 + holes
    header = (base_offset, HEADER_BYTES - 12 + len(records), 3, 2, 0, attributes, last)
    packed = bytearray(HEADER.pack(*header, timestamp_ms, timestamp_ms, *producer, len(values)) + records)
    packed[17:21] = crc32c.crc32c(bytes(packed[21:])).to_bytes(4, "big")
    return bytes(packed)


def test_only_the_named_fields_change() -> None:
    """Base offset, epoch, transactional bit and producer fields are ours; all else is byte for byte the same."""
    batch = make_batch([b"a", b"b", b"c"], base_offset=1234, attributes=0x10, producer=(7, 8, 9))
    ready, record_count = prepare(batch, producer_id=42, producer_epoch=1, base_sequence=99)
    assert record_count == 3
    before, after = read_header(batch), read_header(bytes(ready))
    assert after == before._replace(
        base_offset=0,
        leader_epoch=-1,
        attributes=0,
        producer_id=42,
        producer_epoch=1,
        base_sequence=99,
        crc=after.crc,
    )
    assert bytes(ready[HEADER_BYTES:]) == batch[HEADER_BYTES:]
    assert len(scan_batches(bytes(ready), check_crc=True, allow_partial=False)) == 1


def test_codec_and_append_time_bits_stay() -> None:
    """Only the transactional bit is cleared."""
    batch = make_batch([b"a"], attributes=0x10 | 0x08 | 0x03)
    ready, _ = prepare(batch, producer_id=1, producer_epoch=0, base_sequence=0)
    assert read_header(bytes(ready)).attributes == 0x08 | 0x03


def test_the_source_is_not_touched() -> None:
    """The batch that was given stays as it was, also as a bytearray or a view."""
    batch = bytearray(make_batch([b"a"], base_offset=5))
    kept = bytes(batch)
    prepare(memoryview(batch), producer_id=1, producer_epoch=0, base_sequence=0)
    assert batch == kept


def test_what_a_broker_would_refuse_is_refused_here() -> None:
    """Control batches and batches with holes need re-encoding: ValueError names the offset."""
    with pytest.raises(ValueError, match=r"offset 5.*control"):
        prepare(make_batch([b"a"], base_offset=5, attributes=0x30), producer_id=1, producer_epoch=0, base_sequence=0)
    with pytest.raises(ValueError, match=r"offset 6.*holes"):
        prepare(make_batch([b"a"], base_offset=6, holes=2), producer_id=1, producer_epoch=0, base_sequence=0)


def test_not_one_whole_batch_is_refused() -> None:
    """A cut header is damage; two batches, or half of one, are a caller's mistake."""
    batch = make_batch([b"a"])
    with pytest.raises(BatchDamageError):
        prepare(batch[:60], producer_id=1, producer_epoch=0, base_sequence=0)
    for wrong in (batch + batch, batch[:-1]):
        with pytest.raises(ValueError, match="bytes"):
            prepare(wrong, producer_id=1, producer_epoch=0, base_sequence=0)
