"""The wire protocol's decoders: right answers for right bytes, MalformedError for all others."""

import contextlib
import dataclasses
import struct
from collections.abc import Callable

import pytest
from aiokafka.protocol.api import RequestHeader_v2
from hypothesis import given
from hypothesis import strategies as st

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, RawRequest
from mirror.kafka.wire.client_quotas import (
    QuotaChange,
    QuotaEntry,
    decode_alter_client_quotas,
    decode_client_quotas,
    encode_alter_client_quotas,
)
from mirror.kafka.wire.codec import MalformedError, Reader, Writer, topic_id_bytes, topic_id_text
from mirror.kafka.wire.create_acls import decode_create_acls, encode_create_acls
from mirror.kafka.wire.delete_acls import decode_delete_acls, encode_delete_acls
from mirror.kafka.wire.describe_acls import AclEntry, decode_describe_acls
from mirror.kafka.wire.fetch import READ_COMMITTED, FetchPartition, FetchRequest, decode_fetch, encode_fetch
from mirror.kafka.wire.init_producer_id import decode_init_producer_id
from mirror.kafka.wire.list_offsets import decode_list_offsets
from mirror.kafka.wire.metadata import decode_metadata, encode_metadata
from mirror.kafka.wire.offset_for_leader_epoch import decode_offset_for_leader_epoch
from mirror.kafka.wire.produce import ProducedPartition, decode_produce, encode_produce

ID = "AAECAwQFBgcICQoLDA0ODw"
DECODERS: list[Callable[[Reader], object]] = [
    decode_alter_client_quotas,
    decode_client_quotas,
    decode_create_acls,
    decode_delete_acls,
    decode_describe_acls,
    decode_fetch,
    decode_init_producer_id,
    decode_list_offsets,
    decode_metadata,
    decode_offset_for_leader_epoch,
    decode_produce,
]


def _reader(data: bytes) -> Reader:
    return Reader(memoryview(data))


def _fetch_answer(records: bytes | None = b"batch", tags: bytes = b"\x00") -> bytes:
    part = Writer().i32(3).i16(0).i64(90).i64(80).i64(10)
    part.array([(7, 40), (8, 50)], lambda out, pair: out.i64(pair[0]).i64(pair[1]).no_tags())
    part.i32(2).nullable_bytes(records)
    head = Writer().i32(5).i16(0).i32(0).uvarint(2).topic_id(ID).uvarint(2).finish()
    return head + part.finish() + tags + b"\x00\x00"


def test_topic_ids_have_kafkas_text_form() -> None:
    """22 characters of unpadded base64url, and back."""
    raw = bytes(range(16))
    assert topic_id_text(raw) == ID
    assert topic_id_bytes(ID) == raw
    for wrong in ("", "AAAA", ID + "A", "*" * 22):
        with pytest.raises(ValueError, match="topic id"):
            topic_id_bytes(wrong)


@given(st.integers(0, 2**32 - 1))
def test_uvarint_comes_back(value: int) -> None:
    """Every unsigned 32-bit value survives."""
    reader = _reader(Writer().uvarint(value).finish())
    assert reader.uvarint() == value
    assert reader.remaining_bytes == 0


@given(
    st.integers(-(2**7), 2**7 - 1),
    st.integers(-(2**15), 2**15 - 1),
    st.integers(-(2**31), 2**31 - 1),
    st.integers(-(2**63), 2**63 - 1),
    st.none() | st.text(),
    st.none() | st.binary(),
    st.booleans(),
)
def test_primitives_come_back(
    i8: int, i16: int, i32: int, i64: int, text: str | None, data: bytes | None, flag: bool
) -> None:
    """What a Writer wrote a Reader reads."""
    body = Writer().i8(i8).i16(i16).i32(i32).i64(i64).string(text).nullable_bytes(data).boolean(flag).no_tags().finish()
    reader = _reader(body)
    assert (reader.i8(), reader.i16(), reader.i32(), reader.i64()) == (i8, i16, i32, i64)
    assert reader.nullable_string() == text
    read = reader.nullable_bytes()
    assert (None if read is None else bytes(read)) == data
    assert reader.boolean() is flag
    assert reader.tags() == {}


