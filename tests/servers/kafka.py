"""Apache Kafka (KRaft, broker and controller in one process) on free loopback ports, one broker or several."""

import base64
import shutil
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from tests.servers.cache import ensure_entry
from tests.servers.errors import StackError
from tests.servers.jvm import Jvm, kafka_jvm, run_class
from tests.servers.ports import free_port, is_listening
from tests.servers.process import ServerProcess

READY_TIMEOUT_S = 60.0

# Half a minute after its start, and every five minutes from then on, a broker removes what is past its retention: in a
# test, records of any date that were produced a moment ago. With this it does not; a test that wants it sets it back.
UNTRIMMED: Mapping[str, str] = {"log.initial.task.delay.ms": "86400000"}


@lru_cache(maxsize=1)
def default_jvm() -> Jvm:
    """The Jvm of the default cache, fetched and prepared when needed. Raises StackError when that is not possible."""
    return kafka_jvm(None, _train)


def kafka_tool(*class_and_args: str, heap: str = "512m", timeout_s: float = 300.0, check: bool = True) -> str:
    """Run one of Kafka's classes, e.g. `org.apache.kafka.tools.ProducerPerformance`, and return what it printed.

    Raises StackError when it exits non-zero (unless `check` is false) or is not done after `timeout_s`.
    """
    return run_class(default_jvm(), class_and_args, heap=heap, timeout_s=timeout_s, check=check)


