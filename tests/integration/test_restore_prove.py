"""`prove` says of a sound restore that it is, and finds every kind of difference."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.group_plan import GroupChoice
from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_selection import RestoreSelection
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from mirror.storage.repository import Repository
from tests.capture import capture
from tests.fault.restore_lab import set_configs
from tests.restoring import restore, selection_of


def _produce(bootstrap: str, topic: str, values: list[bytes], *, partition: int = 0) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "compression.type": "lz4"})
    for value in values:
        producer.produce(topic, key=b"k", value=value, partition=partition)
    assert producer.flush(30) == 0


def _commit(bootstrap: str, group: str, topic: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


async def _differences(repository: Repository, bootstrap: str, selection: RestoreSelection) -> list[str]:
    connection = ClusterConnection(bootstrap_servers=(bootstrap,))
    async with RestoreSession(repository, read_inventory(repository), connection, alias="target") as session:
        _, proof = await session.prove(selection, now_ms=time.time_ns() // 1_000_000, on_progress=lambda *_: None)
    return proof.differences


@pytest.mark.parametrize("offsets", OffsetMode)
async def test_a_restore_is_proved_and_each_difference_is_found(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, offsets: OffsetMode
) -> None:
    """Nothing to say of it; then a setting, a group, a record too many and one too few."""
    name, group = topic(2, retention_ms="-1"), f"g-{time.time_ns()}"
    _produce(kafka.bootstrap, name, [b"%d" % n for n in range(300)])
    _produce(kafka.bootstrap, name, [b"other"], partition=1)
    _commit(kafka.bootstrap, group, name, 120)
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    taken = await capture(kafka.bootstrap, [name, GROUP_LOG_TOPIC], store, mode="auto")
    choice = GroupChoice(globs=(group,), renames={group: f"{group}-p"})
    wanted = selection_of(name, prefix="p-", offsets=offsets, groups=choice)
    missing = await _differences(taken.repository, kafka.bootstrap, wanted)
    assert missing == [
        f"p-{name}: it is not on the target",
        f"group {group}-p is not compared in p-{name}-0: not on the target",
    ]
    await restore(taken.repository, kafka.bootstrap, wanted)
    assert await _differences(taken.repository, kafka.bootstrap, wanted) == []

    set_configs(kafka.bootstrap, f"p-{name}", {"retention.ms": "86400000"})
    _commit(kafka.bootstrap, f"{group}-p", f"p-{name}", 121)
    _produce(kafka.bootstrap, f"p-{name}", [b"late"], partition=1)
    found = await _differences(taken.repository, kafka.bootstrap, wanted)
    assert f"p-{name}-1: offset 1 holds a record that this restore did not bring" in found
    assert f"p-{name}: retention.ms is 86400000 instead of -1" in found
    assert f"group {group}-p stands at 121 in p-{name}-0 instead of 120" in found
    assert len(found) == 3

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_records([TopicPartition(f"p-{name}", 0, 5)])[TopicPartition(f"p-{name}", 0)].result(20)
    found = await _differences(taken.repository, kafka.bootstrap, wanted)
    assert f"p-{name}-0: offsets [0, 5) are missing on the target" in found


async def test_groups_are_compared_where_their_topics_are(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """One of two topics was deleted: who stands only in the other is compared, who stands in both too, and what is not is named."""
    gone, kept = topic(1), topic(1)
    both, one = f"both-{gone}", f"one-{gone}"
    for name in (gone, kept):
        _produce(kafka.bootstrap, name, [b"%d" % n for n in range(30)])
        _commit(kafka.bootstrap, both, name, 12)
    _commit(kafka.bootstrap, one, kept, 20)
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    taken = await capture(kafka.bootstrap, [gone, kept, GROUP_LOG_TOPIC], store)
    choice = GroupChoice(globs=(both, one), renames={both: f"{both}-p", one: f"{one}-p"})
    wanted = selection_of(gone, kept, prefix="p-", groups=choice)
    await restore(taken.repository, kafka.bootstrap, wanted)
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.delete_topics([f"p-{gone}"])[f"p-{gone}"].result(20)
    deadline_s = time.monotonic() + 30
    while f"p-{gone}" in admin.list_topics(timeout=10).topics:
        assert time.monotonic() < deadline_s, "it is still there"
        time.sleep(0.1)
    unequal = [f"p-{gone}: it is not on the target", f"group {both}-p is not compared in p-{gone}-0: not on the target"]
    assert await _differences(taken.repository, kafka.bootstrap, wanted) == unequal
    for group in (both, one):
        _commit(kafka.bootstrap, f"{group}-p", f"p-{kept}", 25)
    found = await _differences(taken.repository, kafka.bootstrap, wanted)
    assert set(found) == {
        *unequal,
        f"group {both}-p stands at 25 in p-{kept}-0 instead of 12",
        f"group {one}-p stands at 25 in p-{kept}-0 instead of 20",
    }


async def test_another_value_is_found(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """As many records, one byte of one of them changed."""
    name, other = topic(1), topic(1)
    values = [b"%d" % n for n in range(50)]
    stamp = int(time.time() * 1000)
    for target, list_of in ((name, values), (other, [*values[:30], b"X", *values[31:]])):
        producer = Producer({"bootstrap.servers": kafka.bootstrap})
        for number, value in enumerate(list_of):
            producer.produce(target, value=value, partition=0, timestamp=stamp + number)
        assert producer.flush(30) == 0
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    taken = await capture(kafka.bootstrap, [name], store)
    wanted = selection_of(name, renames={name: other}, groups=GroupChoice(is_wanted=False))
    assert await _differences(taken.repository, kafka.bootstrap, wanted) == [
        f"{other}-0: offset 30 holds another record than the repository's 30"
    ]