def test_a_fetch_answer_is_read() -> None:
    """All fields, with records as a view on the answer's own bytes, and tags for divergence and a moved leader."""
    diverging = struct.pack(">iq", 4, 77) + b"\x00"
    leader = struct.pack(">ii", 9, 6) + b"\x00"
    tags = b"\x02\x00" + bytes([len(diverging)]) + diverging + b"\x01" + bytes([len(leader)]) + leader
    frame = _fetch_answer(tags=tags)
    answer = decode_fetch(_reader(frame))
    assert (answer.throttle_ms, answer.error_code) == (5, 0)
    (part,) = answer.partitions
    assert (part.topic_id, part.partition, part.error_code) == (ID, 3, 0)
    assert (part.high_watermark, part.last_stable_offset, part.log_start_offset) == (90, 80, 10)
    assert part.aborted_transactions == [(7, 40), (8, 50)]
    assert part.preferred_read_replica == 2
    assert bytes(part.records) == b"batch"
    assert part.records.obj is frame
    assert part.diverging_epoch == (4, 77)
    assert part.current_leader == (9, 6)
    assert "batch" not in repr(part)


def test_no_records_are_empty_records() -> None:
    """Null records are an empty view, never None."""
    (part,) = decode_fetch(_reader(_fetch_answer(records=None))).partitions
    assert len(part.records) == 0
    assert (part.diverging_epoch, part.current_leader) == (None, None)


def test_a_fetch_request_is_as_specified() -> None:
    """Byte for byte: partitions of one topic together, no session, nothing forgotten."""
    wanted = FetchPartition(topic_id=ID, partition=1, fetch_offset=5, max_bytes=99, current_leader_epoch=2)
    request = FetchRequest(
        partitions=[wanted], max_wait_ms=500, max_bytes=1000, min_bytes=1, isolation_level=READ_COMMITTED, rack="a"
    )
    assert encode_fetch(request) == (
        struct.pack(">iiiibii", -1, 500, 1, 1000, 1, 0, -1)
        + b"\x02"
        + bytes(range(16))
        + b"\x02"
        + struct.pack(">iiqiqi", 1, 2, 5, -1, -1, 99)
        + b"\x00\x00\x01\x02a\x00"
    )


def test_a_metadata_request_never_allows_creation() -> None:
    """Whatever is asked, the flag is off: null for all topics, an empty array for none."""
    assert encode_metadata() == b"\x00\x00\x00\x00"
    assert encode_metadata(names=[]) == b"\x01\x00\x00\x00"
    assert encode_metadata(names=["t"]) == b"\x02" + bytes(16) + b"\x02t\x00\x00\x00\x00"
    assert encode_metadata(topic_ids=[ID], authorized_operations=True) == (
        b"\x02" + bytes(range(16)) + b"\x00\x00\x00\x01\x00"
    )


def test_a_produce_request_groups_partitions_by_topic() -> None:
    """One entry per topic, all in-sync replicas, no transaction."""
    body = encode_produce(
        {TopicPartition("a", 0): b"x", TopicPartition("b", 0): b"y", TopicPartition("a", 1): b"z"}, timeout_ms=1
    )
    assert body == (
        b"\x00\xff\xff\x00\x00\x00\x01\x03"
        b"\x02a\x03\x00\x00\x00\x00\x02x\x00\x00\x00\x00\x01\x02z\x00\x00"
        b"\x02b\x02\x00\x00\x00\x00\x02y\x00\x00"
        b"\x00"
    )


@pytest.mark.parametrize("decode", DECODERS)
@given(data=st.binary(max_size=200))
def test_hostile_bytes_are_malformed_or_read(decode: Callable[[Reader], object], data: bytes) -> None:
    """Any bytes: an answer or MalformedError, never another exception."""
    with contextlib.suppress(MalformedError):
        decode(_reader(data))


