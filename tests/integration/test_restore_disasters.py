"""Disasters as they happen: a deleted topic that a live producer makes again, retention against what was restored, a schema registry."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from mirror.cli.__main__ import main
from mirror.kafka.client import open_client
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.connection import ClusterConnection
from mirror.storage.folder import FolderStore
from tests.capture import as_if_configured, capture
from tests.fault.restore_lab import set_configs, watermarks
from tests.fault.worker_lab import wait_until
from tests.restoring import Seen, cluster_id, consume_all, write_config

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

_DAY_MS = 86_400_000


class Site:
    """A configuration with target ``dst``, its repository in a folder, and `mirror` as a user types it."""

    def __init__(self, folder: Path, target: str, capsys: pytest.CaptureFixture[str]) -> None:
        self._config = write_config(folder, target)
        self._consent = ["--yes", "--target-cluster-id", cluster_id(target)]
        self._capsys = capsys
        self.store = FolderStore(str(folder / "repo"))
        self.store.create()

    def run(self, command: str, *args: str) -> tuple[int, str]:
        """Exit code, and all that it said."""
        self._capsys.readouterr()
        consent = self._consent if command == "restore" else []
        code = main(["--config", str(self._config), *command.split(), "--target", "dst", *args, *consent])
        said = self._capsys.readouterr()
        return code, said.out + said.err


@pytest.fixture
def site(kafka: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Site:
    """With the shared broker as target."""
    return Site(tmp_path, kafka.bootstrap, capsys)


@contextmanager
def _live_producer(bootstrap: str, topic: str) -> Iterator[None]:
    """A client that goes on writing whatever happens, and lets the broker make the topic anew, as most do by default."""
    stopped = threading.Event()
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0, "topic.metadata.refresh.interval.ms": 100})

    def write() -> None:
        while not stopped.is_set():
            producer.produce(topic, value=b"of the husk")
            producer.poll(0.01)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield
    finally:
        stopped.set()
        writer.join()
        producer.flush(5)


async def _topic_id(bootstrap: str, topic: str) -> str:
    async with await open_client(ClusterConnection(bootstrap_servers=(bootstrap,))) as client:
        described = await describe_cluster(client, [topic])
    return described.topics[topic].topic_id if topic in described.topics else ""


def test_the_husk_of_a_deleted_topic_is_not_restored_by_mistake(
    kafka: Any, topic: Callable[..., str], site: Site
) -> None:
    """A live producer makes it again: `--latest` is refused with a table of both, nothing is changed; the right one comes back whole."""
    name = topic(3, retention_ms="-1", max_message_bytes="777777")
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for number in range(300):
        producer.produce(name, key=b"%d" % number, value=b"precious %d" % number, partition=number % 3)
    assert producer.flush(30) == 0
    originals = consume_all(kafka.bootstrap, name)
    taken = asyncio.run(capture(kafka.bootstrap, [name], site.store))
    first_id = asyncio.run(_topic_id(kafka.bootstrap, name))
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    with _live_producer(kafka.bootstrap, name):
        admin.delete_topics([name])[name].result(30)
        deadline = time.monotonic() + 60
        while (second_id := asyncio.run(_topic_id(kafka.bootstrap, name))) in ("", first_id):
            assert time.monotonic() < deadline, "the producer does not make it again"
        while not sum(high for _, high in watermarks(kafka.bootstrap, name, 1)):
            assert time.monotonic() < deadline, "the producer does not write"
    asyncio.run(capture(kafka.bootstrap, [name], site.store, go_on=taken))
    selected = ["--topic", name, "--latest", "--prefix", "back-", "--no-groups"]
    for command in ("plan", "restore"):
        code, said = site.run(command, *selected)
        assert code == 4, said
        assert "which incarnation" in said
        assert first_id in said
        assert second_id in said
    assert f"back-{name}" not in admin.list_topics(timeout=10).topics
    code, said = site.run("restore", *selected, "--incarnation", f"{name}={first_id}")
    assert code == 0, said
    assert consume_all(kafka.bootstrap, f"back-{name}") == originals
    assert _configs(kafka.bootstrap, f"back-{name}") == {"retention.ms": "-1", "max.message.bytes": "777777"}


def test_old_records_survive_retention_checks(
    new_kafka: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Records of 30 days in a topic of 7: two checks of the broker pass, the hold is shown; released, they go."""
    checks = {"log.retention.check.interval.ms": "300", "log.initial.task.delay.ms": "300"}
    bootstrap = new_kafka(properties=checks).bootstrap
    site = Site(tmp_path, bootstrap, capsys)
    _make(bootstrap, "archive", {"retention.ms": "-1"})
    _write_old(bootstrap, "archive", 50)
    originals = consume_all(bootstrap, "archive")
    taken = asyncio.run(capture(bootstrap, ["archive"], site.store))
    as_if_configured(taken, "archive", {"retention.ms": str(7 * _DAY_MS)})
    options = ["--topic", "archive", "--prefix", "b-"]
    code, said = site.run("restore", *options, "--latest", "--no-groups")
    assert code == 0, said
    assert "RETENTION HOLD on b-archive" in said
    for number in range(2):  # what is not held is gone as soon as the broker has looked
        control = f"control-{number}"
        _make(bootstrap, control, {"retention.ms": str(7 * _DAY_MS)})
        _write_old(bootstrap, control, 5)
        wait_until(lambda name=control: watermarks(bootstrap, name, 1) == [(5, 5)], "the broker looks at retention", 60)
    assert consume_all(bootstrap, "b-archive") == originals
    code, said = site.run("holds list", *options)
    assert code == 0
    assert "b-archive" in said
    assert "retention.ms" in said
    assert site.run("prove", *options, "--latest", "--no-groups")[0] == 0
    assert site.run("holds release", *options, "--yes")[0] == 0
    wait_until(lambda: watermarks(bootstrap, "b-archive", 1) == [(50, 50)], "released, they go", 60)


