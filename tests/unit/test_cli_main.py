"""Every outcome of a command becomes one exit code and one message, for people on stderr, for programs on stdout."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest

from mirror import errors
from mirror.cli import app as app_module
from mirror.cli import restore_command
from mirror.cli.__main__ import main
from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.config import Secret
from mirror.config.secrets import redact

Install = Callable[[Callable[[], object]], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a function the command `mirror try`."""

    def install_command(action: Callable[[], object]) -> None:
        @click.command(name="try")
        @json_option
        @pass_cli
        def command(cli: CliContext) -> object:
            assert isinstance(cli, CliContext)
            return action()

        monkeypatch.setattr(app_module.LazyGroup, "list_commands", lambda self, ctx: ["try"])
        monkeypatch.setattr(app_module.LazyGroup, "get_command", lambda self, ctx, name: command)

    return install_command


def raising(error: BaseException) -> Callable[[], object]:
    """A command that raises."""

    def action() -> object:
        raise error

    return action


ERRORS = [found for name in errors.__all__ if issubclass(found := getattr(errors, name), errors.MirrorError)]


@pytest.mark.parametrize("error_type", ERRORS)
def test_every_error_has_its_exit_code(
    error_type: type[errors.MirrorError], install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error of the tree ends with its own exit code, the message and the hint, once on stderr, once as JSON."""
    install(raising(error_type("it broke", hint="mend it")))
    assert main(["try"]) == error_type.exit_code
    output = capsys.readouterr()
    assert (output.out, output.err) == ("", "error: it broke\nhint: mend it\n")
    assert main(["try", "--json"]) == error_type.exit_code
    expected = {
        "type": error_type.__name__,
        "message": "it broke",
        "hint": "mend it",
        "exit_code": error_type.exit_code,
    }
    assert json.loads(capsys.readouterr().out) == {"error": expected}


@pytest.mark.parametrize(("returned", "exit_code"), [(None, 0), (0, 0), (6, 6), (True, 0), ("x", 0)])
def test_returned_number_is_the_exit_code(returned: object, exit_code: int, install: Install) -> None:
    """A command may return its exit code."""
    install(lambda: returned)
    assert main(["try"]) == exit_code


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 4),
        (ValueError("odd"), 1),
        (click.UsageError("no"), 2),
        (OSError(28, "full"), 1),
    ],
)
def test_foreign_errors_are_mapped(
    error: BaseException, exit_code: int, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C is 130, a question not confirmed 4, wrong usage 2, anything else 1 without a traceback."""
    install(raising(error))
    assert main(["try"]) == exit_code
    assert "Traceback" not in capsys.readouterr().err


def test_traceback_only_with_debug(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """--debug shows the traceback of an unexpected error."""
    install(raising(ValueError("odd")))
    assert main(["--debug", "try"]) == 1
    assert "Traceback" in (shown := capsys.readouterr().err)
    assert "error: unexpected ValueError: odd" in shown


def test_secret_in_an_error_is_masked(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """A library that quotes a secret in its error cannot print it through us, not even with --debug."""
    value = Secret.from_env("S", {"S": "hunter2-of-main"}).reveal()
    install(raising(ValueError(f"bad password {value}")))
    for args in (["try"], ["--debug", "try"], ["try", "--json"]):
        assert main(args) == 1
        output = capsys.readouterr()
        assert value not in output.out + output.err
        assert redact(value) in output.out + output.err


@pytest.mark.parametrize("args", [["confg"], ["--nope"], ["config", "nope"], ["config", "check", "--nope"], []])
def test_wrong_usage_is_2(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown commands and options end with 2 and say so on stderr."""
    assert main(args) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A typo is answered with the right name."""
    main(["confg"])
    assert "did you mean config?" in capsys.readouterr().err


def test_help_shows_the_exit_codes_and_leaves_out_missing_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table of exit codes is in the help; a command whose module is absent is not."""
    monkeypatch.setitem(app_module.COMMANDS, "phantom", ("mirror.cli.phantom_command", "Not there."))
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    for code in (0, 1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 130):
        assert f"\n    {code:>3}  " in shown
    assert "config" in shown
    assert "phantom" not in shown
    assert main(["phantom"]) == 2


def test_installed_commands_are_commands() -> None:
    """Each module of the registry that exists exposes a click command of that name."""
    group = app_module.app
    assert isinstance(group, app_module.LazyGroup)
    context = click.Context(group)
    names = group.list_commands(context)
    assert {"worker", "config"} <= set(names)
    for name in names:
        command = group.get_command(context, name)
        assert command is not None
        assert command.name == name


def test_help_imports_nothing_heavy() -> None:
    """Help is quick, because no command, client library or rich is imported for it."""
    code = "import sys; from mirror.cli.__main__ import main; main(['--help']); print(*sys.modules, file=sys.stderr)"
    started_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert time.monotonic() - started_s < 5
    heavy = {"rich", "msgspec", "minio", "aiokafka", "confluent_kafka", "numpy", "faust", "mirror.config"}
    assert not heavy & set(done.stderr.split())


def test_broken_pipe_is_quiet(tmp_path: Path) -> None:
    """When the reader goes away nothing is complained about, and the exit code is the command's own."""
    reader, writer = os.pipe()
    os.close(reader)
    config = tmp_path / "mirror.toml"
    config.write_text('[repositories.main]\nurl = "file:///x"\n')
    command = [sys.executable, "-m", "mirror.cli", "--config", str(config), "config", "show"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version prints the version."""
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("mirror, version ")


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN])
def on_ctrl_c(request: pytest.FixtureRequest) -> Iterator[None]:
    """As in the foreground, and as in the background of a shell."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("on_ctrl_c")
def test_sigterm_ends_a_command_as_ctrl_c(install: Install, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 130 with a message, also in the middle of asyncio; the handler is put back afterwards."""

    async def work() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.sleep(10)

    before = signal.getsignal(signal.SIGTERM)
    install(lambda: asyncio.run(work()))
    assert main(["try"]) == 130
    assert capsys.readouterr().err.lstrip() == "error: interrupted\n"
    assert signal.getsignal(signal.SIGTERM) is before


_MOMENT = r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ"


def test_an_interrupted_restore_names_the_command_that_resumes_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """With all its options, ready to paste."""
    config = tmp_path / "mirror.toml"
    config.write_text(
        '[clusters.standby]\nrole = "target"\nbootstrap_servers = ["h:1"]\n[repositories.m]\nurl = "file:///x"\n'
    )
    monkeypatch.setattr(restore_command, "open_for", lambda *args, **options: signal.raise_signal(signal.SIGTERM))
    assert main(["--config", str(config), "restore", "--target", "standby", "--latest", "--topic", "a*"]) == 130
    resumes = f"`mirror --config {config} restore --target standby --latest --topic 'a*'`"
    assert capsys.readouterr().err.lstrip() == f"error: interrupted\nhint: the same command resumes it: {resumes}\n"
    assert main(["--config", str(config), "restore", "--target", "standby", "--at", "2h ago", "--since=1d ago"]) == 130
    said = capsys.readouterr().err
    assert re.search(rf"--at {_MOMENT} --since={_MOMENT}`", said), said


def test_readme_has_the_exit_codes_of_the_program() -> None:
    """The same codes in the same words; each error of the tree has one of them."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    table = dict(re.findall(r"\| (\d+) \| ([^|]+?) (?=\|)", readme))
    assert {int(code): meaning for code, meaning in table.items()} == app_module.EXIT_CODES
    assert {error.exit_code for error in ERRORS} | {0} == set(app_module.EXIT_CODES)
