"""Filler batches: size, cost, limits."""

import time

import pytest

from mirror.core.compression import unpack
from mirror.core.filler import FILLER_RECORDS_MAX, filler_batch, is_filler, is_filler_body
from mirror.core.record_batch import HEADER_BYTES, read_header
from mirror.core.records import iterate_records
from tests.builders import a_batch, a_tail


def test_a_million_are_small_and_quick() -> None:
    """The largest batch passes the broker's default limit of 1,048,588 bytes, and repeating it costs next to nothing."""
    since = time.perf_counter()
    batch = filler_batch(FILLER_RECORDS_MAX, timestamp_ms=1)
    first_s = time.perf_counter() - since
    again_s = min(_seconds(FILLER_RECORDS_MAX) for _ in range(3))
    assert len(batch) < 1_000_000
    assert first_s < 5  # 0.2 s on an idle machine
    assert again_s < 0.2  # 0.001 s
    assert len(unpack(4, batch[HEADER_BYTES:])) == 64 * 7 + (8192 - 64) * 8 + (FILLER_RECORDS_MAX - 8192) * 9


def _seconds(count: int) -> float:
    since = time.perf_counter()
    filler_batch(count, timestamp_ms=2)
    return time.perf_counter() - since


@pytest.mark.parametrize("count", [0, -1, FILLER_RECORDS_MAX + 1])
def test_impossible_counts_are_refused(count: int) -> None:
    """No batch without records, none above the limit."""
    with pytest.raises(ValueError, match="filler batch"):
        filler_batch(count, timestamp_ms=1)


def test_only_empty_records_are_fillers() -> None:
    """A null or empty value under a key, or a header, is somebody's record."""
    tails = [a_tail(None, None, ()), a_tail(b"k", None, ()), a_tail(None, b"", ()), a_tail(None, None, ((b"h", None),))]
    batch = a_batch(0, len(tails), tails=tails)
    header = read_header(batch)
    records = iterate_records(header, unpack(header.codec, batch[HEADER_BYTES:]))
    assert [is_filler(record) for record in records] == [True, False, False, False]


@pytest.mark.parametrize("count", [1, 64, 65, 8193])
def test_a_body_is_known_as_filler_at_once(count: int) -> None:
    """As its records one by one, without looking at them one by one: resuming in a long lead takes no minutes."""
    batch = filler_batch(count, timestamp_ms=1)
    body = bytes(unpack(4, batch[HEADER_BYTES:]))
    assert all(map(is_filler, iterate_records(read_header(memoryview(batch)), body)))
    assert is_filler_body(count, body)
    assert not is_filler_body(count + 1, body)
    assert not is_filler_body(count, body[:-1] + b"\x02")
    assert not is_filler_body(0, b"")
