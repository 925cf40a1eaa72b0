"""A restore that is stopped at any moment goes on by the same command: nothing missing, nothing twice, and nothing of others touched."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from mirror.core.restore_plan import TopicState
from mirror.errors import RefusedError
from mirror.storage.folder import FolderStore
from tests.capture import as_if_configured, capture
from tests.restoring import cluster_id, consume_all, restore, selection_of, without_offsets, write_config


def _fill(bootstrap: str, topic: str, count: int, *, partitions: int, **options: Any) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.size": 4096, **options})
    for number in range(count):
        producer.produce(topic, key=b"%d" % number, value=os.urandom(40), partition=number % partitions)
        producer.poll(0)
    assert producer.flush(30) == 0


def _store(folder: Path) -> FolderStore:
    store = FolderStore(str(folder / "repo"))
    store.create()
    return store


def _command(config: Path, *args: str) -> list[str]:
    return [sys.executable, "-m", "mirror.cli", "--config", str(config), "restore", "--target", "dst", *args]


def _run(config: Path, *args: str) -> "subprocess.CompletedProcess[str]":
    (bootstrap,) = re.findall(r'role = "target"\nbootstrap_servers = \["(.*)"\]', config.read_text())
    consent = ["--latest", "--yes", "--target-cluster-id", cluster_id(bootstrap)]
    return subprocess.run(_command(config, *consent, *args), capture_output=True, text=True, timeout=100, check=False)


def _log_ends(bootstrap: str, topic: str) -> int:
    return len(consume_all(bootstrap, topic))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_a_stopped_restore_goes_on(kafka: Any, topic: Callable[..., str], tmp_path: Path, how: int) -> None:
    """Killed or interrupted twice in the middle, then run to its end: every record once, in order, settings put back."""
    first, second = topic(3, retention_ms="-1", cleanup_policy="compact"), topic(1)
    _fill(kafka.bootstrap, first, 9000, partitions=3, **{"compression.type": "lz4"})
    _fill(kafka.bootstrap, second, 3000, partitions=1, **{"batch.num.messages": 1})
    await capture(
        kafka.bootstrap, [first, second], _store(tmp_path), mode="auto", object_bytes=50_000, slice_bytes=9000
    )
    config = write_config(tmp_path, kafka.bootstrap)
    names = ["--topic", first, "--topic", second, "--prefix", "re-"]
    names += ["--latest", "--yes", "--target-cluster-id", cluster_id(kafka.bootstrap)]
    for wait_s in (1.2, 1.0):
        running = subprocess.Popen(
            _command(config, *names, "--limit-rate", "150k"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        await _until_something_arrives(kafka.bootstrap, f"re-{first}")
        await asyncio.sleep(wait_s)
        running.send_signal(how)
        _, said = running.communicate(timeout=30)
        assert running.returncode == (-9 if how == signal.SIGKILL else 130), said
    there = _log_ends(kafka.bootstrap, f"re-{first}")
    assert 0 < there < 9000
    done = _run(config, *names)
    assert done.returncode == 0, done.stderr
    for name in (first, second):
        before = consume_all(kafka.bootstrap, name)
        assert without_offsets(consume_all(kafka.bootstrap, f"re-{name}")) == without_offsets(before)
    assert _configs(kafka.bootstrap, f"re-{first}") == {"retention.ms": "-1", "cleanup.policy": "compact"}
    again = _run(config, *names, "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["result"]["loaded_records"] == 0


async def _until_something_arrives(bootstrap: str, topic: str) -> None:
    deadline = time.monotonic() + 30
    admin = AdminClient({"bootstrap.servers": bootstrap})
    while topic not in admin.list_topics(timeout=5).topics:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)


def _configs(bootstrap: str, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.describe_configs([resource])[resource].result(20)
    return {name: entry.value for name, entry in found.items() if entry.source == 1}


async def test_a_topic_that_holds_records_is_refused(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Exit 4, nothing written, no other topic created."""
    name, other = topic(1), topic(1)
    _fill(kafka.bootstrap, name, 100, partitions=1)
    _fill(kafka.bootstrap, other, 100, partitions=1)
    await capture(kafka.bootstrap, [name, other], _store(tmp_path))
    config = write_config(tmp_path, kafka.bootstrap)
    taken = topic(1)
    _fill(kafka.bootstrap, taken, 7, partitions=1)
    before = consume_all(kafka.bootstrap, taken)
    done = _run(
        config, "--topic", name, "--topic", other, "--rename", f"{name}={taken}", "--rename", f"{other}=new-{other}"
    )
    assert done.returncode == 4
    assert f"topic {taken}" in done.stderr
    assert "not empty" in done.stderr
    assert consume_all(kafka.bootstrap, taken) == before
    listed = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert f"new-{other}" not in listed


