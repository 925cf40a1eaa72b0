"""The fast way through a batch gives what the slow one gives, and refuses what that refuses."""

from hypothesis import given
from hypothesis import strategies as st

from mirror.core.record_batch import HEADER_BYTES, read_header
from mirror.core.record_scan import scan_records
from mirror.core.records import Record, decode_record, iterate_records
from mirror.errors import BatchDamageError
from tests.builders import T0_MS, a_batch, a_tail

# Random bytes of that length are more than hypothesis makes.
_LONG = st.integers(0, 255).map(lambda byte: bytes([byte]) * 8200)
_FIELD = st.none() | st.binary(max_size=200) | _LONG
_HEADERS = st.lists(st.tuples(st.binary(max_size=5), st.none() | st.binary(max_size=70)), max_size=3)
_RECORD = st.tuples(_FIELD, _FIELD, _HEADERS, st.sampled_from([0, 1, -1, 63, 64, -8192, 8191, 8192, 10**10, -(10**12)]))


def _batch(
    records: list[tuple[bytes | None, bytes | None, list[tuple[bytes, bytes | None]], int]],
    holes: set[int],
    append_time: bool,
) -> bytes:
    return a_batch(
        100,
        len(records),
        tails=[a_tail(key, value, headers) for key, value, headers, _ in records],
        timestamps=[T0_MS + later for *_, later in records],
        holes={hole for hole in holes if hole < len(records)},
        append_time=T0_MS if append_time else None,
    )


def _fast(batch: bytes, start_offset: int = 0, next_offset: int = 2**62) -> list[Record]:
    return list(
        scan_records(
            read_header(batch),
            batch[HEADER_BYTES:],
            start_offset=start_offset,
            next_offset=next_offset,
            since_ms=-(2**63),
            until_ms=2**63 - 1,
            takes=None,
        )
    )


def _slow(batch: bytes) -> list[Record]:
    return [decode_record(raw) for raw in iterate_records(read_header(batch), batch[HEADER_BYTES:])]


@given(st.lists(_RECORD, min_size=1, max_size=70), st.sets(st.integers(0, 69), max_size=5), st.booleans())
def test_both_ways_give_the_same(
    records: list[tuple[bytes | None, bytes | None, list[tuple[bytes, bytes | None]], int]],
    holes: set[int],
    append_time: bool,
) -> None:
    """Every field, with nulls, holes, long fields and times far apart; and a part of the offsets."""
    batch = _batch(records, holes, append_time)
    expected = _slow(batch)
    assert _fast(batch) == expected
    assert _fast(batch, 102, 110) == [record for record in expected if 102 <= record.offset < 110]


@given(st.lists(_RECORD, min_size=1, max_size=4), st.data())
def test_both_ways_refuse_the_same(
    records: list[tuple[bytes | None, bytes | None, list[tuple[bytes, bytes | None]], int]], data: st.DataObject
) -> None:
    """With a byte changed, or cut off, or more bytes at the end."""
    batch = bytearray(_batch(records, set(), False))
    how = data.draw(st.sampled_from(["change", "cut", "more"]))
    if how == "change":
        at = data.draw(st.integers(HEADER_BYTES, len(batch) - 1))
        batch[at] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del batch[data.draw(st.integers(HEADER_BYTES, len(batch) - 1)) :]
    else:
        batch += b"\0"
    try:
        expected = _slow(bytes(batch))
    except BatchDamageError:
        expected = None  # type: ignore[assignment]
    try:
        found = _fast(bytes(batch))
    except BatchDamageError:
        found = None  # type: ignore[assignment]
    assert found == expected
