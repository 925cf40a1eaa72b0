"""A limit of bytes per second, for the sake of those who share the target."""

import asyncio
from collections.abc import Callable

__all__ = ["RateLimit"]


class RateLimit:
    """Waits so that no more than ``bytes_per_second`` pass, after a burst of at most a quarter of a second.

    Args:
        bytes_per_second: at least 1.
        clock: seconds that only grow.
    """

    def __init__(self, bytes_per_second: int, *, clock: Callable[[], float] | None = None) -> None:
        if bytes_per_second < 1:
            raise ValueError("a rate is at least one byte a second")
        self._rate = bytes_per_second
        self._clock = clock
        self._free_at_s = 0.0

    async def wait(self, size_bytes: int) -> None:
        """Return when these bytes may pass: once those before them have had their time. So the first ones go at once, however many."""
        now_s = self._clock() if self._clock else asyncio.get_running_loop().time()
        begin_s = max(self._free_at_s, now_s - 0.25)
        self._free_at_s = begin_s + size_bytes / self._rate
        if begin_s > now_s:
            await asyncio.sleep(begin_s - now_s)
