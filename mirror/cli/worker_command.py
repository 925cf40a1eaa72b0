"""``mirror worker``: finds the runner by its entry point, because the command line must not know Faust."""

import signal
from importlib.metadata import EntryPoint, entry_points
from typing import NoReturn, Protocol, cast

import click

from mirror.cli.context import CliContext, pass_cli
from mirror.cli.logs import setup_logging
from mirror.config import Config
from mirror.errors import MirrorError

__all__ = ["WORKER_GROUP", "Runner", "command"]

WORKER_GROUP = "mirror.worker"


class Runner(Protocol):
    """What an entry point of the group gives: runs until stopped, returns the exit code."""

    def __call__(self, config: Config) -> int:
        """Raises MirrorError."""


@click.command(name="worker")
@pass_cli
def command(cli: CliContext) -> int:
    """Back up continuously, until stopped.

    Workers with the same [worker] id share the partitions. SIGTERM and Ctrl-C write what is buffered, then stop.
    """
    signal.signal(signal.SIGTERM, _end_before_the_start)  # Faust puts its own handler in place once it runs
    config = cli.config()
    setup_logging(config.worker.log_format, cli.log_level or config.worker.log_level)
    return load_runner()(config)


def _end_before_the_start(_number: int, _frame: object) -> NoReturn:
    """Nothing is buffered yet: ending at once is a clean end."""
    raise SystemExit(0)


def load_runner() -> Runner:
    """The one runner that is installed.

    Raises:
        MirrorError: there is none, or several.
    """
    found: list[EntryPoint] = list(entry_points(group=WORKER_GROUP))
    if len(found) != 1:
        names = ", ".join(sorted(f"{entry.name} = {entry.value}" for entry in found)) or "none"
        raise MirrorError(
            f"one runner is needed in the entry point group {WORKER_GROUP}, found: {names}",
            hint="install mirror again",
        )
    return cast("Runner", found[0].load())
