"""Workers as real processes against real servers, to be ill-treated; and a known load to back up meanwhile."""

import json
import os
import secrets
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

from mirror.config import load_config
from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.positions import PartitionId, TopicPartition
from mirror.service.wiring import internal_topics, open_configured_repository, store_for
from mirror.storage.administration import admin_of
from mirror.storage.repository import Repository, create_repository
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

READY_TIMEOUT_S = 45.0
_SECRET_VARIABLE = "WORKER_LAB_SECRET"

_PATTERN = bytes(i * i % 251 ^ (i >> 8) for i in range(8192))

Settings = Mapping[str, Any]


def wait_until(
    condition: Callable[[], Any], what: str | Callable[[], str], timeout_s: float, pause_s: float = 0.1
) -> Any:
    """Call until the answer is true and return it; AssertionError with `what` when that takes too long."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not after {timeout_s:.0f} s: {what if isinstance(what, str) else what()}")
        time.sleep(pause_s)


class WorkerProcess(ServerProcess):
    """One `mirror worker`; start it again after a kill, it keeps its data dir and its port."""

    def __init__(self, name: str, folder: Path, config_path: Path, web_port: int, env: Mapping[str, str]) -> None:
        self.folder = folder
        self.config_path = config_path
        self.web_url = f"http://127.0.0.1:{web_port}"
        argv = [sys.executable, "-m", "mirror.cli", "--config", str(config_path), "worker"]
        super().__init__(name, argv, log_path=folder / f"{name}.log", env=env)

    @property
    def is_stopped(self) -> bool:
        """Whether it is frozen now."""
        return self._is_paused

    def wait_exit(self, timeout_s: float) -> int:
        """The exit code, once it ended by itself or by a signal; AssertionError with the log when it does not."""
        assert self._process is not None
        process = self._process
        code = wait_until(
            lambda: None if process.poll() is None else (process.returncode,),
            lambda: f"{self.name} does not end\n{self.log_tail()}",
            timeout_s,
        )
        self._reap()
        return int(code[0])

    def get(self, path: str, timeout_s: float = 5.0) -> tuple[int, Any]:
        """Status and decoded body (JSON or text) of a page; status 0 when nobody answers."""
        try:
            with urllib.request.urlopen(self.web_url + path, timeout=timeout_s) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        except OSError as error:
            return 0, str(error)
        text = body.decode()
        try:
            return status, json.loads(text)
        except ValueError:
            return status, text

    def metrics(self) -> dict[str, float]:
        """Every series by its whole name, labels and all; empty when nobody answers."""
        status, text = self.get("/metrics")
        if status != 200:
            return {}
        rows = (line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in rows}

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when /readyz says so."""

        def ready() -> bool:
            self.require_alive()
            return self.get("/readyz")[0] == 200

        wait_until(ready, lambda: f"{self.name}: {self.get('/readyz')}\n{self.log_tail()}", timeout_s)

    def rss_bytes(self) -> int:
        """Resident memory now."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def log_text(self) -> str:
        """The whole log."""
        return self.log_path.read_text(errors="replace")


class WorkerLab:
    """One repository of one cluster, and its workers. `close` ends all that still runs.

    Args:
        kafka, minio: running servers.
        folder: for configurations, logs and data dirs.
        settings: of [worker], for every worker; values are written as JSON, which TOML reads alike.
        cluster: settings of the source cluster, beside its address.
    """

    def __init__(
        self,
        kafka: KafkaCluster,
        minio: MinioServer,
        folder: Path,
        settings: Settings | None = None,
        cluster: Settings | None = None,
    ) -> None:
        self.kafka = kafka
        self.minio = minio
        self.folder = folder
        self.id = f"lab-{secrets.token_hex(4)}"
        self.workers: list[WorkerProcess] = []
        self.producers: list[KnownLoad] = []
        self._settings = {"flush_interval": "1s", "discovery_interval": "2s", "exclude": ["lab-*"], **(settings or {})}
        self._cluster = dict(cluster or {})
        self._bucket = f"b-{secrets.token_hex(6)}"
        self._env = {_SECRET_VARIABLE: minio.secret_key}
        self.admin = self._new_admin()
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[_SECRET_VARIABLE] = minio.secret_key
        config = load_config(self._write_config("lab", 1, {}))
        store = store_for(config.repository())
        admin_of(store).create()
        self._config = config
        self.repository: Repository = create_repository(
            store, cluster_id=kafka.cluster_id, created_at_ms=int(time.time() * 1000), created_by="worker lab"
        )

    def _new_admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap, "log_level": 0})

    # --- workers

    def worker(self, *, run: bool = True, ready: bool = True, **settings: Any) -> WorkerProcess:
        """A new worker with a port and a data dir of its own."""
        name = f"worker-{len(self.workers)}"
        port = free_port()
        config_path = self._write_config(name, port, settings)
        worker = WorkerProcess(name, self.folder, config_path, port, self._env)
        self.workers.append(worker)
        if run:
            worker.start()
            if ready:
                worker.wait_ready()
        return worker

    def data_dir(self, worker: WorkerProcess) -> Path:
        """Its local state."""
        return self.folder / f"data-{worker.name}"

    def close(self) -> None:
        """End all workers and producers."""
        for load in self.producers:
            load.stop(flush=False)
        for worker in self.workers:
            worker.kill()

    @property
    def own_topics(self) -> dict[str, str]:
        """The mirror's own topics by purpose."""
        return internal_topics(self.id)

    def _write_config(self, name: str, port: int, settings: Settings) -> Path:
        worker = {
            "id": self.id,
            "source": "src",
            "repository": "main",
            "data_dir": str(self.folder / f"data-{name}"),
            "web_port": port,
            **self._settings,
            **settings,
        }
        cluster = {"role": "source", "bootstrap_servers": self.kafka.bootstrap.split(","), **self._cluster}
        repository = {
            "url": f"s3://{self._bucket}",
            "endpoint": self.minio.url,
            "credentials": "static",
            "access_key": self.minio.access_key,
        }
        lines = [
            "[worker]",
            *_toml(worker),
            "[clusters.src]",
            *_toml(cluster),
            "[repositories.main]",
            *_toml(repository),
        ]
        lines.append(f'secret_key = {{ env = "{_SECRET_VARIABLE}" }}')
        path = self.folder / f"{name}.toml"
        path.write_text("\n".join(lines) + "\n")
        return path

    # --- the source

    def make_topic(self, name: str, partitions: int = 1, replication: int | None = None, **configs: str) -> str:
        """A topic; configs are written with underscores."""
        config = {key.replace("_", "."): value for key, value in configs.items()}
        replicas = replication or min(3, len(self.kafka.brokers))
        new = NewTopic(name, num_partitions=partitions, replication_factor=replicas, config=config)
        self.admin.create_topics([new])[name].result(30)
        wait_until(lambda: self.topic_id(name), f"{name} exists", 10)
        return name

    def delete_topic(self, name: str) -> None:
        """Delete a topic, and return when it is gone."""
        self.admin.delete_topics([name], operation_timeout=30)[name].result(30)
        wait_until(lambda: name not in self.topics(), f"{name} is gone", 20)

    def add_partitions(self, name: str, total: int) -> None:
        """Give a topic more partitions."""
        self.admin.create_partitions([NewPartitions(name, total)])[name].result(30)

    def set_config(self, topic: str, name: str, value: str) -> None:
        """Change one configuration of a topic."""
        from confluent_kafka.admin import AlterConfigOpType, ConfigEntry

        entry = ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        self.admin.incremental_alter_configs([resource])[resource].result(30)

    def topics(self) -> set[str]:
        """The names of all topics."""
        return set(self.admin.list_topics(timeout=10).topics)

    def topic_id(self, name: str) -> str | None:
        """Kafka's id of the topic of that name now, in Kafka's text form; None where there is none."""
        from confluent_kafka import TopicCollection

        try:
            described = self.admin.describe_topics(TopicCollection([name]))[name].result(20)
        except KafkaException:
            return None
        return str(described.topic_id).replace("+", "-").replace("/", "_").rstrip("=")

    def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """The last stable offset of each partition (what a read_committed consumer can reach)."""
        from confluent_kafka import IsolationLevel
        from confluent_kafka import TopicPartition as Tp
        from confluent_kafka.admin import OffsetSpec

        asked = {Tp(topic, number): OffsetSpec.latest() for number in range(partitions)}
        for attempt in range(10):
            answers = self.admin.list_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=20)
            try:
                return {tp.partition: future.result(20).offset for tp, future in answers.items()}
            except KafkaException:
                if attempt == 9:
                    raise
                time.sleep(1.0)
                self.admin = self._new_admin()  # the old one clings to leader epochs from before a broker's restart
        raise AssertionError

    def load(self, topics: Mapping[str, int], **options: Any) -> "KnownLoad":
        """A started producer of known records; see :class:`KnownLoad`."""
        load = KnownLoad(self.kafka.bootstrap, topics, **options)
        self.producers.append(load)
        load.start()
        return load

    # --- the repository

    def objects(self) -> list[str]:
        """The keys of all segment objects."""
        return [info.key for info in self.repository.list_segments()]

    def coverage(self) -> dict[PartitionId, PartitionCoverage]:
        """What the repository holds, from roll-ups and footers; damage raises."""
        return build_coverage((entry.key, entry.index) for entry in self.repository.load_indexes())

    def coverage_of(self, topic: str) -> dict[int, PartitionCoverage]:
        """By partition, of the incarnation that is there now."""
        topic_id = self.topic_id(topic)
        return {pid.partition: found for pid, found in self.coverage().items() if pid.topic_id == topic_id}

    def wait_durable(self, topics: Mapping[str, int], timeout_s: float = 60.0) -> dict[PartitionId, PartitionCoverage]:
        """Return once contiguous coverage reaches the last stable offset of every partition of these topics."""
        behind: dict[str, str] = {}

        def durable() -> Any:
            behind.clear()
            wanted = {
                (self.topic_id(topic), n): (topic, end)
                for topic in topics
                for n, end in self.ends(topic, topics[topic]).items()
            }
            coverage = self.coverage()
            for (topic_id, number), (topic, end) in wanted.items():
                found = coverage.get(PartitionId(str(topic_id), number))
                position = found.position if found else 0
                if position < end:
                    behind[f"{topic}-{number}"] = f"{position} of {end}"
            return coverage if not behind else None

        found: dict[PartitionId, PartitionCoverage] = wait_until(
            durable,
            lambda: f"behind {behind}\n" + "\n".join(f"--- {w.name}\n{w.log_tail(15)}" for w in self.workers),
            timeout_s,
            0.5,
        )
        return found

    def reopened(self) -> Repository:
        """The repository as a command opens it, with patience."""
        return open_configured_repository(self._config)


