"""Groups of commands that may do something by themselves too; what stands below is imported when it runs."""

import importlib
from collections.abc import Mapping
from typing import Any

import click

from mirror.cli.context import accept_config_option
from mirror.errors import UsageError

__all__ = ["VerbGroup", "refuse_own_options"]

_SHARED = ("config_path", "as_json")


class VerbGroup(click.Group):
    """``mirror restore`` and ``mirror restore list`` both do something (unless ``invoke_without_command`` is false).

    Args:
        below: name → ``module:attribute`` of the command.
    """

    def __init__(self, *args: Any, below: Mapping[str, str], **options: Any) -> None:
        if options.setdefault("invoke_without_command", True):
            options["subcommand_metavar"] = "[COMMAND ...]"
        super().__init__(*args, **options)
        self._below = below

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order given."""
        return [*super().list_commands(ctx), *self._below]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of that name; None when there is none."""
        if cmd_name not in self._below:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self._below[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return accept_config_option(command)


def refuse_own_options(context: click.Context) -> None:
    """The options of the group are none of what stands below it.

    Raises:
        UsageError: one was given before the name of a command; names it.
    """
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _SHARED and source is not None and source.name == "COMMANDLINE":
            option = next(one for one in context.command.params if one.name == name).opts[-1]
            raise UsageError(
                f"{option} is no option of `{context.command_path} {context.invoked_subcommand}`",
                hint=f"{context.command_path} {context.invoked_subcommand} --help",
            )
