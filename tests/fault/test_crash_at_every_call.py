"""A crash after any storage call leaves a repository that opens, and in which everything that was told is durable.

Order of effects (docs/format.md): object durable, then told. The store here dies for good at its n-th call, before or after that call's
effect; whatever the writer does then, a fresh reader must find at least what had been told.
"""

import asyncio
import contextlib
from itertools import count

import pytest

from mirror.core.coverage import build_coverage
from mirror.core.keys import SLOT_MS
from mirror.core.positions import PartitionId
from mirror.core.segment.index import StartEntry, TopicObject
from mirror.errors import RepositoryNotFoundError, StoreError
from mirror.kafka.memory_budget import MemoryBudget
from mirror.service.backup.collector import FlushBatch
from mirror.service.backup.flusher import Flusher, FlusherSettings, SealedSegment
from mirror.service.rolling_up import RollupMaker
from mirror.storage.memory import MemoryStore
from mirror.storage.repository import create_repository, open_repository
from tests.builders import TOPIC_ID, a_batch, a_run_draft, a_slice

CLUSTER_ID = "VlFzxHnrTQmumjwBTrYXkg"
FLUSHES = 4
RECORDS = 3


class CrashError(StoreError):
    """The process is gone: nothing after this call happens."""


class MortalStore(MemoryStore):
    """Dies at the n-th writing call, before or after its effect, and takes no more; what is in it can still be read."""

    def __init__(self, *, dies_at: int, after_effect: bool) -> None:
        super().__init__()
        self.calls = 0
        self._dies_at = dies_at
        self._after_effect = after_effect

    @property
    def is_dead(self) -> bool:
        """Whether it has died."""
        return self.calls > self._dies_at

    def _survives(self) -> bool:
        self.calls += 1
        return self.calls <= self._dies_at

    def put(self, key: str, body: bytes) -> None:
        """See the class."""
        alive = self._survives()
        if alive or (self._after_effect and self.calls == self._dies_at + 1):
            super().put(key, body)
        if not alive:
            raise CrashError("crashed")

    def put_new(self, key: str, body: bytes) -> None:
        """See the class."""
        alive = self._survives()
        if alive or (self._after_effect and self.calls == self._dies_at + 1):
            super().put_new(key, body)
        if not alive:
            raise CrashError("crashed")


async def _write(store: MortalStore, told: list[SealedSegment]) -> None:
    repository = create_repository(store, cluster_id=CLUSTER_ID, created_at_ms=1, created_by="test")

    async def tell(sealed: SealedSegment) -> None:
        told.append(sealed)

    flusher = Flusher(
        repository,
        MemoryBudget(64 << 20, 16 << 20),
        FlusherSettings(writer="w1", body_mode="passthrough", zstd_level=3, put_threads=2),
        on_sealed=tell,
    )
    try:
        start = StartEntry(
            topic="orders", topic_id=TOPIC_ID, partition=0, start_offset=0, reason="earliest", recorded_at_ms=1
        )
        batches = [FlushBatch([], [], [], [start])]
        for number in range(FLUSHES):
            first = number * RECORDS
            batches.append(FlushBatch([a_run_draft(a_slice(a_batch(first, RECORDS), start_offset=first))], [], []))
        for batch in batches:
            flusher.submit(batch)
        while flusher.in_flight and not store.is_dead:
            await asyncio.sleep(0.001)
        if store.is_dead:
            return
        repository.put_topic(
            TopicObject(
                format_version=1,
                topic="orders",
                topic_id=TOPIC_ID,
                partition_count=1,
                replication_factor=1,
                configs={},
                captured_at_ms=1_795_420_000_000,
            )
        )
        later = max(sealed.durable_at_ms for sealed in told) + 3 * SLOT_MS
        RollupMaker(repository, "w1").run_once(later)
    finally:
        await flusher.close()


@pytest.mark.parametrize("after_effect", [False, True], ids=["before the effect", "after the effect"])
def test_a_crash_at_any_call_leaves_all_that_was_told(after_effect: bool) -> None:
    """For every writing call: what was told before the crash is readable afterwards, in one contiguous range."""
    for dies_at in count():
        store = MortalStore(dies_at=dies_at, after_effect=after_effect)
        told: list[SealedSegment] = []
        with contextlib.suppress(CrashError):
            asyncio.run(_write(store, told))
        ended = not store.is_dead
        if dies_at == 0 and not after_effect:
            with pytest.raises(RepositoryNotFoundError):
                open_repository(store)
            continue
        repository = open_repository(store)
        coverage = build_coverage((entry.key, entry.index) for entry in repository.load_indexes())
        promised = max((run.next_offset for sealed in told for run in sealed.index.runs), default=0)
        found = coverage.get(PartitionId(TOPIC_ID, 0))
        if promised:
            assert found is not None
            assert found.position >= promised
            assert found.overlap_offsets == 0
        repository.list_topics()
        if ended:
            assert promised == FLUSHES * RECORDS
            assert (
                store.calls > FLUSHES + 3
            )  # the repository, starts, flushes, topic and roll-up were all put to the test
            return
