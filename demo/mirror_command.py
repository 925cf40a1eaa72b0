"""Runs the command `mirror` as a user does."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from demo.failure import DemoError
from demo.procfile import COMMANDS_FOLDER


class Mirror:
    """`mirror` with one configuration file.

    Args:
        config_path: of the configuration.
    """

    def __init__(self, config_path: Path) -> None:
        self._argv = [str(COMMANDS_FOLDER / "mirror"), "--config", str(config_path)]

    def run(self, *arguments: str, timeout_s: float = 60.0) -> int:
        """Run a command that talks to the person itself (its output is ours); returns its exit code."""
        sys.stdout.flush()
        try:
            return subprocess.run([*self._argv, *arguments], timeout=timeout_s, check=False).returncode  # noqa: S603
        except subprocess.TimeoutExpired:
            raise DemoError(f"`mirror {' '.join(arguments)}` was not done after {timeout_s:.0f} s") from None

    def ask(self, *arguments: str, timeout_s: float = 30.0) -> tuple[int, dict[str, Any]]:
        """Run a command with ``--json``: its exit code and its answer. Raises DemoError when that is not JSON."""
        argv = [*self._argv, "--json", *arguments]
        try:
            done = subprocess.run(argv, timeout=timeout_s, check=False, capture_output=True, text=True)  # noqa: S603
            return done.returncode, json.loads(done.stdout)
        except subprocess.TimeoutExpired:
            raise DemoError(f"`mirror {' '.join(arguments)}` was not done after {timeout_s:.0f} s") from None
        except ValueError:
            raise DemoError(
                f"`mirror --json {' '.join(arguments)}` exited {done.returncode} without JSON:\n"
                f"{done.stdout}{done.stderr}"
            ) from None
