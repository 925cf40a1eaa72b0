"""The wire protocol of filling and deleting: requests byte for byte, answers whatever the bytes."""

import contextlib
import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.add_partitions_to_txn import decode_add_partitions_to_txn, encode_add_partitions_to_txn
from mirror.kafka.wire.codec import MalformedError, Reader, Writer
from mirror.kafka.wire.delete_records import DeletedRecords, decode_delete_records, encode_delete_records
from mirror.kafka.wire.describe_producers import (
    ActiveProducer,
    DescribedProducers,
    decode_describe_producers,
    encode_describe_producers,
)
from mirror.kafka.wire.end_txn import decode_end_txn, encode_end_txn
from mirror.kafka.wire.find_coordinator import (
    TRANSACTION,
    Coordinator,
    decode_find_coordinator,
    encode_find_coordinator,
)
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.kafka.wire.log_end import encode_log_ends
from mirror.kafka.wire.write_txn_markers import MarkerStamp, decode_write_txn_markers, encode_abort_markers

A0, A1, B0 = TopicPartition("a", 0), TopicPartition("a", 1), TopicPartition("b", 0)
STAMP = MarkerStamp(producer_id=7, producer_epoch=2, coordinator_epoch=9)
IDENTITY = ProducerIdentity(producer_id=7, producer_epoch=2)
DECODERS: list[Callable[[Reader], object]] = [
    decode_add_partitions_to_txn,
    decode_delete_records,
    decode_describe_producers,
    decode_end_txn,
    decode_find_coordinator,
    decode_write_txn_markers,
]


def _reader(data: bytes) -> Reader:
    return Reader(memoryview(data))


def _marker(topics: bytes) -> bytes:
    return struct.pack(">qhb", 7, 2, 0) + topics + struct.pack(">i", 9) + b"\x00"


def test_markers_of_equal_counts_share_entries() -> None:
    """Marker 1 covers all partitions, markers 2 and 3 only the one that wants three; all of them abort."""
    both = b"\x03" + b"\x02a\x02" + struct.pack(">i", 0) + b"\x00" + b"\x02b\x02" + struct.pack(">i", 0) + b"\x00"
    one = b"\x02" + b"\x02b\x02" + struct.pack(">i", 0) + b"\x00"
    assert encode_abort_markers(STAMP, {A0: 1, B0: 3}) == (
        b"\x04" + _marker(both) + _marker(one) + _marker(one) + b"\x00"
    )


def test_five_hundred_markers_are_counted() -> None:
    """A count above one byte of varint."""
    body = encode_abort_markers(STAMP, {A1: 500})
    marker = _marker(b"\x02\x02a\x02" + struct.pack(">i", 1) + b"\x00")
    assert body == b"\xf5\x03" + marker * 500 + b"\x00"


def test_marker_answers_are_read_and_no_error_is_hidden() -> None:
    """A partition that is named twice keeps its error code, in whichever order."""

    def result(code: int) -> bytes:
        return (
            struct.pack(">q", 7) + b"\x02\x02a\x03" + struct.pack(">ih", 0, code) + b"\x00"
            + struct.pack(">ih", 1, 0) + b"\x00" + b"\x00\x00"
        )  # fmt: skip

    for codes in ((0, 47), (47, 0)):
        answer = b"\x03" + result(codes[0]) + result(codes[1]) + b"\x00"
        assert decode_write_txn_markers(_reader(answer)) == {A0: 47, A1: 0}


def test_a_delete_request_is_as_specified() -> None:
    """Byte for byte: partitions of one topic together, the timeout behind them."""
    assert encode_delete_records({A0: 5, B0: 6, A1: 7}, timeout_ms=99) == (
        b"\x03"
        b"\x02a\x03" + struct.pack(">iq", 0, 5) + b"\x00" + struct.pack(">iq", 1, 7) + b"\x00\x00"
        b"\x02b\x02" + struct.pack(">iq", 0, 6) + b"\x00\x00" + struct.pack(">i", 99) + b"\x00"
    )


def test_a_delete_answer_is_read() -> None:
    """Low watermark and error code of every partition."""
    answer = Writer().i32(0).uvarint(2).string("a").uvarint(2).i32(1).i64(7).i16(44).no_tags().no_tags().no_tags()
    assert decode_delete_records(_reader(answer.finish())) == [
        DeletedRecords(topic="a", partition=1, low_watermark=7, error_code=44)
    ]


def test_log_ends_are_asked_for_as_a_replica() -> None:
    """Replica -2, the latest offset, and the leader epoch, so that no follower answers for itself."""
    assert encode_log_ends({A1: 3}) == (
        struct.pack(">ib", -2, 0) + b"\x02\x02a\x02" + struct.pack(">iiq", 1, 3, -1) + b"\x00\x00\x00"
    )


def test_transaction_requests_are_as_specified() -> None:
    """Byte for byte: which partitions, how it ends, who coordinates."""
    assert encode_add_partitions_to_txn("x", IDENTITY, [A0, A1]) == (
        b"\x02x" + struct.pack(">qh", 7, 2) + b"\x02\x02a\x03" + struct.pack(">ii", 0, 1) + b"\x00\x00"
    )
    assert encode_end_txn("x", IDENTITY, commit=False) == b"\x02x" + struct.pack(">qh", 7, 2) + b"\x00\x00"
    assert encode_end_txn("x", IDENTITY, commit=True) == b"\x02x" + struct.pack(">qh", 7, 2) + b"\x01\x00"
    assert encode_find_coordinator(TRANSACTION, ["x"]) == b"\x01\x02\x02x\x00"


def test_transaction_answers_are_read() -> None:
    """Codes by partition, the code of the end, the coordinator's address."""
    added = b"\x00\x00\x00\x00\x02\x02a\x02" + struct.pack(">ih", 0, 51) + b"\x00\x00\x00"
    assert decode_add_partitions_to_txn(_reader(added)) == {A0: 51}
    assert decode_end_txn(_reader(struct.pack(">ih", 0, 90) + b"\x00")) == 90
    found = Writer().i32(0).uvarint(2).string("x").i32(4).string("h").i32(92).i16(0).string(None).no_tags().no_tags()
    assert decode_find_coordinator(_reader(found.finish())) == [
        Coordinator(key="x", node_id=4, host="h", port=92, error_code=0, error_message=None)
    ]


def test_producers_are_described() -> None:
    """The request groups partitions; the answer has every field of every producer."""
    assert encode_describe_producers([A0, A1]) == b"\x02\x02a\x03" + struct.pack(">ii", 0, 1) + b"\x00\x00"
    answer = Writer().i32(0).uvarint(2).string("a").uvarint(2).i32(1).i16(0).string(None).uvarint(2)
    answer.i64(7).i32(2).i32(-1).i64(99).i32(131073).i64(-1).no_tags().no_tags().no_tags().no_tags()
    known = ActiveProducer(
        producer_id=7,
        producer_epoch=2,
        last_sequence=-1,
        last_timestamp_ms=99,
        coordinator_epoch=131073,
        transaction_start_offset=-1,
    )
    assert decode_describe_producers(_reader(answer.finish())) == [
        DescribedProducers(topic="a", partition=1, error_code=0, error_message=None, producers=(known,))
    ]


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_hostile_bytes_are_malformed_or_read(decode: Callable[[Reader], object], data: bytes) -> None:
    """Any bytes: an answer or MalformedError, never another exception."""
    with contextlib.suppress(MalformedError):
        decode(_reader(data))
