"""Threads for reading: results in the order of the work, and a bound on what is in memory."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["bounded_map"]

T = TypeVar("T")
R = TypeVar("R")

_THREADS = 8
_AHEAD = 4 * _THREADS
_IN_FLIGHT_BYTES = 256 << 20


def bounded_map(
    work: Callable[[T], R], items: Iterable[T], *, size_of: Callable[[T], int] = lambda _: 0
) -> Iterator[tuple[T, R]]:
    """``(item, work(item))`` for every item, in order, several at once.

    Args:
        work: called in threads; what it raises is raised here.
        items: taken lazily.
        size_of: bytes that an item holds in memory until its result is taken; at most 256 MiB are in flight (one item always may be).
    """
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="verify")
    pending: deque[tuple[T, int, Future[R]]] = deque()
    in_flight_bytes = 0
    try:
        for item in items:
            size_bytes = size_of(item)
            while pending and (len(pending) >= _AHEAD or in_flight_bytes + size_bytes > _IN_FLIGHT_BYTES):
                done, done_bytes, future = pending.popleft()
                in_flight_bytes -= done_bytes
                yield done, future.result()
            pending.append((item, size_bytes, pool.submit(work, item)))
            in_flight_bytes += size_bytes
        while pending:
            done, _, future = pending.popleft()
            yield done, future.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
