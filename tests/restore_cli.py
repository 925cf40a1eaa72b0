"""`mirror` as a person types it, over a repository with two topics and a group that stood in the middle of one."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

from mirror.cli.__main__ import main
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.storage.folder import FolderStore
from mirror.storage.repository import Repository
from tests.capture import Capture, capture
from tests.fault.restore_lab import committed, produce, watermarks
from tests.restoring import cluster_id, write_config

__all__ = ["RestoreCli", "topic_names"]

_PATIENCE_S = 60.0


def topic_names(bootstrap: str) -> set[str]:
    """All topics that there are."""
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=10).topics)


@dataclass
class RestoreCli:
    """A repository, a configuration, and commands over them.

    Args:
        bootstrap: source and target.
        folder: for the repository and the configuration.
        topic: has two partitions of 300 records, without compression.
        group: stands at 100 and 120.
        object_bytes: of each object of the repository.
    """

    bootstrap: str
    folder: Path
    topic: str
    group: str
    capsys: pytest.CaptureFixture[str]
    object_bytes: int = 32 << 20
    consent: list[str] = field(default_factory=list)
    _capture: Capture | None = None

    def prepare(self) -> None:
        """Fill, commit, capture, configure."""
        for partition in (0, 1):
            produce(self.bootstrap, self.topic, 300, partition=partition, size=1000, **{"compression.type": "none"})
        self.commit(self.group, self.topic, {0: 100, 1: 120})
        store = FolderStore(str(self.folder / "repo"))
        store.create()
        self._capture = asyncio.run(
            capture(
                self.bootstrap,
                [self.topic, GROUP_LOG_TOPIC],
                store,
                slice_bytes=40_000,
                object_bytes=self.object_bytes,
            )
        )
        write_config(self.folder, self.bootstrap)
        self.consent = ["--yes", "--target-cluster-id", cluster_id(self.bootstrap)]

    @property
    def repository(self) -> Repository:
        """What was captured."""
        assert self._capture is not None
        return self._capture.repository

    def store_more(self, count: int) -> None:
        """So many records more of partition 0 come into the topic and the repository."""
        assert self._capture is not None
        produce(self.bootstrap, self.topic, count, size=1000)
        store = self._capture.repository.store
        asyncio.run(capture(self.bootstrap, [self.topic], store, go_on=self._capture))

    def commit(self, group: str, topic: str, positions: Mapping[int, int]) -> None:
        """Put a group somewhere."""
        from confluent_kafka import Consumer, TopicPartition

        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})
        try:
            wanted = [TopicPartition(topic, partition, offset) for partition, offset in positions.items()]
            consumer.commit(offsets=wanted, asynchronous=False)
        finally:
            consumer.close()

    def stands(self, group: str, topic: str) -> list[int]:
        """Where a group stands; -1001 where nowhere."""
        return committed(self.bootstrap, group, topic, 2)

    def run(self, *words: str) -> int:
        """A command; its exit code."""
        return main(["--config", str(self.folder / "mirror.toml"), *words])

    def says(self, *words: str, code: int = 0) -> str:
        """What it prints on stdout and stderr; it must end with that code."""
        self.capsys.readouterr()
        ended = self.run(*words)
        said = "".join(self.capsys.readouterr())
        assert ended == code, said
        return said

    def json(self, *words: str, code: int = 0) -> Any:
        """The same as JSON."""
        self.capsys.readouterr()
        ended = self.run(*words, "--json")
        out, err = self.capsys.readouterr()
        assert ended == code, out + err
        return json.loads(out)

    def asked(self, prefix: str, *words: str) -> list[str]:
        """The words of a restore of all that is stored, under a prefix."""
        return [
            *("restore", "--target", "dst", "--latest", "--topic", self.topic, "--prefix", prefix),
            *("--group", self.group, "--rename-group", f"{self.group}={prefix}{self.group}"),
            *words,
        ]

    def restore(self, prefix: str, *words: str, code: int = 0) -> str:
        """Restore; its id."""
        return str(self.json(*self.asked(prefix, *words), *self.consent, code=code)["restore_id"])

    def kill_in_the_middle(self, prefix: str, *words: str, command: Sequence[str] = (), copy: str = "") -> None:
        """A restore that is killed once a part is there; ``command`` and its ``copy`` of the topic instead of one under a prefix."""
        argv = [sys.executable, "-m", "mirror.cli", "--config", str(self.folder / "mirror.toml")]
        argv += [*(command or self.asked(prefix, *words)), *self.consent, "--limit-rate", "60kB/s"]
        self._end(argv, signal.SIGKILL, copy or f"{prefix}{self.topic}")

    def end_in_the_middle(self, prefix: str, number: signal.Signals) -> tuple[int, str]:
        """A restore that gets a signal once a part is there: its exit code, and what it said."""
        argv = [sys.executable, "-m", "mirror.cli", "--config", str(self.folder / "mirror.toml")]
        return self._end(
            [*argv, *self.asked(prefix), *self.consent, "--limit-rate", "60kB/s"], number, f"{prefix}{self.topic}"
        )

    def _end(self, argv: list[str], number: signal.Signals, copy: str) -> tuple[int, str]:
        with (self.folder / "run.log").open("wb") as log:
            run = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
        try:
            deadline_s = time.monotonic() + _PATIENCE_S
            while not any(end for _, end in watermarks(self.bootstrap, copy, 2)):
                assert run.poll() is None, (self.folder / "run.log").read_text()
                assert time.monotonic() < deadline_s, "nothing comes"
                time.sleep(0.05)
            run.send_signal(number)
            return run.wait(_PATIENCE_S), (self.folder / "run.log").read_text()
        finally:
            run.kill()
            run.wait(10)
