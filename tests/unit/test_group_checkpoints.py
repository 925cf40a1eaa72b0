"""When checkpoints of the group log are made, what a look-up opens then, and what is said of damaged ones."""

import asyncio
import logging

import pytest

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.group_checkpoint import GroupCheckpoint, decode_group_checkpoint, encode_group_checkpoint
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.keys import GROUPS_PREFIX, ROLLUP_PREFIX, parse_group_checkpoint_key
from mirror.core.positions import PartitionId
from mirror.core.segment.index import GapEntry
from mirror.errors import DamageError
from mirror.service import group_checkpointing
from mirror.service.group_checkpointing import GroupCheckpointer
from mirror.service.groups import GroupView, read_groups
from mirror.service.housekeeping import Housekeeper
from mirror.service.verify import verify_repository
from mirror.storage.memory import MemoryStore
from tests.builders import a_marker
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_slice

DAY_MS = 24 * 60 * 60 * 1000


class CountingStore(MemoryStore):
    """Remembers which bodies were read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """Part of an object."""
        self.opened.append(key)
        return super().get_range(key, position, length_bytes)


def a_history(objects: int, *, store: MemoryStore | None = None) -> RepositoryBuilder:
    """An object a second, each with a commit of ``bill`` to the next offset."""
    builder = RepositoryBuilder(store=store or MemoryStore())
    builder.start(GROUP_LOG_TOPIC, 0)
    for number in range(objects):
        add(builder, number)
    return builder


def add(builder: RepositoryBuilder, number: int, *, producer_id: int = -1) -> str:
    """One more commit."""
    record = a_commit_key("bill"), a_commit_value(number)
    at_ms, is_transactional = T0_MS + number * 1000, producer_id >= 0
    batch = a_commit_batch(number, record, at_ms=at_ms, producer_id=producer_id, transactional=is_transactional)
    return builder.put([a_slice(GROUP_LOG_TOPIC, 0, number, batch)])


def coverages(builder: RepositoryBuilder) -> dict[PartitionId, PartitionCoverage]:
    """All that is stored."""
    return build_coverage((entry.key, entry.index) for entry in builder.repository.load_indexes())


def bill(view: GroupView) -> int:
    """Where the group stood."""
    (position,) = view.groups["bill"].values()
    return position.offset


def checkpoints(builder: RepositoryBuilder) -> list[str]:
    """Their keys."""
    return [info.key for info in builder.store.list(GROUPS_PREFIX)]


def make(builder: RepositoryBuilder, writer: str = "w1") -> str:
    """One, at once."""
    return GroupCheckpointer(builder.repository, writer).look(builder.now_ms, at_once=True)


def test_only_what_is_behind_the_checkpoint_is_opened() -> None:
    """By count: of forty objects three are read, one for the time right after the checkpoint, all forty before it."""
    store = CountingStore()
    builder = a_history(37, store=store)
    assert parse_group_checkpoint_key(make(builder)).newest_record_ms == T0_MS + 36_000
    later = [add(builder, number) for number in (37, 38, 39)]
    covered = coverages(builder)
    store.opened.clear()
    assert bill(read_groups(builder.repository, covered)) == 39
    assert store.opened == later
    store.opened.clear()
    assert bill(read_groups(builder.repository, covered, next_offsets={PartitionId(TOPIC_ID, 0): 38})) == 37
    assert store.opened == later[:1]
    store.opened.clear()
    assert bill(read_groups(builder.repository, covered, at_ms=T0_MS + 35_000)) == 35
    assert len(store.opened) == 40


def test_a_checkpoint_is_made_from_the_last_one() -> None:
    """So that making one reads little, too; and an open transaction is carried from one to the next."""
    store = CountingStore()
    builder = a_history(20, store=store)
    add(builder, 20, producer_id=7)
    make(builder, "w1")
    store.opened.clear()
    added = add(builder, 21, producer_id=7)
    make(builder, "w2")
    assert store.opened == [added]
    assert len(checkpoints(builder)) == 2
    assert bill(read_groups(builder.repository, coverages(builder))) == 19
    builder.put([a_slice(GROUP_LOG_TOPIC, 0, 22, a_marker(22, 7, commit=True, timestamp_ms=T0_MS + 22_000))])
    assert bill(read_groups(builder.repository, coverages(builder))) == 21


def test_checkpoints_are_made_when_they_are_worth_it() -> None:
    """Not of little, unless a day has passed; never twice of the same; once a day where something was added."""
    builder = a_history(10)
    now_ms = builder.now_ms
    maker = GroupCheckpointer(builder.repository, "w1")
    assert maker.run_once(now_ms) == ""  # the first look is later
    assert maker.look(0) == ""
    assert maker.look(now_ms) == checkpoints(builder)[0]
    assert maker.look(now_ms + 5 * DAY_MS) == ""
    assert maker.look(now_ms, at_once=True) == ""
    for number in range(10, 10 + 255):
        add(builder, number)
    assert maker.look(now_ms + 60_000) == ""
    add(builder, 265)  # fetching 256 objects costs as much as 16 MiB
    assert maker.look(now_ms + 60_000) == checkpoints(builder)[1]


def test_a_round_looks_once_an_hour() -> None:
    """At the first round after a while, then not for long."""
    builder = a_history(5)
    maker = GroupCheckpointer(builder.repository, "w1", first_look_seconds=0)
    assert maker.run_once(builder.now_ms) == checkpoints(builder)[0]
    add(builder, 5)
    assert maker.run_once(builder.now_ms + 5 * DAY_MS) == ""


def test_a_housekeeper_goes_on_whatever_is_damaged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Roll-ups are made though the group log cannot be read; both only by the worker whose task it is."""
    builder = a_history(3)
    (damaged, *_) = [info.key for info in builder.store.list("l0/") if info.key.endswith("2.seg")]
    data = bytearray(builder.store.get(damaged))
    data[20] ^= 1
    builder.store.delete(damaged)
    builder.store.put(damaged, bytes(data))
    monkeypatch.setattr(group_checkpointing, "_FIRST_LOOK_SECONDS", 0.0)
    told: list[bool] = []

    async def story() -> None:
        keeper = Housekeeper(builder.repository, "w1", every_seconds=0.01)
        task = asyncio.create_task(keeper.run(lambda: len(told) > 2 or bool(told.append(True))))
        give_up_at = asyncio.get_running_loop().time() + 30
        while not list(builder.store.list(ROLLUP_PREFIX)) or "is not made now" not in caplog.text:
            assert asyncio.get_running_loop().time() < give_up_at
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(story())
    assert (len(told), checkpoints(builder)) == (3, [])


