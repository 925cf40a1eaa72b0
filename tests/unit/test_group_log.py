"""The group log: keys and values of commits, and what a partition of it says."""

import struct

import pytest

from mirror.core.group_collecting import collect_positions
from mirror.core.group_log import (
    OWN_COMMIT_METADATA,
    CommitKey,
    CommittedOffset,
    GroupLogFold,
    decode_commit_key,
    decode_commit_value,
    group_of_key,
)
from mirror.core.positions import TopicPartition
from mirror.errors import DamageError, UnsupportedFormatError
from tests.builders import T0_MS, TOPIC_ID
from tests.group_builders import a_commit_key, a_commit_value, a_group_key

ORDERS_0 = TopicPartition("orders", 0)


def offsets(*folds: GroupLogFold, without: tuple[str, ...] = ()) -> dict[str, dict[TopicPartition, int]]:
    """Group → partition → committed offset."""
    found = collect_positions(folds, without_groups=without)
    assert not found.problems
    return {name: {tp: one.offset for tp, one in positions.items()} for name, positions in found.groups.items()}


def test_a_commit_as_kafka_4_wrote_it() -> None:
    """Bytes of a broker 4.3: key v1, value v4 with a topic id as a tagged field."""
    key = bytes.fromhex("0001 0004 62696c6c 0006 6f7264657273 00000002")
    value = bytes.fromhex(
        "0004 000000000000002a 00000007 04 6e6f74 000001a1ed99f400 01 00 10 00112233445566778899aabbccddeeff"
    )
    assert decode_commit_key(key) == CommitKey("bill", "orders", 2)
    assert decode_commit_value(value) == CommittedOffset(
        offset=42,
        leader_epoch=7,
        metadata="not",
        commit_timestamp_ms=0x1A1ED99F400,
        topic_id="ABEiM0RVZneImaq7zN3u_w",
    )


@pytest.mark.parametrize("version", range(5))
def test_every_version_of_a_value(version: int) -> None:
    """Each field is where that version has it, or at its default."""
    value = a_commit_value(
        5, version=version, leader_epoch=3, metadata="über", expire_timestamp_ms=T0_MS + 9, topic_id=TOPIC_ID
    )
    assert decode_commit_value(value) == CommittedOffset(
        offset=5,
        leader_epoch=3 if version >= 3 else -1,
        metadata="über",
        commit_timestamp_ms=T0_MS,
        expire_timestamp_ms=T0_MS + 9 if version == 1 else None,
        topic_id=TOPIC_ID if version >= 4 else None,
    )


def test_tagged_fields_that_nobody_knows_are_passed_over() -> None:
    """A newer broker may add some; the id of no topic is none."""
    value = a_commit_value(5, topic_id=TOPIC_ID, other_tags=[(1, b"new"), (77, b"")])
    assert decode_commit_value(value).topic_id == TOPIC_ID
    assert decode_commit_value(a_commit_value(5, topic_id="A" * 22)).topic_id is None


def test_keys_of_other_kinds_are_no_commits_and_name_their_group() -> None:
    """Metadata of classic groups, of KIP-848 groups, of share groups."""
    for version in (2, 3, 8, 15):
        key = a_group_key("bill", version=version, rest=b"\x00\x01m")
        assert decode_commit_key(key) is None
        assert group_of_key(key) == "bill"
    assert group_of_key(a_commit_key("bill", version=0)) == "bill"


@pytest.mark.parametrize(
    "key",
    [
        b"",
        b"\x00",
        b"\x00\x01\xff\xff",
        b"\x00\x01\x7f\xffx",
        a_commit_key("g")[:-1],
        a_commit_key("g") + b"\x00",
        a_commit_key("g", partition=-1),
        a_commit_key("g", ""),
        b"\x00\x01\x00\x01\xff\x00\x01t\x00\x00\x00\x00",
    ],
)
def test_a_key_that_is_none_is_damage(key: bytes) -> None:
    """Cut, too long, negative lengths, no UTF-8, no topic."""
    with pytest.raises(DamageError, match="not a record of a group's commit"):
        decode_commit_key(key)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\x00\x04",
        a_commit_value(1)[:-1],
        a_commit_value(1) + b"\x00",
        a_commit_value(1)[:-1] + b"\xff" * 6,
        a_commit_value(1, other_tags=[(0, b"short")]),
        struct.pack(">hqi", 4, 1, 1) + b"\x00" + bytes(9),
    ],
)
def test_a_value_that_is_none_is_damage(value: bytes) -> None:
    """Cut, too long, a varint without an end, a topic id of five bytes, a null string."""
    with pytest.raises(DamageError, match="not a record of a group's commit"):
        decode_commit_value(value)


def test_a_value_of_a_newer_version_is_named_as_such() -> None:
    """And is a problem of its group only."""
    with pytest.raises(UnsupportedFormatError, match="version 5"):
        decode_commit_value(a_commit_value(1, version=5))
    fold = GroupLogFold()
    fold.add(0, T0_MS, a_commit_key("bill"), a_commit_value(1, version=5))
    fold.add(1, T0_MS, a_commit_key("jack"), a_commit_value(2))
    found = collect_positions([fold])
    assert list(found.groups) == ["jack"]
    assert [group for group, message in found.problems if "orders-0" in message] == ["bill"]


