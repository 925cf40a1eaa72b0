"""`--only-state` makes topics and loads nothing; `--only-data` loads into topics that exist and leaves their settings as they are."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from mirror.cli.__main__ import main
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.storage.folder import FolderStore
from tests.capture import capture
from tests.fault.restore_lab import committed, set_configs, watermarks
from tests.fault.worker_lab import wait_until
from tests.restoring import cluster_id, consume_all, write_config
from tests.servers.kafka import KafkaCluster

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

SETTINGS = {"cleanup.policy": "compact", "segment.bytes": "1048576"}
OWN = {"cleanup.policy": "compact", "max.message.bytes": "300000", "segment.ms": "7200000"}


@dataclass
class Scene:
    """A captured topic of two partitions, with settings and a group; the cluster is the target ``dst`` too."""

    bootstrap: str
    folder: Path
    topic: str
    capsys: pytest.CaptureFixture[str]

    @property
    def group(self) -> str:
        """A group that stands in the middle of the first partition."""
        return f"{self.topic}-g"

    @property
    def copy(self) -> str:
        """What the topic is called when it is restored."""
        return f"copy-{self.topic}"

    def options(self, *args: str) -> list[str]:
        """What to restore."""
        only = ["--topic", self.topic, "--prefix", "copy-"]
        return ["--target", "dst", "--latest", *only, *args]

    def run(self, command: str, *args: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and JSON or what was said as ``said``."""
        self.capsys.readouterr()
        code = main(["--config", str(self.folder / "mirror.toml"), command, *args, "--json"])
        out, said = self.capsys.readouterr()
        return code, {**(json.loads(out) if out.startswith("{") else {}), "said": out + said}

    @property
    def consent(self) -> list[str]:
        """For a restore into the source cluster."""
        return ["--yes", "--target-cluster-id", cluster_id(self.bootstrap)]

    def make_copy(self, **configs: str) -> None:
        """Somebody makes the topic to be restored."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        named = {name.replace("_", "."): value for name, value in configs.items()}
        for future in admin.create_topics([NewTopic(self.copy, 2, 1, config=named)]).values():
            future.result(20)
        wait_until(lambda: len(watermarks(self.bootstrap, self.copy, 2)) == 2, "the topic is there", 30)

    def settings(self, topic: str) -> dict[str, str]:
        """What is set on a topic."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        (future,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]).values()
        return {name: entry.value for name, entry in future.result(20).items() if entry.source == 1}

    def wait_settings(self, expected: dict[str, str]) -> None:
        """The copy has just these; brokers tell of a change a moment after it was made."""
        wait_until(lambda: self.settings(self.copy) == expected, lambda: str(self.settings(self.copy)), 30)


def _produce(bootstrap: str, topic: str, count: int, *, size: int = 20) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "batch.num.messages": 50})
    for number in range(count):
        producer.produce(topic, key=b"%d" % number, value=b"x" * size, partition=number % 2)
        producer.poll(0)
    assert producer.flush(30) == 0