@given(cut=st.integers(0, 400), flip=st.integers(0, 8 * 400))
def test_a_damaged_fetch_answer_is_malformed_or_read(cut: int, flip: int) -> None:
    """A cut answer is malformed; a flipped bit never does worse."""
    frame = _fetch_answer(records=b"x" * 200)
    if cut < len(frame):
        with pytest.raises(MalformedError):
            decode_fetch(_reader(frame[:cut]))
    damaged = bytearray(frame)
    damaged[flip // 8 % len(frame)] ^= 1 << flip % 8
    with contextlib.suppress(MalformedError):
        decode_fetch(_reader(bytes(damaged)))


def test_a_huge_count_is_refused_before_it_is_believed() -> None:
    """An array of four thousand million items in a small answer costs nothing."""
    bomb = Writer().i32(0).i16(0).i32(0).uvarint(2**32 - 1).finish() + bytes(100)
    with pytest.raises(MalformedError, match="items"):
        decode_fetch(_reader(bomb))


@pytest.mark.parametrize("client_id", ["", "mirror", "mirror-ü", "x" * 300])
def test_our_request_header_is_that_of_aiokafka(client_id: str) -> None:
    """Ours is written at once, field by field it takes ten times as long."""
    request = RawRequest(Api("Produce", 0, 9, since="2.8"), b"")
    theirs = RequestHeader_v2(request, correlation_id=2**31 - 1, client_id=client_id)
    assert request.build_request_header(2**31 - 1, client_id).encode() == theirs.encode()


def test_produce_answers_with_and_without_errors() -> None:
    """Partitions without an error are read at a glance; those beside them may have one."""

    def write(out: Writer, partition: int) -> None:
        out.i32(partition).i16(10 if partition == 1 else 0).i64(90 + partition).i64(-1).i64(3)
        if partition == 1:
            out.array([(2, "why")], lambda part, error: part.i32(error[0]).string(error[1]).no_tags())
            out.string("too large")
        else:
            out.uvarint(1).string(None)
        out.no_tags()

    answer = Writer().uvarint(2).string("t").array([0, 1, 2], write).no_tags().i32(0).no_tags().finish()
    assert decode_produce(_reader(answer)) == [
        ProducedPartition("t", 0, 0, 90, -1, 3, None, []),
        ProducedPartition("t", 1, 10, 91, -1, 3, "too large", [(2, "why")]),
        ProducedPartition("t", 2, 0, 92, -1, 3, None, []),
    ]


def test_quotas_as_brokers_answer() -> None:
    """An entity of two kinds, one of them the default; and the answer to a change that is refused."""

    def write_part(writer: Writer, part: tuple[str, str | None]) -> None:
        writer.string(part[0]).string(part[1]).no_tags()

    def write_value(writer: Writer, value: tuple[str, float]) -> None:
        writer.string(value[0]).raw(struct.pack(">d", value[1])).no_tags()

    entity = {"user": "app", "client-id": None}
    answer = Writer().i32(0).i16(0).string(None).uvarint(2).array(entity.items(), write_part)
    answer.array([("producer_byte_rate", 2.5)], write_value).no_tags().no_tags()
    found = decode_client_quotas(_reader(answer.finish()))
    assert found == (0, None, [QuotaEntry(entity=entity, values={"producer_byte_rate": 2.5})])
    refused = Writer().i32(0).uvarint(2).i16(42).string("no").array(entity.items(), write_part).no_tags().no_tags()
    assert decode_alter_client_quotas(_reader(refused.finish())) == [(42, "no", entity)]


def test_acls_are_sent_as_the_protocol_says() -> None:
    """A request with every field, and an answer of two, one refused; a name that Kafka does not have is no number."""
    entry = AclEntry(
        resource_type="GROUP",
        resource_name="bill",
        pattern_type="PREFIXED",
        principal="User:a",
        host="*",
        operation="READ",
        permission="DENY",
    )
    assert encode_create_acls([entry]) == b"\x02\x03\x05bill\x04\x07User:a\x02*\x03\x02\x00\x00"
    with pytest.raises(ValueError, match="TOPICS"):
        encode_create_acls([dataclasses.replace(entry, resource_type="TOPICS")])
    answer = Writer().i32(0).uvarint(3).i16(0).string(None).no_tags().i16(31).string("no").no_tags().no_tags()
    assert decode_create_acls(_reader(answer.finish())) == [(0, None), (31, "no")]


def test_just_the_named_acls_are_deleted() -> None:
    """Every field of the filter is given, none is ANY (1) or MATCH (2); of an answer the first error counts, wherever it stands."""
    entry = AclEntry(
        resource_type="USER",
        resource_name="*",
        pattern_type="LITERAL",
        principal="User:*",
        host="*",
        operation="CREATE_TOKENS",
        permission="ALLOW",
    )
    assert encode_delete_acls([entry]) == b"\x02\x07\x02*\x03\x07User:*\x02*\x0d\x03\x00\x00"

    def match(writer: Writer, error_code: int) -> Writer:
        writer.i16(error_code).string("no" if error_code else None).i8(2).string("t").i8(3).string("User:a")
        return writer.string("*").i8(3).i8(3).no_tags()

    answer = Writer().i32(0).uvarint(5)
    for error_code, matches in ((0, []), (0, [0]), (0, [0, 31]), (42, [])):
        answer.i16(error_code).string("why" if error_code else None).array(matches, match).no_tags()
    found = decode_delete_acls(_reader(answer.no_tags().finish()))
    assert found == [(0, None), (0, None), (31, "no"), (42, "why")]


def test_a_quota_is_set_or_removed() -> None:
    """In one request for its entity; without a limit it is removed."""
    change = QuotaChange(entity={"user": None}, values={"a": 2.5, "b": None})
    set_it, remove_it = struct.pack(">d", 2.5) + b"\x00", struct.pack(">d", 0.0) + b"\x01"
    assert encode_alter_client_quotas([change]) == (
        b"\x02"
        + b"\x02\x05user\x00\x00"
        + b"\x03"
        + b"\x02a"
        + set_it
        + b"\x00"
        + b"\x02b"
        + remove_it
        + b"\x00"
        + b"\x00\x00\x00"
    )
