"""How a restore is named to a person: the commands that show it, go on with it, undo it."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

from mirror.cli.context import CliContext
from mirror.cli.output import print_line
from mirror.errors import MirrorError, RefusedError
from mirror.service.restore.journal import RestoreJournal

__all__ = ["going_on", "record_command", "tell_record"]


def record_command(cli: CliContext, repository: str | None, *words: str) -> str:
    """``mirror restore resume r-…`` with the configuration and the repository that were given."""
    config = ["--config", str(cli.config_path)] if cli.config_path is not None else []
    chosen = ["--repository", repository] if repository else []
    return shlex.join(["mirror", *config, *words, *chosen])


def tell_record(journal: RestoreJournal, *, quiet: bool) -> None:
    """Say it where no record is kept, and why."""
    if not journal.is_kept and not quiet:
        print_line(
            f"no record of this restore is kept: {journal.why_not}. To show, undo or prove it give its plan's file instead of its id",
            color="yellow",
        )


@contextmanager
def going_on(cli: CliContext, journal: RestoreJournal, repository: str | None) -> Iterator[None]:
    """What ends in the middle of the block names the command that goes on."""
    if journal.is_kept:
        cli.goes_on = record_command(cli, repository, "restore", "resume", journal.restore_id)
    try:
        yield
    except MirrorError as error:
        if cli.goes_on and not isinstance(error, RefusedError) and "the same command" in (error.hint or ""):
            allowing = " --allow-missing" if "the same command with --allow-missing" in (error.hint or "") else ""
            error.hint = f"{error.hint}, or `{cli.goes_on}{allowing}`"
        raise
    finally:
        if journal.is_kept and journal.why_not:
            print_line(journal.why_not, color="yellow", err=True)