async def test_a_topic_of_the_same_size_with_other_records_is_refused(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """As many records are not the same records."""
    name, taken = topic(1), topic(1)
    _fill(kafka.bootstrap, name, 100, partitions=1)
    _fill(kafka.bootstrap, taken, 100, partitions=1)
    kept = await capture(kafka.bootstrap, [name], _store(tmp_path))
    with pytest.raises(RefusedError, match="is not empty"):
        await restore(kept.repository, kafka.bootstrap, selection_of(name, renames={name: taken}))


def _produce_values(bootstrap: str, topic: str, values: list[bytes]) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.num.messages": 20})
    for number, value in enumerate(values):
        producer.produce(
            topic, key=b"k", value=value, headers=[("n", b"%d" % number)], timestamp=1_790_000_000_000 + number
        )
    assert producer.flush(30) == 0


async def test_an_unmarked_topic_is_complete_only_if_every_record_is_equal(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """As many records and the same last one are not enough; equal ones in other batches are, and nothing is loaded again."""
    name, other, equal = topic(1), topic(1), topic(1)
    values = [b"value %d" % number for number in range(200)]
    _produce_values(kafka.bootstrap, name, values)
    _produce_values(kafka.bootstrap, other, [*values[:57], b"something else", *values[58:]])
    _produce_values(kafka.bootstrap, equal, values)
    kept = await capture(kafka.bootstrap, [name], _store(tmp_path))
    before = consume_all(kafka.bootstrap, other)
    with pytest.raises(RefusedError, match=f"topic {other} .*is not empty"):
        await restore(kept.repository, kafka.bootstrap, selection_of(name, renames={name: other}))
    assert consume_all(kafka.bootstrap, other) == before
    plan, result = await restore(kept.repository, kafka.bootstrap, selection_of(name, renames={name: equal}))
    assert plan.topics[0].state is TopicState.COMPLETE
    assert result.loaded_records == 0
    assert len(consume_all(kafka.bootstrap, equal)) == 200


def _damage(store: FolderStore, what: str) -> str:
    if what == "stray file":
        key = "l0/2026-11-23/11/notes.txt"
        store.put(key, b"hello")
        return key
    prefix = "topics/" if what == "topic object" else "l0/"
    key = max(info.key for info in store.list(prefix))
    store.put(key, store.get(key)[:-40])
    return key


@pytest.mark.parametrize("what", ["segment", "stray file", "topic object"])
async def test_what_cannot_be_read_stops_a_restore_until_it_is_allowed(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, what: str
) -> None:
    """Exit 5 with the object's key and nothing created; with --allow-missing all that can be read, and the key is said again."""
    name = topic(1)
    store = _store(tmp_path)
    _fill(kafka.bootstrap, name, 100, partitions=1)
    kept = await capture(kafka.bootstrap, [name], store)
    _fill(kafka.bootstrap, name, 60, partitions=1)
    await capture(kafka.bootstrap, [name], store, go_on=kept)
    key = _damage(store, what)
    config = write_config(tmp_path, kafka.bootstrap)
    refused = _run(config, "--topic", name, "--prefix", "d-")
    assert refused.returncode == 5, refused.stderr
    assert key in refused.stderr
    assert "--allow-missing" in refused.stderr
    assert f"d-{name}" not in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    done = _run(config, "--topic", name, "--prefix", "d-", "--allow-missing", "--json")
    assert done.returncode == 0, done.stderr
    assert [key in line for line in json.loads(done.stdout)["unreadable"]] == [True]
    there = 100 if what == "segment" else 160
    wanted = without_offsets(consume_all(kafka.bootstrap, name))[:there]
    assert without_offsets(consume_all(kafka.bootstrap, f"d-{name}")) == wanted


async def test_names_that_collide_are_refused_before_anything_is_changed(
    kafka: Any, topic: Callable[..., str], tmp_path: Path
) -> None:
    """Exit 4 naming both topics, for one name and for names that differ in . and _ only."""
    one, two = topic(1), topic(1)
    await capture(kafka.bootstrap, [one, two], _store(tmp_path))
    config = write_config(tmp_path, kafka.bootstrap)
    for names in (("re-x", "re-x"), ("re-a.b", "re-a_b")):
        renames = [word for pair in zip((one, two), names, strict=True) for word in ("--rename", "=".join(pair))]
        done = _run(config, "--topic", one, "--topic", two, *renames)
        assert done.returncode == 4, done.stderr
        assert one in done.stderr
        assert two in done.stderr
    listed = AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics
    assert not {"re-x", "re-a.b", "re-a_b"} & listed.keys()


async def test_other_partition_counts_are_refused(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """An existing empty topic is used only if it has the same partitions."""
    name, other, same = topic(2), topic(3), topic(2, segment_ms="99999", retention_ms="5000")
    _fill(kafka.bootstrap, name, 10, partitions=2)
    kept = await capture(kafka.bootstrap, [name], _store(tmp_path))
    with pytest.raises(RefusedError, match="with 3 partitions, 2 are needed"):
        await restore(kept.repository, kafka.bootstrap, selection_of(name, renames={name: other}))
    await restore(kept.repository, kafka.bootstrap, selection_of(name, renames={name: same}))
    assert without_offsets(consume_all(kafka.bootstrap, same)) == without_offsets(consume_all(kafka.bootstrap, name))
    assert _configs(kafka.bootstrap, same) == {}


async def test_the_source_cluster_must_be_named_as_such(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Exit 4 and a loud word, whether the role or the cluster's id tells it."""
    name = topic(1)
    _fill(kafka.bootstrap, name, 10, partitions=1)
    await capture(kafka.bootstrap, [name], _store(tmp_path))
    config = write_config(tmp_path, kafka.bootstrap)
    for target in ("src", "dst"):
        command = _command(config, "--latest", "--topic", name, "--prefix", "p-", "--target", target)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 4, done.stderr
        assert "THIS IS THE SOURCE CLUSTER" in done.stderr


async def test_nothing_selected_and_dry_run(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Exit 2 where nothing matches; a dry run prints the plan and creates nothing."""
    name = topic(1)
    _fill(kafka.bootstrap, name, 10, partitions=1)
    await capture(kafka.bootstrap, [name], _store(tmp_path))
    config = write_config(tmp_path, kafka.bootstrap)
    assert _run(config, "--topic", "nothing-*").returncode == 2
    done = _run(config, "--topic", name, "--prefix", "dry-", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert f"dry-{name}" in done.stdout
    assert f"dry-{name}" not in AdminClient({"bootstrap.servers": kafka.bootstrap}).list_topics(timeout=10).topics


async def test_old_records_are_held(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """Records older than retention stay: the hold is told with the command that ends it."""
    name = topic(1, retention_ms="-1")
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    long_ago_ms = time.time_ns() // 1_000_000 - 40 * 86_400_000
    for number in range(50):
        producer.produce(name, value=b"%d" % number, timestamp=long_ago_ms + number)
    assert producer.flush(20) == 0
    as_if_configured(await capture(kafka.bootstrap, [name], _store(tmp_path)), name, {"retention.ms": "3600000"})
    done = _run(write_config(tmp_path, kafka.bootstrap), "--topic", name, "--prefix", "h-")
    assert done.returncode == 0, done.stderr
    assert f"RETENTION HOLD on h-{name}" in done.stdout
    assert f"--entity-name h-{name} --add-config retention.ms=3600000" in done.stdout
    assert _configs(kafka.bootstrap, f"h-{name}") == {"retention.ms": "-1"}
    assert len(consume_all(kafka.bootstrap, f"h-{name}")) == 50
