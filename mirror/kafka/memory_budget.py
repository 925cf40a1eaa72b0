"""The worker's memory ceiling: bytes fetched, buffered, being encoded and being uploaded, counted in one place.

Threads share it. Fetching stops at ``limit − headroom``, so that what is buffered can always be encoded (which needs a second copy for a
moment) and leave; nothing can deadlock on a full budget.
"""

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Lease", "MemoryBudget"]


class MemoryBudget:
    """Bytes in use against a limit.

    Args:
        limit_bytes: the ceiling.
        headroom_bytes: kept free of fetched data, for encoding.
    """

    def __init__(self, limit_bytes: int, headroom_bytes: int) -> None:
        if headroom_bytes >= limit_bytes:
            raise ValueError("headroom must be smaller than the limit")
        self.limit_bytes = limit_bytes
        self.headroom_bytes = headroom_bytes
        self._lock = threading.Lock()
        self._used_bytes = 0
        self._returned: deque[int] = deque()
        self._peak_bytes = 0
        self._listeners: list[Callable[[], None]] = []

    @property
    def used_bytes(self) -> int:
        """Bytes in use now."""
        with self._lock:
            self._settle()
            return self._used_bytes

    @property
    def peak_bytes(self) -> int:
        """The most that ever was in use."""
        return self._peak_bytes

    def add_listener(self, listener: Callable[[], None]) -> None:
        """Call ``listener`` (from any thread) whenever bytes came back."""
        self._listeners.append(listener)

    def may_fetch(self, size_bytes: int) -> bool:
        """Whether so many more fetched bytes fit below the headroom."""
        return self.used_bytes + size_bytes <= self.limit_bytes - self.headroom_bytes

    def try_take(self, size_bytes: int, *, limit_bytes: int | None = None) -> bool:
        """Take bytes if they fit below ``limit_bytes`` (default: the ceiling)."""
        with self._lock:
            self._settle()
            if self._used_bytes + size_bytes > (self.limit_bytes if limit_bytes is None else limit_bytes):
                return False
            self._add(size_bytes)
            return True

    def take(self, size_bytes: int) -> None:
        """Take bytes that are already there, whatever the limit."""
        with self._lock:
            self._settle()
            self._add(size_bytes)

    def give_back(self, size_bytes: int) -> None:
        """Return bytes. Takes no lock: a garbage collector may call it in the middle of any other method, in the same thread."""
        self._returned.append(size_bytes)
        for listener in self._listeners:
            listener()

    def _settle(self) -> None:
        while self._returned:
            self._used_bytes -= self._returned.popleft()

    def _add(self, size_bytes: int) -> None:
        self._used_bytes += size_bytes
        self._peak_bytes = max(self._peak_bytes, self._used_bytes)


class Lease:
    """Bytes that are in use for as long as this object lives: exact also where Faust drops a message without a word."""

    __slots__ = ("_budget", "size_bytes")

    def __init__(self, budget: MemoryBudget, size_bytes: int, *, taken: bool = False) -> None:
        if not taken:
            budget.take(size_bytes)
        self._budget = budget
        self.size_bytes = size_bytes

    def grow(self, size_bytes: int) -> None:
        """What was made of the bytes takes so many more."""
        self._budget.take(size_bytes)
        self.size_bytes += size_bytes

    def __del__(self) -> None:
        self._budget.give_back(self.size_bytes)
