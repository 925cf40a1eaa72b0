"""The states that an interrupted restore can leave, made on purpose: each is gone on with, or refused, never taken for complete."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from mirror.core.recovery_point import OffsetMode
from mirror.errors import DamageError, PartialError, RefusedError
from mirror.service.restore import fillers, keeping, watching
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.fault.restore_lab import produce, set_configs, transactions, trim, watermarks
from tests.restoring import consume_all, restore, selection_of

pytestmark = pytest.mark.servers


async def _captured(bootstrap: str, topics: list[str], folder: Path) -> Capture:
    store = FolderStore(str(folder / "repo"))
    store.create()
    return await capture(bootstrap, topics, store, object_bytes=20_000, slice_bytes=4000)


async def _stop_when(is_time: Callable[[], bool], running: Coroutine[Any, Any, Any]) -> None:
    """Run until then; what is under way is dropped."""
    task = asyncio.create_task(running)
    deadline = time.monotonic() + 30
    while not is_time():
        assert not task.done(), task
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)


def _same(bootstrap: str, topic: str, copy: str, partitions: int) -> None:
    assert consume_all(bootstrap, copy) == consume_all(bootstrap, topic)
    assert watermarks(bootstrap, copy, partitions) == watermarks(bootstrap, topic, partitions)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_ended_around_the_deletion_of_the_lead(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Filler is there but not deleted; or deleted, with no record behind it, while another partition has records already."""
    name = topic(2)
    produce(kafka.bootstrap, name, 900)
    produce(kafka.bootstrap, name, 300, partition=1)
    trim(kafka.bootstrap, name, 444)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    delete_records = keeping.delete_records
    reached = False

    async def hang(client: Any, before: Any) -> Any:
        nonlocal reached
        if when == "after":
            await delete_records(client, before)
        reached = True
        await asyncio.sleep(60)

    def is_time() -> bool:
        return reached and bool(watermarks(kafka.bootstrap, f"x-{name}", 2)[1][1])

    with monkeypatch.context() as patched:
        patched.setattr(keeping, "delete_records", hang)
        await _stop_when(is_time, restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-")))
    start_offset, log_end = watermarks(kafka.bootstrap, f"x-{name}", 2)[0]
    assert (start_offset, log_end) == (444 if when == "after" else 0, 444)
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    _same(kafka.bootstrap, name, f"x-{name}", 2)


@pytest.mark.parametrize("has_right", [True, False])
async def test_ended_inside_holes(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_right: bool
) -> None:
    """Holes behind the lead, at the beginning and between records; by markers and by aborted transactions."""
    name = topic(2)
    produce(kafka.bootstrap, name, 50)
    trim(kafka.bootstrap, name, 20)
    for partition in (0, 1):
        transactions(kafka.bootstrap, name, [3, 1, 700, 3, 1, 900, 2], partition=partition)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    if not has_right:

        async def may_not(_: Any) -> bool:
            return False

        monkeypatch.setattr(fillers, "may_write_markers", may_not)
    filled: list[int] = []
    reach = keeping.OffsetKeeper.reach
    for end in range(1, 5):

        async def reach_and_hang(self: Any, job: Any, offset: int, *, end: int = end) -> None:
            await reach(self, job, offset)
            filled.append(offset)
            if len(filled) >= end:
                await asyncio.sleep(60)

        filled.clear()
        with monkeypatch.context() as patched:
            patched.setattr(keeping.OffsetKeeper, "reach", reach_and_hang)
            running = restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
            await _stop_when(lambda end=end: len(filled) >= end, running)  # type: ignore[misc]
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    _same(kafka.bootstrap, name, f"x-{name}", 2)


def _one_record(bootstrap: str, topic: str, value: bytes, timestamp_ms: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value=value, partition=0, timestamp=timestamp_ms)
    assert producer.flush(20) == 0


@pytest.mark.parametrize("mode", list(OffsetMode))
async def test_a_strangers_record_in_the_middle(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, mode: OffsetMode
) -> None:
    """The partition is named and the restore is not complete; the same command refuses, although all records look the same."""
    name = topic(1, retention_ms="-1")
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5, "batch.num.messages": 40})
    for _ in range(2000):
        producer.produce(name, value=b"the same", partition=0, timestamp=1_790_000_000_000)
    assert producer.flush(30) == 0
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    selection = selection_of(name, prefix="x-", offsets=mode)
    running = asyncio.create_task(restore(taken.repository, kafka.bootstrap, selection, bytes_per_second=20_000))
    while not any(high for _, high in watermarks(kafka.bootstrap, f"x-{name}", 1)):
        await asyncio.sleep(0.05)
    _one_record(kafka.bootstrap, f"x-{name}", b"the same", 1_790_000_000_000)
    with pytest.raises((PartialError, DamageError), match=f"x-{name}-0.*somebody else"):
        await running
    with pytest.raises(RefusedError, match=f"x-{name}-0 on the target"):
        await restore(taken.repository, kafka.bootstrap, selection)


