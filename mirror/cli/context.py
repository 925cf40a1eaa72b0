"""What every command gets from the options before it, and the options that commands share."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:  # importing the configuration takes time that `mirror --help` does not have
    from mirror.config import Config

__all__ = ["CliContext", "accept_config_option", "json_option", "pass_cli"]

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(slots=True, kw_only=True)
class CliContext:
    """The global options; commands take it by ``@pass_cli``. ``frozen`` has relative times as typed → written out;
    ``goes_on`` is another command that resumes what this one does, once there is one."""

    config_path: Path | None = None
    as_json: bool = False
    log_level: str | None = None
    debug: bool = False
    command: str | None = None
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    frozen: dict[str, str] = field(default_factory=dict)
    goes_on: str = ""
    _config: "Config | None" = field(default=None, repr=False)

    def same_again(self, args: Iterable[str]) -> list[str]:
        """The arguments, so that they mean the same later: relative times written out."""
        words: list[str] = []
        for arg in args:
            option, equals, value = arg.partition("=")
            whole = self.frozen.get(arg, arg)
            words.append(f"{option}={self.frozen[value]}" if equals and value in self.frozen else whole)
        return words

    def config(self) -> "Config":
        """The configuration, loaded at the first call. Raises ConfigError."""
        if self._config is None:
            from mirror.config import load_config  # not for --help

            self._config = load_config(self.config_path, self.environ)
        return self._config


pass_cli = click.make_pass_decorator(CliContext, ensure=True)


def json_option(command: _Command) -> _Command:
    """Adds ``--json`` to a command; ``CliContext.as_json`` is then true, as with ``mirror --json <command>``."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(CliContext).as_json = True

    return click.option(
        "--json", "as_json", is_flag=True, expose_value=False, callback=remember, help="Print JSON for programs."
    )(command)


def accept_config_option(command: click.Command) -> click.Command:
    """Lets ``--config`` stand after a command too, where most people type it; the same for the commands of a group."""

    def remember(context: click.Context, _parameter: click.Parameter, value: Path | None) -> None:
        if value is not None:
            context.ensure_object(CliContext).config_path = value

    if not any("--config" in parameter.opts for parameter in command.params):
        command.params.append(
            click.Option(
                ["--config"],
                type=click.Path(path_type=Path),
                expose_value=False,
                callback=remember,
                help="Configuration file, as before the command.",
            )
        )
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            accept_config_option(inner)
    return command
