"""Loads runs for `mirror cat`: object by object, damage told and passed over, ahead of the reader only as far as the reader has come."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise

from mirror.core.segment.blocks import StoredBatch, decode_block, iterate_block
from mirror.errors import DamageError, ObjectNotFoundError
from mirror.service.reading import ClippedBatch, LoadedRun, ReadTask, load_task
from mirror.storage.repository import Repository

__all__ = ["Loaded", "blocks_of", "iterate_loaded"]

_AHEAD_BYTES = 64 << 20
_THREADS = 12  # small ranges: a far store's answers are waited for together

Loaded = tuple[list[LoadedRun], list[str]]
"""The runs of one object, and in words what of it cannot be read."""


def iterate_loaded(repository: Repository, tasks: Sequence[ReadTask], opened: list[str]) -> Iterator[Loaded]:
    """The runs of each task, in order.

    The first task is loaded alone, and then at most as many ahead as have been taken: whoever needs ten records opens one object, and
    whoever searches a thousand does not wait for each.

    Args:
        repository: where from.
        tasks: in order.
        opened: gets the key of each object when a request for it begins, also of one that is not taken any more.

    Raises:
        UnreachableError, AccessError, StoreError, UnsupportedFormatError: see :func:`mirror.service.reading.load_task`.
    """
    waiting = deque(tasks)
    pending: deque[tuple[int, Future[Loaded]]] = deque()
    taken = ahead_bytes = 0

    def load(task: ReadTask) -> Loaded:
        opened.append(task.object_key)
        return _load(repository, task)

    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="cat")
    try:
        while waiting or pending:
            while waiting and (
                not pending or (len(pending) <= taken and ahead_bytes + waiting[0].wanted_bytes <= _AHEAD_BYTES)
            ):
                task = waiting.popleft()
                pending.append((task.wanted_bytes, pool.submit(load, task)))
                ahead_bytes += task.wanted_bytes
            size_bytes, future = pending.popleft()
            loaded = future.result()
            ahead_bytes -= size_bytes
            taken += 1
            yield loaded
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _load(repository: Repository, task: ReadTask) -> Loaded:
    try:
        return load_task(repository, task), []
    except DamageError as error:
        if len(task.pieces) == 1 or _is_gone(repository, task):
            return [], [error.message]
    # One of several runs: each by itself, to tell which.
    each = [_load(repository, ReadTask(task.object_key, (piece,))) for piece in task.pieces]
    return [run for runs, _ in each for run in runs], [message for _, messages in each for message in messages]


def _is_gone(repository: Repository, task: ReadTask) -> bool:
    try:
        repository.store.head(task.object_key)
    except ObjectNotFoundError:
        return True
    return False


def blocks_of(loaded: LoadedRun, *, since_ms: int | None, damaged: list[str]) -> Iterator[Iterator[ClippedBatch]]:
    """The batches of each block that may hold something: by its offsets, and by its largest timestamp if ``since_ms`` is given.

    Blocks of a passthrough run are not compressed, so all of it is one. What is not as the index says goes to ``damaged``, in words.
    """
    run, piece = loaded.run, loaded.piece
    if not run.stored_bytes:
        return
    if run.body_codec == "passthrough" or run.blocks is None:
        bounds = [(0, run.stored_bytes, run.raw_bytes)]
    else:
        blocks = run.blocks
        spans = pairwise([*blocks.positions, run.stored_bytes])
        following = [*blocks.base_offsets[1:], run.next_offset]
        bounds = [
            (begin, end, raw_bytes)
            for (begin, end), raw_bytes, base, following_base, max_ms in zip(
                spans, blocks.raw_bytes, blocks.base_offsets, following, blocks.max_timestamps_ms, strict=True
            )
            if following_base > piece.start_offset
            and base < piece.next_offset
            and (since_ms is None or max_ms >= since_ms)
        ]
    for begin, end, raw_bytes in bounds:
        try:
            content = decode_block(loaded.stored[begin:end], body_codec=run.body_codec, raw_bytes=raw_bytes)
        except DamageError as error:
            damaged.append(f"{describe(loaded)}: {error.message}")
            continue
        yield _clipped(loaded, content, damaged)


def _clipped(loaded: LoadedRun, content: memoryview, damaged: list[str]) -> Iterator[ClippedBatch]:
    start_offset, next_offset = loaded.piece.start_offset, loaded.piece.next_offset
    batch: StoredBatch
    try:
        for batch in iterate_block(content, unpacked=loaded.run.unpacked):
            if batch.header.next_offset > start_offset and batch.header.base_offset < next_offset:
                yield ClippedBatch(batch, start_offset, next_offset)
    except DamageError as error:
        damaged.append(f"{describe(loaded)}: {error.message}")


def describe(loaded: LoadedRun) -> str:
    """Object, partition and offsets of a run, for messages."""
    piece = loaded.piece
    return f"{piece.object_key}: {loaded.run.topic_partition} [{piece.start_offset}, {piece.next_offset})"
