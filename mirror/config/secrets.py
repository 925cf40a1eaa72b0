"""Secrets: named in the configuration, read when they are used, never shown.

Invariant: the value of a secret is in no attribute of a ``Secret``. It is read anew at every ``reveal()``, so that
files may rotate, and no ``repr``, ``str``, copy or serialisation can leak it.
"""

import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import quote

from mirror.errors import ConfigError

__all__ = ["MASK", "Secret", "redact"]

MASK = "****"
_LARGEST_SECRET_BYTES = 1 << 20
_SHORTEST_REDACTED = 4

# Everything this process ever revealed, so that it can be taken out of log lines and messages. Guarded by the lock.
_revealed: set[str] = set()
_lock = threading.Lock()


def redact(text: str) -> str:
    """The text without any secret value this process has read so far, plain, JSON-escaped or percent-encoded.

    Values of fewer than four characters stay: they would be found, and so betrayed, in every other word.
    """
    with _lock:
        values = sorted(_revealed, key=len, reverse=True)
    for value in values:
        for spelling in (
            value,
            json.dumps(value)[1:-1],
            json.dumps(value, ensure_ascii=False)[1:-1],
            quote(value, safe=""),
        ):
            text = text.replace(spelling, MASK)
    return text


class Secret:
    """Where a secret is; build it with ``from_env``, ``from_file`` or ``plain``.

    ``plain`` is for identifiers (an access key) that the configuration may hold literally; ``shown`` shows them.
    """

    __slots__ = ("_environ", "_file", "_plain", "_variable")

    def __init__(
        self,
        *,
        variable: str | None = None,
        environ: Mapping[str, str] | None = None,
        file: Path | None = None,
        plain: str | None = None,
    ) -> None:
        self._variable = variable
        self._environ: Mapping[str, str] = os.environ if environ is None else environ
        self._file = file
        self._plain = plain

    @classmethod
    def from_env(cls, variable: str, environ: Mapping[str, str] | None = None) -> "Secret":
        """The value of an environment variable."""
        return cls(variable=variable, environ=environ)

    @classmethod
    def from_file(cls, file: Path) -> "Secret":
        """The content of a file, without the line break at its end."""
        return cls(file=file)

    @classmethod
    def plain(cls, value: str) -> "Secret":
        """An identifier written in the configuration itself."""
        return cls(plain=value)

    @property
    def file(self) -> Path | None:
        """The file it is read from, if it is."""
        return self._file

    @property
    def source(self) -> str:
        """Where the value comes from, in words and without the value."""
        if self._variable is not None:
            return f"environment variable {self._variable}"
        if self._file is not None:
            return f"file {self._file}"
        return "the configuration file"

    @property
    def shown(self) -> str:
        """What may be printed: the mask, or the identifier itself where the configuration holds it literally."""
        return MASK if self._plain is None else self._plain

    def reveal(self) -> str:
        """Read the value, now.

        Raises:
            ConfigError: the variable is not set, the file cannot be read, or the value is empty; names the place only.
        """
        if self._plain is not None:
            return self._plain
        value = self._from_variable() if self._variable is not None else self._from_file()
        if not value:
            raise ConfigError(f"the secret from {self.source} is empty")
        if len(value) >= _SHORTEST_REDACTED:
            with _lock:
                _revealed.add(value)
        return value

    def _from_variable(self) -> str:
        assert self._variable is not None
        try:
            return self._environ[self._variable]
        except KeyError:
            raise ConfigError(
                f"a secret is to be read from the environment variable {self._variable}, which is not set",
                hint=f"set {self._variable} in the environment of this process",
            ) from None

    def _from_file(self) -> str:
        assert self._file is not None
        try:
            with self._file.open("rb") as stream:
                content = stream.read(_LARGEST_SECRET_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                f"a secret is to be read from the file {self._file}: {error.strerror or type(error).__name__}",
                hint="create the file, or let the user of this process read it",
            ) from None
        if len(content) > _LARGEST_SECRET_BYTES:
            raise ConfigError(f"the secret file {self._file} is larger than 1 MiB: probably not a secret")
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError:
            # `from None`: the original exception carries the bytes.
            raise ConfigError(f"the secret file {self._file} is not UTF-8 text") from None
        return text.removesuffix("\n").removesuffix("\r")

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __copy__(self) -> "Secret":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not to be serialised")

    def _identity(self) -> tuple[str | None, Path | None, str | None]:
        return self._variable, self._file, self._plain
