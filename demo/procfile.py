"""Runs a line of the Procfile as `honcho start` would: a shell, the environment, a process group of its own."""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from demo.failure import DemoError
from tests.servers.process import ServerProcess

_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(.+)")
COMMANDS_FOLDER = Path(sys.executable).parent
"""Where this environment's `mirror` is."""


def read_procfile(path: Path) -> dict[str, str]:
    """Process type → command. Raises DemoError when the file is not there or a line is not `name: command`."""
    if not path.exists():
        raise DemoError(f"there is no {path}: run this in the folder of the project")
    commands: dict[str, str] = {}
    for line in path.read_text().splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        match = _LINE.fullmatch(line.strip())
        if match is None:
            raise DemoError(f"{path}: a line is not `name: command`: {line}")
        commands[match[1]] = match[2]
    return commands


def with_path(env: Mapping[str, str]) -> dict[str, str]:
    """That environment, in which the commands of this Python's environment are found first."""
    return {**env, "PATH": f"{COMMANDS_FOLDER}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}


class ProcfileProcess(ServerProcess):
    """A process of the Procfile. Ends with its whole group, and never outlives this process (unless detached)."""

    def __init__(
        self, path: Path, name: str, *, env: Mapping[str, str], log_path: Path, pid_path: Path | None = None
    ) -> None:
        """Prepare it; nothing is started. Raises DemoError when the Procfile has no such process type."""
        commands = read_procfile(path)
        if name not in commands:
            raise DemoError(f"{path} has no process type {name!r}")
        self.command = commands[name]
        # `exec`: the process that gets our signals is the worker and not a shell before it
        argv = ["/bin/sh", "-c", f"exec {self.command}"]
        super().__init__(name, argv, log_path=log_path, env=with_path(env), pid_path=pid_path)

    def kill(self) -> None:
        """Kill the whole group (-9)."""
        if self.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
        super().kill()

    def end(self, timeout_s: float) -> int | None:
        """TERM, and the exit code; None when it had to be killed after ``timeout_s``."""
        process = self._process
        self.stop(timeout_s)
        return None if process is None or process.returncode < 0 else process.returncode
