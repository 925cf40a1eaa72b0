"""Appending behind what a topic holds: what is there stays, all of the restore comes once, whatever ends it."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from mirror.cli.__main__ import main
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.group_plan import GroupChoice
from mirror.core.not_empty import IfNotEmpty
from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_plan import TopicState
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import PartialError, RefusedError
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from mirror.storage.repository import Repository
from tests.capture import Capture, capture
from tests.restore_cli import RestoreCli
from tests.restoring import Seen, consume_all, restore, selection_of, without_offsets, write_config

pytestmark = pytest.mark.servers


def _produce(bootstrap: str, topic: str, count: int, *, partition: int = 0, text: str = "") -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.num.messages": 20})
    for number in range(count):
        producer.produce(topic, key=b"%d" % number, value=f"{text}{number}".encode(), partition=partition)
    assert producer.flush(20) == 0


async def _captured(bootstrap: str, folder: Path, *topics: str) -> Capture:
    store = FolderStore(str(folder / "repo"))
    store.create()
    return await capture(bootstrap, topics, store, object_bytes=5000, slice_bytes=700)


def _appending(name: str, copy: str, **options: Any) -> RestoreSelection:
    choice: dict[str, Any] = {"groups": GroupChoice(is_wanted=False)} | options
    return selection_of(
        name, renames={name: copy}, offsets=OffsetMode.TRANSLATED, if_not_empty=IfNotEmpty.APPEND, **choice
    )


async def _proof(repository: Repository, bootstrap: str, selection: RestoreSelection) -> list[str]:
    connection = ClusterConnection(bootstrap_servers=(bootstrap,))
    async with RestoreSession(repository, read_inventory(repository), connection, alias="target") as session:
        _, proof = await session.prove(selection, now_ms=time.time_ns() // 1_000_000, on_progress=lambda *_: None)
    return proof.differences


def _of(records: list[Seen], partition: int) -> list[tuple[Any, ...]]:
    return [record for record in without_offsets(records) if record[0] == partition]


async def test_behind_what_is_there_and_only_once(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """The group stands behind the base; the same command again loads nothing, also after others wrote behind it; all is proved."""
    name, copy, group = topic(2), topic(2, retention_ms="77000000"), f"g-{time.time_ns()}"
    _produce(kafka.bootstrap, name, 120)
    _produce(kafka.bootstrap, name, 30, partition=1)
    _produce(kafka.bootstrap, copy, 17, text="theirs ")
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": group, "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition(name, 0, 50), TopicPartition(name, 1, 9)], asynchronous=False)
    consumer.close()
    taken = await _captured(kafka.bootstrap, tmp_path, name, GROUP_LOG_TOPIC)
    theirs = consume_all(kafka.bootstrap, copy)
    groups = GroupChoice(globs=(group,), renames={group: f"{group}-x"})
    selection = _appending(name, copy, groups=groups)
    plan, result = await restore(taken.repository, kafka.bootstrap, selection)
    assert plan.topics[0].state is TopicState.APPENDED
    assert [partition.base_offset for partition in plan.topics[0].partitions] == [17, 0]
    assert result.loaded_records == 150
    wanted = consume_all(kafka.bootstrap, name)
    there = consume_all(kafka.bootstrap, copy)
    for partition in range(2):
        assert _of(there, partition) == _of(theirs, partition) + _of(wanted, partition)
    stands = {position.offset for one in result.groups for position in one.positions.values()}
    assert stands == {17 + 50, 9}
    assert await _proof(taken.repository, kafka.bootstrap, selection) == []
    for _ in range(2):
        again, nothing = await restore(taken.repository, kafka.bootstrap, selection)
        assert (again.topics[0].state, nothing.loaded_records) == (TopicState.COMPLETE, 0)
        assert consume_all(kafka.bootstrap, copy) == there
        _produce(kafka.bootstrap, copy, 3, text="later ")
        there = consume_all(kafka.bootstrap, copy)
    assert await _proof(taken.repository, kafka.bootstrap, selection) == []


async def test_ended_in_the_middle_it_goes_on(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Three times, the first time before any record; nothing is missing and nothing twice."""
    name, copy = topic(2), topic(2)
    _produce(kafka.bootstrap, name, 900)
    _produce(kafka.bootstrap, name, 400, partition=1)
    _produce(kafka.bootstrap, copy, 40, text="theirs ")
    taken = await _captured(kafka.bootstrap, tmp_path, name)
    theirs, wanted = consume_all(kafka.bootstrap, copy), consume_all(kafka.bootstrap, name)
    for least in (0, 60, 200):
        running = asyncio.create_task(
            restore(taken.repository, kafka.bootstrap, _appending(name, copy), bytes_per_second=15_000)
        )
        deadline = time.monotonic() + 40
        while not (_is_marked(kafka.bootstrap, copy) and len(consume_all(kafka.bootstrap, copy)) >= 40 + least):
            assert time.monotonic() < deadline
            assert not running.done(), running
            await asyncio.sleep(0.05)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    await restore(taken.repository, kafka.bootstrap, _appending(name, copy))
    there = consume_all(kafka.bootstrap, copy)
    for partition in range(2):
        assert _of(there, partition) == _of(theirs, partition) + _of(wanted, partition)
    assert not _is_marked(kafka.bootstrap, copy)


