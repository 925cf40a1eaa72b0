"""Filler batches are what a broker takes and a consumer reads as nothing."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from mirror.core.compression import unpack
from mirror.core.filler import filler_batch, is_filler
from mirror.core.record_batch import HEADER_BYTES, TRANSACTIONAL_BIT, read_header, scan_batches
from mirror.core.records import decode_record, iterate_records


@settings(deadline=None)
@given(
    st.integers(1, 9000),
    st.integers(0, 2**48),
    st.tuples(st.integers(-1, 2**62), st.integers(-1, 2**15 - 1), st.integers(-1, 2**31 - 1)),
    st.booleans(),
)
@example(64, 0, (-1, -1, -1), False)
@example(65, 0, (-1, -1, -1), False)
@example(8192, 0, (-1, -1, -1), False)
@example(8193, 0, (-1, -1, -1), False)
def test_a_filler_batch_is_that_many_empty_records(
    count: int, timestamp_ms: int, producer: tuple[int, int, int], transactional: bool
) -> None:
    """Dense offsets, one time, null keys and values, no headers, a right CRC, the producer's fields, for every count."""
    batch = filler_batch(count, timestamp_ms=timestamp_ms, producer=producer, is_transactional=transactional)
    scan_batches(batch, check_crc=True, allow_partial=False)
    header = read_header(batch)
    assert (header.base_offset, header.last_offset_delta, header.record_count) == (0, count - 1, count)
    assert (header.base_timestamp, header.max_timestamp) == (timestamp_ms, timestamp_ms)
    assert (header.producer_id, header.producer_epoch, header.base_sequence) == producer
    assert bool(header.attributes & TRANSACTIONAL_BIT) is transactional
    records = list(iterate_records(header, unpack(header.codec, batch[HEADER_BYTES:])))
    assert [record.offset for record in records] == list(range(count))
    assert all(map(is_filler, records))
    assert {decode_record(record)[1:] for record in records} == {(timestamp_ms, None, None, ())}
