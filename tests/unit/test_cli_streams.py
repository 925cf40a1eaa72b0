"""An old encoding and a reader that goes away do not make a command fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_SHOW = "import sys; from mirror.cli.__main__ import main; sys.exit(main(sys.argv[1:]))"
ASCII = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration with a name beyond ASCII."""
    path = tmp_path / "mirror.toml"
    path.write_text('[repositories.main]\nurl = "file:///größe/東京"\n', encoding="utf-8")
    return path


def run(code: str, *args: str, **env: str) -> "subprocess.CompletedProcess[bytes]":
    """A Python process with these variables."""
    return subprocess.run(
        [sys.executable, "-c", code, *args], env={**os.environ, **env}, capture_output=True, check=False
    )


def test_ascii_stdout_gets_plain_signs(config: Path) -> None:
    """Signs that the encoding lacks are replaced; the command succeeds."""
    done = run(_SHOW, "--config", str(config), "config", "show", **ASCII)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr??e/??" in done.stdout.replace(b"\\", b"")
    assert b" - " in done.stdout  # an unset value


def test_ascii_json_is_escaped(config: Path) -> None:
    """JSON keeps every name whole, whatever stdout can show."""
    done = run(_SHOW, "--config", str(config), "config", "show", "--json", **ASCII)
    assert done.returncode == 0
    values = {row["key"]: row["value"] for row in json.loads(done.stdout.decode("ascii"))["settings"]}
    assert values["repositories.main.url"] == "file:///größe/東京"


def test_ascii_stderr_gets_the_message() -> None:
    """Errors too."""
    done = run(_SHOW, "--config", "größe–.toml", "config", "show", **ASCII)
    assert done.returncode == 2
    assert b"gr??e-.toml" in done.stderr


_ENDLESS = """
import sys
from mirror.cli.output import print_line, print_table
from mirror.cli.streams import reader_is_gone, safe_streams
with safe_streams():
    print_line("first")
    for number in range(3000):
        print_table(("a",), [("x" * 200,)])
    code = 6 if reader_is_gone() else 1
sys.exit(code)
"""


def test_a_command_goes_on_when_the_reader_has_left() -> None:
    """As with `| head -1`: no complaint, and the command's own exit code."""
    with subprocess.Popen([sys.executable, "-c", _ENDLESS], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"first\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 6
