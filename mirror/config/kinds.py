"""What a setting may hold: one small class per kind of value.

A kind reads the TOML value (``parse``), turns the text of an environment variable into such a value (``from_text``)
and shows a value as TOML would write it (``show``). It says in words what it ``accepts``; the sentence around that is
the caller's. A refusal is always a ValueError, also of a wrong type.
"""

# ruff: noqa: TRY004  (a refusal is a ValueError, whatever its reason)

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirror.config.units import format_duration, format_size, parse_duration_ms, parse_size_bytes

__all__ = ["Choice", "Duration", "FilePath", "Flag", "Kind", "ListOf", "Number", "Place", "Size", "Text", "Whole"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a value was written: relative paths start at ``folder``, secrets look into ``environ``."""

    folder: Path
    environ: Mapping[str, str] = field(repr=False)


class Kind:
    """Base of all kinds. ``parse`` raises ValueError, whose message is the reason and may be empty."""

    accepts: str = "a value"
    secret: bool = False

    def parse(self, raw: object, place: Place) -> Any:
        """The value the program uses."""
        raise NotImplementedError

    def from_text(self, text: str) -> object:
        """What TOML would have given for this text of an environment variable."""
        return text

    def show(self, value: Any) -> Any:
        """A value as TOML would write it: str, int, float, bool, or a list of these."""
        return value


class Text(Kind):
    """A string, by pattern if one is given. Control characters are refused."""

    def __init__(self, accepts: str = "a text", *, pattern: str | None = None, empty: bool = False) -> None:
        self.accepts = accepts
        self._pattern = None if pattern is None else re.compile(pattern, re.ASCII)
        self._empty = empty

    def parse(self, raw: object, place: Place) -> str:
        """The text itself."""
        if not isinstance(raw, str):
            raise ValueError(_wrong_type(raw))
        if not raw:
            if self._empty:
                return raw
            raise ValueError("it is empty")
        if any(ord(char) < 32 or ord(char) == 127 for char in raw):
            raise ValueError("it holds a control character")
        if self._pattern is not None and not self._pattern.fullmatch(raw):
            raise ValueError
        return raw


class Choice(Kind):
    """One of several words."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.accepts = "one of " + ", ".join(words)

    def parse(self, raw: object, place: Place) -> str:
        """The word itself."""
        if not isinstance(raw, str) or raw not in self._words:
            raise ValueError
        return raw


class Flag(Kind):
    """True or false."""

    accepts = "true or false"

    def parse(self, raw: object, place: Place) -> bool:
        """The flag itself."""
        if not isinstance(raw, bool):
            raise ValueError
        return raw

    def from_text(self, text: str) -> object:
        """``true`` and ``false``, in any case."""
        return {"true": True, "false": False}.get(text.lower(), text)


class Whole(Kind):
    """A whole number within inclusive bounds."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most
        self.accepts = f"a whole number from {least} to {most}"

    def parse(self, raw: object, place: Place) -> int:
        """The number itself."""
        if isinstance(raw, bool) or not isinstance(raw, int) or not self._least <= raw <= self._most:
            raise ValueError
        return raw

    def from_text(self, text: str) -> object:
        """Decimal digits, with a sign or not."""
        return int(text) if re.fullmatch(r"[+-]?[0-9]{1,18}", text) else text


class Number(Kind):
    """A finite number, zero or more."""

    accepts = "a number, zero or more"

    def parse(self, raw: object, place: Place) -> float:
        """The number as a float."""
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw) or raw < 0:
            raise ValueError
        return float(raw)

    def from_text(self, text: str) -> object:
        """A decimal number."""
        return float(text) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]{1,15})?(e-?[0-9]{1,2})?", text) else text


class Duration(Kind):
    """A duration within inclusive bounds, in milliseconds."""

    def __init__(self, least: str, most: str) -> None:
        self._least_ms, self._most_ms = parse_duration_ms(least), parse_duration_ms(most)
        self.accepts = f"a duration from {least} to {most}, such as 500ms, 10s, 5m, 2h or 7d"

    def parse(self, raw: object, place: Place) -> int:
        """Milliseconds."""
        if not isinstance(raw, str):
            raise ValueError("a duration needs a unit: ms, s, m, h or d" if _is_number(raw) else _wrong_type(raw))
        duration_ms = parse_duration_ms(raw)
        if not self._least_ms <= duration_ms <= self._most_ms:
            raise ValueError
        return duration_ms

    def show(self, value: Any) -> Any:
        """As ``10s``."""
        return format_duration(value)


class Size(Kind):
    """A size of at least so many bytes; ``zero_means`` allows 0 and says what it does."""

    _MOST_BYTES = 1 << 50

    def __init__(self, least: str, *, zero_means: str | None = None) -> None:
        self._least_bytes = parse_size_bytes(least)
        self._zero = zero_means is not None
        zero = f", or 0 ({zero_means})" if self._zero else ""
        self.accepts = f"a size of at least {least}, such as 64KiB, 32MiB, 1GB or a number of bytes{zero}"

    def parse(self, raw: object, place: Place) -> int:
        """Bytes."""
        if isinstance(raw, bool) or not isinstance(raw, int | str):
            raise ValueError(_wrong_type(raw))
        size_bytes = parse_size_bytes(raw)
        if size_bytes == 0 and self._zero:
            return 0
        if not self._least_bytes <= size_bytes <= self._MOST_BYTES:
            raise ValueError
        return size_bytes

    def show(self, value: Any) -> Any:
        """As ``32MiB``."""
        return format_size(value)


class FilePath(Kind):
    """A path; a relative one starts at the folder of the configuration file (in a variable: at the current folder)."""

    accepts = "a path"

    def parse(self, raw: object, place: Place) -> Path:
        """An absolute path."""
        if not isinstance(raw, str):
            raise ValueError(_wrong_type(raw))
        if not raw or "\0" in raw:
            raise ValueError("it is empty" if not raw else "it holds a NUL character")
        return place.folder / raw

    def show(self, value: Any) -> Any:
        """As text."""
        return str(value)


class ListOf(Kind):
    """A list of one kind, as a tuple.

    In a variable: separated by commas, or, where an item holds one, a TOML list that starts with ``["`` or ``['``.
    """

    def __init__(self, item: Kind, accepts: str, *, empty: bool = True) -> None:
        self._item = item
        self._empty = empty
        self.accepts = accepts

    def parse(self, raw: object, place: Place) -> tuple[Any, ...]:
        """All items, parsed."""
        if not isinstance(raw, list):
            raise ValueError("it is not a list")
        if not raw and not self._empty:
            raise ValueError("it is empty")
        values = []
        for item in raw:
            try:
                values.append(self._item.parse(item, place))
            except ValueError as error:
                raise ValueError(f"{item!r}: {error}" if str(error) else f"{item!r}") from None
        return tuple(values)

    def from_text(self, text: str) -> object:
        """Items of ``a,b`` or of ``["a,b", "c"]``; an empty text is an empty list."""
        stripped = text.strip()
        if stripped == "[]" or (stripped[:2] in ('["', "['") and stripped.endswith("]")):
            try:
                return tomllib.loads(f"list = {stripped}")["list"]
            except tomllib.TOMLDecodeError:
                return text
        return [item.strip() for item in stripped.split(",")] if stripped else []

    def show(self, value: Any) -> Any:
        """As a list."""
        return [self._item.show(item) for item in value]


def _is_number(raw: object) -> bool:
    return isinstance(raw, int | float) and not isinstance(raw, bool)


def _wrong_type(raw: object) -> str:
    names = {bool: "a flag", int: "a number", float: "a number", str: "a text", list: "a list", dict: "a table"}
    return f"it is {names.get(type(raw), 'a date or time')}"
