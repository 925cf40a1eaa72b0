"""Workers as real processes against real servers, to be ill-treated."""

import json
import os
import secrets
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ConfigResource, NewPartitions, NewTopic, ResourceType

from mirror.config import load_config
from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.positions import PartitionId
from mirror.service.wiring import internal_topics, open_configured_repository, store_for
from mirror.storage.administration import admin_of
from mirror.storage.repository import Repository, create_repository
from tests.fault.known_load import KnownLoad
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

READY_TIMEOUT_S = 45.0
_SECRET_VARIABLE = "WORKER_LAB_SECRET"

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

    def wait_running(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Return when it answers HTTP requests: it is past its preparations."""

        def running() -> bool:
            self.require_alive()
            return self.get("/healthz")[0] in (200, 503)

        wait_until(running, lambda: f"{self.name} does not answer\n{self.log_tail()}", timeout_s)

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
        self._settings = {
            "flush_interval": "1s",
            "idle_interval": "1h",
            "discovery_interval": "2s",
            "exclude": ["lab-*"],
            **(settings or {}),
        }
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

    @property
    def environment(self) -> dict[str, str]:
        """For commands with a configuration of this lab."""
        return {**os.environ, **self._env}

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

        for attempt in range(10):
            try:
                described = self.admin.describe_topics(TopicCollection([name]))[name].result(20)
                break
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    return None
                problem: Exception = error
            except TimeoutError as error:
                problem = error
            if attempt == 9:
                raise problem
            self.admin = self._new_admin()  # the old one may cling to a broker that was killed
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

    def wait_for_dead_sessions(self, *others: "WorkerLab") -> None:
        """Until no group but these labs' has members: when the session of a worker of another test ends, which was killed, the broker
        notes it in the group log, and that is stored.
        """
        own = {lab.id for lab in (self, *others)}

        def members_elsewhere() -> list[str]:
            found = self.admin.list_consumer_groups().result(20).valid
            return [one.group_id for one in found if one.group_id not in own and one.state != ConsumerGroupState.EMPTY]

        wait_until(lambda: not members_elsewhere(), lambda: f"members of {members_elsewhere()}", 30)
        time.sleep(2.0)

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


def _toml(values: Settings) -> Sequence[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
