"""The same step for many topics, a few at a time: brokers answer several as fast as one."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

__all__ = ["each_of"]

_T = TypeVar("_T")


async def each_of(items: Iterable[_T], step: Callable[[_T], Awaitable[None]], *, at_once: int) -> None:
    """Take the step for each item, begun in their order.

    Raises:
        Exception: the first that a step raised: no further one was begun then, and those at work were awaited.
    """
    left = iter(items)
    errors: list[Exception] = []

    async def work() -> None:
        for item in left:
            try:
                await step(item)
            except Exception as error:  # noqa: BLE001 - raised below, once the others are done
                errors.append(error)
            if errors:
                return

    await asyncio.gather(*(work() for _ in range(at_once)))
    if errors:
        raise errors[0]
