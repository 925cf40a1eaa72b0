"""Values for tests of the core: batches, slices, runs, segments and repositories that are as real as a broker's, and small."""

import struct
from collections.abc import Collection, Sequence

import crc32c

from mirror.core.compression import pack
from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.positions import Watermarks
from mirror.core.record_batch import (
    ATTRIBUTES_POSITION,
    CONTROL_BIT,
    CRC_POSITION,
    HEADER,
    HEADER_BYTES,
    LENGTH_OVERHEAD_BYTES,
    LOG_APPEND_TIME_BIT,
    TRANSACTIONAL_BIT,
)
from mirror.core.records import write_varint
from mirror.core.segment.index import FORMAT_VERSION, ForkEntry, GapEntry, RunEntry, SegmentIndex, StartEntry
from mirror.core.segment.layout import HEADER_BYTES as OBJECT_HEADER_BYTES
from mirror.core.segment.layout import encode_object
from mirror.core.segment.runs import BodyMode, RunDraft, encode_run
from mirror.core.slices import FetchSlice, read_slice
from mirror.storage.memory import MemoryStore
from mirror.storage.object_store import ObjectStore
from mirror.storage.repository import Repository, create_repository

T0_MS = 1_795_000_000_000
TOPIC_ID = "lYKgJ3XPTYKEnEvnNfUhtA"
REPOSITORY_ID = "5b0a4a6e-0d4f-4f2c-9a53-0d6c8f0f9a11"
CLUSTER_ID = "q1Sh-9_ISia_zwGINzRvyQ"

Headers = Sequence[tuple[bytes, bytes | None]]


def a_field(value: bytes | None) -> bytes:
    """A nullable byte string of a record: its length as a varint, then its bytes."""
    return write_varint(-1) if value is None else write_varint(len(value)) + value


def a_tail(key: bytes | None, value: bytes | None, headers: Headers = ()) -> bytes:
    """What stands after a record's offset delta: key, value, headers."""
    parts = [a_field(key), a_field(value), write_varint(len(headers))]
    for name, header_value in headers:
        parts += [a_field(name), a_field(header_value)]
    return b"".join(parts)


def a_batch(
    base_offset: int = 0,
    n: int = 3,
    *,
    codec: int = 0,
    timestamps: Sequence[int] | None = None,
    tails: Sequence[bytes] | None = None,
    producer_id: int = -1,
    transactional: bool = False,
    control: bool = False,
    leader_epoch: int = 0,
    append_time: int | None = None,
    holes: Collection[int] = (),
    attributes: int = 0,
    body: bytes | None = None,
) -> bytes:
    """A record batch of message format v2 that covers ``n`` offsets from ``base_offset``.

    Args:
        base_offset: offset of the first record.
        n: offsets; with ``holes`` fewer records.
        codec: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd.
        timestamps: one for each offset, milliseconds; a millisecond apart by default.
        tails: key, value and headers of each record, see :func:`a_tail`.
        producer_id: −1 for none.
        transactional: sets the bit.
        control: sets the bit: the batch is a marker.
        leader_epoch: of the log.
        append_time: sets LogAppendTime and this time, milliseconds.
        holes: offset deltas that compaction removed.
        attributes: further bits.
        body: bytes after the header as they are, whatever the records would be.
    """
    timestamps = timestamps or [T0_MS + base_offset + delta for delta in range(n)]
    tails = tails or [a_tail(b"key %d" % (base_offset + delta), b"value " * 3) for delta in range(n)]
    records = bytearray()
    kept = [delta for delta in range(n) if delta not in holes]
    for delta in kept:
        head = b"\x00" + write_varint(timestamps[delta] - timestamps[0]) + write_varint(delta)
        records += write_varint(len(head) + len(tails[delta])) + head + tails[delta]
    stored = bytes(pack(codec, bytes(records))) if body is None else body
    attributes |= codec | (TRANSACTIONAL_BIT * transactional) | (CONTROL_BIT * control)
    attributes |= LOG_APPEND_TIME_BIT if append_time is not None else 0
    header = HEADER.pack(
        base_offset,
        HEADER_BYTES - LENGTH_OVERHEAD_BYTES + len(stored),
        leader_epoch,
        2,
        0,
        attributes,
        n - 1,
        timestamps[0],
        max(timestamps) if append_time is None else append_time,
        producer_id,
        0 if producer_id >= 0 else -1,
        0 if producer_id >= 0 else -1,
        len(kept),
    )
    return with_crc(header + stored)


