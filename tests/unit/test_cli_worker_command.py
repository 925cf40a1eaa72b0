"""`mirror worker` finds its runner by the entry point and hands over the configuration."""

import logging
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from mirror.cli import worker_command
from mirror.cli.__main__ import main
from mirror.config import Config

_seen: list[Config] = []


def run(config: Config) -> int:
    """A runner that remembers its configuration and ends as if it could be resumed."""
    _seen.append(config)
    return 3


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """A small configuration; logging is put back afterwards."""
    path = tmp_path / "mirror.toml"
    path.write_text('[worker]\nid = "w"\nlog_format = "json"\n')
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield path
    root.handlers[:] = handlers
    root.setLevel(level)
    _seen.clear()


def test_runner_gets_the_configuration(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exit code is the runner's, the log level that of the option."""
    entry = EntryPoint("test", f"{__name__}:run", worker_command.WORKER_GROUP)
    monkeypatch.setattr(worker_command, "entry_points", lambda group: [entry])
    assert main(["--config", str(file), "--log-level", "error", "worker"]) == 3
    assert [config.worker.id for config in _seen] == ["w"]
    assert logging.getLogger().level == logging.ERROR


def test_no_runner_or_several_is_an_error(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without exactly one runner nothing is guessed."""
    entry = EntryPoint("test", f"{__name__}:run", worker_command.WORKER_GROUP)
    for found in ([], [entry, entry]):
        monkeypatch.setattr(worker_command, "entry_points", lambda group, found=found: found)
        assert main(["--config", str(file), "worker"]) == 1
        assert "entry point group mirror.worker" in capsys.readouterr().err
