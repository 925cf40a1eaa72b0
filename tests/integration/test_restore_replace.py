"""A topic in the way is destroyed only by name, number and consent, never with records that are stored nowhere."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from mirror.cli.__main__ import main
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_plan import TopicState
from mirror.errors import RefusedError
from mirror.kafka.admin import Admin
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.plan_file import freeze
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.fault.restore_lab import trim
from tests.restoring import Observer, cluster_id, consume_all, restore, selection_of, write_config

pytestmark = pytest.mark.servers


def _produce(bootstrap: str, topic: str, count: int, *, partition: int = 0, text: str = "") -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.num.messages": 7})
    for number in range(count):
        producer.produce(topic, key=b"%d" % number, value=f"{text}{number}".encode(), partition=partition)
    assert producer.flush(20) == 0


async def _captured(bootstrap: str, folder: Path, *topics: str, go_on: Capture | None = None) -> Capture:
    store = FolderStore(str(folder / "repo"))
    if go_on is None:
        store.create()
    return await capture(bootstrap, topics, store, object_bytes=2000, slice_bytes=300, go_on=go_on)


def _state(bootstrap: str, topics: list[str]) -> list[Any]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    described = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in topics])
    configs = {r.name: {k: v.value for k, v in f.result(20).items() if v.source == 1} for r, f in described.items()}
    return [(name, configs[name], consume_all(bootstrap, name)) for name in topics]


def _run(config: Path, bootstrap: str, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    consent = ["--yes", "--target-cluster-id", cluster_id(bootstrap)] if args[0] == "restore" else []
    code = main(["--config", str(config), args[0], "--target", "dst", "--latest", *consent, *args[1:]])
    said = capsys.readouterr()
    return code, said.out + said.err


def test_what_is_not_stored_is_not_destroyed(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused with the ranges, changed nothing; then --discard-unstored and the number of topics let it go; others are untouched."""
    name, other, third = topic(2), topic(1), topic(1)
    _produce(kafka.bootstrap, name, 50)
    _produce(kafka.bootstrap, name, 20, partition=1)
    _produce(kafka.bootstrap, other, 30)
    taken = asyncio.run(_captured(kafka.bootstrap, tmp_path, name, other))
    copy = f"x-{name}"
    asyncio.run(restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="x-")))
    asyncio.run(restore(taken.repository, kafka.bootstrap, selection_of(other, prefix="x-")))
    _produce(kafka.bootstrap, copy, 4, text="new ")
    _produce(kafka.bootstrap, third, 5)
    config = write_config(tmp_path, kafka.bootstrap)
    watched = [copy, f"x-{other}", third]
    before = _state(kafka.bootstrap, watched)
    these = ["--topic", name, "--topic", other, "--prefix", "x-", "--if-not-empty", "replace"]
    refusals = {
        "not in this repository": (these, "restore"),
        f"{copy}-0: [50, 54), 4 records": (these, "plan"),
        "--replace-topics 1": ([*these, "--discard-unstored"], "restore"),
        "would be destroyed": ([*these, "--discard-unstored", "--replace-topics", "0"], "restore"),
        "is not empty": (these[:-2], "restore"),
    }
    for says, (args, verb) in refusals.items():
        code, said = _run(config, kafka.bootstrap, capsys, verb, *args)
        assert (code, says in said) == (4, True), f"{says}: exit {code}: {said}"
    code, said = _run(config, kafka.bootstrap, capsys, "restore", *these, "--replace-topics", "x")
    assert code == 2, said
    code, said = _run(config, kafka.bootstrap, capsys, "plan", *these, "--discard-unstored")
    assert code == 0, said
    assert f"TO BE DESTROYED: topic {copy} and its 74 records" in said
    assert "4 of them NOT IN THIS REPOSITORY" in said
    assert _state(kafka.bootstrap, watched) == before
    code, said = _run(config, kafka.bootstrap, capsys, "restore", *these, "--discard-unstored", "--replace-topics", "1")
    assert code == 0, said
    assert consume_all(kafka.bootstrap, copy) == consume_all(kafka.bootstrap, name)
    assert _state(kafka.bootstrap, watched)[1:] == before[1:]


