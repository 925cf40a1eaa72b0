"""Reads what coverage chose: the runs of one or many partitions, each offset once, in order, ahead of the reader.

Level-0 objects hold runs of many partitions, so the unit of work is the object, not the partition: objects are visited in the order of
their keys (time), all wanted runs of one are fetched together, and each partition gets its runs in the order of its offsets.

Invariants:

- A run's checksum is verified before anything of it is handed out.
- For each partition the loaded runs come in ascending order of offsets. Where that is not the order of the objects (a late upload), the
  run is fetched alone when its turn comes.
- At most ``max_bytes`` are loaded or being loaded and not yet handed out (one object always may).
"""

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from mirror.core.compression import unpack
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import PartitionId
from mirror.core.records import RawRecord, iterate_records
from mirror.core.segment.blocks import StoredBatch, decode_block, iterate_block
from mirror.core.segment.index import RunEntry
from mirror.core.segment.layout import checksum_of
from mirror.errors import DamageError, ObjectNotFoundError, UnreadableRun, UnreadableRunsError
from mirror.service.read_planning import ReadTask, plan_windows
from mirror.storage.repository import DAMAGED_BODY_HINT, Repository

__all__ = ["ClippedBatch", "LoadedRun", "ReadTask", "iterate_runs", "iterate_stored", "load_task"]

_JOIN_GAP_BYTES = 256 << 10  # fetching so many unwanted bytes is cheaper than another request
_READ_AHEAD_BYTES = 96 << 20
_THREADS = 2  # of local stores two saturate a core each; a caller far from its store asks for more


class ClippedBatch(NamedTuple):
    """A stored batch, of which only the records with ``start_offset`` ≤ offset < ``next_offset`` are meant."""

    batch: StoredBatch
    start_offset: int
    next_offset: int

    @property
    def is_cut(self) -> bool:
        """Whether the bounds leave out a part of the batch's offsets."""
        header = self.batch.header
        return header.base_offset < self.start_offset or header.next_offset > self.next_offset

    def records(self) -> Iterator[RawRecord]:
        """The records that are meant, in order (of a control batch: its marker).

        Raises:
            BatchDamageError: the body is not what its header says.
        """
        batch = self.batch
        body = batch.body if batch.unpacked else unpack(batch.header.codec, batch.body)
        for record in iterate_records(batch.header, body):
            if self.start_offset <= record.offset < self.next_offset:
                yield record


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """A run in memory, its checksum verified.

    Attributes:
        piece: which offsets of the run are meant.
        run: its entry, with blocks where the body codec needs them.
        stored: its bytes, as in the object.
    """

    piece: CoveredRun
    run: RunEntry
    stored: memoryview

    @property
    def partition_id(self) -> PartitionId:
        """Whose offsets these are."""
        return self.run.partition_id

    def contents(self) -> Iterator[memoryview]:
        """The content of each block, unpacked from the run's own compression.

        Raises:
            DamageError: a block is not what the index says; names object, partition and offsets.
        """
        run = self.run
        if not run.stored_bytes:
            return
        if run.body_codec == "passthrough":
            yield decode_block(self.stored, body_codec="passthrough", raw_bytes=run.raw_bytes)
            return
        if run.blocks is None:
            raise ValueError("a zstd run is loaded with its blocks")
        bounds = [*run.blocks.positions, run.stored_bytes]
        for (first, following), raw_bytes in zip(pairwise(bounds), run.blocks.raw_bytes, strict=True):
            try:
                content = decode_block(self.stored[first:following], body_codec=run.body_codec, raw_bytes=raw_bytes)
            except DamageError as error:
                raise DamageError(f"{_name(self.piece)}: {error.message}", hint=error.hint) from error
            yield content

    def batches(self, *, check_crc: bool = False) -> Iterator[ClippedBatch]:
        """The batches that hold something of the piece, control batches among them.

        Raises:
            DamageError: the content is not whole batches.
        """
        start_offset, next_offset = self.piece.start_offset, self.piece.next_offset
        for content in self.contents():
            for batch in iterate_block(content, unpacked=self.run.unpacked, check_crc=check_crc):
                if batch.header.next_offset > start_offset and batch.header.base_offset < next_offset:
                    yield ClippedBatch(batch, start_offset, next_offset)


def load_task(repository: Repository, task: ReadTask) -> list[LoadedRun]:
    """Fetch the runs of a task: in one request where they lie close together, checksums verified.

    Raises:
        UnreadableRunsError: bytes are missing or not what was written; names object, partition and offsets of all such runs.
        UnreachableError, AccessError, StoreError: as the store says.
    """
    entries = _entries(repository, task)
    stored: dict[int, memoryview] = {}
    damaged: list[RunEntry] = []
    for group in _groups(entries):
        begin, end = group[0].position, group[-1].position + group[-1].stored_bytes
        view = _get(repository, task, begin, end - begin)
        for run in group:
            body = view[run.position - begin : run.position - begin + run.stored_bytes]
            if len(body) != run.stored_bytes or checksum_of((body,)) != run.checksum:
                damaged.append(run)
            stored[run.position] = body
    if damaged:
        raise _unreadable(task, damaged, f"run of {_first_of(damaged)} does not match its checksum", DAMAGED_BODY_HINT)
    by_position = {(run.position, run.partition_id): run for run in entries}
    empty = memoryview(b"")
    return [
        LoadedRun(piece, by_position[piece.run.position, piece.run.partition_id], stored.get(piece.run.position, empty))
        if piece.run.stored_bytes
        else LoadedRun(piece, piece.run, empty)
        for piece in task.pieces
    ]


