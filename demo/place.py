"""The demonstration's folder: everything it writes is in there, and it belongs to one run at a time."""

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from demo.failure import DemoError

WORKER_ID = "demo-mirror"
CLUSTER = "shop"
BUCKET = "kafka-backup"

_KEPT = "kept-after-a-failure"
_CONFIG = """\
# Written by the demonstration.
[worker]
id = "{worker_id}"
topics = ["shop.*"]
flush_interval = "{flush_interval}"
discovery_interval = "5s"
data_dir = "worker"
web_port = {web_port}

[clusters.{cluster}]
role = "source"
bootstrap_servers = ["{bootstrap}"]

[repositories.main]
url = "s3://{bucket}/{cluster}"
endpoint = "{endpoint}"
access_key = {{ file = "s3-access-key" }}
secret_key = {{ file = "s3-secret-key" }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the servers are, and with which keys the store is opened."""

    bootstrap: str
    endpoint: str
    access_key: str
    secret_key: str
    web_port: int

    @property
    def web(self) -> str:
        """The worker's pages."""
        return f"http://127.0.0.1:{self.web_port}"


def write_config(folder: Path, at: Addresses, *, flush_interval: str) -> Path:
    """Write `mirror.toml` and the files of the keys; returns the path of the first."""
    for name, text in (("s3-access-key", at.access_key), ("s3-secret-key", at.secret_key)):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    path = folder / "mirror.toml"
    path.write_text(
        _CONFIG.format(
            worker_id=WORKER_ID,
            flush_interval=flush_interval,
            web_port=at.web_port,
            cluster=CLUSTER,
            bootstrap=at.bootstrap,
            bucket=BUCKET,
            endpoint=at.endpoint,
        )
    )
    return path


@contextmanager
def own_folder(folder: Path, *, keep: bool) -> Iterator[Path]:
    """An empty folder for the time of a run, removed at its end unless ``keep``, or when the file that :func:`keep_folder` makes is in it.

    Raises:
        DemoError: another run has it.
    """
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoError(f"another demonstration is running in {folder}") from None
        _empty(folder)
        try:
            yield folder
        finally:
            if not keep and not (folder / _KEPT).exists():
                shutil.rmtree(folder, ignore_errors=True)


def keep_folder(folder: Path) -> None:
    """Do not remove the folder at the end of this run: something in it explains a failure."""
    (folder / _KEPT).touch()


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
