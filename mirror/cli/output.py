"""What commands print: tables and lines on stdout, JSON for programs, progress on stderr.

Nothing here reads ``[…]`` as markup: names of topics and messages are printed as they are, and control characters in
them are made visible, because they come from other people's clusters.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from mirror.cli.human import human_bytes, human_count, human_duration, human_rate, utc
from mirror.cli.streams import can_encode
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

_WIDTH_WITHOUT_TERMINAL = 100_000  # wider than any line


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
    columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str | None = None, right: Iterable[str] = ()
) -> None:
    """Print a table on stdout; ``right`` names the columns of numbers, aligned to the right.

    On a terminal long cells are folded, never cut; elsewhere lines are as long as they need to be.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = _console(sys.stdout)
    to_right = set(right)
    table = Table(
        box=box.SIMPLE_HEAD, title=None if title is None else Text(title), title_justify="left", pad_edge=False
    )
    for column in columns:
        table.add_column(Text(column), justify="right" if column in to_right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(str(cell))) for cell in row))
    if not console.is_terminal:
        console.width = _WIDTH_WITHOUT_TERMINAL
    # Rich pads every line to the full width, which a pipe does not need.
    with console.capture() as captured:
        console.print(table)
    lines = captured.get().strip("\n").splitlines()
    console.file.write("".join(f"{line.rstrip()}\n" for line in lines))
    console.file.flush()


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