def with_crc(batch: bytes) -> bytes:
    """The batch with the CRC that its bytes have."""
    out = bytearray(batch)
    struct.pack_into(">I", out, CRC_POSITION, crc32c.crc32c(memoryview(batch)[ATTRIBUTES_POSITION:]))
    return bytes(out)


def a_marker(
    base_offset: int, producer_id: int, *, commit: bool, leader_epoch: int = 0, timestamp_ms: int = T0_MS
) -> bytes:
    """A transaction marker as brokers write it: a control batch of one record."""
    tail = a_tail(struct.pack(">hh", 0, int(commit)), struct.pack(">hi", 0, 0))
    return a_batch(
        base_offset,
        1,
        timestamps=[timestamp_ms],
        tails=[tail],
        producer_id=producer_id,
        transactional=True,
        control=True,
        leader_epoch=leader_epoch,
    )


def watermarks(offset: int = 0, *, fetched_at_ms: int = T0_MS) -> Watermarks:
    """What a leader says whose log ends at ``offset``."""
    return Watermarks(fetched_at_ms=fetched_at_ms, log_start_offset=0, high_watermark=offset, last_stable_offset=offset)


def a_slice(
    *batches: bytes,
    start_offset: int = 0,
    aborted: Sequence[tuple[int, int]] = (),
    topic: str = "orders",
    topic_id: str = TOPIC_ID,
    partition: int = 0,
) -> FetchSlice:
    """The slice of a fetch at ``start_offset`` that was answered with these batches."""
    body = read_slice(b"".join(batches), start_offset, aborted)
    return FetchSlice(topic, topic_id, partition, 0, start_offset, body, watermarks(body.next_offset))


def a_run_draft(*slices: FetchSlice) -> RunDraft:
    """The draft of consecutive slices of one partition."""
    first = slices[0]
    draft = RunDraft(first.topic, first.topic_id, first.partition, first.start_offset, first.start_offset)
    for piece in slices:
        draft.append(piece)
    return draft


def a_run_entry(
    start_offset: int,
    next_offset: int,
    *,
    leader_epochs: Sequence[tuple[int, int]] | None = None,
    batch_count: int = 1,
    topic_id: str = TOPIC_ID,
    partition: int = 0,
) -> RunEntry:
    """An index entry without bytes, for what looks at coverage only."""
    epochs = [(0, start_offset)] if leader_epochs is None else list(leader_epochs)
    return RunEntry(
        topic="orders",
        topic_id=topic_id,
        partition=partition,
        start_offset=start_offset,
        next_offset=next_offset,
        position=16,
        stored_bytes=10,
        raw_bytes=10,
        batch_count=batch_count,
        record_count=batch_count,
        checksum="0" * 32,
        leader_epochs=epochs,
    )


def a_segment(
    *drafts: RunDraft,
    sealed_at_ms: int = T0_MS,
    writer: str = "w1",
    sequence: int = 1,
    mode: BodyMode = "auto",
    repository_id: str = REPOSITORY_ID,
    starts: Sequence[StartEntry] = (),
    gaps: Sequence[GapEntry] = (),
    forks: Sequence[ForkEntry] = (),
) -> tuple[str, bytes, SegmentIndex]:
    """A segment object: its key, its bytes and its index."""
    runs: list[RunEntry] = []
    parts: list[bytes | memoryview] = []
    position = OBJECT_HEADER_BYTES
    for draft in drafts:
        entry, stored = encode_run(draft, position=position, mode=mode, zstd_level=3)
        runs.append(entry)
        parts += stored
        position += entry.stored_bytes
    index = SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id=repository_id,
        cluster_id=CLUSTER_ID,
        writer=writer,
        sequence=sequence,
        sealed_at_ms=sealed_at_ms,
        runs=runs,
        starts=list(starts),
        gaps=list(gaps),
        forks=list(forks),
    )
    key = format_segment_key(SegmentKey(sealed_at_ms, writer, sequence))
    return key, encode_object(parts, index), index


def a_repository(store: ObjectStore | None = None) -> Repository:
    """An empty repository, in memory by default."""
    return create_repository(store or MemoryStore(), cluster_id=CLUSTER_ID, created_at_ms=T0_MS, created_by="tests")