def _make(bootstrap: str, topic: str, configs: dict[str, str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1, config=configs)])[topic].result(30)


def _write_old(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for number in range(count):
        producer.produce(topic, value=b"%d" % number, timestamp=time.time_ns() // 1_000_000 - 30 * _DAY_MS + number)
    assert producer.flush(30) == 0


def _configs(bootstrap: str, topic: str) -> dict[str, str]:
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.describe_configs([resource])[resource].result(20)
    return {name: entry.value for name, entry in found.items() if entry.source == 1}


_SCHEMAS = "_schemas"


def _register(producer: Producer, subject: str, version: int, schema_id: int | None) -> None:
    """As a schema registry writes it; without an id a tombstone: the version was deleted for good."""
    key = {"keytype": "SCHEMA", "subject": subject, "version": version, "magic": 1}
    value = {"subject": subject, "version": version, "id": schema_id, "schema": f'"{subject}-{version}"'}
    producer.produce(
        _SCHEMAS, key=json.dumps(key).encode(), value=None if schema_id is None else json.dumps(value).encode()
    )


def _folded(records: list[Seen]) -> dict[int, tuple[str, int, str]]:
    """What a registry knows after reading its topic: id → subject, version, schema."""
    last: dict[bytes, bytes | None] = {}
    for record in records:
        assert record.key is not None
        last[record.key] = record.value
    values = [json.loads(value) for value in last.values() if value is not None]
    return {one["id"]: (one["subject"], one["version"], one["schema"]) for one in values}


def test_a_schema_registry_by_the_runbook(
    kafka: Any, new_kafka: Callable[..., Any], topic: Callable[..., str], site: Site
) -> None:
    """`_schemas`, partly compacted away, comes back at its offsets with its settings: the same ids; then what was written with them."""
    source = new_kafka(properties={"log.cleaner.backoff.ms": "100", "log.initial.task.delay.ms": "100"}).bootstrap
    settings = {"cleanup.policy": "compact", "segment.ms": "200", "min.cleanable.dirty.ratio": "0.001"}
    _make(source, _SCHEMAS, settings)
    orders = topic(1)
    _make(source, orders, {})
    producer = Producer({"bootstrap.servers": source, "linger.ms": 2})
    deadline = time.monotonic() + 60
    turn = 0
    while not turn or len(records := consume_all(source, _SCHEMAS)) == records[-1].offset + 1:
        assert time.monotonic() < deadline, "the cleaner did nothing"
        for version in range(20):
            _register(producer, "orders-value", version, 100 + version)
            _register(producer, "gone-value", version, None if turn else 200 + version)
        assert producer.flush(30) == 0
        turn += 1
        time.sleep(0.3)
    written = [100 + version for version in range(0, 20, 3)]
    for schema_id in written:  # as its serializers write it: a zero, the id, then the bytes
        producer.produce(orders, value=b"\0" + schema_id.to_bytes(4, "big") + b"...")
    assert producer.flush(30) == 0
    set_configs(source, _SCHEMAS, dict.fromkeys(settings))  # the source's cleaner shall not go on while it is compared
    records = []
    while records != (records := consume_all(source, _SCHEMAS)):
        time.sleep(1.0)
    as_if_configured(asyncio.run(capture(source, [_SCHEMAS, orders], site.store)), _SCHEMAS, settings)
    known = _folded(records)
    assert set(known) == set(range(100, 120))

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    try:
        schemas = ["--latest", "--topic", _SCHEMAS, "--no-groups"]
        assert site.run("restore", *schemas)[0] == 0
        assert consume_all(kafka.bootstrap, _SCHEMAS) == records
        assert watermarks(kafka.bootstrap, _SCHEMAS, 1) == watermarks(source, _SCHEMAS, 1)
        assert _configs(kafka.bootstrap, _SCHEMAS) == settings
        assert "PROVED" in site.run("prove", *schemas)[1]
        # The registry starts: it marks the end of its topic, reads up to there, and knows all ids.
        registry = Producer({"bootstrap.servers": kafka.bootstrap})
        registry.produce(_SCHEMAS, key=b'{"keytype":"NOOP","magic":0}', value=None)
        assert registry.flush(30) == 0
        again = consume_all(kafka.bootstrap, _SCHEMAS)
        assert again[-1].offset == watermarks(source, _SCHEMAS, 1)[0][1]
        assert _folded(again) == known
        rest = ["--latest", "--exclude", _SCHEMAS, "--no-groups", "--rename", f"{orders}=back-{orders}"]
        assert site.run("restore", *rest)[0] == 0
        ids = [
            int.from_bytes((record.value or b"")[1:5], "big")
            for record in consume_all(kafka.bootstrap, f"back-{orders}")
        ]
        assert ids == written
        assert all(known[schema_id][0] == "orders-value" for schema_id in ids)
    finally:
        if _SCHEMAS in admin.list_topics(timeout=10).topics:
            admin.delete_topics([_SCHEMAS])[_SCHEMAS].result(30)
