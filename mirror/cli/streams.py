"""Stdout and stderr that neither an old encoding nor a reader that went away can make fail.

A sign that the encoding lacks becomes a plain one. Once the reader of a pipe is gone (``mirror status | head -1``) what is written is
dropped, and the command goes on to its own exit code: a restore must not end because somebody looked at its first line only.
"""

import codecs
import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

__all__ = ["can_encode", "reader_is_gone", "safe_streams"]

_HANDLER = "mirror.plain"
_PLAIN = {
    "–": "-",
    "—": "-",
    "−": "-",
    "·": "-",
    "…": "...",
    "→": "->",
    "≤": "<=",
    "∞": "inf",
    "×": "x",
    "─": "-",
    "«": '"',
    "»": '"',
}


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_PLAIN.get(char, "?") for char in error.object[error.start : error.end]), error.end


codecs.register_error(_HANDLER, _replace)


class _UntilReaderLeaves(io.FileIO):
    """A file descriptor whose pipe may break: from then on everything is dropped."""

    reader_is_gone = False

    def write(self, data: Any) -> int:
        """As of a file, of everything or nothing."""
        if not self.reader_is_gone:
            try:
                return super().write(data)
            except BrokenPipeError:
                self.reader_is_gone = True
        return memoryview(data).nbytes


@contextmanager
def safe_streams() -> Iterator[None]:
    """Make ``sys.stdout`` and ``sys.stderr`` safe while the block runs; streams that a test put there stay as they are."""
    before = sys.stdout, sys.stderr
    if sys.stdout is sys.__stdout__ and sys.stdout is not None:
        sys.stdout = _safe(sys.stdout, line_buffering=sys.stdout.isatty())
    if sys.stderr is sys.__stderr__ and sys.stderr is not None:
        sys.stderr = _safe(sys.stderr, line_buffering=True)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before


def _safe(stream: TextIO, *, line_buffering: bool) -> TextIO:
    stream.flush()
    raw = _UntilReaderLeaves(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw), encoding=stream.encoding, errors=_HANDLER, line_buffering=line_buffering
    )


def reader_is_gone() -> bool:
    """Whether nobody reads stdout any more."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    return isinstance(raw, _UntilReaderLeaves) and raw.reader_is_gone


def can_encode(text: str) -> bool:
    """Whether stdout can show the text as it is."""
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True
