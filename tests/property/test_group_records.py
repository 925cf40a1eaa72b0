"""The quick reader of keys and values says what the slow one says, of sound and of damaged batches."""

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from mirror.core.group_records import KeyedRecord, keyed_records
from mirror.core.record_batch import HEADER_BYTES, read_header
from mirror.core.records import decode_record, iterate_records
from mirror.errors import BatchDamageError
from tests.builders import T0_MS, a_batch, a_tail

fields = st.none() | st.binary(max_size=8) | st.binary(min_size=60, max_size=70)
headers: st.SearchStrategy[Any] = st.just([]) | st.lists(st.tuples(st.sampled_from((b"h", b"")), fields), max_size=2)
batches = st.builds(
    lambda tails, step, append_time, holes: a_batch(
        100,
        len(tails),
        tails=[a_tail(*tail) for tail in tails],
        timestamps=[T0_MS + step * number for number in range(len(tails))],
        append_time=append_time,
        holes={number for number in holes if number < len(tails)},
    ),
    st.lists(st.tuples(fields, fields, headers), min_size=1, max_size=5),
    st.sampled_from((0, -7, 100_000)),
    st.none() | st.just(T0_MS + 5),
    st.sets(st.integers(0, 4), max_size=2),
)


def slowly(batch: bytes) -> list[KeyedRecord]:
    """Through the reader of everything."""
    decoded = [decode_record(raw) for raw in iterate_records(read_header(batch), batch[HEADER_BYTES:])]
    return [(one.offset, one.timestamp_ms, one.key, one.value) for one in decoded]


def outcome(read: Callable[[], list[KeyedRecord]]) -> list[KeyedRecord] | str:
    """What it gives, or what it raises."""
    try:
        return read()
    except BatchDamageError as error:
        return error.message


@given(batches)
def test_both_readers_agree(batch: bytes) -> None:
    """With and without headers, holes, nulls, append times, long fields."""
    assert keyed_records(read_header(batch), memoryview(batch)[HEADER_BYTES:]) == slowly(batch)


@given(batches, st.data())
def test_both_readers_agree_on_damage(batch: bytes, data: st.DataObject) -> None:
    """Whatever byte is flipped, or however much is cut: the same records, or the same error."""
    damaged = bytearray(batch)
    for _ in range(data.draw(st.integers(0, 3))):
        if len(damaged) > HEADER_BYTES:
            at = data.draw(st.integers(HEADER_BYTES, len(damaged) - 1))
            damaged[at] = data.draw(st.integers(0, 255))
    cut = bytes(damaged[: data.draw(st.integers(HEADER_BYTES, len(damaged)))])
    assert outcome(lambda: keyed_records(read_header(cut), cut[HEADER_BYTES:])) == outcome(lambda: slowly(cut))
