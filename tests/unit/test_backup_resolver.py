"""Where a partition goes on: the store is the truth, the table only makes us look again, a start is durable before the first fetch."""

import time
from typing import Any

import pytest

from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.safe_positions import SafePosition
from mirror.core.segment.index import StartEntry
from mirror.errors import UnreachableError
from mirror.kafka.cluster import LogOffsets
from mirror.service.backup import resolver as module
from mirror.service.backup.resolver import PositionResolver
from mirror.storage.faulty import Fault, FaultyStore
from mirror.storage.memory import MemoryStore
from tests.builders import TOPIC_ID, a_batch, a_repository, a_run_draft, a_segment, a_slice

TP = TopicPartition("orders", 0)
PARTITION = PartitionId(TOPIC_ID, 0)


class Lab:
    """A resolver over a memory store, a table and a log that are told what to say."""

    def __init__(self) -> None:
        self.store = FaultyStore(MemoryStore())
        self.repository = a_repository(self.store)
        self.table: dict[PartitionId, SafePosition] = {}
        self.topic: str | None = TOPIC_ID
        self.order: list[str] = []
        self.put_fails = False
        self.client = None

    def topic_id(self, _name: str) -> str | None:
        """As the view of a cluster."""
        return self.topic

    def resolver(self, start: Any = "earliest") -> PositionResolver:
        """A new one, as after a restart."""
        view: Any = self
        return PositionResolver(self.repository, view, look_up=self.table.get, put_starts=self._put_starts, start=start)

    def put(self, sequence: int, start: int) -> None:
        """An object of this moment, with three records from ``start``."""
        draft = a_run_draft(a_slice(a_batch(start, 3, leader_epoch=4), start_offset=start))
        repository_id = self.repository.identity.repository_id
        now_ms = int(time.time() * 1000)
        key, body, _ = a_segment(draft, sequence=sequence, repository_id=repository_id, sealed_at_ms=now_ms)
        self.store.put(key, body)

    async def _put_starts(self, starts: list[StartEntry]) -> None:
        if self.put_fails:
            raise UnreachableError("the store is gone")
        self.order += [f"start {entry.topic} {entry.start_offset} {entry.reason}" for entry in starts]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The log begins at 40, ends at 90, and is stable up to 80."""

    async def log_offsets(_client: Any, tps: set[TopicPartition]) -> dict[TopicPartition, LogOffsets]:
        return dict.fromkeys(tps, LogOffsets(40, 90, 80))

    monkeypatch.setattr(module, "log_offsets", log_offsets)
    return Lab()


async def test_a_partition_never_seen_begins_at_the_start_of_its_log_durably(lab: Lab) -> None:
    """Recorded before the position is given away."""
    found = await lab.resolver().resolve({TP})
    assert found[TP].offset == 40
    assert lab.order == ["start orders 40 earliest"]


async def test_latest_is_the_last_stable_offset(lab: Lab) -> None:
    """What an open transaction holds is still to come."""
    assert (await lab.resolver("latest").resolve({TP}))[TP].offset == 80


async def test_no_position_without_a_durable_start(lab: Lab) -> None:
    """The store is gone: the caller tries again, nothing is fetched meanwhile."""
    lab.put_fails = True
    with pytest.raises(UnreachableError):
        await lab.resolver().resolve({TP})


async def test_the_store_says_where_to_go_on_and_under_which_leader_epoch(lab: Lab) -> None:
    """From a fresh start; a hole in the middle is where it goes on."""
    lab.put(1, 0)
    lab.put(2, 3)
    lab.put(3, 9)
    found = await lab.resolver().resolve({TP})
    assert (found[TP].offset, found[TP].leader_epoch) == (6, 4)
    assert lab.order == []


async def test_a_table_that_knows_more_makes_the_repository_be_read_again(lab: Lab) -> None:
    """Another worker's object, put after our look; a table that is behind changes nothing."""
    lab.put(1, 0)
    resolver = lab.resolver()
    await resolver.load()
    lab.put(2, 3)
    lab.table[PARTITION] = SafePosition(6, 4)
    assert (await resolver.resolve({TP}))[TP].offset == 6
    assert resolver.durable_offset(PARTITION) == 6
    lab.table[PARTITION] = SafePosition(1)
    assert (await lab.resolver().resolve({TP}))[TP].offset == 6


async def test_what_only_the_table_knows_is_gone_and_fetched_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Somebody deleted the newest object: going on behind it would leave a hole for ever."""
    lab.put(1, 0)
    lab.table[PARTITION] = SafePosition(60, 5)
    assert (await lab.resolver().resolve({TP}))[TP].offset == 3
    assert "orders-0 was stored up to 60, but the repository has it up to 3 only" in caplog.text


async def test_a_partition_whose_only_objects_are_gone_begins_anew(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """With a start of its own, and never in silence."""
    lab.table[PARTITION] = SafePosition(60, 5)
    assert (await lab.resolver().resolve({TP}))[TP].offset == 40
    assert "orders-0 was stored up to 60" in caplog.text


async def test_what_another_worker_wrote_is_read_before_its_partition_is_resolved(lab: Lab) -> None:
    """After a rebalance; without a new look the old position stands, which only repeats."""
    lab.put(1, 0)
    resolver = lab.resolver()
    assert (await resolver.resolve({TP}))[TP].offset == 3
    lab.put(2, 3)
    assert (await resolver.resolve({TP}))[TP].offset == 3
    await resolver.load()
    assert (await resolver.resolve({TP}))[TP].offset == 6


async def test_a_store_that_cannot_be_read_gives_no_position(lab: Lab) -> None:
    """Beginning anew because a listing failed would be the worst of all."""
    lab.put(1, 0)
    lab.store.add(Fault(operation="list", error=UnreachableError("gone")))
    lab.store.add(Fault(operation="list_folders", error=UnreachableError("gone")))
    with pytest.raises(UnreachableError):
        await lab.resolver().resolve({TP})
    assert lab.order == []


async def test_a_topic_that_is_gone_is_left_out(lab: Lab) -> None:
    """The caller asks again; the others are resolved."""
    lab.topic = None
    assert await lab.resolver().resolve({TP}) == {}
