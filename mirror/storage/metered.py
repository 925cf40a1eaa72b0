"""Measuring a store: each call is told to an observer when it ends; what to count with it is the observer's business."""

import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from mirror.errors import (
    AccessError,
    MirrorError,
    ObjectExistsError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    StoreBusyError,
    UnreachableError,
)
from mirror.storage.decorator import StoreDecorator
from mirror.storage.object_store import ObjectInfo, ObjectStore

__all__ = ["MeteredStore", "Observer", "outcome_of"]

T = TypeVar("T")

Observer = Callable[[str, float, int, str], None]
"""``(operation, seconds, bytes, outcome)``.

Operation: the method's name. Seconds: spent in the store (of a listing: without the consumer's time). Bytes: of the body sent or
received, 0 for others and for failures. Outcome: ``ok`` or one of :func:`outcome_of`. Called by the calling thread; must not raise.
"""

_OUTCOMES: tuple[tuple[type[MirrorError], str], ...] = (
    (ObjectNotFoundError, "not_found"),
    (ObjectExistsError, "exists"),
    (StoreBusyError, "busy"),
    (UnreachableError, "unreachable"),
    (AccessError, "access"),
    (RepositoryNotFoundError, "no_repository"),
)


def outcome_of(error: BaseException) -> str:
    """One word for an error, from a small fixed set (a label of a metric)."""
    return next((word for kind, word in _OUTCOMES if isinstance(error, kind)), "error")


class MeteredStore(StoreDecorator):
    """Tells ``observer`` of each call. Put it inside of the retries to see attempts, outside to see calls."""

    def __init__(
        self, inner: ObjectStore, observer: Observer, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(inner)
        self._observer = observer
        self._clock = clock

    def put(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._measure("put", lambda: self._inner.put(key, body), lambda _: len(body))

    def put_new(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._measure("put_new", lambda: self._inner.put_new(key, body), lambda _: len(body))

    def get(self, key: str) -> bytes:
        """See :class:`ObjectStore`."""
        return self._measure("get", lambda: self._inner.get(key), len)

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """See :class:`ObjectStore`."""
        return self._measure("get_range", lambda: self._inner.get_range(key, position, length_bytes), len)

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """See :class:`ObjectStore`."""
        return self._measure(
            "get_suffix", lambda: self._inner.get_suffix(key, length_bytes), lambda found: len(found[0])
        )

    def head(self, key: str) -> ObjectInfo:
        """See :class:`ObjectStore`."""
        return self._measure("head", lambda: self._inner.head(key), _nothing)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See :class:`ObjectStore`; told once, when the iteration ends or is given up."""
        return self._measure_steps("list", self._inner.list(prefix, after=after))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """See :class:`ObjectStore`; told once, when the iteration ends or is given up."""
        return self._measure_steps("list_folders", self._inner.list_folders(prefix))

    def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        self._measure("delete", lambda: self._inner.delete(key), _nothing)

    def _measure(self, operation: str, call: Callable[[], T], size_of: Callable[[T], int]) -> T:
        started = self._clock()
        try:
            found = call()
        except BaseException as error:
            self._observer(operation, self._clock() - started, 0, outcome_of(error))
            raise
        self._observer(operation, self._clock() - started, size_of(found), "ok")
        return found

    def _measure_steps(self, operation: str, steps: Iterator[T]) -> Iterator[T]:
        seconds = 0.0
        outcome = "ok"
        try:
            while True:
                started = self._clock()
                try:
                    found = next(steps)
                except StopIteration:
                    return
                except BaseException as error:
                    outcome = outcome_of(error)
                    raise
                finally:
                    seconds += self._clock() - started
                yield found
        finally:
            self._observer(operation, seconds, 0, outcome)


def _nothing(_: object) -> int:
    return 0
