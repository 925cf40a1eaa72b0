"""One Kafka and one MinIO that keep running in the background, for `make up`, the demo and the bench."""

import os
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from tests.servers.errors import StackError
from tests.servers.guard import kill_exactly, start_ticks
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

DEFAULT_FOLDER = Path(__file__).resolve().parents[2] / ".stack"
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningServer:
    """A server that was started by `up`: `ticks` is its start time, so that a reused pid is never taken for it."""

    name: str
    pid: int
    ticks: int

    @property
    def is_running(self) -> bool:
        """Whether that very process is still there."""
        return start_ticks(self.pid) == self.ticks


def servers(folder: Path = DEFAULT_FOLDER) -> list[RunningServer]:
    """The servers that `up` started in that folder and `down` has not ended yet, running or not."""
    found = []
    for pid_path in sorted(folder.glob("*.pid")):
        pid, ticks = pid_path.read_text().split()
        found.append(RunningServer(name=pid_path.stem, pid=int(pid), ticks=int(ticks)))
    return found


def folders() -> list[Path]:
    """That of the stack without a name, and those of named ones that were not ended."""
    return [DEFAULT_FOLDER, *sorted({path.parent for path in DEFAULT_FOLDER.glob("*/*.pid")})]


def up(folder: Path = DEFAULT_FOLDER, *, quick_start: bool = True, heap: str = "512m") -> Path:
    """Start a fresh stack in that folder and return the path of its `env` file of shell variables.

    The variables are STACK_KAFKA_BOOTSTRAP, STACK_S3_ENDPOINT (`host:port`), STACK_S3_URL, STACK_S3_ACCESS_KEY and
    STACK_S3_SECRET_KEY. A stack that runs already is left as it is. Raises StackError when a server does not start;
    then nothing is left running.
    """
    env_path = folder / "env"
    known = servers(folder)
    if known and env_path.exists() and all(server.is_running for server in known):
        return env_path
    down(folder)
    folder.mkdir(parents=True, exist_ok=True)
    try:
        minio = MinioServer(folder / "minio", pid_path=folder / "minio.pid")
        minio.start()
        kafka = KafkaCluster(folder / "kafka", quick_start=quick_start, heap=heap, pid_folder=folder)
        kafka.start()
    except BaseException:
        down(folder)
        raise
    variables = {
        "STACK_KAFKA_BOOTSTRAP": kafka.bootstrap,
        "STACK_S3_ENDPOINT": minio.endpoint,
        "STACK_S3_URL": minio.url,
        "STACK_S3_ACCESS_KEY": minio.access_key,
        "STACK_S3_SECRET_KEY": minio.secret_key,
    }
    env_path.touch(mode=0o600)
    env_path.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
    return env_path


def read_env(folder: Path = DEFAULT_FOLDER) -> dict[str, str]:
    """The variables of the running stack; raises StackError when none was started there."""
    env_path = folder / "env"
    if not env_path.exists():
        raise StackError(f"no stack in {folder}: run `python -m tests.servers up`")
    return dict(line.split("=", 1) for line in env_path.read_text().splitlines())


def down(folder: Path = DEFAULT_FOLDER) -> None:
    """End exactly the servers started there and throw their data away; their logs stay."""
    known = servers(folder)
    for server in known:
        if server.is_running:
            os.kill(server.pid, signal.SIGTERM)
            os.kill(server.pid, signal.SIGCONT)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while any(server.is_running for server in known) and time.monotonic() < deadline:
        time.sleep(0.05)
    for server in known:
        kill_exactly(server.pid, server.ticks)
        (folder / f"{server.name}.pid").unlink(missing_ok=True)
    (folder / "env").unlink(missing_ok=True)
    for data in [folder / "minio" / "data", folder / "kafka" / "broker-1" / "data"]:
        shutil.rmtree(data, ignore_errors=True)
