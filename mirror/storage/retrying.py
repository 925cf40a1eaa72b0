"""Patience with a store: transient errors are tried again, with growing and random pauses; all others pass at once."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from threading import Event
from typing import TypeVar

from mirror.errors import MirrorError, ObjectExistsError
from mirror.storage.decorator import StoreDecorator
from mirror.storage.object_store import ObjectInfo, ObjectStore

__all__ = ["RetryPolicy", "RetryingStore", "StoreRetry"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How long to go on, and how fast.

    The pause before attempt n+1 is random between 0 and ``min(longest, first · 2ⁿ⁻¹)`` ("full jitter": many workers that lost one store
    do not come back in step). ``deadline_seconds`` counts from the first attempt of a call (of a listing: from its last progress);
    no pause begins that would end after it. None goes on for as long as it takes.
    """

    first_pause_seconds: float = 0.2
    longest_pause_seconds: float = 15.0
    deadline_seconds: float | None = None

    def longest_pause_after(self, attempt: int) -> float:
        """Upper bound, in seconds, of the pause after the given attempt (1-based)."""
        return min(self.longest_pause_seconds, self.first_pause_seconds * 2.0 ** min(attempt - 1, 30))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRetry:
    """One attempt that failed and will be repeated."""

    operation: str
    key: str
    attempt: int
    pause_seconds: float
    error: MirrorError


class RetryingStore(StoreDecorator):
    """Repeats what failed for a passing reason.

    Args:
        inner: the store.
        policy: pauses and deadline.
        stop: once set, no pause goes on and no attempt is repeated: the last error comes out at once.
        sleep: takes seconds, returns True to give up; default: waits for ``stop``.
        on_retry: told before each pause; must not raise.
        clock: seconds, monotonic.
        jitter: takes an upper bound in seconds, gives the pause.
    """

    def __init__(
        self,
        inner: ObjectStore,
        policy: RetryPolicy | None = None,
        *,
        stop: Event | None = None,
        sleep: Callable[[float], bool] | None = None,
        on_retry: Callable[[StoreRetry], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float], float] = lambda longest: random.uniform(0, longest),
    ) -> None:
        super().__init__(inner)
        self._policy = policy or RetryPolicy()
        self._stop = stop or Event()
        self._sleep = sleep or self._stop.wait
        self._on_retry = on_retry
        self._clock = clock
        self._jitter = jitter

    def put(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._repeat("put", key, lambda: self._inner.put(key, body))

    def put_new(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`.

        If an attempt's outcome was unknown and the next finds the key taken by this very body, the first had succeeded: no error.
        """
        outcome_unknown = False

        def attempt() -> None:
            nonlocal outcome_unknown
            try:
                self._inner.put_new(key, body)
            except ObjectExistsError:
                if not outcome_unknown or self._inner.get(key) != body:
                    raise
            except MirrorError as error:
                outcome_unknown = outcome_unknown or error.transient
                raise

        self._repeat("put_new", key, attempt)

    def get(self, key: str) -> bytes:
        """See :class:`ObjectStore`."""
        return self._repeat("get", key, lambda: self._inner.get(key))

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """See :class:`ObjectStore`."""
        return self._repeat("get_range", key, lambda: self._inner.get_range(key, position, length_bytes))

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """See :class:`ObjectStore`."""
        return self._repeat("get_suffix", key, lambda: self._inner.get_suffix(key, length_bytes))

    def head(self, key: str) -> ObjectInfo:
        """See :class:`ObjectStore`."""
        return self._repeat("head", key, lambda: self._inner.head(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See :class:`ObjectStore`; a listing that broke goes on behind the last object it gave."""
        last = after
        pages: Iterator[ObjectInfo] | None = None

        def step() -> ObjectInfo | None:
            nonlocal pages
            # An iterator that raised is spent: unless this step succeeds, the next attempt takes a new one.
            current = pages if pages is not None else self._inner.list(prefix, after=last)
            pages = None
            found = next(current, None)
            pages = current
            return found

        while (info := self._repeat("list", prefix, step)) is not None:
            last = info.key
            yield info

    def list_folders(self, prefix: str) -> Iterator[str]:
        """See :class:`ObjectStore`."""
        yield from self._repeat("list_folders", prefix, lambda: [*self._inner.list_folders(prefix)])

    def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        self._repeat("delete", key, lambda: self._inner.delete(key))

    def _repeat(self, operation: str, key: str, call: Callable[[], T]) -> T:
        started = self._clock()
        attempt = 0
        while True:
            attempt += 1
            try:
                return call()
            except MirrorError as error:
                if not error.transient or self._stop.is_set():
                    raise
                pause_seconds = self._jitter(self._policy.longest_pause_after(attempt))
                deadline = self._policy.deadline_seconds
                if deadline is not None and self._clock() - started + pause_seconds > deadline:
                    raise
                if self._on_retry is not None:
                    self._on_retry(
                        StoreRetry(
                            operation=operation, key=key, attempt=attempt, pause_seconds=pause_seconds, error=error
                        )
                    )
                if self._sleep(pause_seconds):
                    raise