async def test_what_is_stored_is_replaced(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """A copy of a later moment, one with translated offsets, and one with other partitions."""
    name = topic(1)
    _produce(kafka.bootstrap, name, 40)
    trim(kafka.bootstrap, name, 15)
    taken = await _captured(kafka.bootstrap, tmp_path, name)
    point = RecoveryPoint(kind=PointKind.OFFSETS, offsets={TopicPartition(name, 0): 40})
    wanted = consume_all(kafka.bootstrap, name)
    _produce(kafka.bootstrap, name, 30, text="later ")
    taken = await _captured(kafka.bootstrap, tmp_path, name, go_on=taken)
    await restore(taken.repository, kafka.bootstrap, selection_of(name, prefix="late-"))
    dense = selection_of(name, prefix="dense-", offsets=OffsetMode.TRANSLATED)
    await restore(taken.repository, kafka.bootstrap, dense)
    copies = {f"late-{name}": 55, f"dense-{name}": 55, topic(3): 0}
    for copy, records in copies.items():
        selection = selection_of(name, renames={name: copy}, point=point, if_not_empty=IfNotEmpty.REPLACE)
        plan, _ = await restore(taken.repository, kafka.bootstrap, selection)
        (planned,) = plan.topics
        assert planned.state is TopicState.REPLACED
        assert sum(log.records for log in planned.doomed) == records
        assert not any(log.unstored for log in planned.doomed)
        assert consume_all(kafka.bootstrap, copy) == wanted
        again, result = await restore(taken.repository, kafka.bootstrap, selection)
        assert (again.topics[0].state, result.loaded_records) == (TopicState.COMPLETE, 0)


@pytest.mark.parametrize("when", ["after the deletion", "after the creation"])
async def test_ended_in_the_middle_of_a_replacement(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """The same command makes the topic and loads it."""
    name = topic(2)
    _produce(kafka.bootstrap, name, 40)
    taken = await _captured(kafka.bootstrap, tmp_path, name)
    copy = topic(1)
    _produce(kafka.bootstrap, copy, 3, text="foreign ")
    selection = selection_of(name, renames={name: copy}, if_not_empty=IfNotEmpty.REPLACE, discard_unstored=True)
    create_topic = Admin.create_topic

    async def end(self: Admin, name: str, **options: Any) -> str:
        if when == "after the creation":
            await create_topic(self, name, **options)
        raise asyncio.CancelledError

    with monkeypatch.context() as patched:
        patched.setattr(Admin, "create_topic", end)
        with pytest.raises(asyncio.CancelledError):
            await restore(taken.repository, kafka.bootstrap, selection)
    there = copy in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert there == (when == "after the creation")
    plan, _ = await restore(taken.repository, kafka.bootstrap, selection)
    assert plan.topics[0].state is (TopicState.UNFINISHED if there else TopicState.ABSENT)
    assert consume_all(kafka.bootstrap, copy) == consume_all(kafka.bootstrap, name)


async def test_records_that_come_after_the_look_are_not_destroyed(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Between the plan and its execution, and between a plan file and its use: refused, and all is as it was."""
    name, copy = topic(1), topic(1)
    _produce(kafka.bootstrap, name, 40)
    _produce(kafka.bootstrap, copy, 3, text="foreign ")
    taken = await _captured(kafka.bootstrap, tmp_path, name)
    selection = selection_of(name, renames={name: copy}, if_not_empty=IfNotEmpty.REPLACE, discard_unstored=True)
    connection = ClusterConnection(bootstrap_servers=(kafka.bootstrap,))
    inventory = read_inventory(taken.repository)
    async with RestoreSession(taken.repository, inventory, connection, alias="dst") as session:
        plan, rests = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
        frozen = freeze(selection, plan, taken.repository.identity.repository_id)
        _produce(kafka.bootstrap, copy, 1, text="last ")
        before = _state(kafka.bootstrap, [copy])
        with pytest.raises(RefusedError, match=f"{copy}-0 .*since it was looked at"):
            await session.execute(plan, rests, observer=Observer())
        later, _ = await session.plan(frozen.selection, now_ms=time.time_ns() // 1_000_000)
        with pytest.raises(RefusedError, match=f"topic {copy} .*something else than the plan"):
            frozen.require_same(later, taken.repository.identity.repository_id)
    assert _state(kafka.bootstrap, [copy]) == before
