"""Checking the bytes of one segment object against its own index: pure functions of bytes."""

from collections.abc import Iterator
from itertools import pairwise

from mirror.core.compression import UnpackLimitError, unpack
from mirror.core.record_batch import CODEC_MASK, scan_batches
from mirror.core.records import decode_record, iterate_records
from mirror.core.segment.blocks import StoredBatch, decode_block, iterate_block
from mirror.core.segment.index import RunEntry
from mirror.core.segment.layout import checksum_of
from mirror.errors import DamageError, UnsupportedFormatError
from mirror.service.verify_findings import Finding, FindingKind, VerifyCounts
from mirror.service.verify_tally import Tally

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
        return _compare(key, run, Tally(), deep=deep), counts
    if run.unpacked and not deep:
        counts.batches_by_our_checksum = run.batch_count
        return [], counts
    tally = Tally()
    try:
        for number, content in enumerate(_contents(run, stored)):
            if not deep:
                tally.add_columns(scan_batches(content, check_crc=True, allow_partial=False))
                continue
            block = _deep_tally(run, content, counts)
            if not block.fits_block(run, number):
                return [_finding("index_wrong", key, run, f"block {number} is not what the index says of it")], counts
            tally.merge(block)
        if not deep:
            counts.batches_by_producer_crc = tally.batches
    except (DamageError, UnsupportedFormatError) as error:
        return [_finding("batch_damaged", key, run, error.message)], counts
    counts.records_decoded = tally.records_decoded
    return _compare(key, run, tally, deep=deep and not counts.batches_not_opened), counts


def _deep_tally(run: RunEntry, content: memoryview, counts: VerifyCounts) -> Tally:
    block = Tally()
    for batch in iterate_block(content, unpacked=run.unpacked, check_crc=True):
        opened = _open(batch) if not batch.header.is_control else 0
        counts.batches_not_opened += opened is None
        counts.batches_by_our_checksum += batch.whole is None
        counts.batches_by_producer_crc += batch.whole is not None
        block.add(batch.header, opened)
    return block


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


def _compare(key: str, run: RunEntry, tally: Tally, *, deep: bool) -> list[Finding]:
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
    if tally.first_offset is not None and (
        tally.next_offset > run.next_offset or tally.next_offset <= run.start_offset
    ):
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