class KafkaBroker(ServerProcess):
    """One node of a cluster; `start` after `stop` or `kill` comes back on the same ports with the same data."""

    def __init__(
        self, node_id: int, port: int, folder: Path, argv: Sequence[str], jvm: Jvm, *, pid_path: Path | None
    ) -> None:
        self.node_id = node_id
        self.port = port
        self.folder = folder
        super().__init__(
            f"kafka broker {node_id}", argv, log_path=folder / "server.log", env=jvm.env(), pid_path=pid_path
        )

    @property
    def bootstrap(self) -> str:
        """`host:port` of this broker's plaintext listener."""
        return f"127.0.0.1:{self.port}"

    def start(self, *, wait: bool = True) -> None:
        """Start it and, unless told not to, wait until it serves. Raises StackError when it does not come up."""
        super().start()
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S, brokers: int = 1) -> None:
        """Return when this broker answers a Metadata request that lists itself and at least `brokers` in all."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            self.require_alive()
            if is_listening(self.port) and self._lists_itself(brokers):
                return
            time.sleep(0.05)
        raise StackError(f"{self.name} does not answer after {timeout_s} s, log {self.log_path}:\n{self.log_tail()}")

    def _lists_itself(self, brokers: int) -> bool:
        admin = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0, "socket.timeout.ms": 2000})
        try:
            listed = admin.list_topics(timeout=2).brokers
        except KafkaException:
            return False
        return self.node_id in listed and len(listed) >= brokers


class KafkaCluster:
    """`n_brokers` brokers, plaintext and open to everyone on loopback, plus the listeners asked for."""

    def __init__(
        self,
        folder: Path,
        n_brokers: int = 1,
        *,
        properties: Mapping[str, str] | None = None,
        broker_properties: Callable[[int], Mapping[str, str]] | None = None,
        extra_listeners: Mapping[str, str] | None = None,
        scram_users: Mapping[str, str] | None = None,
        heap: str = "512m",
        quick_start: bool = True,
        pid_folder: Path | None = None,
        jvm: Jvm | None = None,
    ) -> None:
        """Prepare a cluster in `folder` (made when missing); nothing is started.

        `properties` go to every broker and win over ours; `broker_properties(node_id)` to one, node ids are 1, 2, ….
        `extra_listeners` maps a listener's name to its protocol, `SASL_SSL` for example. `scram_users` maps names to
        passwords. `quick_start=False` gives the JVM's own defaults, for measurements. With a
        `pid_folder` the brokers live on when this process ends, their pid files are there (see ServerProcess).
        """
        self.folder = folder
        self.cluster_id = _new_id()
        self._jvm = jvm or default_jvm()
        self._n_brokers = n_brokers
        self._scram_users = dict(scram_users or {})
        self._protocols = {"PLAINTEXT": "PLAINTEXT", "CONTROLLER": "PLAINTEXT", **(extra_listeners or {})}
        node_ids = range(1, n_brokers + 1)
        self._ports = {node_id: {name: free_port() for name in self._protocols} for node_id in node_ids}
        self.brokers: list[KafkaBroker] = []
        for node_id in node_ids:
            node_folder = folder / f"broker-{node_id}"
            node_folder.mkdir(parents=True, exist_ok=True)
            settings = {**self._settings(node_id), **(properties or {})}
            settings.update(broker_properties(node_id) if broker_properties else {})
            config_path = node_folder / "server.properties"
            _write_properties(config_path, settings)
            argv = self._jvm.argv("kafka.Kafka", str(config_path), heap=heap, quick_start=quick_start)
            port = self._ports[node_id]["PLAINTEXT"]
            pid_path = pid_folder / f"kafka-{node_id}.pid" if pid_folder else None
            self.brokers.append(KafkaBroker(node_id, port, node_folder, argv, self._jvm, pid_path=pid_path))

    @property
    def bootstrap(self) -> str:
        """Bootstrap servers of the plaintext listeners: everyone there may do everything."""
        return self.bootstrap_of("PLAINTEXT")

    def bootstrap_of(self, listener: str) -> str:
        """Bootstrap servers of a listener by its name."""
        return ",".join(f"127.0.0.1:{ports[listener]}" for ports in self._ports.values())

    def start(self) -> None:
        """Start all brokers (formatting their folders the first time) and wait until each sees all."""
        for broker in self.brokers:
            if not (broker.folder / "data" / "meta.properties").exists():
                self._format(broker)
        for broker in self.brokers:
            broker.start(wait=False)
        for broker in self.brokers:
            broker.wait_ready(brokers=self._n_brokers)

    def stop(self) -> None:
        """Ask all brokers to end at once and wait for them; their data stays."""
        for broker in self.brokers:
            broker.terminate()
        for broker in self.brokers:
            broker.stop()

    def kill(self) -> None:
        """Kill all brokers (-9); their data stays."""
        for broker in self.brokers:
            broker.kill()

    def pause(self) -> None:
        """Freeze all brokers."""
        for broker in self.brokers:
            broker.pause()

    def cont(self) -> None:
        """Let all paused brokers go on."""
        for broker in self.brokers:
            broker.cont()

    def _format(self, broker: KafkaBroker) -> None:
        if self._scram_users:
            self._run_format(broker.folder / "server.properties")
            return
        # A JVM costs seconds: without users, folders differ only in these three names.
        jars = self._jvm.jars
        formatted = ensure_entry(jars.parent, f"{jars.name}-formatted", self._make_formatted)
        shutil.copytree(formatted, broker.folder / "data", dirs_exist_ok=True)
        names = {"cluster.id": self.cluster_id, "node.id": broker.node_id, "directory.id": _new_id()}
        lines = [f"{name}={value}\n" for name, value in {**names, "version": 1}.items()]
        (broker.folder / "data" / "meta.properties").write_text("".join(lines))

    def _make_formatted(self, work_folder: Path) -> None:
        settings = {**self._settings(1), "log.dirs": str(work_folder / "out")}
        _write_properties(work_folder / "server.properties", settings)
        self._run_format(work_folder / "server.properties")

    def _run_format(self, config_path: Path) -> None:
        users = [f"--add-scram=SCRAM-SHA-256=[name={name},password={word}]" for name, word in self._scram_users.items()]
        users += [
            f"--add-scram=SCRAM-SHA-512=[name={name},password={word}]" for name, word in self._scram_users.items()
        ]
        format_args = ("kafka.tools.StorageTool", "format", "-t", self.cluster_id, "-c", str(config_path), *users)
        run_class(self._jvm, format_args, heap="256m", timeout_s=READY_TIMEOUT_S, check=True)

    def _settings(self, node_id: int) -> dict[str, str]:
        ports = self._ports[node_id]
        replicas = min(3, self._n_brokers)
        listeners = {name: f"{name}://127.0.0.1:{port}" for name, port in ports.items()}
        voters = ",".join(f"{node}@127.0.0.1:{its['CONTROLLER']}" for node, its in self._ports.items())
        return {
            "process.roles": "broker,controller",
            "node.id": str(node_id),
            "controller.quorum.voters": voters,
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listeners": ",".join(listeners.values()),
            "advertised.listeners": ",".join(at for name, at in listeners.items() if name != "CONTROLLER"),
            "listener.security.protocol.map": ",".join(f"{name}:{kind}" for name, kind in self._protocols.items()),
            "log.dirs": str(self.folder / f"broker-{node_id}" / "data"),
            "default.replication.factor": str(replicas),
            "offsets.topic.replication.factor": str(replicas),
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": str(replicas),
            "transaction.state.log.min.isr": str(min(2, replicas)),
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": str(replicas),
            "share.coordinator.state.topic.min.isr": str(min(2, replicas)),
            "group.initial.rebalance.delay.ms": "0",
            # a killed broker can register again only after its old session (9 s by default) is over
            "broker.session.timeout.ms": "3000",
            "broker.heartbeat.interval.ms": "500",
            # the broker's default, said aloud: tests prove that nothing of ours re-creates a deleted topic by it
            "auto.create.topics.enable": "true",
        }


def _write_properties(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{key}={value}\n" for key, value in settings.items()))


def _new_id() -> str:
    # a leading "-" would be read as an option by StorageTool
    while (text := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")).startswith("-"):
        continue
    return text


def _train(jvm: Jvm, work_folder: Path) -> None:
    cluster = KafkaCluster(work_folder / "cluster", jvm=jvm)
    cluster.start()
    cluster.stop()
