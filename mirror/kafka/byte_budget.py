"""A limit on bytes held at once, granted in the order of asking."""

import asyncio
from collections import deque

__all__ = ["ByteBudget"]


class ByteBudget:
    """Bytes of which at most so many are out at once. One piece larger than all of it is granted when nothing is out."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._used_bytes = 0
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def used_bytes(self) -> int:
        """Bytes that are out now."""
        return self._used_bytes

    def take_now(self, size_bytes: int) -> bool:
        """Take bytes if so many are free and nobody waits for them; False where not."""
        if self._waiters or not self._fits(size_bytes):
            return False
        self._used_bytes += size_bytes
        return True

    async def take(self, size_bytes: int) -> None:
        """Wait until so many bytes are free, and take them. Cancelling takes nothing."""
        if self.take_now(size_bytes):
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append((size_bytes, waiter))
        try:
            await waiter
        except asyncio.CancelledError:
            granted = waiter.done() and not waiter.cancelled() and waiter.exception() is None
            waiter.cancel()
            self.give_back(size_bytes if granted else 0)
            raise

    def give_back(self, size_bytes: int) -> None:
        """Return bytes; whoever waits longest gets them first."""
        self._used_bytes -= size_bytes
        while self._waiters:
            size, waiter = self._waiters[0]
            if not waiter.done():
                if not self._fits(size):
                    break
                self._used_bytes += size
                waiter.set_result(None)
            self._waiters.popleft()

    def close(self, error: Exception) -> None:
        """Raise the error in everybody who waits."""
        while self._waiters:
            _, waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(error)

    def _fits(self, size_bytes: int) -> bool:
        return self._used_bytes == 0 or self._used_bytes + size_bytes <= self._limit_bytes