def test_an_object_that_came_late_makes_a_checkpoint_useless() -> None:
    """What was missing when it was made counts; nothing is said twice, nothing is forgotten."""
    builder = a_history(3)
    jill = a_commit_batch(3, (a_commit_key("jill"), a_commit_value(5)))
    late = a_slice(GROUP_LOG_TOPIC, 0, 3, jill)
    gap = GapEntry(
        topic=GROUP_LOG_TOPIC,
        topic_id=TOPIC_ID,
        partition=0,
        start_offset=3,
        next_offset=4,
        reason="retention",
        detected_at_ms=T0_MS,
    )
    builder.put(gaps=[gap])
    add(builder, 4)
    make(builder)
    before = read_groups(builder.repository, coverages(builder))
    assert (sorted(before.groups), len(before.problems)) == (["bill"], 1)
    builder.put([late])
    after = read_groups(builder.repository, coverages(builder))
    assert (sorted(after.groups), after.problems) == (["bill", "jill"], ())


@pytest.mark.parametrize("damage", ["cut", "empty", "swapped", "foreign name", "other repository", "newer"])
def test_a_damaged_checkpoint_is_passed_over_and_named(damage: str, caplog: pytest.LogCaptureFixture) -> None:
    """Look-ups read more and say the same; `mirror verify` names it."""
    builder = a_history(6)
    key = make(builder)
    data = builder.store.get(key)
    bad = {"cut": data[:-1], "empty": b""}.get(damage, data)
    if damage == "swapped":
        builder.store.delete(key)
        key = key.replace("-w1.idx", "-w2.idx").replace(f"{T0_MS + 5000}", f"{T0_MS + 6000}")
    elif damage == "foreign name":
        builder.store.delete(key)
        key = f"{GROUPS_PREFIX}{TOPIC_ID}/latest.idx"
    elif damage in ("other repository", "newer"):
        checkpoint = decode_group_checkpoint(data, key)
        fields = {name: getattr(checkpoint, name) for name in checkpoint.__struct_fields__}
        changed = {"repository_id": "other"} if damage == "other repository" else {"format_version": 2}
        bad = encode_group_checkpoint(GroupCheckpoint(**(fields | changed))) or b""
    builder.store.delete(key)
    builder.store.put(key, bad)
    with caplog.at_level(logging.WARNING):
        assert bill(read_groups(builder.repository, coverages(builder))) == 5
    assert any("checkpoint" in record.message for record in caplog.records) == (damage != "foreign name")
    report = verify_repository(builder.repository, level="quick")[0]
    kind = "object_foreign" if damage == "foreign name" else "checkpoint_damaged"
    assert [(finding.kind, finding.object_key) for finding in report.findings] == [(kind, key)]


def test_a_sound_checkpoint_is_counted() -> None:
    """By `mirror verify`; and its object has the frame that the specification says."""
    builder = a_history(6)
    key = make(builder)
    report = verify_repository(builder.repository, level="quick")[0]
    assert (report.findings, report.counts.group_checkpoints) == ([], 1)
    with pytest.raises(DamageError, match="something stands before"):
        decode_group_checkpoint(builder.store.get(add(builder, 6)), "an object with a body")
    checkpoint = decode_group_checkpoint(builder.store.get(key), key)
    assert [(part.partition, part.next_offset) for part in checkpoint.partitions] == [(0, 6)]
