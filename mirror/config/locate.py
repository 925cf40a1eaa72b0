"""Finding and reading the configuration file."""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from mirror.errors import ConfigError

__all__ = ["DEFAULT_PATHS", "find_config", "read_toml", "sample_toml"]

# Tried in this order when neither --config nor MIRROR_CONFIG names one.
DEFAULT_PATHS = (Path("mirror.toml"), Path("config/mirror.toml"), Path("/etc/mirror/mirror.toml"))

_SYNTAX_PLACE = re.compile(r"\(at (?:line ([0-9]+), column ([0-9]+)|end of document)\)")
_MAY_BE_SECRET = re.compile(r"pass|secret|token|key|credential", re.IGNORECASE)


def find_config(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The file to read: ``path`` (--config), else MIRROR_CONFIG, else the first of DEFAULT_PATHS that exists.

    Raises:
        ConfigError: there is none; names every place that was tried.
    """
    if path is not None:
        return path
    if named := environ.get("MIRROR_CONFIG"):
        return Path(named)
    for candidate in DEFAULT_PATHS:
        if candidate.is_file():
            return candidate
    raise ConfigError(
        "no configuration file: none of " + ", ".join(str(candidate) for candidate in DEFAULT_PATHS) + " exists",
        hint="name one with --config or MIRROR_CONFIG; `mirror config sample > mirror.toml` makes one to edit",
    )


def sample_toml() -> str:
    """The commented sample that comes with the library: every setting there is, at its default or as an example."""
    return resources.files("mirror.config").joinpath("sample.toml").read_text(encoding="utf-8")


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: it cannot be read or is not TOML; a syntax error shows its line, unless that may hold a secret.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the configuration file {path}: {error.strerror or type(error).__name__}",
            hint="name the file with --config or MIRROR_CONFIG",
        ) from None
    try:
        # UTF-8 with or without a byte order mark, which some editors add.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 text (byte {error.start})") from None
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {_syntax_message(str(error), text)}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def _syntax_message(message: str, text: str) -> str:
    found = _SYNTAX_PLACE.search(message)
    if found is None:
        return f"not valid TOML: {message}"
    reason = message[: found.start()].strip()
    lines = text.rstrip().split("\n")
    line_number = min(int(found[1] or len(lines)), len(lines))
    line = lines[line_number - 1]
    place = f"line {line_number}, column {found[2]}" if found[2] else f"line {line_number}, the last one"
    if _MAY_BE_SECRET.search(line):
        line = line.partition("=")[0] + "= ****" if "=" in line else "****"
    return f"{place}: not valid TOML: {reason}\n    {line.strip()[:120]}"
