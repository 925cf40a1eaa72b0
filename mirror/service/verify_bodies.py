"""Checking the bytes of one segment object against its own index: pure functions of bytes."""

from collections.abc import Iterator
from itertools import pairwise

from mirror.core.compression import UnpackLimitError, unpack
from mirror.core.record_batch import CODEC_MASK, BatchHeader
from mirror.core.records import decode_record, iterate_records
from mirror.core.segment.blocks import StoredBatch, decode_block, iterate_block
from mirror.core.segment.index import RunEntry
from mirror.core.segment.layout import checksum_of
from mirror.errors import DamageError, UnsupportedFormatError
from mirror.service.verify_findings import Finding, FindingKind, VerifyCounts

__all__ = ["check_run"]


def check_run(key: str, run: RunEntry, stored: memoryview, *, deep: bool) -> tuple[list[Finding], VerifyCounts]:
    """Check a run's stored bytes: our checksum, then the producers' CRCs of the batches kept as fetched.

    Args:
        key: of the object, for messages.
        run: its entry, with blocks.
        stored: the bytes at the run's place.
        deep: also open every body, decode every record, and recount everything the index says.
    """
    counts = VerifyCounts(runs=1, stored_bytes=run.stored_bytes)
    if len(stored) != run.stored_bytes or checksum_of((stored,)) != run.checksum:
        return [_finding("run_damaged", key, run, "the stored bytes do not match their checksum")], counts
    if not run.stored_bytes or run.blocks is None:
        return _compare(key, run, _Tally(), deep=deep), counts
    if run.unpacked and not deep:
        counts.batches_by_our_checksum = run.batch_count
        return [], counts
    tally = _Tally()
    try:
        for number, content in enumerate(_contents(run, stored)):
            block = _Tally()
            for batch in iterate_block(content, unpacked=run.unpacked, check_crc=True):
                opened = _open(batch) if deep and not batch.header.is_control else 0
                counts.batches_not_opened += opened is None
                block.add(batch.header, opened)
                if batch.whole is None:
                    counts.batches_by_our_checksum += 1
                else:
                    counts.batches_by_producer_crc += 1
            if deep and not block.fits_block(run, number):
                return [_finding("index_wrong", key, run, f"block {number} is not what the index says of it")], counts
            tally.merge(block)
    except (DamageError, UnsupportedFormatError) as error:
        return [_finding("batch_damaged", key, run, error.message)], counts
    counts.records_decoded = tally.records_decoded
    return _compare(key, run, tally, deep=deep and not counts.batches_not_opened), counts


def _contents(run: RunEntry, stored: memoryview) -> Iterator[memoryview]:
    assert run.blocks is not None
    bounds = [*run.blocks.positions, run.stored_bytes]
    for (begin, end), raw_bytes in zip(pairwise(bounds), run.blocks.raw_bytes, strict=True):
        yield decode_block(stored[begin:end], body_codec=run.body_codec, raw_bytes=raw_bytes)


def _open(batch: StoredBatch) -> int | None:
    """Decode every record of a batch; how many there are, None where the body is larger than mirror ever opens.

    Raises:
        DamageError: the body is not what the header says.
    """
    header = batch.header
    try:
        records = batch.body if batch.unpacked else unpack(header.attributes & CODEC_MASK, batch.body)
    except UnpackLimitError:
        return None
    count = 0
    for raw in iterate_records(header, records):
        decode_record(raw)
        count += 1
    return count


class _Tally:
    """What the batches of a block or run add up to."""

    def __init__(self) -> None:
        self.batches = 0
        self.data_records = 0
        self.records_decoded = 0
        self.first: BatchHeader | None = None
        self.next_offset = 0
        self.min_base_timestamp_ms: int | None = None
        self.max_timestamp_ms: int | None = None
        self.block_times: tuple[int, int] | None = None
        self.has_markers = False
        self.in_order = True

    def add(self, header: BatchHeader, decoded: int | None) -> None:
        self.batches += 1
        if self.first is None:
            self.first = header
        self.in_order &= header.base_offset >= self.next_offset
        self.next_offset = header.next_offset
        low, high = self.block_times or (header.base_timestamp, header.max_timestamp)
        self.block_times = (min(low, header.base_timestamp), max(high, header.max_timestamp))
        if header.is_control:
            self.has_markers = True
            return
        self.data_records += header.record_count
        self.records_decoded += decoded or 0
        self._widen(header.base_timestamp, header.max_timestamp)

    def merge(self, block: "_Tally") -> None:
        self.batches += block.batches
        self.data_records += block.data_records
        self.records_decoded += block.records_decoded
        self.has_markers |= block.has_markers
        if block.first is not None:
            self.in_order &= block.in_order and block.first.base_offset >= self.next_offset
            self.first = self.first or block.first
            self.next_offset = block.next_offset
        if block.min_base_timestamp_ms is not None and block.max_timestamp_ms is not None:
            self._widen(block.min_base_timestamp_ms, block.max_timestamp_ms)

    def _widen(self, low: int, high: int) -> None:
        self.min_base_timestamp_ms = low if self.min_base_timestamp_ms is None else min(self.min_base_timestamp_ms, low)
        self.max_timestamp_ms = high if self.max_timestamp_ms is None else max(self.max_timestamp_ms, high)

    def fits_block(self, run: RunEntry, number: int) -> bool:
        blocks = run.blocks
        if blocks is None or self.first is None or self.block_times is None:
            return False
        found = (self.first.base_offset, self.data_records, *self.block_times)
        said = (
            blocks.base_offsets[number],
            blocks.record_counts[number],
            blocks.min_base_timestamps_ms[number],
            blocks.max_timestamps_ms[number],
        )
        return found == said


def _compare(key: str, run: RunEntry, tally: _Tally, *, deep: bool) -> list[Finding]:
    """What the index says of the run against what its batches add up to."""
    checks = [
        ("batches", run.batch_count, tally.batches),
        ("records", run.record_count, tally.data_records),
        ("transaction markers", run.has_markers, tally.has_markers),
        ("the smallest base timestamp", run.min_base_timestamp_ms, tally.min_base_timestamp_ms),
        ("the largest timestamp", run.max_timestamp_ms, tally.max_timestamp_ms),
    ]
    if deep:
        checks.append(("records in the bodies", run.record_count, tally.records_decoded))
    wrong = [f"{what}: the index says {said}, the bytes {found}" for what, said, found in checks if said != found]
    if not tally.in_order:
        wrong.append("the batches are not in the order of their offsets")
    if tally.first is not None and (tally.next_offset > run.next_offset or tally.next_offset <= run.start_offset):
        wrong.append(f"batches up to offset {tally.next_offset} in a run of [{run.start_offset}, {run.next_offset})")
    return [_finding("index_wrong", key, run, text) for text in wrong]


def _finding(kind: FindingKind, key: str, run: RunEntry, message: str) -> Finding:
    return Finding(
        kind=kind,
        message=message,
        object_key=key,
        topic=run.topic,
        topic_id=run.topic_id,
        partition=run.partition,
        start_offset=run.start_offset,
        next_offset=run.next_offset,
    )
