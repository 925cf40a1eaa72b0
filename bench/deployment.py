"""Ours as a user runs it: a configuration file, a repository of its own, and the commands of `mirror`."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from minio.deleteobjects import DeleteObject

from bench.children import Child
from bench.stack import BenchStack
from bench.topics import delete_topics
from mirror.config import load_config
from mirror.service.wiring import internal_topics, open_configured_repository
from mirror.storage.repository import Repository
from tests.servers.ports import free_port

__all__ = ["Deployment"]

_COMMAND_TIMEOUT_S = 600.0
_SECRET_VARIABLE = "BENCH_S3_SECRET"


@dataclass
class Deployment:
    """One repository (a bucket of that name), one worker id, one configuration; `worker_settings` are TOML values."""

    stack: BenchStack
    name: str
    topics: Sequence[str]
    worker_settings: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.stack.folder / self.name
        self.folder.mkdir()
        self.config_path = self.folder / "mirror.toml"
        self.log_path = self.folder / "mirror.log"
        self.web_port = free_port()
        self.config_path.write_text(self._toml())
        self.env = {_SECRET_VARIABLE: self.stack.minio.secret_key}
        self.command("init")

    @cached_property
    def repository(self) -> Repository:
        """Opened for reading by the bench itself."""
        return open_configured_repository(load_config(self.config_path, self.env))

    @property
    def sealed_topic(self) -> str:
        """Where the worker says what is durable."""
        return internal_topics(self.name)["sealed"]

    def argv(self, *arguments: str, module: str = "mirror.cli") -> list[str]:
        """The command line of a `mirror` command."""
        return [sys.executable, "-m", module, "--config", str(self.config_path), *arguments]

    def start(self, *arguments: str, module: str = "mirror.cli") -> Child:
        """Start a command and do not wait."""
        return Child(f"mirror {arguments[0]}", self.argv(*arguments, module=module), self.log_path, self.env)

    def command(self, *arguments: str) -> str:
        """Run a command to its end and return what it printed. Raises BenchError when it fails."""
        with self.start(*arguments) as child:
            return child.wait(_COMMAND_TIMEOUT_S)

    def remove(self) -> None:
        """Delete the bucket, and the mirror's own topics of this worker id."""
        client = self.stack.minio.client()
        listed = client.list_objects(self.name, recursive=True)
        for error in client.remove_objects(self.name, (DeleteObject(str(item.object_name)) for item in listed)):
            raise RuntimeError(f"{self.name}: {error}")
        client.remove_bucket(self.name)
        delete_topics(self.stack, f"{self.name}-")

    def _toml(self) -> str:
        stack = self.stack
        settings = {
            "id": f'"{self.name}"',
            "source": '"source"',
            "topics": "[" + ", ".join(f'"{topic}"' for topic in self.topics) + "]",
            "data_dir": f'"{self.folder / "data"}"',
            "web_port": str(self.web_port),
            **self.worker_settings,
        }
        lines = ["[worker]", *(f"{key} = {value}" for key, value in settings.items())]
        for alias, role in (("source", "source"), ("target", "target")):
            lines += [f"[clusters.{alias}]", f'role = "{role}"', f'bootstrap_servers = ["{stack.bootstrap}"]']
        lines += [
            "[repositories.main]",
            f'url = "s3://{self.name}"',
            f'endpoint = "{stack.minio.url}"',
            'credentials = "static"',
            f'access_key = "{stack.minio.access_key}"',
            f'secret_key = {{ env = "{_SECRET_VARIABLE}" }}',
        ]
        return "\n".join(lines) + "\n"
