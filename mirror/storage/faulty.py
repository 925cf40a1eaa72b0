"""A store that fails by schedule: for tests and drills.

>>> from mirror.errors import UnreachableError
>>> from mirror.storage.memory import MemoryStore
>>> store = FaultyStore(MemoryStore(), [Fault(operation="put", times=1, error=UnreachableError("lost"), effect=True)])
>>> store.put("a", b"1")
Traceback (most recent call last):
    ...
mirror.errors.UnreachableError: lost
>>> store.get("a")
b'1'
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TypeVar

from mirror.errors import MirrorError
from mirror.storage.decorator import StoreDecorator
from mirror.storage.object_store import ObjectInfo, ObjectStore

__all__ = ["Fault", "FaultyStore", "StoreCall"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What goes wrong, and when.

    When: the calls of ``operation`` (``*``: of any) whose key contains ``key_contains``, without the first ``skip`` of them, ``times`` of
    them (None: all). What, in this order: ``delay_seconds``; for puts ``truncate_to_bytes`` and ``flip_bit`` change the bytes that are
    stored, for gets those that are returned (a bit counts from the start, its position modulo the length); ``error`` is raised, after
    the effect if ``effect`` (a lost answer), else instead of it. A listing fails after ``after_items`` items.
    """

    operation: str = "*"
    key_contains: str = ""
    skip: int = 0
    times: int | None = 1
    error: MirrorError | None = None
    effect: bool = False
    delay_seconds: float = 0.0
    truncate_to_bytes: int | None = None
    flip_bit: int | None = None
    after_items: int = 0

    def spoil(self, body: bytes) -> bytes:
        """``body`` as this fault leaves it."""
        if self.truncate_to_bytes is not None:
            body = body[: self.truncate_to_bytes]
        if self.flip_bit is not None and body:
            spoiled = bytearray(body)
            spoiled[self.flip_bit // 8 % len(spoiled)] ^= 1 << self.flip_bit % 8
            body = bytes(spoiled)
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCall:
    """A call that reached the store; ``fault`` is what met it."""

    operation: str
    key: str
    fault: Fault | None


class FaultyStore(StoreDecorator):
    """Passes calls on, except where the script says otherwise. At most one fault meets a call: the first that fits.

    Args:
        inner: where the effects go.
        script: the faults; more come by :meth:`add`.
        sleep: seconds; for delays.
    """

    def __init__(
        self, inner: ObjectStore, script: Sequence[Fault] = (), *, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        super().__init__(inner)
        self._lock = Lock()
        self._script: list[tuple[Fault, list[int]]] = []
        self._sleep = sleep
        self._calls: list[StoreCall] = []
        for fault in script:
            self.add(fault)

    @property
    def calls(self) -> Sequence[StoreCall]:
        """All calls so far, in order."""
        with self._lock:
            return tuple(self._calls)

    def add(self, fault: Fault) -> None:
        """Append to the script."""
        with self._lock:
            self._script.append((fault, [0]))

    def heal(self) -> None:
        """Forget the script: from now on nothing fails."""
        with self._lock:
            self._script.clear()

    def put(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._write("put", key, body, self._inner.put)

    def put_new(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._write("put_new", key, body, self._inner.put_new)

    def get(self, key: str) -> bytes:
        """See :class:`ObjectStore`."""
        fault = self._meet("get", key)
        return fault.spoil(self._do(fault, lambda: self._inner.get(key)))

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """See :class:`ObjectStore`."""
        fault = self._meet("get_range", key)
        return fault.spoil(self._do(fault, lambda: self._inner.get_range(key, position, length_bytes)))

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """See :class:`ObjectStore`."""
        fault = self._meet("get_suffix", key)
        body, total_bytes = self._do(fault, lambda: self._inner.get_suffix(key, length_bytes))
        return fault.spoil(body), total_bytes

    def head(self, key: str) -> ObjectInfo:
        """See :class:`ObjectStore`."""
        return self._do(self._meet("head", key), lambda: self._inner.head(key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See :class:`ObjectStore`."""
        return self._steps(self._meet("list", prefix), self._inner.list(prefix, after=after))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """See :class:`ObjectStore`."""
        return self._steps(self._meet("list_folders", prefix), self._inner.list_folders(prefix))

    def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        self._do(self._meet("delete", key), lambda: self._inner.delete(key))

    def _write(self, operation: str, key: str, body: bytes, write: Callable[[str, bytes], None]) -> None:
        fault = self._meet(operation, key)
        self._do(fault, lambda: write(key, fault.spoil(body)))

    def _meet(self, operation: str, key: str) -> Fault:
        """Count the call, and find its fault."""
        with self._lock:
            met = None
            for fault, seen in self._script:
                if fault.operation not in ("*", operation) or fault.key_contains not in key:
                    continue
                seen[0] += 1
                due = seen[0] > fault.skip and (fault.times is None or seen[0] <= fault.skip + fault.times)
                if due and met is None:
                    met = fault
            self._calls.append(StoreCall(operation=operation, key=key, fault=met))
        return met or _NO_FAULT

    def _do(self, fault: Fault, call: Callable[[], T]) -> T:
        if fault.delay_seconds:
            self._sleep(fault.delay_seconds)
        if fault.error is not None:
            if fault.effect:
                call()
            raise _fresh(fault.error)
        return call()

    def _steps(self, fault: Fault, steps: Iterator[T]) -> Iterator[T]:
        if fault.delay_seconds:
            self._sleep(fault.delay_seconds)
        for count, found in enumerate(steps):
            if fault.error is not None and count == fault.after_items:
                raise _fresh(fault.error)
            yield found
        if fault.error is not None:
            raise _fresh(fault.error)


def _fresh(error: MirrorError) -> MirrorError:
    """A copy: one error object raised twice would chain to itself."""
    return type(error)(error.message, hint=error.hint)


_NO_FAULT = Fault(times=None)