def _commit(bootstrap: str, group: str, position: TopicPartition) -> None:
    """The first commit of a cluster waits for the group log to be made."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})

    def done() -> bool:
        try:
            consumer.commit(offsets=[position], asynchronous=False)
        except KafkaException as error:
            if not error.args[0].retriable():
                raise
            return False
        return True

    wait_until(done, f"{group} committed", 30)
    consumer.close()


@pytest.fixture
def scene(
    kafka: KafkaCluster, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Iterator[Scene]:
    """Prepared."""
    name = topic(2, **{key.replace(".", "_"): value for key, value in SETTINGS.items()})
    made = Scene(kafka.bootstrap, tmp_path, name, capsys)
    _produce(kafka.bootstrap, name, 2000, size=200)
    _commit(kafka.bootstrap, made.group, TopicPartition(name, 0, 400))
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    asyncio.run(capture(kafka.bootstrap, [name, GROUP_LOG_TOPIC], store))
    write_config(tmp_path, kafka.bootstrap)
    yield made
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})  # must outlive its futures
    for future in admin.delete_topics([made.copy]).values():
        future.exception(20)


def test_only_state_makes_topics_and_loads_nothing(scene: Scene) -> None:
    """Partitions and settings as at the source; again it is there already; never over records with other settings."""
    args = scene.options("--only-state")
    code, found = scene.run("restore", *args, *scene.consent)
    assert code == 0, found["said"]
    assert (found["plan"]["scope"], found["plan"]["groups"]) == ("state", [])
    scene.wait_settings(SETTINGS)
    assert watermarks(scene.bootstrap, scene.copy, 2) == [(0, 0), (0, 0)]
    assert committed(scene.bootstrap, scene.group, scene.copy, 1) == [-1001]
    assert scene.run("prove", *args)[1]["differences"] == []

    def state() -> tuple[int, list[str]]:
        code, found = scene.run("restore", *args, *scene.consent)
        return code, [topic["state"] for topic in found["plan"]["topics"]]

    wait_until(lambda: state() == (0, ["complete"]), "it is there already", 30, 0.5)
    set_configs(scene.bootstrap, scene.copy, {"segment.bytes": None, "retention.ms": "5000"})
    wait_until(lambda: scene.run("prove", *args)[0] == 5, "the settings arrive", 30, 0.5)
    assert state() == (0, ["empty"])
    scene.wait_settings(SETTINGS)
    _produce(scene.bootstrap, scene.copy, 4)
    assert state() == (0, ["complete"])
    set_configs(scene.bootstrap, scene.copy, {"retention.ms": "86400000"})
    wait_until(lambda: scene.run("plan", *args)[0] == 4, "the setting arrives", 30, 0.5)
    assert "retention.ms 86400000 -> (default)" in scene.run("plan", *args)[1]["said"]
    assert watermarks(scene.bootstrap, scene.copy, 2) == [(0, 2), (0, 2)]


def test_a_plan_of_only_state_is_run_and_proved(scene: Scene) -> None:
    """It names no offsets, so there are none to freeze."""
    plan = str(scene.folder / "plan.json")
    assert scene.run("plan", *scene.options("--only-state", "-o", plan))[0] == 0
    code, found = scene.run("restore", "--plan", plan, *scene.consent)
    assert code == 0, found["said"]
    scene.wait_settings(SETTINGS)
    wait_until(lambda: scene.run("prove", "--plan", plan)[0] == 0, "what was made is there", 30, 0.5)
    code, found = scene.run("verify", "restore", found["restore_id"])
    assert (code, found["proved"]) == (0, True), found["said"]


def test_only_data_leaves_settings_as_they_are(scene: Scene) -> None:
    """Records and the group come; the settings that the topic had are lifted and put back, not those of the source."""
    plan = str(scene.folder / "plan.json")
    code, found = scene.run("plan", *scene.options("--only-data", "-o", plan))
    assert (code, f"does not have {scene.copy}" in found["said"]) == (4, True)
    scene.make_copy(**{name.replace(".", "_"): value for name, value in OWN.items()})
    assert scene.run("plan", *scene.options("--only-data", "-o", plan))[0] == 0
    code, found = scene.run("restore", "--plan", plan, *scene.consent)
    assert code == 0, found["said"]
    scene.wait_settings(OWN)
    assert consume_all(scene.bootstrap, scene.copy) == consume_all(scene.bootstrap, scene.topic)
    assert committed(scene.bootstrap, scene.group, scene.copy, 1) == [400]
    code, found = scene.run("prove", "--plan", plan)
    assert (code, found["differences"]) == (0, []), found["said"]


def test_only_data_that_was_killed_puts_the_settings_back(scene: Scene) -> None:
    """They are in the record of the restore; the same command alone does not know them, and leaves the topic as it is."""
    scene.make_copy(**{name.replace(".", "_"): value for name, value in OWN.items()})
    args = scene.options("--only-data")
    command = [sys.executable, "-m", "mirror.cli", "--config", str(scene.folder / "mirror.toml"), "restore"]
    process = subprocess.Popen([*command, *args, "--limit-rate", "30kB/s", *scene.consent])
    try:
        wait_until(lambda: watermarks(scene.bootstrap, scene.copy, 2)[0][1] > 0, "records come", 60)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert scene.settings(scene.copy)["cleanup.policy"] == "delete"
    code, found = scene.run("restore", *args, *scene.consent)
    assert (code, "mirror restore resume ID" in found["said"]) == (4, True), found["said"]
    (restore_id,) = [one["restore_id"] for one in scene.run("restore", "list")[1]["restores"]]
    code, found = scene.run("restore", "resume", restore_id, *scene.consent)
    assert code == 0, found["said"]
    scene.wait_settings(OWN)
    assert consume_all(scene.bootstrap, scene.copy) == consume_all(scene.bootstrap, scene.topic)
