"""Steps for many topics at once: in order, bounded, and none begun after one failed."""

import asyncio

import pytest

from mirror.errors import ClusterError
from mirror.service.restore.together import each_of


def test_all_are_done_and_no_more_at_once_than_allowed() -> None:
    """Begun in their order."""
    begun: list[int] = []
    at_work: set[int] = set()
    most = 0

    async def step(number: int) -> None:
        nonlocal most
        begun.append(number)
        at_work.add(number)
        most = max(most, len(at_work))
        await asyncio.sleep(0.001 * (number % 3))
        at_work.remove(number)

    asyncio.run(each_of(range(50), step, at_once=7))
    assert (begun, most, at_work) == (list(range(50)), 7, set())


def test_after_a_failure_nothing_is_begun_and_those_at_work_end() -> None:
    """The first error is the one that is raised."""
    begun: list[int] = []
    ended: list[int] = []

    async def step(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise ClusterError("two")
        await asyncio.sleep(0.01)
        ended.append(number)
        if number == 3:
            raise ClusterError("three")

    with pytest.raises(ClusterError, match="two"):
        asyncio.run(each_of(range(50), step, at_once=4))
    assert (begun, ended) == ([0, 1, 2, 3], [0, 1, 3])


def test_who_is_cancelled_leaves_nothing_at_work() -> None:
    """Ctrl-C in the middle."""
    ended: list[int] = []

    async def step(number: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(number)

    async def interrupted() -> None:
        task = asyncio.create_task(each_of(range(50), step, at_once=4))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert sorted(ended) == [0, 1, 2, 3]
