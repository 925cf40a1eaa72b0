"""Progress on stderr: a bar on a terminal, otherwise a plain line every few seconds. Never on stdout."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, TextIO

from mirror.cli.human import human_bytes, human_count, human_duration, human_rate

if TYPE_CHECKING:
    from rich import progress as rich_progress

__all__ = ["Progress", "progress", "waiting"]

_LINE_EVERY_S = 5.0
_WAITING_AFTER_S = 2.0


class Progress(Protocol):
    """What a running command calls; from one thread."""

    def advance(self, amount: int) -> None:
        """So much more is done (bytes, or items)."""

    def set_total(self, total: int) -> None:
        """How much there is in all, once known."""

    def describe(self, description: str) -> None:
        """What is being done now."""


@contextmanager
def progress(
    description: str,
    *,
    total: int | None = None,
    unit: str = "bytes",
    quiet: bool = False,
    stream: TextIO | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Progress]:
    """Show progress while the block runs.

    Args:
        description: what is done.
        total: in bytes or items; None while unknown.
        unit: ``bytes`` (shown with MB/s), or what is counted, such as ``objects``.
        quiet: show nothing (with --json).
        stream: by default stderr.
        clock: seconds that only grow.
    """
    out = sys.stderr if stream is None else stream
    if quiet:
        yield _Silent()
    elif out.isatty():
        with _bar(description, total, unit, out) as bar:
            yield bar
    else:
        lines = _Lines(description, total, unit, out, clock)
        try:
            yield lines
        finally:
            lines.write()


@contextmanager
def waiting(
    what: str, *, quiet: bool = False, after_s: float = _WAITING_AFTER_S, stream: TextIO | None = None
) -> Iterator[None]:
    """Say in a line what is waited for, once the block has run for a while.

    Args:
        what: as in "waiting for …".
        quiet: show nothing (with --json).
        after_s: seconds until it is said.
        stream: by default stderr.
    """
    if quiet:
        yield
        return
    out = sys.stderr if stream is None else stream

    def say() -> None:
        # From another thread, in which nobody would hear of it that stderr is gone.
        with suppress(OSError, ValueError):
            print(f"waiting for {what} …", file=out, flush=True)

    timer = threading.Timer(after_s, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _Silent:
    def advance(self, amount: int) -> None:
        pass

    def set_total(self, total: int) -> None:
        pass

    def describe(self, description: str) -> None:
        pass


class _Lines:
    """One line at most every few seconds, and one at the end."""

    def __init__(self, description: str, total: int | None, unit: str, out: TextIO, clock: Callable[[], float]) -> None:
        self._description, self._total, self._unit, self._out, self._clock = description, total, unit, out, clock
        self._done = 0
        self._started_s = self._written_s = clock()

    def advance(self, amount: int) -> None:
        self._done += amount
        if self._clock() - self._written_s >= _LINE_EVERY_S:
            self.write()

    def set_total(self, total: int) -> None:
        self._total = total

    def describe(self, description: str) -> None:
        self._description = description

    def write(self) -> None:
        self._written_s = self._clock()
        elapsed_s = self._written_s - self._started_s
        rate = self._done / elapsed_s if elapsed_s > 0 else 0.0
        text = f"{self._description}: {self._amount(self._done)}"
        if self._total:
            text += f" of {self._amount(self._total)} ({min(100, 100 * self._done // self._total)} %)"
        text += f", {human_rate(rate)}" if self._unit == "bytes" else f", {rate:,.0f}/s"
        if self._total and rate > 0 and self._done < self._total:
            text += f", {human_duration((self._total - self._done) / rate * 1000)} left"
        print(text, file=self._out, flush=True)

    def _amount(self, amount: int) -> str:
        return human_bytes(amount) if self._unit == "bytes" else f"{human_count(amount)} {self._unit}"


@contextmanager
def _bar(description: str, total: int | None, unit: str, out: TextIO) -> Iterator[Progress]:
    from rich import progress as rich_progress
    from rich.console import Console
    from rich.markup import escape

    amounts = (
        (rich_progress.DownloadColumn(binary_units=True), rich_progress.TransferSpeedColumn())
        if unit == "bytes"
        else (rich_progress.MofNCompleteColumn(), rich_progress.TextColumn(escape(unit)))
    )
    columns = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        *amounts,
        rich_progress.TimeRemainingColumn(),
        console=Console(file=out),
    )
    with columns:
        yield _Bar(columns, columns.add_task(description, total=total))


class _Bar:
    def __init__(self, bar: "rich_progress.Progress", task: "rich_progress.TaskID") -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int) -> None:
        self._bar.advance(self._task, amount)

    def set_total(self, total: int) -> None:
        self._bar.update(self._task, total=total)

    def describe(self, description: str) -> None:
        self._bar.update(self._task, description=description)
