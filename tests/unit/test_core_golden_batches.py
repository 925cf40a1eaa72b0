"""Batches that real clients wrote to a real broker, kept as files: librdkafka's and the Java client's, in every codec."""

from pathlib import Path

import pytest

from mirror.core.compression import unpack
from mirror.core.record_batch import CODEC_NAMES, HEADER_BYTES, control_type, read_header, scan_batches
from mirror.core.records import Record, decode_record, encode_batch, iterate_records
from mirror.core.segment.blocks import decode_block, encode_zstd_block, iterate_block
from mirror.core.slices import read_slice
from mirror.errors import DamageError
from tests.golden.capture_batches import JAVA_RECORDS, RECORDS

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
ALL = sorted(path.stem.removeprefix("batches_") for path in GOLDEN.glob("batches_*.bin"))


def _data(name: str) -> bytes:
    return (GOLDEN / f"batches_{name}.bin").read_bytes()


def _batches(data: bytes) -> list[bytes]:
    columns = scan_batches(data, allow_partial=False)
    return [data[p : p + n] for p, n in zip(columns.position.tolist(), columns.batch_bytes.tolist(), strict=True)]


def _records(batch: bytes) -> list[Record]:
    header = read_header(batch)
    return [decode_record(raw) for raw in iterate_records(header, unpack(header.codec, batch[HEADER_BYTES:]))]


def test_every_codec_is_there() -> None:
    """Both clients in all codecs, and transactions."""
    assert set(ALL) == {*CODEC_NAMES, *(f"java_{name}" for name in CODEC_NAMES), "transactions"}


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_librdkafka_records_are_what_was_produced(name: str) -> None:
    """Keys, values, headers in order, null and empty ones, and times; at least one batch is in the codec."""
    batches = _batches(_data(name))
    found = [record for batch in batches for record in _records(batch)]
    assert [record.offset for record in found] == list(range(len(RECORDS)))
    assert [(r.key, r.value, list(r.headers), r.timestamp_ms) for r in found] == RECORDS
    assert CODEC_NAMES.index(name) in {read_header(batch).codec for batch in batches}


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_java_records_are_read(name: str) -> None:
    """The Java client's frames (Xerial snappy, its own lz4 blocks, zstd without a size) are read to the last record."""
    batches = _batches(_data(f"java_{name}"))
    found = [record for batch in batches for record in _records(batch)]
    assert [record.offset for record in found] == list(range(JAVA_RECORDS))
    assert all(record.value is not None and record.value.startswith(b'{"id": ') for record in found)
    assert {read_header(batch).codec for batch in batches} == {CODEC_NAMES.index(name)}


@pytest.mark.parametrize("name", ALL)
def test_cut_bodies_are_found(name: str) -> None:
    """A body of a real client that lacks its last bytes is damage."""
    for batch in _batches(_data(name)):
        header = read_header(batch)
        for cut in {1, 2, 4, 5, 9, (len(batch) - HEADER_BYTES) // 2}:
            with pytest.raises(DamageError):
                list(iterate_records(header, unpack(header.codec, batch[HEADER_BYTES:-cut])))


@pytest.mark.parametrize("name", ALL)
def test_repacked_blocks_hold_the_same_records(name: str) -> None:
    """Stored unpacked, every header is as fetched and every record the same."""
    data = _data(name)
    frame, raw_bytes = encode_zstd_block([memoryview(data)], level=3, repack=True)
    content = decode_block(frame, body_codec="zstd", raw_bytes=raw_bytes)
    stored = list(iterate_block(content, unpacked=True, check_crc=True))
    for batch, back in zip(_batches(data), stored, strict=True):
        assert back.header == read_header(batch)
        body = back.body if back.unpacked else unpack(back.header.codec, back.body)
        assert [decode_record(raw) for raw in iterate_records(back.header, body)] == _records(batch)


@pytest.mark.parametrize("name", CODEC_NAMES)
def test_encoded_again_records_are_the_same(name: str) -> None:
    """The slow path gives a consumer what the client's own batch gave."""
    for batch in _batches(_data(name)):
        header = read_header(batch)
        raw = list(iterate_records(header, unpack(header.codec, batch[HEADER_BYTES:])))
        assert _records(encode_batch(raw, codec=header.codec)) == _records(batch)


def test_transactions_are_cut_at_their_markers() -> None:
    """Of four transactions the two aborted are dropped; all four markers are kept."""
    data = _data("transactions")
    columns = scan_batches(data, allow_partial=False)
    markers = [
        p for p, a in zip(columns.position.tolist(), columns.column("attributes").tolist(), strict=True) if a & 0x20
    ]
    assert [control_type(data, position) for position in markers] == [1, 0, 1, 0]
    producer_id = int(columns.column("producer_id")[0])
    body = read_slice(data, 0, ((producer_id, 6), (producer_id, 18)))
    kept = [batch for part in body.parts for batch in _batches(bytes(part))]
    keys = {record.key for batch in kept if not read_header(batch).is_control for record in _records(batch)}
    assert keys == {b"transaction 0", b"transaction 2"}
    assert sum(read_header(batch).is_control for batch in kept) == 4
    assert body.next_offset == 24
