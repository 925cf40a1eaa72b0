"""Random commits, and bytes that are none."""

from hypothesis import given
from hypothesis import strategies as st

from mirror.core.group_collecting import collect_positions
from mirror.core.group_log import (
    CommitKey,
    CommittedOffset,
    GroupLogFold,
    decode_commit_key,
    decode_commit_value,
    group_of_key,
)
from mirror.errors import DamageError, UnsupportedFormatError
from tests.builders import T0_MS, TOPIC_ID
from tests.group_builders import a_commit_key, a_commit_value

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
int64 = st.integers(0, 2**63 - 1)


@given(texts, texts.filter(bool), st.integers(0, 2**31 - 1), st.sampled_from((0, 1)))
def test_keys_come_back(group: str, topic: str, partition: int, version: int) -> None:
    """Whatever groups and topics are called."""
    key = a_commit_key(group, topic, partition, version=version)
    assert decode_commit_key(key) == CommitKey(group, topic, partition)
    assert group_of_key(key) == group


@given(int64, texts, st.integers(-1, 2**31 - 1), int64, st.integers(0, 4))
def test_values_come_back(offset: int, metadata: str, epoch: int, at_ms: int, version: int) -> None:
    """In every version, as far as it has the field."""
    value = a_commit_value(
        offset,
        version=version,
        metadata=metadata,
        leader_epoch=epoch,
        commit_timestamp_ms=at_ms,
        expire_timestamp_ms=at_ms,
        topic_id=TOPIC_ID,
    )
    assert decode_commit_value(value) == CommittedOffset(
        offset=offset,
        metadata=metadata,
        leader_epoch=epoch if version >= 3 else -1,
        commit_timestamp_ms=at_ms,
        expire_timestamp_ms=at_ms if version == 1 else None,
        topic_id=TOPIC_ID if version == 4 else None,
    )


@given(st.binary(max_size=80) | st.binary(max_size=80).map(lambda tail: b"\x00\x01" + tail))
def test_no_bytes_do_more_than_raise(data: bytes) -> None:
    """A typed error or a value; the fold never raises for them at all, it names a problem."""
    for decode in (decode_commit_key, decode_commit_value, group_of_key):
        try:
            decode(data)
        except (DamageError, UnsupportedFormatError):
            continue
    fold = GroupLogFold()
    try:
        fold.add(0, T0_MS, data, data)
    except DamageError:
        return
    fold.add(1, T0_MS, a_commit_key("sound"), a_commit_value(1))
    assert "sound" in collect_positions([fold]).groups


@given(st.integers(0, 4), st.data())
def test_a_damaged_value_is_no_other_position(version: int, data: st.DataObject) -> None:
    """What is cut anywhere is found out."""
    value = a_commit_value(7, version=version, metadata="some text", topic_id=TOPIC_ID)
    cut = data.draw(st.integers(0, len(value) - 1))
    try:
        decode_commit_value(value[:cut])
    except (DamageError, UnsupportedFormatError):
        return
    raise AssertionError(f"{cut} of {len(value)} bytes were taken for a whole value")


operations = st.lists(
    st.tuples(
        st.sampled_from(("commit", "delete", "transaction", "end commit", "end abort")),
        st.sampled_from("ab"),
        st.integers(0, 2),
        st.integers(1, 2),
    ),
    max_size=40,
)


@given(operations, st.integers(0, 40))
def test_the_fold_equals_a_model_that_replays_the_log(log: list[tuple[str, str, int, int]], next_offset: int) -> None:
    """Positions of plain and transactional commits, and of deletions, up to any offset."""
    fold = GroupLogFold(next_offset=next_offset)
    model: dict[tuple[str, int], tuple[int, int]] = {}  # (group, partition) → (offset of the record, committed offset)
    pending: dict[int, list[tuple[tuple[str, int], int]]] = {1: [], 2: []}
    for offset, (what, group, partition, producer_id) in enumerate(log):
        key, value = a_commit_key(group, partition=partition), a_commit_value(offset * 10)
        if what.startswith("end"):
            fold.end_transaction(offset, T0_MS, producer_id, is_commit=what == "end commit")
        else:
            of_transaction = producer_id if what == "transaction" else None
            fold.add(offset, T0_MS, key, None if what == "delete" else value, producer_id=of_transaction)
        if offset >= next_offset:
            continue
        where = (group, partition)
        if what == "commit":
            model[where] = (offset, offset * 10)
        elif what == "delete":
            model.pop(where, None)
            pending = {pid: [one for one in ones if one[0] != where] for pid, ones in pending.items()}
        elif what == "transaction":
            pending[producer_id].append((where, offset))
        else:
            for place, at in pending[producer_id] if what == "end commit" else []:
                if place not in model or model[place][0] < at:
                    model[place] = (at, at * 10)
            pending[producer_id] = []
    found = {
        (group, tp.partition): one.offset
        for group, positions in collect_positions([fold]).groups.items()
        for tp, one in positions.items()
    }
    assert found == {where: committed for where, (_, committed) in model.items()}