def test_the_last_commit_counts_and_a_deletion_deletes() -> None:
    """Both versions of a key are about the same position; metadata of groups is passed over."""
    fold = GroupLogFold()
    fold.add(0, T0_MS, a_commit_key("bill", version=0), a_commit_value(1))
    fold.add(1, T0_MS, a_commit_key("bill"), a_commit_value(2))
    fold.add(2, T0_MS, a_commit_key("jill"), a_commit_value(7))
    fold.add(3, T0_MS, a_group_key("bill"), b"whatever")
    assert offsets(fold) == {"bill": {ORDERS_0: 2}, "jill": {ORDERS_0: 7}}
    fold.add(4, T0_MS, a_commit_key("jill"), None)
    fold.add(5, T0_MS, a_group_key("jill"), None)
    assert offsets(fold) == {"bill": {ORDERS_0: 2}}
    assert offsets(fold, without=("bill",)) == {}


def test_a_transaction_counts_from_its_commit_marker_on() -> None:
    """Not before; of an aborted one nothing; a later plain commit is not undone, nor a deletion."""
    fold = GroupLogFold()
    fold.add(0, T0_MS, a_commit_key("a"), a_commit_value(1), producer_id=9)
    fold.add(1, T0_MS, a_commit_key("b"), a_commit_value(1), producer_id=9)
    fold.add(2, T0_MS, a_commit_key("c"), a_commit_value(1), producer_id=9)
    fold.add(3, T0_MS, a_commit_key("d"), a_commit_value(1), producer_id=8)
    fold.add(4, T0_MS, a_commit_key("b"), a_commit_value(5))
    fold.add(5, T0_MS, a_commit_key("c"), None)
    assert offsets(fold) == {"b": {ORDERS_0: 5}}
    fold.end_transaction(6, T0_MS, 9, is_commit=True)
    fold.end_transaction(7, T0_MS, 8, is_commit=False)
    fold.end_transaction(8, T0_MS, 8, is_commit=True)
    assert offsets(fold) == {"a": {ORDERS_0: 1}, "b": {ORDERS_0: 5}}


def test_up_to_a_time_and_up_to_an_offset() -> None:
    """A transaction belongs to the time of its marker; records before the time count wherever they lie."""

    def folded(**limits: int) -> dict[str, dict[TopicPartition, int]]:
        fold = GroupLogFold(**limits)
        fold.add(0, T0_MS, a_commit_key("a"), a_commit_value(1))
        fold.add(1, T0_MS + 10, a_commit_key("t"), a_commit_value(1), producer_id=9)
        fold.add(2, T0_MS + 20, a_commit_key("a"), a_commit_value(2))
        fold.end_transaction(3, T0_MS + 30, 9, is_commit=True)
        fold.add(4, T0_MS + 15, a_commit_key("b"), a_commit_value(3))
        return offsets(fold)

    a1, a2, b, t = {"a": {ORDERS_0: 1}}, {"a": {ORDERS_0: 2}}, {"b": {ORDERS_0: 3}}, {"t": {ORDERS_0: 1}}
    assert folded(at_ms=T0_MS - 1) == {}
    assert folded(at_ms=T0_MS + 19) == a1 | b
    assert folded(at_ms=T0_MS + 29) == a2 | b
    assert folded(at_ms=T0_MS + 30) == a2 | b | t
    assert folded(next_offset=0) == {}
    assert folded(next_offset=3) == a2
    assert folded(next_offset=4) == a2 | t


def test_a_group_in_two_partitions_stands_where_it_committed_last() -> None:
    """Partitions were added to the group log: the group moved."""
    old, new = GroupLogFold(), GroupLogFold()
    old.add(100, T0_MS, a_commit_key("a"), a_commit_value(1))
    new.add(0, T0_MS + 1, a_commit_key("a"), a_commit_value(2))
    assert offsets(old, new) == offsets(new, old) == {"a": {ORDERS_0: 2}}


def test_groups_of_mirrors_are_known_by_what_they_write_into_their_commits() -> None:
    """Where the broker put such a commit into one batch with others', it was stored."""
    fold = GroupLogFold()
    fold.add(0, T0_MS, a_commit_key("m"), a_commit_value(1))
    fold.add(1, T0_MS, a_commit_key("m", partition=1), a_commit_value(1, metadata=OWN_COMMIT_METADATA))
    fold.add(2, T0_MS, a_commit_key("mirror worker"), a_commit_value(1))
    assert offsets(fold) == {"mirror worker": {ORDERS_0: 1}}


def test_a_record_without_a_key_is_damage() -> None:
    """There is none in a compacted topic."""
    with pytest.raises(DamageError):
        GroupLogFold().add(0, T0_MS, None, b"")