async def test_a_strangers_record_behind_the_last_one(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 5; the topic is not given its settings as if it were complete, and the same command refuses."""
    name = topic(1, retention_ms="-1")
    produce(kafka.bootstrap, name, 100)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    reach = keeping.OffsetKeeper.reach

    async def reach_and_spoil(self: Any, job: Any, offset: int) -> None:
        await reach(self, job, offset)
        if offset == 100:
            await asyncio.to_thread(_one_record, kafka.bootstrap, f"x-{name}", b"!", 0)

    with monkeypatch.context() as patched:
        patched.setattr(keeping.OffsetKeeper, "reach", reach_and_spoil)
        with pytest.raises(DamageError, match=f"x-{name}-0 .*somebody else changed the topic"):
            await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))
    with pytest.raises(RefusedError, match=f"x-{name}-0 on the target: its log ends at 101"):
        await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-"))


async def test_a_topic_that_was_empty_when_it_was_planned(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody wrote to it while a person thought about the plan: refused, its settings and records as they were."""
    name, other = topic(1), topic(1, retention_ms="777000")
    produce(kafka.bootstrap, name, 100)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    choose_filler = fillers.choose_filler

    async def late(*args: Any) -> Any:
        await asyncio.to_thread(_one_record, kafka.bootstrap, other, b"mine", 5)
        return await choose_filler(*args)

    monkeypatch.setattr("mirror.service.restore.run.choose_filler", late)
    with pytest.raises(RefusedError, match=f"topic {other} .*since the plan was made"):
        await restore(taken.repository, kafka.bootstrap, selection_of(name, renames={name: other}))
    assert [record.value for record in consume_all(kafka.bootstrap, other)] == [b"mine"]
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert _configs(admin, other) == {"retention.ms": "777000"}


def _configs(admin: AdminClient, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    found = admin.describe_configs([resource])[resource].result(20)
    return {name: entry.value for name, entry in found.items() if entry.source == 1}


REVERTED: dict[str, dict[str, str | None]] = {
    "retention.ms": {"retention.ms": "604800000"},
    "cleanup.policy": {"cleanup.policy": "compact"},
    "message.timestamp.type": {"message.timestamp.type": "LogAppendTime"},
    "mark": {"message.timestamp.before.max.ms": None},
}


@pytest.mark.parametrize("what", REVERTED)
async def test_settings_reverted_in_the_middle(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, what: str
) -> None:
    """It stops and names the setting; the same command goes on where nothing was lost, and else refuses."""
    name = topic(1)
    produce(kafka.bootstrap, name, 2000)
    taken = await _captured(kafka.bootstrap, [name], tmp_path)
    selection = selection_of(name, prefix="x-")
    running = asyncio.create_task(restore(taken.repository, kafka.bootstrap, selection, bytes_per_second=30_000))
    while not any(high for _, high in watermarks(kafka.bootstrap, f"x-{name}", 1)):
        await asyncio.sleep(0.05)
    set_configs(kafka.bootstrap, f"x-{name}", REVERTED[what])
    (setting,) = REVERTED[what]
    with pytest.raises(PartialError, match=f"x-{name}.*{setting}"):
        await running
    if what == "message.timestamp.type":
        with pytest.raises(RefusedError, match=f"x-{name}"):
            await restore(taken.repository, kafka.bootstrap, selection)
    else:
        await restore(taken.repository, kafka.bootstrap, selection)
        _same(kafka.bootstrap, name, f"x-{name}", 1)


async def test_what_compaction_took_in_the_middle_is_missed(
    new_kafka: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody makes the topic compacted while it is loaded: the restore stops; what is lost by then is found, not passed over."""
    monkeypatch.setattr(watching, "_EVERY_S", 1000.0)  # seen late: by the last look
    kafka = new_kafka(properties={"log.cleaner.backoff.ms": "200"})
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic("few", 1, 1)])["few"].result(30)
    for _ in range(8):  # segments are rolled by the records' own times
        produce(kafka.bootstrap, "few", 500)
        time.sleep(0.15)
    taken = await _captured(kafka.bootstrap, ["few"], tmp_path)
    selection = selection_of("few", prefix="x-")
    running = asyncio.create_task(restore(taken.repository, kafka.bootstrap, selection, bytes_per_second=60_000))
    while not any(high for _, high in watermarks(kafka.bootstrap, "x-few", 1)):
        await asyncio.sleep(0.05)
    compact: dict[str, str | None] = {
        "cleanup.policy": "compact",
        "segment.ms": "100",
        "min.cleanable.dirty.ratio": "0.01",
    }
    set_configs(kafka.bootstrap, "x-few", compact)
    with pytest.raises(PartialError, match=r"x-few.*cleanup.policy"):
        await running
    deadline = time.monotonic() + 30
    while len(there := consume_all(kafka.bootstrap, "x-few")) == there[-1].offset + 1:
        if time.monotonic() > deadline:
            pytest.skip("the broker's cleaner took nothing: no segment was rolled in time")
        await asyncio.sleep(0.3)
    with pytest.raises(RefusedError, match=r"x-few-0 on the target: its settings were changed .* offsets? \[?\d+"):
        await restore(taken.repository, kafka.bootstrap, selection)
