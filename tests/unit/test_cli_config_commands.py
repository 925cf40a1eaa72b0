"""`mirror config check` and `mirror config show`."""

import json
from pathlib import Path

import pytest

from mirror.cli.__main__ import main

TEXT = """
[worker]
exclude = ["tmp-*"]
[clusters.eu]
role = "source"
bootstrap_servers = ["a:9092"]
security_protocol = "SASL_PLAINTEXT"
sasl = { mechanism = "PLAIN", username = "u", password = { file = "password" } }
[repositories.main]
url = "s3://backup"
access_key = "AKIA-plain"
secret_key = { env = "TEST_SECRET_KEY" }
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration with a private password file and a secret in the environment."""
    path = tmp_path / "mirror.toml"
    path.write_text(TEXT)
    password = tmp_path / "password"
    password.write_text("hunter2-file\n")
    password.chmod(0o600)
    monkeypatch.setenv("TEST_SECRET_KEY", "hunter2-env")
    return path


def test_check_says_what_it_would_use(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sound configuration is OK, with its source, repository and rules; risks are warnings on stderr."""
    assert main(["--config", str(file), "config", "check"]) == 0
    output = capsys.readouterr()
    assert output.out.startswith(f"OK {file}\n")
    for part in ("eu (a:9092, SASL_PLAINTEXT)", "main (s3://backup)", "tmp-*"):
        assert part in output.out
    assert output.err == "warning: clusters.eu: PLAIN over SASL_PLAINTEXT sends the secret in clear\n"


def test_check_warns_of_a_secret_everyone_can_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A secret's file that others can read is named, and it is only a warning."""
    (file.parent / "password").chmod(0o644)
    assert main(["--config", str(file), "config", "check", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["valid"]
    assert any("clusters.eu.sasl.password" in warning and "chmod" in warning for warning in answer["warnings"])


def test_check_names_every_missing_secret(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A variable that is not set and a file that is not there are errors, both named at once."""
    monkeypatch.delenv("TEST_SECRET_KEY")
    (file.parent / "password").unlink()
    assert main(["--config", str(file), "config", "check"]) == 2
    shown = capsys.readouterr().err
    assert "2 problems" in shown
    assert "repositories.main.secret_key: " in shown
    assert "TEST_SECRET_KEY" in shown
    assert str(file.parent / "password") in shown


def test_check_names_missing_files(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A CA file that is not there is an error."""
    file.write_text(TEXT + 'ca_file = "ca.pem"\n')
    assert main(["--config", str(file), "config", "check"]) == 2
    assert f"1 problem\n  - repositories.main.ca_file: cannot read {file.parent / 'ca.pem'}" in capsys.readouterr().err


def test_show_masks_secrets_and_names_origins(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every value with its origin; secrets are masked wherever they come from, an access key in the file is not."""
    monkeypatch.setenv("MIRROR_WORKER__FLUSH_INTERVAL", "2s")
    monkeypatch.setenv("MIRROR_REPOSITORIES__MAIN__SESSION_TOKEN", "hunter2-token")
    assert main(["--config", str(file), "config", "show", "--json"]) == 0
    shown = capsys.readouterr().out
    assert "hunter2" not in shown
    settings = {row["key"]: (row["value"], row["origin"]) for row in json.loads(shown)["settings"]}
    assert settings["worker.flush_interval"] == ("2s", "env MIRROR_WORKER__FLUSH_INTERVAL")
    assert settings["worker.exclude"] == (["tmp-*"], "file")
    assert settings["worker.topics"] == (["*"], "default")
    assert settings["repositories.main.access_key"] == ("AKIA-plain", "file")
    assert settings["repositories.main.secret_key"] == ("****", "file: environment variable TEST_SECRET_KEY")
    assert settings["clusters.eu.sasl.password"] == ("****", f"file: file {file.parent / 'password'}")
    token = ("****", "env MIRROR_REPOSITORIES__MAIN__SESSION_TOKEN")
    assert settings["repositories.main.session_token"] == token


def test_show_as_table(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The table has one line a setting, however long, and no secret."""
    assert main(["--config", str(file), "config", "show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert not any("hunter2" in line or line != line.rstrip() for line in lines)
    assert any(line.split() == ["worker.exclude", "tmp-*", "file"] for line in lines)


def test_bad_configuration_is_2_in_json(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong configuration ends with 2; with --json the error is on stdout."""
    file.write_text("[wroker]\n")
    assert main(["--config", str(file), "--json", "config", "check"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["type"], error["exit_code"]) == ("ConfigError", 2)
    assert "did you mean worker?" in error["message"]


def test_sample_is_printed_and_hints_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What `config sample` prints is a configuration; whoever has none, or a wrong one, is told of it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mirror.config.locate.DEFAULT_PATHS", (Path("mirror.toml"),))
    monkeypatch.delenv("MIRROR_CONFIG", raising=False)
    assert main(["config", "show"]) == 2
    assert "`mirror config sample > mirror.toml`" in capsys.readouterr().err
    assert main(["config", "sample"]) == 0
    Path("mirror.toml").write_text(capsys.readouterr().out)
    assert main(["config", "show"]) == 0
    Path("mirror.toml").write_text("[worker]\nidd = 1\n")
    assert main(["config", "show"]) == 2
    assert "`mirror config sample`" in capsys.readouterr().err