def _is_marked(bootstrap: str, topic: str) -> bool:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.describe_configs([resource])[resource].result(20)
    return int(found["message.timestamp.before.max.ms"].value) < 2**63 - 1


async def test_others_in_the_middle_are_not_passed_over(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """It stops; the same command refuses and changes nothing."""
    name, copy = topic(1), topic(1)
    _produce(kafka.bootstrap, name, 900)
    _produce(kafka.bootstrap, copy, 5, text="theirs ")
    taken = await _captured(kafka.bootstrap, tmp_path, name)
    running = asyncio.create_task(
        restore(taken.repository, kafka.bootstrap, _appending(name, copy), bytes_per_second=15_000)
    )
    deadline = time.monotonic() + 40
    while len(consume_all(kafka.bootstrap, copy)) < 50:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    _produce(kafka.bootstrap, copy, 1, text="a stranger's ")
    with pytest.raises(PartialError, match=f"{copy}-0.*somebody else"):
        await running
    before = consume_all(kafka.bootstrap, copy)
    with pytest.raises(RefusedError, match=f"{copy}-0 .*others wrote"):
        await restore(taken.repository, kafka.bootstrap, _appending(name, copy))
    assert consume_all(kafka.bootstrap, copy) == before


def test_the_plan_warns_and_exact_offsets_are_refused(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 with the option that goes with it; the plan says that what is in both is there twice; nothing is changed."""
    name, copy = topic(1), topic(1)
    _produce(kafka.bootstrap, name, 20)
    _produce(kafka.bootstrap, copy, 5, text="theirs ")
    asyncio.run(_captured(kafka.bootstrap, tmp_path, name))
    before = consume_all(kafka.bootstrap, copy)
    config = write_config(tmp_path, kafka.bootstrap)
    args = ["--config", str(config), "plan", "--target", "dst", "--latest", "--topic", name]
    args += ["--rename", f"{name}={copy}", "--if-not-empty", "append"]
    assert main(args) == 2
    assert "--offsets translated" in capsys.readouterr().err
    assert main([*args, "--offsets", "translated"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{copy}: APPENDED behind the 5 offsets that are there" in said
    assert "TWICE" in said
    assert consume_all(kafka.bootstrap, copy) == before


def test_an_append_is_proved_by_its_id(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Asked for as --latest, which its record says too; also where a plan's file was run, and where the repository has gone on."""
    cli = RestoreCli(kafka.bootstrap, tmp_path, topic(2), f"g-{time.time_ns()}", capsys)
    cli.prepare()
    for prefix in ("a-", "b-"):
        topic(2, name=f"{prefix}{cli.topic}")
        _produce(kafka.bootstrap, f"{prefix}{cli.topic}", 19, text="theirs ")
    options = ["--offsets", "translated", "--if-not-empty", "append"]
    assert "translated: behind what is there, else from 0, without holes" in " ".join(
        cli.says("plan", *cli.asked("a-", *options)[1:]).split()
    )
    plan = str(tmp_path / "plan.json")
    cli.says("plan", *cli.asked("b-", *options, "-o", plan)[1:])
    typed = cli.restore("a-", *options)
    by_file = cli.json("restore", "--plan", plan, *cli.consent)["restore_id"]
    assert cli.stands(f"a-{cli.group}", f"a-{cli.topic}") == [119, 120]
    for name in (typed, by_file):
        cli.store_more(3)
        said = cli.says("verify", "restore", name)
        assert "PROVED" in said
        assert "--latest" in said
        assert "--to-offsets" not in said + cli.says("restore", "status", name) + cli.says("restore", "list")
