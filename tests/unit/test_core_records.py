"""Single records: the slow path."""

import pytest

from mirror.core.compression import unpack
from mirror.core.record_batch import HEADER_BYTES, read_header, scan_batches
from mirror.core.records import RawRecord, decode_record, encode_batch, iterate_records, write_varint
from mirror.errors import BatchDamageError
from tests.builders import T0_MS, a_batch, a_field, a_tail


def _records(batch: bytes) -> list[RawRecord]:
    header = read_header(batch)
    return list(iterate_records(header, unpack(header.codec, batch[HEADER_BYTES:])))


def test_record_fields_come_back() -> None:
    """Null and empty keys and values, repeated header keys, null header values and odd bytes stay what they are."""
    cases = [
        (None, None, ()),
        (b"", b"", ()),
        (b"k", None, ((b"a", b"1"), (b"a", b"2"), (b"", None))),
        (b"\xff\x00", b"\x00" * 3, ((b"\xffodd", b"\xfe"),)),
    ]
    batch = a_batch(5, len(cases), tails=[a_tail(*case) for case in cases])
    for (key, value, headers), raw in zip(cases, _records(batch), strict=True):
        record = decode_record(raw)
        assert (record.key, record.value) == (key, value)
        assert [(name.encode("utf-8", "surrogateescape"), data) for name, data in record.headers] == list(headers)


def test_out_of_order_timestamps_are_kept() -> None:
    """Deltas are relative to the first record's time and may be negative."""
    times = [T0_MS, T0_MS - 5, 0, T0_MS + 7]
    assert [record.timestamp_ms for record in _records(a_batch(0, 4, timestamps=times))] == times


def test_append_time_is_what_a_consumer_sees() -> None:
    """With the LogAppendTime bit every record has the broker's time."""
    assert {record.timestamp_ms for record in _records(a_batch(0, 3, append_time=T0_MS + 99))} == {T0_MS + 99}


def test_holes_keep_their_offsets() -> None:
    """Records of a compacted batch keep the offsets that they had."""
    assert [record.offset for record in _records(a_batch(10, 5, holes=(0, 3)))] == [11, 12, 14]


@pytest.mark.parametrize("codec", range(5))
def test_encoded_again_is_the_same_records_with_dense_offsets(codec: int) -> None:
    """Key, value, headers and time are kept; offsets become dense from the given base."""
    before = _records(a_batch(10, 5, holes=(0, 3), timestamps=[T0_MS, T0_MS + 9, T0_MS - 9, T0_MS, T0_MS + 1]))
    batch = encode_batch(before, codec=codec, base_offset=100)
    scan_batches(batch, allow_partial=False)
    after = _records(batch)
    assert [record.offset for record in after] == [100, 101, 102]
    assert [(r.timestamp_ms, bytes(r.tail)) for r in after] == [(r.timestamp_ms, bytes(r.tail)) for r in before]
    header = read_header(batch)
    assert header.max_timestamp == max(record.timestamp_ms for record in before)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == (-1, -1, -1)


def test_no_batch_without_records() -> None:
    """There is nothing to encode."""
    with pytest.raises(ValueError, match="at least one"):
        encode_batch([])


def test_impossible_timestamp_is_damage() -> None:
    """A timestamp that no batch header holds does not leave as struct.error."""
    tail = memoryview(a_tail(b"k", b"v"))
    with pytest.raises(BatchDamageError):
        encode_batch([RawRecord(0, 2**63, 0, tail)])
    with pytest.raises(BatchDamageError):
        encode_batch([RawRecord(0, -(2**63), 0, tail), RawRecord(1, 2**63 - 1, 0, tail)])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        write_varint(2**40),
        write_varint(6) + b"\x00" * 3,
        write_varint(-1) + b"\x00" * 6,
        write_varint(6) + b"\x00\x00" + write_varint(-1) + b"\x00" * 3,
        write_varint(6) + b"\x00\x00" + write_varint(1) + b"\x00" * 3,
        write_varint(6) + b"\x00" * 6 + b"extra",
    ],
    ids=["empty", "length-huge", "cut", "length-negative", "delta-negative", "delta-beyond", "extra-bytes"],
)
def test_records_that_do_not_fit_their_batch_are_damage(body: bytes) -> None:
    """Lengths, offsets and the count must agree with the header and the body."""
    header = read_header(a_batch(0, 1))
    with pytest.raises(BatchDamageError):
        list(iterate_records(header, body))


@pytest.mark.parametrize(
    "tail",
    [
        b"",
        a_field(b"k"),
        write_varint(9) + b"k",
        a_field(b"k") + a_field(b"v") + write_varint(-1),
        a_field(b"k") + a_field(b"v") + write_varint(2**40),
        a_field(b"k") + a_field(b"v") + write_varint(1) + a_field(None) + a_field(b""),
        a_tail(b"k", b"v") + b"\x00",
    ],
    ids=["empty", "no-value", "key-cut", "headers-negative", "headers-huge", "header-key-null", "extra"],
)
def test_record_that_is_none_is_damage(tail: bytes) -> None:
    """A field that runs past its record, or bytes left over, are damage."""
    with pytest.raises(BatchDamageError):
        decode_record(RawRecord(0, T0_MS, 0, memoryview(tail)))
