"""The command group ``mirror``. Commands are imported when they run, so that help is instant."""

import gc
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import click

from mirror.cli.context import CliContext, accept_config_option

__all__ = ["COMMANDS", "EXIT_CODES", "app"]

# name -> (module that exposes `command`, help of one line)
COMMANDS = {
    "check": ("mirror.cli.check_command", "Check rights, reachability and settings; changes nothing."),
    "init": ("mirror.cli.init_command", "Create the repository, and its bucket if there is none."),
    "worker": ("mirror.cli.worker_command", "Back up continuously, until stopped."),
    "status": ("mirror.cli.status_command", "Say what is safe, up to when, and what is not."),
    "inspect": ("mirror.cli.inspect_command", "Show the coverage of a partition, or what an object holds."),
    "groups": (
        "mirror.cli.groups_command",
        "Show where consumer groups stood, at any time; put them back after a restore.",
    ),
    "snapshot": ("mirror.cli.snapshot_command", "Take, list, show or delete named recovery points."),
    "state": ("mirror.cli.state_command", "Show topics, settings, ACLs and users at any time, and what changed."),
    "cat": ("mirror.cli.cat_command", "Print records straight from the repository."),
    "verify": ("mirror.cli.verify_command", "Check coverage, checksums and CRCs of what is stored."),
    "plan": ("mirror.cli.plan_command", "Show what a restore would do; changes nothing."),
    "restore": ("mirror.cli.restore_command", "Load topics into a cluster."),
    "prove": ("mirror.cli.prove_command", "Compare what a restore brought with the repository, record by record."),
    "holds": ("mirror.cli.holds_command", "Show and end the retention holds that a restore left."),
    "repair": ("mirror.cli.repair_command", "Rebuild what can be rebuilt from the stored objects."),
    "config": ("mirror.cli.config_commands", "Check or show the configuration, or print a sample."),
}

# The README has the same words.
EXIT_CODES = {
    0: "ok",
    1: "failed",
    2: "usage, configuration, or nothing matches",
    3: "partial; the same command goes on",
    4: "refused: needs a decision; nothing was changed",
    5: "difference or damage found",
    6: "status: an objective is missed or something is unprotected; a snapshot is not stored whole yet",
    10: "no repository",
    11: "wrong repository (another cluster's, or a newer mirror's)",
    12: "credentials or rights",
    13: "store or cluster unreachable",
    130: "interrupted (Ctrl-C, SIGTERM); the same command goes on",
}
_EPILOG = "\b\nExit codes:\n" + "".join(f"  {code:>3}  {meaning}\n" for code, meaning in EXIT_CODES.items())


@contextmanager
def _without_collecting() -> Iterator[None]:
    """What imports make stays: to look for garbage among it takes a tenth of their time, in vain."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class LazyGroup(click.Group):
    """A group over COMMANDS; a command whose module is not installed does not exist."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of installed commands, in the order of COMMANDS."""
        return [name for name, (module, _) in COMMANDS.items() if importlib.util.find_spec(module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name; None when there is none."""
        if cmd_name not in self.list_commands(ctx):
            return None
        with _without_collecting():
            command = importlib.import_module(COMMANDS[cmd_name][0]).command
        assert isinstance(command, click.Command)
        return accept_config_option(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, naming the nearest command in the error."""
        if args and not args[0].startswith("-") and args[0] not in (names := self.list_commands(ctx)):
            from mirror.config.nearest import did_you_mean  # not for --help

            raise click.UsageError(f"there is no command {args[0]!r}{did_you_mean(args[0], names)}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup, epilog=_EPILOG, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="Configuration file.  [default: $MIRROR_CONFIG, ./mirror.toml, ./config/mirror.toml, /etc/mirror/mirror.toml]",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs, where a command can.")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="How much to log on stderr."
)
@click.option("--debug", is_flag=True, help="Print the traceback of an error.")
@click.version_option(version("mirror"), prog_name="mirror")
@click.pass_context
def app(context: click.Context, config_path: Path | None, as_json: bool, log_level: str | None, debug: bool) -> None:
    """Continuous backup of Apache Kafka into object storage, and back."""
    cli = context.ensure_object(CliContext)
    cli.config_path = config_path
    cli.as_json = cli.as_json or as_json
    cli.log_level = log_level
    cli.debug = debug
    cli.command = context.invoked_subcommand
    if context.invoked_subcommand is not None:
        from mirror.cli.logs import setup_logging  # not for --help

        setup_logging("text", log_level or "warning")
