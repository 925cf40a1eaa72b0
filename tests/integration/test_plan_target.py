"""What a plan tells of its target before anything is written: missing rights, too few brokers, who uses the topics."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from mirror.cli.__main__ import main
from mirror.core.restore_plan import TopicState
from mirror.core.segment.index import TopicObject
from mirror.kafka.admin import Admin
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.service.restore.target_users import describe_users
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.restoring import restore, selection_of, write_config

pytestmark = pytest.mark.servers


def _produce(bootstrap: str, topic: str, count: int, **options: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, **options})
    for number in range(count):
        producer.produce(topic, value=b"%d" % number, partition=0)
    assert producer.flush(20) == 0


def _stored(bootstrap: str, names: list[str], folder: Path) -> Capture:
    store = FolderStore(str(folder / "repo"))
    store.create()
    return asyncio.run(capture(bootstrap, names, store))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def test_fewer_brokers_than_replicas_need_a_word(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4 with the option; given it, the plan goes on and says what becomes of settings that count replicas."""
    name = topic(1)
    _produce(kafka.bootstrap, name, 5)
    taken = _stored(kafka.bootstrap, [name], tmp_path)
    (captured,) = taken.repository.list_topics()
    wide = {"replication_factor": 3, "configs": {"min.insync.replicas": "2"}}
    values = {field: getattr(captured, field) for field in captured.__struct_fields__} | wide
    taken.repository.put_topic(TopicObject(**{**values, "captured_at_ms": captured.captured_at_ms + 1}))
    config = write_config(tmp_path, kafka.bootstrap)
    args = ["--config", str(config), "plan", "--target", "dst", "--latest", "--topic", name, "--prefix", "x-"]
    assert main(args) == 4
    said = capsys.readouterr().err
    assert f"dst has 1 broker, 1 topic has more replicas than that at the source:\n  {name}: 3" in said
    assert "hint: --replication-factor 1" in said
    assert main([*args, "--replication-factor", "1"]) == 0
    said = capsys.readouterr().out
    assert "1 instead of 3 replicas: --replication-factor" in said
    assert "min.insync.replicas 1 instead of 2" in said


@contextmanager
def _reading(bootstrap: str, topic: str, group: str) -> Iterator[None]:
    """A consumer with the topic assigned to it."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "session.timeout.ms": 10_000})
    try:
        consumer.subscribe([topic])
        deadline = time.monotonic() + 60
        while not consumer.assignment():
            assert time.monotonic() < deadline
            consumer.poll(0.2)
        yield
    finally:
        consumer.close()


def test_a_group_that_reads_a_topic_is_told(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A group that reads a topic of the plan; a worker that backs the topic up is to see what is restored."""
    name = topic(1)
    _produce(kafka.bootstrap, name, 20)
    _stored(kafka.bootstrap, [name], tmp_path)
    config = write_config(tmp_path, kafka.bootstrap)
    args = ["--config", str(config), "plan", "--target", "dst", "--latest", "--topic", name, "--json"]
    group = f"reader-{name}"
    twin = topic(1, name=f"twin-{name}")
    worker = f"w-{name}"
    for suffix in ("-sealed", "-ledger-changelog", "-__assignor-__leader"):
        topic(1, name=f"{worker}{suffix}")
    with _reading(kafka.bootstrap, twin, group), _reading(kafka.bootstrap, twin, worker):
        assert main([*args, "--rename", f"{name}={twin}"]) == 0
    (said,) = json.loads(capsys.readouterr().out)["plan"]["in_use"]
    assert said.startswith(f"live consumers: group {group} (1 member) reads {twin}")


async def test_producers_that_wrote_lately_are_told(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Those with an id, on topics that hold something; a restore's own are not meant."""
    name = topic(1)
    _produce(kafka.bootstrap, name, 20)
    taken = await asyncio.to_thread(_stored, kafka.bootstrap, [name], tmp_path)
    twin = f"p-{name}"
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="p-"))
    connection = ClusterConnection(bootstrap_servers=(kafka.bootstrap,))

    async def in_use() -> tuple[str, ...]:
        return await describe_users(client, Admin(connection, client), plan, now_ms=_now_ms())

    async with (
        RestoreSession(taken.repository, read_inventory(taken.repository), connection, alias="dst") as session,
        await open_client(connection) as client,
    ):
        plan, _ = await session.plan(selection_of(name, prefix="p-"), now_ms=_now_ms())
        assert plan.topics[0].state is TopicState.COMPLETE
        assert plan.in_use == ()
        await asyncio.to_thread(_produce, kafka.bootstrap, twin, 1, **{"enable.idempotence": True})
        (said,) = await in_use()
    assert said == f"live producers: 1 wrote to {twin} in the last 15 minutes: stop them before the restore"
