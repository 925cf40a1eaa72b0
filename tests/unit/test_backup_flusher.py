"""Batches become durable for as long as it takes, are told in order, and give their memory back."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable

import pytest

from mirror.errors import StoreBusyError, UnreachableError
from mirror.kafka.memory_budget import Lease, MemoryBudget
from mirror.service.backup.collector import FlushBatch
from mirror.service.backup.flusher import Flusher, FlusherSettings, SealedSegment
from mirror.storage.faulty import Fault, FaultyStore
from mirror.storage.memory import MemoryStore
from mirror.storage.repository import Repository
from tests.builders import a_batch, a_repository, a_run_draft, a_slice

MIB = 1 << 20


class Lab:
    """A flusher over a store that can be told to fail."""

    def __init__(self, limit_bytes: int = 64 * MIB) -> None:
        self.store = FaultyStore(MemoryStore())
        self.repository: Repository = a_repository(self.store)
        self.budget = MemoryBudget(limit_bytes, limit_bytes // 4)
        self.told: list[SealedSegment] = []
        settings = FlusherSettings(writer="w1", body_mode="auto", zstd_level=1, put_threads=3)
        self.flusher = Flusher(self.repository, self.budget, settings, on_sealed=self._tell)

    async def _tell(self, sealed: SealedSegment) -> None:
        self.told.append(sealed)

    def batch(self, start: int, *, leased_bytes: int = 1000) -> FlushBatch:
        """Three records at an offset, whose bytes count in the budget."""
        piece = dataclasses.replace(
            a_slice(a_batch(start, 3), start_offset=start), lease=Lease(self.budget, leased_bytes)
        )
        return FlushBatch([a_run_draft(piece)], [], [])

    def told_starts(self) -> list[int]:
        """Start offsets in the order in which they were told."""
        return [sealed.index.runs[0].start_offset for sealed in self.told]


@pytest.fixture
async def lab() -> AsyncIterator[Callable[..., Lab]]:
    """`lab(limit_bytes=…)`."""
    made: list[Lab] = []

    def make(**options: int) -> Lab:
        made.append(Lab(**options))
        return made[-1]

    yield make
    for each in made:
        await each.flusher.close()


async def test_a_batch_becomes_one_object_that_a_reader_understands(lab: Callable[..., Lab]) -> None:
    """Durable, told, and all memory is back."""
    it = lab()
    it.flusher.submit(it.batch(0))
    assert await it.flusher.drain(10)
    [loaded] = it.repository.load_indexes()
    assert (loaded.key, loaded.index.runs[0].next_offset) == (it.told[0].key, 3)
    await asyncio.sleep(0)
    assert it.budget.used_bytes == 0


async def test_what_is_durable_later_is_told_later(lab: Callable[..., Lab]) -> None:
    """The first put fails at first, those behind it are through: a position is the end of contiguous coverage."""
    it = lab()
    it.store.add(Fault(operation="put", key_contains="-0000000001", times=3, error=UnreachableError("gone")))
    for start in (0, 3, 6):
        it.flusher.submit(it.batch(start))
    await asyncio.sleep(0.3)
    assert len(it.repository.load_indexes()) == 2
    assert it.told_starts() == []
    assert await it.flusher.drain(20)
    assert it.told_starts() == [0, 3, 6]


async def test_puts_are_tried_again_for_as_long_as_it_takes_and_health_tells(lab: Callable[..., Lab]) -> None:
    """Since when, how often, why; and that it is over."""
    it = lab()
    it.store.add(Fault(operation="put", times=3, error=StoreBusyError("full")))
    it.flusher.submit(it.batch(0))
    await asyncio.sleep(0.1)
    health = it.flusher.health
    assert health.failing_since_ms > 0
    assert str(health.last_error) == "full"
    assert not await it.flusher.drain(0.01)
    assert await it.flusher.drain(20)
    assert (health.failing_since_ms, health.failures) == (0, 3)
    assert health.last_success_at_ms > 0
    assert not health.unanswered


async def test_a_lost_answer_stores_twice_and_both_names_are_sound(lab: Callable[..., Lab]) -> None:
    """Overlap, never a hole."""
    it = lab()
    it.store.add(Fault(operation="put", error=UnreachableError("lost"), effect=True))
    it.flusher.submit(it.batch(0))
    assert await it.flusher.drain(20)
    loaded = it.repository.load_indexes()
    assert 1 <= len(loaded) <= 2
    assert it.told[0].key in [entry.key for entry in loaded]


async def test_a_batch_larger_than_the_ceiling_passes_when_nothing_is_on_its_way(lab: Callable[..., Lab]) -> None:
    """One giant batch may not stop everything for ever."""
    it = lab(limit_bytes=MIB)
    it.flusher.submit(it.batch(0, leased_bytes=5 * MIB))
    assert await it.flusher.drain(10)
    assert it.told_starts() == [0]


async def test_many_batches_through_a_small_memory(lab: Callable[..., Lab]) -> None:
    """No deadlock, no leak, in order; the ceiling holds."""
    it = lab(limit_bytes=8 * MIB)
    for number in range(40):
        while not it.budget.may_fetch(2 * MIB):
            await asyncio.sleep(0.005)
        it.flusher.submit(it.batch(number * 3, leased_bytes=2 * MIB))
    assert await it.flusher.drain(30)
    assert it.told_starts() == [number * 3 for number in range(40)]
    assert it.budget.used_bytes == 0
    assert it.budget.peak_bytes <= 8 * MIB


async def test_a_listener_that_raises_is_seen(lab: Callable[..., Lab]) -> None:
    """The worker must crash, and not go on as if nothing had happened."""
    it = lab()

    async def broken(_sealed: SealedSegment) -> None:
        raise RuntimeError("a bug")

    it.flusher._on_sealed = broken
    it.flusher.submit(it.batch(0))
    await asyncio.sleep(0.3)
    assert isinstance(it.flusher.crashed, RuntimeError)


async def test_memory_is_given_back_from_anywhere_also_inside_another_call() -> None:
    """A garbage collector may drop a lease in the middle of taking: no lock may be waited for."""
    budget = MemoryBudget(100, 10)
    budget.take(50)
    with budget._lock:
        budget.give_back(50)
    assert budget.used_bytes == 0
    assert budget.try_take(90)
    assert not budget.try_take(11)
    assert budget.peak_bytes == 90
