"""A byte budget grants in order and never loses bytes."""

import asyncio

import pytest

from mirror.kafka.byte_budget import ByteBudget


async def test_waiters_are_served_in_order() -> None:
    """A large request that waits is not overtaken by small ones that would fit."""
    budget = ByteBudget(100)
    await budget.take(60)
    order: list[str] = []

    async def take(name: str, size: int) -> None:
        await budget.take(size)
        order.append(name)

    tasks = [asyncio.create_task(take("large", 80)), asyncio.create_task(take("small", 10))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert order == []
    budget.give_back(60)
    await asyncio.gather(*tasks)
    assert order == ["large", "small"]
    assert budget.used_bytes == 90


async def test_one_piece_larger_than_all_goes_alone() -> None:
    """It waits until nothing is out, and then goes."""
    budget = ByteBudget(100)
    await budget.take(1)
    task = asyncio.create_task(budget.take(500))
    await asyncio.sleep(0)
    assert not task.done()
    budget.give_back(1)
    await task
    assert budget.used_bytes == 500


@pytest.mark.parametrize("granted_first", [False, True])
async def test_cancelling_takes_nothing(granted_first: bool) -> None:
    """Cancelled while waiting, or in the very moment of the grant: the bytes are there for the next one."""
    budget = ByteBudget(100)
    await budget.take(100)
    task = asyncio.create_task(budget.take(70))
    following = asyncio.create_task(budget.take(50))
    await asyncio.sleep(0)
    if granted_first:
        budget.give_back(100)
        task.cancel()
    else:
        task.cancel()
        await asyncio.sleep(0)
        budget.give_back(100)
    await following
    assert task.cancelled() or (await asyncio.gather(task, return_exceptions=True))
    assert budget.used_bytes == 50


async def test_closing_tells_who_waits() -> None:
    """Whoever waits gets the error; what is out can still be given back."""
    budget = ByteBudget(10)
    await budget.take(10)
    task = asyncio.create_task(budget.take(1))
    await asyncio.sleep(0)
    budget.close(RuntimeError("closed"))
    with pytest.raises(RuntimeError, match="closed"):
        await task
    budget.give_back(10)
    assert budget.used_bytes == 0
