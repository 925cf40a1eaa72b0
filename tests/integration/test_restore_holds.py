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
from tests.restoring import consume_all, restore, selection_of


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
    """It says how many offsets go; without consent nothing is changed; released, the source's retention is back."""
    name = topic(1, retention_ms="3600000", segment_ms="60000")
    config = await _restored(kafka.bootstrap, name, tmp_path)
    assert len(consume_all(kafka.bootstrap, f"h-{name}")) == 10

    def run(*args: str) -> int:
        return main(["--config", str(config), "holds", *args, "--target", "dst", "--prefix", "h-"])

    assert await asyncio.to_thread(run, "list", "--json") == 0
    (hold,) = json.loads(capsys.readouterr().out)["holds"]
    assert (hold["topic"], hold["wanted"], hold["doomed_offsets"], hold["all_offsets"]) == (
        f"h-{name}",
        "3600000",
        6,
        10,
    )
    assert await asyncio.to_thread(run, "release") == 4
    assert _configs(kafka.bootstrap, f"h-{name}")["retention.ms"] == "-1"
    assert await asyncio.to_thread(run, "release", "--yes") == 0
    assert _configs(kafka.bootstrap, f"h-{name}")["retention.ms"] == "3600000"
    assert await asyncio.to_thread(run, "release", "--yes") == 2
