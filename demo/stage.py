"""The stage: Kafka, MinIO and the worker of one run, and what can be asked of them."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from confluent_kafka.admin import AdminClient, NewTopic

from demo.data import TOPICS
from demo.failure import DemoError
from demo.mirror_command import Mirror
from demo.place import Addresses, write_config
from demo.procfile import ProcfileProcess
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer
from tests.servers.ports import free_port


class Stage:
    """Everything that runs during one demonstration. ``end`` leaves nothing running."""

    def __init__(self, folder: Path, procfile: Path, *, flush_interval: str) -> None:
        """Start Kafka and MinIO side by side and write the configuration. Raises StackError when one does not start."""
        self.folder = folder
        self.kafka = KafkaCluster(folder / "kafka")
        self.minio = MinioServer(folder / "minio")
        self.worker: ProcfileProcess | None = None
        self._procfile = procfile
        try:
            with ThreadPoolExecutor(2) as pool:
                for starting in [pool.submit(self.kafka.start), pool.submit(self.minio.start)]:
                    starting.result()
        except BaseException:
            self.end()
            raise
        self.addresses = Addresses(
            bootstrap=self.kafka.bootstrap,
            endpoint=self.minio.url,
            access_key=self.minio.access_key,
            secret_key=self.minio.secret_key,
            web_port=free_port(),
        )
        self.config_path = write_config(folder, self.addresses, flush_interval=flush_interval)
        self.mirror = Mirror(self.config_path)

    def start_worker(self) -> ProcfileProcess:
        """The `worker` line of the Procfile, with our configuration; does not wait."""
        env = {"MIRROR_CONFIG": str(self.config_path)}
        worker = ProcfileProcess(self._procfile, "worker", env=env, log_path=self.folder / "worker.log")
        worker.start()
        self.worker = worker
        return worker

    def worker_is_ready(self) -> bool:
        """Whether `/readyz` says so. Raises StackError when the worker has ended."""
        if self.worker is not None:
            self.worker.require_alive()
        return page(self.addresses.web + "/readyz") is not None

    def end(self) -> None:
        """End what still runs: the worker first, then the servers, without ceremony: their data is thrown away."""
        if self.worker is not None:
            self.worker.kill()
        self.minio.kill()
        self.kafka.kill()

    def running(self) -> list[str]:
        """Names of what still runs."""
        processes = [*([self.worker] if self.worker else []), self.minio, *self.kafka.brokers]
        return [process.name for process in processes if process.is_running]


def create_topics(bootstrap: str) -> None:
    """The topics of the shop."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    new = [NewTopic(s.name, num_partitions=s.partitions, replication_factor=1, config=s.configs) for s in TOPICS]
    for future in admin.create_topics(new).values():
        future.result(30)


def delete_topics(bootstrap: str) -> None:
    """The disaster."""
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 2})
    for future in admin.delete_topics([spec.name for spec in TOPICS]).values():
        future.result(30)


def page(url: str) -> dict[str, object] | None:
    """The JSON of one of the worker's pages; None when it does not answer with success."""
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310 our own http address
            found: dict[str, object] = json.loads(answer.read())
            return found
    except (OSError, ValueError, urllib.error.URLError):
        return None


def wait_for(what: str, is_so: Callable[[], bool], *, timeout_s: float, every_s: float = 0.1) -> None:
    """Return when it is so; raises DemoError after the time is over."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            raise DemoError(f"{what}: not after {timeout_s:.0f} s")
        time.sleep(every_s)
