"""A store that takes connections and never answers: said soon, and by name."""

import io
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mirror.cli.__main__ import main
from mirror.cli.progress import waiting
from mirror.service import wiring
from mirror.storage.retrying import RetryPolicy


@pytest.fixture
def frozen(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a listener that nobody serves, and a configuration for it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        config = tmp_path / "mirror.toml"
        config.write_text(
            f'[repositories.main]\nurl = "s3://backup/prod"\nendpoint = "http://{address}"\n'
            'access_key = "key"\nsecret_key = { env = "S3_SECRET_KEY" }\n'
        )
        yield address, config


@pytest.mark.parametrize("command", [["status"], ["inspect", "orders"], ["verify"]])
def test_a_store_that_does_not_answer_is_told_soon(
    command: list[str],
    frozen: tuple[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 13 and the store's name, after two attempts with a patience that together stays below 20 seconds."""
    pauses_s = wiring.PERSON_PATIENCE.first_pause_seconds
    assert 2 * wiring.PERSON_ANSWER_SECONDS + pauses_s < 18
    assert wiring.PERSON_PATIENCE.deadline_seconds is not None
    assert wiring.PERSON_PATIENCE.deadline_seconds < 2 * wiring.PERSON_ANSWER_SECONDS
    monkeypatch.setattr(wiring, "PERSON_ANSWER_SECONDS", 0.2)
    monkeypatch.setattr(wiring, "PERSON_PATIENCE", RetryPolicy(first_pause_seconds=0.01, deadline_seconds=0.3))
    monkeypatch.setenv("S3_SECRET_KEY", "the-secret")
    started_s = time.monotonic()
    assert main(["--config", str(frozen[1]), *command]) == 13
    assert time.monotonic() - started_s < 5
    said = capsys.readouterr().err
    assert f"s3://backup at {frozen[0]}: no answer in time" in said


def test_what_takes_long_says_what_is_waited_for() -> None:
    """After the time set one line; nothing where the answer came sooner, and nothing with --json."""
    out = io.StringIO()
    with waiting("the store s3://backup", after_s=0.01, stream=out):
        deadline_s = time.monotonic() + 5
        while not out.getvalue().endswith("\n") and time.monotonic() < deadline_s:
            time.sleep(0.01)
    assert out.getvalue() == "waiting for the store s3://backup …\n"
    quiet = io.StringIO()
    with waiting("it", after_s=30, stream=quiet), waiting("it", quiet=True, after_s=0, stream=quiet):
        time.sleep(0.05)
    assert quiet.getvalue() == ""
