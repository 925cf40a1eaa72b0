"""What a plan tells: both readings of a moment, as a user sees it."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from mirror.cli.__main__ import main
from mirror.core.moments import format_moment
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.core.restore_plan import RestorePlan
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.readings import Readings, find_readings
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from tests.capture import Capture, capture
from tests.restoring import cluster_id, consume_all, selection_of, write_config

pytestmark = pytest.mark.servers

DAY_MS = 86_400_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _produce(bootstrap: str, topic: str, times_ms: list[int]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "acks": "all"})
    for time_ms in times_ms:
        producer.produce(topic, value=b"%d" % time_ms, partition=0, timestamp=time_ms)
    assert producer.flush(20) == 0


def _json(capsys: pytest.CaptureFixture[str], config: Path, *args: str) -> dict[str, Any]:
    assert main(["--config", str(config), "plan", "--target", "dst", *args, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def _replay(bootstrap: str, name: str, folder: Path) -> tuple[int, Capture]:
    """Twenty records as time goes by, stored; then, from the moment that is returned on, ten stamped days earlier."""
    _produce(bootstrap, name, [_now_ms() - 20 + n for n in range(20)])
    store = FolderStore(str(folder / "repo"))
    store.create()
    taken = asyncio.run(capture(bootstrap, [name], store))
    time.sleep(0.05)
    moment_ms = _now_ms()
    time.sleep(0.05)
    _produce(bootstrap, name, [moment_ms - 3 * DAY_MS + n for n in range(10)])
    _produce(bootstrap, name, [_now_ms() + 50 + n for n in range(5)])
    return moment_ms, asyncio.run(capture(bootstrap, [name], store, go_on=taken))


def test_a_replay_is_told_by_both_counts(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--at` before the replay brings none of it, `--until` all; each plan shows both counts, and the restores bring just these."""
    name = topic(1)
    moment_ms, _ = _replay(kafka.bootstrap, name, tmp_path)
    config = write_config(tmp_path, kafka.bootstrap)
    moment = format_moment(moment_ms)
    consent = ["--target-cluster-id", cluster_id(kafka.bootstrap)]
    counts = {
        "topic": name,
        "partition": 0,
        "at_records": 20,
        "until_records": 30,
        "only_at_records": 0,
        "only_until_records": 10,
        "is_exact": True,
    }
    for option in ("at", "until"):
        found = _json(capsys, config, f"--{option}", moment, "--topic", name, "--prefix", f"{option}-")["readings"]
        assert (found["taken"], found["differing"], found["unsure"]) == (option, [counts], [])
        assert found["opened_runs"] <= 2
        args = ["--config", str(config), "restore", "--target", "dst", f"--{option}", moment, "--topic", name]
        assert main([*args, "--prefix", f"{option}-", "--yes", *consent]) == 0
        capsys.readouterr()
    assert len(consume_all(kafka.bootstrap, f"at-{name}")) == 20
    assert len(consume_all(kafka.bootstrap, f"until-{name}")) == 30
    assert (
        main(["--config", str(config), "plan", "--target", "dst", "--at", moment, "--topic", name, "--prefix", "p-"])
        == 0
    )
    said = capsys.readouterr().out
    assert f"--at and --until {moment} differ in 1 partition; this plan takes --at" in said
    assert "only --until: stamped up to then, but written, or first seen by a worker, later" in said
    assert "only --at" not in said.replace("only --at  only --until", "")


def test_readings_that_agree_are_not_told(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After all that is stored the two bring the same; before the backup there is `--until` alone; `--latest` is no moment."""
    name = topic(1)
    first_ms = _now_ms() - 10_000
    _produce(kafka.bootstrap, name, [first_ms + n for n in range(10)])
    before_ms = _now_ms()
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    asyncio.run(capture(kafka.bootstrap, [name], store))
    config = write_config(tmp_path, kafka.bootstrap)
    common = ["--topic", name, "--prefix", "p-"]
    found = _json(capsys, config, "--until", format_moment(_now_ms()), *common)["readings"]
    assert (found["differing"], found["unsure"], found["opened_runs"]) == ([], [], 0)
    found = _json(capsys, config, "--until", format_moment(before_ms - 5_000), *common)["readings"]
    assert "known to the backup" in found["at_is_refused"]
    assert _json(capsys, config, "--latest", *common)["readings"] is None


def test_opening_is_bounded(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """What may not be opened is neither claimed nor hidden: the counts are at least so many, and say so."""
    name = topic(1)
    moment_ms, taken = _replay(kafka.bootstrap, name, tmp_path)
    inventory = read_inventory(taken.repository)
    connection = ClusterConnection(bootstrap_servers=(kafka.bootstrap,))

    async def plan() -> RestorePlan:
        point = RecoveryPoint(kind=PointKind.AT, time_ms=moment_ms)
        async with RestoreSession(taken.repository, inventory, connection, alias="dst") as session:
            return (await session.plan(selection_of(name, prefix="p-", point=point), now_ms=_now_ms()))[0]

    made = asyncio.run(plan())

    def readings(most_runs: int) -> Readings | None:
        coverages, sealed = inventory.coverages, inventory.sealed_at_ms
        return find_readings(taken.repository, made, coverages, sealed, now_ms=_now_ms(), most_runs=most_runs)

    none, all_ = readings(0), readings(10)
    assert none is not None
    assert all_ is not None
    assert none.opened_runs == 0
    assert none.unsure or not none.differing[0].is_exact
    assert [(one.only_until, one.is_exact) for one in all_.differing] == [(10, True)]


def test_a_plan_ends_with_a_range_of_time(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a few ranges of its own objects that were read just now; it says so, and that writing was not measured."""
    name = topic(2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
    for number in range(300):
        producer.produce(name, value=secrets.token_bytes(2000), partition=number % 2)
    assert producer.flush(20) == 0
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    asyncio.run(capture(kafka.bootstrap, [name], store))
    config = write_config(tmp_path, kafka.bootstrap)
    found = _json(capsys, config, "--latest", "--topic", name, "--prefix", "p-")["estimate"]
    assert 0 < found["least_s"] <= found["most_s"] < 600
    assert found["read_bytes_per_s"] > 0
    assert found["earlier_bytes_per_s"] is None
    assert found["work"]["produced_bytes"] > 600_000
    assert "measured on this store just now" in found["basis"][0]
    assert (
        main(["--config", str(config), "plan", "--target", "dst", "--latest", "--topic", name, "--prefix", "p-"]) == 0
    )
    said = capsys.readouterr().out
    assert "time to load: up to " in said
    assert "writing not measured" in said
