"""Secrets are named, read late, and never shown."""

import copy
import json
import pickle
from dataclasses import asdict
from pathlib import Path

import msgspec
import pytest

from mirror.config import Config, SaslConfig, Secret
from mirror.config.secrets import redact
from mirror.errors import ConfigError

VALUE = "correct-horse"


def test_secret_from_environment_reads_late() -> None:
    """The variable is read at reveal, not before."""
    environ: dict[str, str] = {}
    secret = Secret.from_env("KAFKA_PASSWORD", environ)
    environ["KAFKA_PASSWORD"] = VALUE
    assert secret.reveal() == VALUE
    environ["KAFKA_PASSWORD"] = "rotated-horse"
    assert secret.reveal() == "rotated-horse"


def test_secret_from_file_rotates(tmp_path: Path) -> None:
    """The file is read anew each time; one line break at its end is not part of the secret."""
    file = tmp_path / "secret"
    secret = Secret.from_file(file)
    for content, expected in ((b"one-1\n", "one-1"), (b"two-2\r\n", "two-2"), (b" three \n\n", " three \n")):
        file.write_bytes(content)
        assert secret.reveal() == expected


def test_secret_is_never_shown() -> None:
    """repr, str, format, dataclass repr and asdict hold the mask; JSON and pickle refuse."""
    secret = Secret.from_env("S", {"S": VALUE})
    sasl = SaslConfig(mechanism="PLAIN", username="u", password=secret)
    assert secret.reveal() == VALUE
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>10}", repr(sasl), str(asdict(sasl)), repr([secret])]
    assert all(VALUE not in text and "****" in text for text in shown)
    assert copy.deepcopy(secret) is secret
    for serialise in (json.dumps, msgspec.json.encode, pickle.dumps):
        with pytest.raises(TypeError):
            serialise(secret)


def test_missing_variable_is_named() -> None:
    """The error names the variable."""
    with pytest.raises(ConfigError, match="KAFKA_PASSWORD"):
        Secret.from_env("KAFKA_PASSWORD", {}).reveal()


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe" + VALUE.encode(), b"x" * (1 << 20) + b"x"])
def test_unusable_file_is_named_and_not_quoted(tmp_path: Path, content: bytes) -> None:
    """Empty, binary and huge files are errors that name the file and quote nothing."""
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="secret") as caught:
        Secret.from_file(file).reveal()
    assert str(file) in caught.value.message
    assert VALUE not in caught.value.message
    assert caught.value.__cause__ is None


def test_missing_file_is_named(tmp_path: Path) -> None:
    """The error names the file."""
    with pytest.raises(ConfigError, match="nowhere"):
        Secret.from_file(tmp_path / "nowhere").reveal()
    with pytest.raises(ConfigError, match="directory"):
        Secret.from_file(tmp_path).reveal()


def test_equality_is_by_place() -> None:
    """Two secrets are equal when they name the same place, whatever it holds."""
    assert Secret.from_env("A", {"A": "1"}) == Secret.from_env("A", {})
    assert Secret.from_env("A") != Secret.from_file(Path("A"))
    assert Secret.plain("A") != "A"


def test_redact_finds_every_spelling() -> None:
    """A revealed value disappears from text, also JSON-escaped and percent-encoded; the longest first."""
    value = 'p"ä/ß-longer'
    Secret.from_env("S", {"S": value}).reveal()
    Secret.from_env("S", {"S": 'p"ä/ß'}).reveal()
    for text in (value, json.dumps({"a": value}), "http://x/p%22%C3%A4%2F%C3%9F-longer"):
        assert "longer" not in redact(text)
        assert "****" in redact(text)


def test_config_repr_has_no_environment() -> None:
    """A configuration does not drag the environment into its repr."""
    sasl = SaslConfig(mechanism="PLAIN", password=Secret.from_env("S", {"OTHER": VALUE}))
    assert VALUE not in repr(sasl) + repr(Config())
