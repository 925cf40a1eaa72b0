"""Consumer groups come back with their topics: a real consumer goes on where it stood at the moment that is restored."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.group_plan import GroupChoice
from mirror.core.recovery_point import LATEST, OffsetMode, PointKind, RecoveryPoint
from mirror.errors import NoMatchError, RefusedError
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.restoring import restore, selection_of


def _consumer(bootstrap: str, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "session.timeout.ms": 6000,
        }
    )


def _produce(bootstrap: str, topic: str, first: int, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1})
    for number in range(first, first + count):
        producer.produce(topic, value=b"%d" % number, partition=number % 2)
    assert producer.flush(30) == 0


def _commit(bootstrap: str, group: str, topic: str, offsets: dict[int, int], metadata: str = "") -> None:
    consumer = _consumer(bootstrap, group)
    try:
        consumer.commit(
            offsets=[TopicPartition(topic, p, offset, metadata) for p, offset in offsets.items()], asynchronous=False
        )
    finally:
        consumer.close()


def _committed(bootstrap: str, group: str, topic: str, partitions: int = 2) -> list[int]:
    consumer = _consumer(bootstrap, group)
    try:
        return [
            one.offset for one in consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=20)
        ]
    finally:
        consumer.close()


def _read_on(bootstrap: str, group: str, topic: str, count: int) -> list[bytes]:
    """What a consumer of the group gets next."""
    consumer = _consumer(bootstrap, group)
    consumer.subscribe([topic])
    seen: list[bytes] = []
    deadline = time.monotonic() + 40
    try:
        while len(seen) < count and time.monotonic() < deadline:
            for message in consumer.consume(100, timeout=0.5):
                assert message.error() is None, message.error()
                seen.append(message.value())
    finally:
        consumer.close()
    return seen


async def _captured(bootstrap: str, name: str, folder: Path) -> Capture:
    store = FolderStore(str(folder / "repo"))
    store.create()
    return await capture(bootstrap, [name, GROUP_LOG_TOPIC], store)


async def test_a_group_goes_on(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Half of the topic was consumed before the moment: after the restore exactly the other half comes, each record once."""
    name, group = topic(2), f"g-{time.time_ns()}"
    _produce(kafka.bootstrap, name, 0, 200)
    _commit(kafka.bootstrap, group, name, {0: 30, 1: 71}, "where I stood")
    taken = await _captured(kafka.bootstrap, name, tmp_path)
    await asyncio.sleep(0.05)
    at_ms = time.time_ns() // 1_000_000
    await asyncio.sleep(0.05)
    _produce(kafka.bootstrap, name, 200, 100)
    _commit(kafka.bootstrap, group, name, {0: 150, 1: 150})
    taken = await capture(kafka.bootstrap, [name, GROUP_LOG_TOPIC], taken.repository.store, go_on=taken)
    choice = GroupChoice(globs=(group,), renames={group: f"{group}-at"})
    at = RecoveryPoint(kind=PointKind.AT, time_ms=at_ms)
    plan, result = await restore(
        taken.repository, kafka.bootstrap, selection_of(name, prefix="at-", point=at, groups=choice)
    )
    assert [(g.group, g.target_group, len(g.positions)) for g in plan.groups] == [(group, f"{group}-at", 2)]
    # librdkafka commits the byte after the text too; what was committed is what comes back.
    assert {position.metadata for position in result.groups[0].positions.values()} == {"where I stood\0"}
    assert _committed(kafka.bootstrap, f"{group}-at", f"at-{name}") == [30, 71]
    wanted = {b"%d" % n for n in range(200) if n // 2 >= (30, 71)[n % 2]}
    seen = _read_on(kafka.bootstrap, f"{group}-at", f"at-{name}", len(wanted))
    assert sorted(seen) == sorted(wanted)


async def test_translated_positions_never_skip(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Without holes the position is the number of records before it; past the end it is the end."""
    name, group = topic(2), f"g-{time.time_ns()}"
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "transactional.id": f"tx-{name}"})
    producer.init_transactions(30)
    for number in range(10):
        producer.begin_transaction()
        producer.produce(name, value=b"%d" % number, partition=0)
        producer.flush(30)
        (producer.abort_transaction if number % 2 else producer.commit_transaction)(30)
    _produce(kafka.bootstrap, name, 0, 20)
    _commit(kafka.bootstrap, group, name, {0: 9, 1: 10})
    taken = await _captured(kafka.bootstrap, name, tmp_path)
    choice = GroupChoice(globs=(group,), renames={group: f"{group}-t"})
    await restore(
        taken.repository,
        kafka.bootstrap,
        selection_of(name, prefix="t-", point=LATEST, offsets=OffsetMode.TRANSLATED, groups=choice),
    )
    # Of offsets 0 to 8 the records 0, 4 and 8 were committed (record, marker, record, marker …).
    assert _committed(kafka.bootstrap, f"{group}-t", f"t-{name}") == [3, 10]


async def test_an_active_group_is_refused(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Exit 4, and nothing was changed; without groups the topics are restored."""
    name, group = topic(2), f"g-{time.time_ns()}"
    _produce(kafka.bootstrap, name, 0, 20)
    _commit(kafka.bootstrap, group, name, {0: 3, 1: 4})
    taken = await _captured(kafka.bootstrap, name, tmp_path)
    consumer = _consumer(kafka.bootstrap, group)
    consumer.subscribe([name])
    try:
        deadline = time.monotonic() + 30
        while not consumer.assignment() and time.monotonic() < deadline:
            consumer.poll(0.2)
        chosen = GroupChoice(globs=(group,))
        with pytest.raises(RefusedError, match=rf"active on target: {group} \(1 members\)"):
            await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="a-", groups=chosen))
        none = GroupChoice(is_wanted=False)
        _, result = await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="a-", groups=none))
        assert result.loaded_records == 20
    finally:
        consumer.close()
    with pytest.raises(NoMatchError, match="no consumer group had a position"):
        await restore(
            taken.repository, kafka.bootstrap, selection_of(name, prefix="b-", groups=GroupChoice(globs=("nobody",)))
        )


