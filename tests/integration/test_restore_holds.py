"""Retention holds of a restore are found without a list of them, and released with the source's value."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from mirror.cli.__main__ import main
from mirror.storage.folder import FolderStore
from tests.capture import capture
from tests.fault.restore_lab import set_configs
from tests.restoring import cluster_id, consume_all, restore, selection_of


def _configs(bootstrap: str, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.describe_configs([resource])[resource].result(20)
    return {name: entry.value for name, entry in found.items() if entry.source == 1}


async def _restored(bootstrap: str, name: str, folder: Path) -> Path:
    old_ms = time.time_ns() // 1_000_000 - 3 * 3_600_000
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(10):
        fresh = number >= 6
        producer.produce(name, b"%d" % number, partition=0, timestamp=old_ms + (3 * 3_600_000 if fresh else number))
    assert producer.flush(30) == 0
    store = FolderStore(str(folder / "repo"))
    store.create()
    taken = await capture(bootstrap, [name], store)
    plan, _ = await restore(taken.repository, bootstrap, selection_of(name, prefix="h-"))
    assert [hold.name for hold in plan.topics[0].held] == ["retention.ms"]
    config = folder / "mirror.toml"
    config.write_text(
        f'[clusters.dst]\nrole = "target"\nbootstrap_servers = ["{bootstrap}"]\n'
        f'[repositories.r]\nurl = "file://{folder}/repo"\n'
    )
    return config


async def test_a_hold_is_listed_and_released(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It says how many offsets go; without consent nothing is changed; released, the source's retention is back, which a proof accepts."""
    name = topic(1, retention_ms="3600000", segment_ms="60000")
    config = await _restored(kafka.bootstrap, name, tmp_path)
    assert len(consume_all(kafka.bootstrap, f"h-{name}")) == 10

    def run(*args: str) -> int:
        return main(["--config", str(config), "holds", *args, "--target", "dst", "--prefix", "h-"])

    assert await asyncio.to_thread(run, "list", "--json") == 0
    (hold,) = json.loads(capsys.readouterr().out)["holds"]
    for named in (f"h-{name}", f"h-{name[:-1]}*", name):  # as it is listed, or as the repository names it
        assert await asyncio.to_thread(run, "release", "--topic", named, "--dry-run", "--json") == 0
        assert json.loads(capsys.readouterr().out)["holds"] == [hold]
    assert await asyncio.to_thread(run, "release", "--topic", f"x-{name}", "--dry-run") == 2
    assert f"no topic that x-{name} names is on hold" in capsys.readouterr().err
    assert (hold["topic"], hold["wanted"], hold["doomed_offsets"], hold["all_offsets"]) == (
        f"h-{name}",
        "3600000",
        6,
        10,
    )
    only_state = ["restore", "--target", "dst", "--latest", "--topic", name, "--prefix", "h-", "--only-state"]
    assert await asyncio.to_thread(main, ["--config", str(config), *only_state, "--dry-run"]) == 4
    assert "`mirror holds list --target dst` shows it" in capsys.readouterr().err
    assert await asyncio.to_thread(run, "release") == 4
    capsys.readouterr()
    assert await asyncio.to_thread(run, "release", "--dry-run", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"holds": [hold], "released": []}
    assert await asyncio.to_thread(run, "release", "--dry-run") == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert _configs(kafka.bootstrap, f"h-{name}")["retention.ms"] == "-1"
    proving = ["prove", "--target", "dst", "--latest", "--topic", name, "--prefix", "h-", "--no-groups", "--json"]
    capsys.readouterr()
    assert await asyncio.to_thread(main, ["--config", str(config), *proving]) == 0
    assert await asyncio.to_thread(run, "release", "--yes") == 0
    assert _configs(kafka.bootstrap, f"h-{name}")["retention.ms"] == "3600000"
    capsys.readouterr()
    await asyncio.to_thread(main, ["--config", str(config), *proving])
    found = json.loads(capsys.readouterr().out)["differences"]
    assert not [text for text in found if "retention" in text], found  # records may be gone by now
    assert await asyncio.to_thread(run, "release", "--yes") == 2


async def test_status_shows_holds(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the command that ends them, for each cluster that answers; one that does not is said, and nothing is slower for it."""
    name, other = topic(1, retention_ms="3600000"), topic(1, retention_ms="-1")
    old_ms = time.time_ns() // 1_000_000 - 3 * 3_600_000
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for each in (name, other):
        producer.produce(each, b"x", partition=0, timestamp=old_ms)
    assert producer.flush(30) == 0
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    await capture(kafka.bootstrap, [name, other], store)
    for each in (name, other):  # as a restore leaves them; `other` kept everything at the source too
        set_configs(kafka.bootstrap, each, {"retention.ms": "-1"})
    config = tmp_path / "mirror.toml"
    config.write_text(
        f'[worker]\nid = "w"\nsource = "src"\ntopics = ["{name}", "{other}"]\n'
        f'[clusters.src]\nrole = "source"\nbootstrap_servers = ["{kafka.bootstrap}"]\n'
        f'[clusters.dst]\nrole = "target"\nbootstrap_servers = ["{kafka.bootstrap}"]\n'
        '[clusters.gone]\nrole = "target"\nbootstrap_servers = ["127.0.0.1:1"]\n'
        f'[repositories.r]\nurl = "file://{tmp_path}/repo"\n'
    )
    copy = f"copy-{name}"
    words = ["--target", "dst", "--latest", "--topic", name, "--rename", f"{name}={copy}", "--no-groups", "--yes"]
    words += ["--target-cluster-id", cluster_id(kafka.bootstrap)]
    assert await asyncio.to_thread(main, ["--config", str(config), "restore", *words]) == 0
    capsys.readouterr()
    run = ["--config", str(config), "status"]
    assert await asyncio.to_thread(main, [*run, "--json"]) in (0, 6)
    by_cluster = {one["cluster"]: one for one in json.loads(capsys.readouterr().out)["holds"]}
    settings = {"retention.ms": "3600000"}
    held = [{"topic": each, "source": name, "settings": settings} for each in (copy, name)]
    assert (by_cluster["dst"]["topics"], by_cluster["dst"]["problem"]) == (held, None)
    assert by_cluster["dst"]["release_command"] == "mirror holds release --target dst"
    assert by_cluster["src"]["topics"] == held
    assert "127.0.0.1:1" in by_cluster["gone"]["problem"]
    await asyncio.to_thread(main, run)
    said = capsys.readouterr().out
    assert f"on hold since a restore: retention of 2 topics of dst ({copy}, {name})" in said
    assert "to end it: mirror holds release --target dst" in said
    assert "holds of gone: not known" in said
    listing = ["--config", str(config), "holds", "list", "--target", "dst", "--json"]
    assert await asyncio.to_thread(main, listing) == 0
    listed = json.loads(capsys.readouterr().out)["holds"]
    assert {hold["topic"] for hold in listed} == {copy, name}, "the new name is in the record of the restore"
    assert await asyncio.to_thread(main, [*listing, "--topic", copy]) == 0
    assert {hold["topic"] for hold in json.loads(capsys.readouterr().out)["holds"]} == {copy}, "that name alone"
