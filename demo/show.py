"""How the story is shown: numbered steps, the commands that ran, bars on a terminal and lines in a log."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

_LOG_LINE_EVERY_S = 3.0
_LOG_WIDTH = 140


class Show:
    """Prints on stdout. ``seconds`` since it began stand before every step."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=_LOG_WIDTH, no_color=True)
        self._began = time.monotonic()
        self._step = 0

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def step(self, title: str) -> None:
        """A numbered headline."""
        self._step += 1
        self.console.print(f"\n[bold cyan]{self._step}.[/] [bold]{title}[/]  [dim]{self.seconds:.0f} s[/]")

    def command(self, text: str) -> None:
        """A command that runs now."""
        self.console.print(f"   [bold green]$[/] {text}", soft_wrap=True)

    def line(self, text: str, *, style: str = "", markup: bool = True) -> None:
        """A sentence below the step; without ``markup`` brackets are printed as they are."""
        self.console.print(f"   {text}", style=style, soft_wrap=True, markup=markup)

    def table(self, columns: list[str], rows: list[list[str]], *, right: tuple[str, ...] = ()) -> None:
        """A table; ``right`` names the columns of numbers."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for column in columns:
            table.add_column(column, justify="right" if column in right else "left", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        self.console.print(table)

    @contextmanager
    def bars(self) -> "Iterator[Bars]":
        """Bars for as long as the block lasts."""
        progress = Progress(
            TextColumn("   {task.description:<28}"),
            BarColumn(bar_width=36),
            TextColumn("{task.completed:>9,.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[note]}[/]"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        with progress:
            yield Bars(self, progress)


class Bars:
    """Several bars; in a log a line from time to time."""

    def __init__(self, show: Show, progress: Progress) -> None:
        self._show = show
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}
        self._line_at = 0.0

    def set(self, name: str, done: float, total: float, *, unit: str = "records", note: str = "") -> None:
        """A bar's state; it is made at the first call."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total, unit=unit, note=note)
        self._progress.update(self._tasks[name], completed=min(done, total), total=total, unit=unit, note=note)

    def tick(self, *, now: bool = False) -> None:
        """Without a terminal: a line with all of them, every few seconds."""
        if self._show.console.is_terminal:
            return
        if now or time.monotonic() - self._line_at >= _LOG_LINE_EVERY_S:
            self._line_at = time.monotonic()
            parts = [
                f"{task.description}: {task.completed:,.0f} of {task.total:,.0f} {task.fields['unit']}"
                + (f" ({task.fields['note']})" if task.fields["note"] else "")
                for task in self._progress.tasks
            ]
            self._show.line(f"{self._show.seconds:5.1f} s  " + " · ".join(parts))