class KnownLoad:
    """A thread that produces records whose content follows from topic, partition and sequence, whatever is killed meanwhile.

    Idempotent, so that each is in the log once; sequences of a partition ascend. ``acked`` counts what the brokers confirmed.

    Args:
        topics: name → partitions.
        records_per_second: over all partitions.
        padding: bytes of each value, about.
        codec: of the producer.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Mapping[str, int],
        *,
        records_per_second: float = 2000.0,
        padding: int = 100,
        codec: str = "lz4",
        total: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.topics = dict(topics)
        self.acked: dict[TopicPartition, int] = {TopicPartition(t, p): 0 for t, n in topics.items() for p in range(n)}
        self.failed: list[str] = []
        self._rate = records_per_second
        self._padding = padding
        self._total = total
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "compression.type": codec,
                "linger.ms": 20,
                "message.timeout.ms": 600_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
                **(options or {}),
            }
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, flush: bool = True, timeout_s: float = 90.0) -> None:
        """End; with ``flush`` AssertionError unless every record was confirmed."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if flush:
            self.finish(timeout_s)

    def finish(self, timeout_s: float = 90.0) -> None:
        """Wait until every record of a limited load is produced and confirmed."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        left = self._producer.flush(timeout_s)
        assert not left, f"{left} records were not confirmed"
        assert not self.failed, self.failed[:5]

    def _run(self) -> None:
        sequences = dict.fromkeys(self.acked, 0)
        order = list(sequences)
        begun, sent = time.monotonic(), 0
        while not self._stop.is_set() and (self._total is None or sent < self._total):
            allowed = int((time.monotonic() - begun) * self._rate) - sent
            for _ in range(min(allowed, 5000 if self._total is None else self._total - sent)):
                tp = order[sent % len(order)]
                self._send(tp, sequences[tp])
                sequences[tp] += 1
                sent += 1
            self._producer.poll(0.005)
        self._producer.poll(0)

    def _send(self, tp: TopicPartition, sequence: int) -> None:
        def confirmed(error: Any, _message: Any) -> None:
            if error is not None:
                self.failed.append(f"{tp} {sequence}: {error}")
            else:
                self.acked[tp] += 1

        while True:
            try:
                self._producer.produce(
                    tp.topic,
                    known_value(tp, sequence, self._padding),
                    key=str(sequence).encode(),
                    partition=tp.partition,
                    on_delivery=confirmed,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return


def known_value(tp: TopicPartition, sequence: int, padding: int = 100) -> bytes:
    """The value of a record of :class:`KnownLoad`."""
    head = f"{tp.topic}|{tp.partition}|{sequence}|".encode()
    begin = sequence * 7 % 251
    return head + _PATTERN[begin : begin + max(0, padding - len(head))]


def _toml(values: Settings) -> Sequence[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
