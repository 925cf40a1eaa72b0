"""Building runs: the slices of one partition become one entry of the index and its bytes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mirror.core.positions import PartitionId
from mirror.core.record_batch import CODEC_MASK, CONTROL_BIT, BatchColumns
from mirror.core.segment.blocks import PASSTHROUGH_BLOCK_BYTES, ZSTD_BLOCK_BYTES, encode_zstd_block, split_blocks
from mirror.core.segment.index import BlockColumns, BodyCodec, RunEntry, WatermarkSample
from mirror.core.segment.layout import checksum_of
from mirror.core.slices import FetchSlice, join_empty

__all__ = ["BodyMode", "RunDraft", "encode_run"]

BodyMode = Literal["auto", "passthrough", "zstd"]
BlockJob = Callable[[], tuple[bytes, int]]
RunBlocks = Callable[[Sequence[BlockJob]], Iterable[tuple[bytes, int]]]


def _one_after_another(jobs: Sequence[BlockJob]) -> Iterator[tuple[bytes, int]]:
    for job in jobs:
        yield job()


@dataclass(slots=True)
class RunDraft:
    """Contiguous slices of one partition incarnation, growing at the end."""

    topic: str
    topic_id: str
    partition: int
    start_offset: int
    next_offset: int
    slices: list[FetchSlice] = field(default_factory=list)
    watermarks: list[WatermarkSample] = field(default_factory=list)
    size_bytes: int = 0

    @property
    def partition_id(self) -> PartitionId:
        """Whose offsets these are."""
        return PartitionId(self.topic_id, self.partition)

    def append(self, piece: FetchSlice) -> None:
        """Add the slice that begins where the draft ends.

        Raises:
            ValueError: it begins elsewhere: the caller drops it and fetches again from the draft's end.
        """
        if piece.start_offset != self.next_offset or piece.partition_id != self.partition_id:
            raise ValueError(f"slice [{piece.start_offset}, {piece.next_offset}) does not follow {self.next_offset}")
        if self.slices and self.slices[-1].is_empty and piece.is_empty:
            self.slices[-1] = join_empty(self.slices[-1], piece)  # of those thousands may follow each other
        else:
            self.slices.append(piece)
        self.next_offset = piece.next_offset
        self.size_bytes += piece.size_bytes


def encode_run(
    draft: RunDraft, *, position: int, mode: BodyMode, zstd_level: int, run_blocks: RunBlocks = _one_after_another
) -> tuple[RunEntry, list[bytes | memoryview]]:
    """The index entry of a run that stands at byte ``position`` of its object, and its stored bytes in parts.

    Args:
        draft: at least one slice; it may hold no batch at all (only aborted data was fetched).
        position: of the run's first byte in the object.
        mode: ``auto`` stores as fetched where the producer compressed most of the bytes, and as zstd where it did not.
        zstd_level: for ``auto`` and ``zstd``.
        run_blocks: runs compression jobs and yields their results in order (a thread pool's map).

    Raises:
        ValueError: the draft covers no offset: no reader would take such a run.
    """
    if draft.next_offset <= draft.start_offset:
        raise ValueError(f"run of {draft.topic}-{draft.partition} at {draft.start_offset} covers nothing")
    columns = _concatenate([piece.body.columns for piece in draft.slices if len(piece.body.columns)])
    views = [part for piece in draft.slices for part in piece.body.parts]
    if columns is None:
        return _entry(draft, position, 0, 0, checksum_of(()), None, None, "passthrough", False), []
    batch_bytes = columns.batch_bytes
    codec, unpacked = _choose(mode, columns, batch_bytes)
    target = PASSTHROUGH_BLOCK_BYTES if codec == "passthrough" else ZSTD_BLOCK_BYTES
    firsts = split_blocks(batch_bytes, target)
    begins = (np.cumsum(batch_bytes) - batch_bytes)[firsts]
    stored: list[bytes | memoryview]
    if codec == "passthrough":
        stored = list(views)
        positions = begins
        raw_bytes = np.diff(begins, append=int(batch_bytes.sum()))
    else:
        groups = _cut(views, begins.tolist())
        jobs = [_block_job(group, zstd_level, unpacked) for group in groups]
        results = list(run_blocks(jobs))
        stored = [frame for frame, _ in results]
        sizes = np.array([len(frame) for frame in stored], dtype=np.int64)
        positions = np.cumsum(sizes) - sizes
        raw_bytes = np.array([raw for _, raw in results], dtype=np.int64)
    blocks = _block_columns(columns, firsts, positions, raw_bytes)
    stored_bytes = sum(len(part) for part in stored)
    return _entry(
        draft, position, stored_bytes, int(raw_bytes.sum()), checksum_of(stored), columns, blocks, codec, unpacked
    ), stored


def _block_job(group: list[memoryview], level: int, unpacked: bool) -> BlockJob:
    return lambda: encode_zstd_block(group, level=level, repack=unpacked)


def _choose(mode: BodyMode, columns: BatchColumns, batch_bytes: NDArray[np.int64]) -> tuple[BodyCodec, bool]:
    compressed = (columns.column("attributes") & CODEC_MASK) != 0
    if mode == "zstd":
        return "zstd", bool(compressed.any())
    if mode == "auto" and int(batch_bytes[compressed].sum()) * 2 < int(batch_bytes.sum()):
        return "zstd", False
    return "passthrough", False


def _concatenate(all_columns: list[BatchColumns]) -> BatchColumns | None:
    if not all_columns:
        return None
    if len(all_columns) == 1:
        return all_columns[0]
    headers = np.concatenate([columns.headers for columns in all_columns])
    return BatchColumns(np.zeros(len(headers), dtype=np.int64), headers, 0)


def _cut(views: list[memoryview], begins: list[int]) -> list[list[memoryview]]:
    """The views, taken as one byte sequence, cut at ``begins`` (ascending, the first is 0)."""
    groups: list[list[memoryview]] = []
    bounds = [*begins[1:], sum(len(view) for view in views)]
    pending = list(reversed(views))
    at = 0
    for bound in bounds:
        group: list[memoryview] = []
        while at < bound:
            view = pending.pop()
            room = bound - at
            if len(view) > room:
                pending.append(view[room:])
                view = view[:room]
            group.append(view)
            at += len(view)
        groups.append(group)
    return groups


def _block_columns(
    columns: BatchColumns, firsts: NDArray[np.int64], positions: NDArray[np.int64], raw_bytes: NDArray[np.int64]
) -> BlockColumns:
    counts = columns.column("record_count") * ((columns.column("attributes") & CONTROL_BIT) == 0)
    return BlockColumns(
        base_offsets=columns.column("base_offset")[firsts].tolist(),
        positions=positions.tolist(),
        raw_bytes=raw_bytes.tolist(),
        record_counts=np.add.reduceat(counts, firsts).tolist(),
        min_base_timestamps_ms=np.minimum.reduceat(columns.column("base_timestamp"), firsts).tolist(),
        max_timestamps_ms=np.maximum.reduceat(columns.column("max_timestamp"), firsts).tolist(),
    )


def _leader_epochs(draft: RunDraft) -> list[tuple[int, int]]:
    """``(leader epoch, first offset)``, ascending; the first begins at the run's start, also where its batch begins below."""
    out: list[tuple[int, int]] = []
    for piece in draft.slices:
        for epoch, base_offset in piece.body.leader_epochs:
            if not out:
                out.append((epoch, draft.start_offset))
            elif base_offset <= out[-1][1]:
                out[-1] = (epoch, out[-1][1])
            elif out[-1][0] != epoch:
                out.append((epoch, base_offset))
    return out


def _entry(
    draft: RunDraft,
    position: int,
    stored_bytes: int,
    raw_bytes: int,
    checksum: str,
    columns: BatchColumns | None,
    blocks: BlockColumns | None,
    codec: BodyCodec,
    unpacked: bool,
) -> RunEntry:
    data = None if columns is None else columns.select((columns.column("attributes") & CONTROL_BIT) == 0)
    return RunEntry(
        topic=draft.topic,
        topic_id=draft.topic_id,
        partition=draft.partition,
        start_offset=draft.start_offset,
        next_offset=draft.next_offset,
        position=position,
        stored_bytes=stored_bytes,
        raw_bytes=raw_bytes,
        batch_count=0 if columns is None else len(columns),
        record_count=0 if data is None else int(data.column("record_count").sum()),
        checksum=checksum,
        body_codec=codec,
        unpacked=unpacked,
        has_markers=any(piece.body.has_markers for piece in draft.slices),
        fetched_bytes=draft.size_bytes,
        min_base_timestamp_ms=None if data is None or not len(data) else int(data.column("base_timestamp").min()),
        max_timestamp_ms=None if data is None or not len(data) else int(data.column("max_timestamp").max()),
        leader_epochs=_leader_epochs(draft),
        watermarks=draft.watermarks,
        blocks=blocks,
    )