def _entries(repository: Repository, task: ReadTask) -> list[RunEntry]:
    """The distinct runs with bytes, by position; read from the footer where the roll-up left out what is needed."""
    runs = {(p.run.position, p.run.partition_id): p.run for p in task.pieces if p.run.stored_bytes}
    if any(run.body_codec != "passthrough" and run.blocks is None for run in runs.values()):
        try:
            index, _ = repository.read_index(task.object_key)
        except ObjectNotFoundError:
            raise _gone(task) from None
        except DamageError as error:
            raise _unreadable(task, runs.values(), error.message, error.hint) from error
        whole = {(run.position, run.partition_id): run for run in index.runs}
        for key, run in runs.items():
            if key not in whole or whole[key].checksum != run.checksum:
                raise _unreadable(task, [run], f"its footer does not know the run of {run.topic_partition}")
            runs[key] = whole[key]
    return sorted(runs.values(), key=lambda run: run.position)


def _groups(runs: Sequence[RunEntry]) -> list[list[RunEntry]]:
    groups: list[list[RunEntry]] = []
    reached = 0
    for run in runs:
        if groups and run.position - reached <= _JOIN_GAP_BYTES:
            groups[-1].append(run)
        else:
            groups.append([run])
        reached = run.position + run.stored_bytes
    return groups


def _get(repository: Repository, task: ReadTask, position: int, length_bytes: int) -> memoryview:
    try:
        return memoryview(repository.store.get_range(task.object_key, position, length_bytes))
    except ObjectNotFoundError:
        raise _gone(task) from None


def _gone(task: ReadTask) -> UnreadableRunsError:
    names = "; ".join(_name(piece) for piece in task.pieces[:3])
    more = f" and {len(task.pieces) - 3} more" if len(task.pieces) > 3 else ""
    runs = {piece.run.position: piece.run for piece in task.pieces if piece.run.stored_bytes}
    return UnreadableRunsError(
        f"an object is gone: {names}{more}",
        runs=[_named(task, run) for run in runs.values()],
        hint="`mirror verify` lists every missing range",
    )


def _unreadable(
    task: ReadTask, runs: Iterable[RunEntry], what: str, hint: str | None = DAMAGED_BODY_HINT
) -> UnreadableRunsError:
    message = what if what.startswith(task.object_key) else f"{task.object_key}: {what}"
    return UnreadableRunsError(message, runs=[_named(task, run) for run in runs], hint=hint)


def _first_of(runs: Sequence[RunEntry]) -> str:
    more = f" (and {len(runs) - 1} more runs of it)" if len(runs) > 1 else ""
    return f"{runs[0].topic_partition} [{runs[0].start_offset}, {runs[0].next_offset}){more}"


def _named(task: ReadTask, run: RunEntry) -> UnreadableRun:
    return UnreadableRun(task.object_key, run.topic, run.topic_id, run.partition, run.start_offset, run.next_offset)


def _name(piece: CoveredRun) -> str:
    return f"{piece.object_key}: {piece.run.topic_partition} [{piece.start_offset}, {piece.next_offset})"


def iterate_runs(
    repository: Repository,
    coverages: Sequence[PartitionCoverage],
    *,
    max_bytes: int = _READ_AHEAD_BYTES,
    threads: int = _THREADS,
    stop: threading.Event | None = None,
) -> Iterator[LoadedRun]:
    """Every chosen run of these partitions, fetched ahead by threads; per partition in the order of its offsets.

    Args:
        repository: where from.
        coverages: of the partitions to read.
        max_bytes: loaded or being loaded, and not handed out yet.
        threads: requests at once.
        stop: set by another thread to end the iteration early.

    Raises:
        DamageError, UnreachableError, AccessError, StoreError: see :func:`load_task`.
    """
    tasks = plan_windows(coverages)
    task = next(tasks, None)
    pending: deque[tuple[int, Future[list[LoadedRun]]]] = deque()
    ahead_bytes = 0
    pool = ThreadPoolExecutor(threads, thread_name_prefix="reading")
    try:
        while (task or pending) and not (stop is not None and stop.is_set()):
            while task and (not pending or ahead_bytes + task.wanted_bytes <= max_bytes):
                pending.append((task.wanted_bytes, pool.submit(load_task, repository, task)))
                ahead_bytes += task.wanted_bytes
                task = next(tasks, None)
            size_bytes, future = pending.popleft()
            loaded = future.result()
            ahead_bytes -= size_bytes
            yield from loaded
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def iterate_stored(
    repository: Repository, coverage: PartitionCoverage, *, check_crc: bool = False
) -> Iterator[ClippedBatch]:
    """Every stored batch of one partition in order, each offset once, control batches among them.

    Raises:
        DamageError, UnreachableError, AccessError, StoreError: see :func:`load_task`.
    """
    for loaded in iterate_runs(repository, [coverage]):
        yield from loaded.batches(check_crc=check_crc)
