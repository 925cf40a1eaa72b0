"""What commands print: tables and lines on stdout, JSON for programs, progress on stderr.

Nothing here reads ``[…]`` as markup: names of topics and messages are printed as they are, and control characters in
them are made visible, because they come from other people's clusters.
"""

import json
import sys
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from mirror.cli.human import human_bytes, human_count, human_duration, human_rate, utc
from mirror.cli.streams import can_encode
from mirror.cli.tables import table_lines
from mirror.config.secrets import MASK, Secret

__all__ = [
    "emit_json",
    "emit_json_line",
    "human_bytes",
    "human_count",
    "human_duration",
    "human_rate",
    "print_line",
    "print_table",
    "utc",
    "visible",
]


def emit_json(value: object) -> None:
    """Print one JSON document on stdout: dicts, dataclasses and msgspec structs; a Secret becomes its mask."""
    _echo_json(msgspec.json.format(msgspec.json.encode(value, enc_hook=_plain), indent=2).decode())


def emit_json_line(value: object) -> None:
    """Print one JSON document in one line, for streams of them (``status --watch --json``)."""
    _echo_json(msgspec.json.encode(value, enc_hook=_plain).decode())


def _echo_json(text: str) -> None:
    """Signs that stdout cannot show are escaped, which JSON reads back as they were."""
    if not can_encode(text):
        text = "".join(char if char.isascii() else json.dumps(char)[1:-1] for char in text)
    print(text, flush=True)


def print_line(text: str = "", *, bold: bool = False, color: str | None = None, err: bool = False) -> None:
    """Print a line; styles only on a terminal, and not where NO_COLOR is set."""
    from rich.text import Text

    style = " ".join(word for word in ("bold" if bold else "", color or "") if word)
    console = _console(sys.stderr if err else sys.stdout)
    console.print(Text(visible(text), style=style), soft_wrap=True, highlight=False)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    title: str | None = None,
    right: Iterable[str] = (),
    fixed: Collection[str] = (),
    below: Collection[str] = (),
    optional: Sequence[str] = (),
) -> None:
    """Print a table on stdout, on a terminal as narrow as that; elsewhere lines are as long as they need to be.

    ``right`` names the columns of numbers; for the others see :func:`mirror.cli.tables.table_lines`.
    """
    lines = table_lines(
        columns,
        [[visible(str(cell)) for cell in row] for row in rows],
        width=_console(sys.stdout).width if sys.stdout.isatty() else None,
        right=frozenset(right),
        fixed=fixed,
        below=below,
        optional=optional,
    )
    if title is not None:
        print_line(title, bold=True)
    print("\n".join(lines), flush=True)


def visible(text: str) -> str:
    """The text with control characters escaped, so that a name cannot move the cursor or colour the screen."""
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or char in "\n\t" else char.encode("unicode_escape").decode() for char in text
    )


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    return Console(file=stream, markup=False, highlight=False, emoji=False)


def _plain(value: object) -> object:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"no JSON for {type(value).__name__}")
