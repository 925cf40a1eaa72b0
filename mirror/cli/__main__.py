"""The entry point: runs the command group and turns every outcome into an exit code and a message."""

import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import click

from mirror.cli.app import app
from mirror.cli.context import CliContext
from mirror.cli.streams import safe_streams
from mirror.errors import MirrorError

__all__ = ["main"]

_EXIT_FAILED, _EXIT_USAGE, _EXIT_REFUSED, _EXIT_INTERRUPTED = 1, 2, 4, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run ``mirror`` with these arguments (by default those of the process) and return its exit code.

    A command returns its exit code, or None for 0. Never raises, except SystemExit from below.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    cli = CliContext(as_json="--json" in args)
    with safe_streams(), _sigterm_as_ctrl_c():
        return _run(args, cli)


@contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Somebody who stops a command by SIGTERM means the same as by Ctrl-C. (A worker has a handler of its own.)"""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(_number: int, frame: FrameType | None) -> None:
        on_ctrl_c = signal.getsignal(signal.SIGINT)
        if not callable(on_ctrl_c):  # shells let their background jobs ignore Ctrl-C
            raise KeyboardInterrupt
        on_ctrl_c(signal.SIGINT, frame)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(args: list[str], cli: CliContext) -> int:
    try:
        outcome = app.main(args=args, prog_name="mirror", standalone_mode=False, obj=cli)
    except MirrorError as error:
        return _report(cli, type(error).__name__, error.message, error.hint, error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return _EXIT_USAGE
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = None if context is None else _dashed_name(error, context, args) or f"{context.command_path} --help"
        return _report(cli, "UsageError", error.format_message(), hint, _EXIT_USAGE)
    except (KeyboardInterrupt, click.Abort) as error:
        return _interrupted(args, cli, error)
    except Exception as error:  # noqa: BLE001 the last resort: whatever it is becomes exit code 1
        return _report(cli, type(error).__name__, _unexpected(error), _debug_hint(cli), _EXIT_FAILED)
    return outcome if isinstance(outcome, int) and not isinstance(outcome, bool) else 0


def _dashed_name(error: click.ClickException, context: click.Context, args: list[str]) -> str | None:
    """How to give a name that begins with a dash, where that may be what was meant."""
    takes_name = any(isinstance(parameter, click.Argument) for parameter in context.command.params)
    if not (isinstance(error, click.NoSuchOption) and takes_name):
        return None
    name = next((arg for arg in args if arg.startswith(error.option_name) and not arg.startswith("--")), None)
    if name is None:
        return None
    return f"a name that begins with a dash goes behind two dashes: {context.command_path} -- {shlex.quote(name)}"


def _interrupted(args: list[str], cli: CliContext, error: BaseException) -> int:
    """click turns both Ctrl-C and a «no» (or the end of input) at a question into Abort."""
    by_signal = isinstance(error, KeyboardInterrupt) or isinstance(error.__context__, KeyboardInterrupt)
    if by_signal:
        # CPython notes a Ctrl-C that passes through `exec` of a text, as dataclasses are made while modules are imported, and ends by the
        # signal, whatever code is returned. The next `exec` forgets it.
        exec("")  # noqa: S102
        again = f"`{shlex.join(['mirror', *cli.same_again(args)])}`"
        other = f", or `{cli.goes_on}`" if cli.goes_on else ""
        hint = f"the same command resumes it: {again}{other}" if cli.command == "restore" else None
        return _report(cli, "InterruptedByUserError", "interrupted", hint, _EXIT_INTERRUPTED)
    return _report(cli, "RefusedError", "not confirmed; nothing was changed", None, _EXIT_REFUSED)


def _unexpected(error: Exception) -> str:
    text = str(error).strip()
    return f"unexpected {type(error).__name__}: {text}" if text else f"unexpected {type(error).__name__}"


def _debug_hint(cli: CliContext) -> str | None:
    return None if cli.debug else "mirror --debug prints the traceback"


def _report(cli: CliContext, kind: str, message: str, hint: str | None, exit_code: int) -> int:
    """Say what went wrong: on stderr, with --json on stdout. Secrets are taken out of whatever the message quotes."""
    from mirror.config.secrets import redact  # not for --help

    if cli.debug:
        print(redact(traceback.format_exc().rstrip()), file=sys.stderr)
    message, hint = redact(message), None if hint is None else redact(hint)
    if cli.as_json:
        from mirror.cli.output import emit_json  # not for --help

        emit_json({"error": {"type": kind, "message": message, "hint": hint, "exit_code": exit_code}})
        return exit_code
    print(f"error: {message}", file=sys.stderr)
    if hint:
        print(f"hint: {hint}", file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