async def test_a_bare_cluster(
    kafka: Any, new_kafka: Callable[[], Any], topic: Callable[..., str], tmp_path: Path
) -> None:
    """A cluster that never had a group: the plan creates nothing there, not even the broker's own group log; the restore puts groups."""
    name, group = topic(2), f"g-{time.time_ns()}"
    _produce(kafka.bootstrap, name, 0, 20)
    _commit(kafka.bootstrap, group, name, {0: 3, 1: 4})
    taken = await _captured(kafka.bootstrap, name, tmp_path)
    bare = new_kafka().bootstrap
    selection = selection_of(name, groups=GroupChoice(globs=(group,)))
    connection = ClusterConnection(bootstrap_servers=(bare,))
    async with RestoreSession(taken.repository, read_inventory(taken.repository), connection, alias="bare") as session:
        plan, _ = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
    assert len(plan.groups) == 1
    assert not AdminClient({"bootstrap.servers": bare}).list_topics(timeout=10).topics
    await restore(taken.repository, bare, selection)
    assert _committed(bare, group, name) == [3, 4]
    # The consumers have gone on: the same command, given again, does not put them back.
    _commit(bare, group, name, {0: 7})
    _, result = await restore(taken.repository, bare, selection)
    assert result.groups[0].left == (f"{group} in {name}-0: at 7, not 3",)
    assert _committed(bare, group, name) == [7, 4]


async def test_groups_of_a_log_of_which_a_part_is_gone_are_refused(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """An object with nothing but commits is deleted: one position is known, another is not. Allowed, the plan says so."""
    name, group = topic(2), f"g-{time.time_ns()}"
    _produce(kafka.bootstrap, name, 0, 20)
    _commit(kafka.bootstrap, f"{group}-first", name, {0: 1})  # the first commit of all makes the group log
    taken = await _captured(kafka.bootstrap, name, tmp_path)
    store = taken.repository.store
    before = {info.key for info in taken.repository.list_segments()}
    _commit(kafka.bootstrap, group, name, {0: 5, 1: 6})
    await capture(kafka.bootstrap, [GROUP_LOG_TOPIC], store, go_on=taken)
    with_commits = {info.key for info in taken.repository.list_segments()} - before
    _commit(kafka.bootstrap, group, name, {0: 7})  # so that something follows in the same partition of the log
    await capture(kafka.bootstrap, [GROUP_LOG_TOPIC], store, go_on=taken)
    for key in with_commits:
        store.delete(key)
    selection = selection_of(name, prefix="gone-", groups=GroupChoice(globs=(group,)))
    with pytest.raises(RefusedError, match="a part of the group log is gone"):
        await restore(taken.repository, kafka.bootstrap, selection)
    assert f"gone-{name}" not in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    connection = ClusterConnection(bootstrap_servers=(kafka.bootstrap,))
    async with RestoreSession(taken.repository, read_inventory(taken.repository), connection, alias="dst") as session:
        plan, _ = await session.plan(replace(selection, allow_missing=True), now_ms=time.time_ns() // 1_000_000)
    assert any("are missing: commits may be unknown" in note for note in plan.group_notes)
    assert [[position.target.partition for position in one.positions] for one in plan.groups] == [[0]]
