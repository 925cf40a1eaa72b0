"""How a restore goes: on a terminal a bar for the whole and one for each topic that moves, otherwise a line every few seconds."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

from mirror.cli.human import human_count, human_duration, human_rate
from mirror.core.restore_plan import RestorePlan, TopicState

if TYPE_CHECKING:
    from rich import progress as rich_progress

__all__ = ["RestoreProgress", "restore_progress"]

_FIRST_LINE_S = 2.0
_LINE_EVERY_S = 5.0
_BARS = 12
_REFRESH_S = 0.2


class RestoreProgress:
    """Counts what the target has acknowledged; shows nothing itself (``--json``)."""

    def __init__(self, plan: RestorePlan, *, clock: Callable[[], float] = time.monotonic) -> None:
        open_topics = [topic for topic in plan.topics if topic.state is not TopicState.COMPLETE]
        self.total = {t.target_topic: t.records for t in open_topics}
        self.inexact = {t.target_topic for t in open_topics if not all(p.is_exact for p in t.partitions)}
        self.done = {t.target_topic: sum(p.done_records for p in t.partitions) for t in open_topics}
        self.bytes = dict.fromkeys(self.total, 0)
        self.before = sum(self.done.values())
        self.clock = clock
        self.started_s = self._shown_s = clock()

    def advanced(self, topic: str, records: int, size_bytes: int) -> None:
        """So much more is there."""
        self.done[topic] += records
        self.bytes[topic] += size_bytes
        if self.clock() - self._shown_s >= self._every_s():
            self._shown_s = self.clock()
            self.show()

    def finished(self, topic: str) -> None:
        """All of a topic is there, with its settings: what was counted is its true total."""
        self.total[topic] = self.done[topic]
        self.inexact.discard(topic)

    def _every_s(self) -> float:
        return _LINE_EVERY_S

    def show(self) -> None:
        """Show how it stands."""

    def line(self) -> str:
        """How the whole stands, in one line."""
        elapsed_s = max(self.clock() - self.started_s, 1e-9)
        total, done = sum(self.total.values()), sum(self.done.values())
        rate = (done - self.before) / elapsed_s
        at_most = "at most " if self.inexact else ""
        text = f"restoring: {human_count(done)} of {at_most}{human_count(total)} records"
        text += f", {human_rate(sum(self.bytes.values()) / elapsed_s)}, {rate:,.0f} records/s"
        if 0 < done < total and rate > 0:
            text += f", {at_most}{human_duration((total - done) / rate * 1000)} left"
        return text


class _Lines(RestoreProgress):
    """Lines come by the clock, so that one sees also that nothing arrives."""

    def __init__(self, plan: RestorePlan, out: TextIO) -> None:
        super().__init__(plan)
        self._out = out
        self._ended = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticker.start()

    def advanced(self, topic: str, records: int, size_bytes: int) -> None:
        self.done[topic] += records
        self.bytes[topic] += size_bytes

    def end(self) -> None:
        """No line comes after this one."""
        self._ended.set()
        self._ticker.join()
        print(self.line(), file=self._out, flush=True)

    def _tick(self) -> None:
        pause_s = _FIRST_LINE_S
        with suppress(OSError, ValueError):  # stderr is gone
            while not self._ended.wait(pause_s):
                self.show()
                pause_s = _LINE_EVERY_S

    def show(self) -> None:
        print(self.line(), file=self._out, flush=True)
        for topic, total in self.total.items():
            if 0 < self.done[topic] < total:
                print(f"  {topic}: {100 * self.done[topic] // total} %", file=self._out, flush=True)

    def finished(self, topic: str) -> None:
        super().finished(topic)
        print(f"  {topic}: done, {human_count(self.done[topic])} records", file=self._out, flush=True)


class _Bars(RestoreProgress):
    def __init__(self, plan: RestorePlan, bars: "rich_progress.Progress") -> None:
        super().__init__(plan)
        self._bars = bars
        self._whole = bars.add_task("restoring", total=max(1, sum(self.total.values())), rate="")
        self._tasks: dict[str, rich_progress.TaskID] = {}

    def _every_s(self) -> float:
        return _REFRESH_S

    def show(self) -> None:
        whole_total, whole_done = sum(self.total.values()), sum(self.done.values())
        for topic, total in self.total.items():
            if topic not in self._tasks and 0 < self.done[topic] < total and len(self._tasks) < _BARS:
                self._tasks[topic] = self._bars.add_task(topic, total=max(1, total), rate="")
        elapsed_s = max(self.clock() - self.started_s, 1e-9)
        for topic, task in self._tasks.items():
            self._bars.update(task, completed=self.done[topic], rate=human_rate(self.bytes[topic] / elapsed_s))
        whole = human_rate(sum(self.bytes.values()) / elapsed_s)
        whole += f", {(whole_done - self.before) / elapsed_s:,.0f} records/s"
        self._bars.update(
            self._whole, total=max(1, whole_total), completed=whole_done if whole_total else 1, rate=whole
        )

    def finished(self, topic: str) -> None:
        super().finished(topic)
        if topic in self._tasks:  # its place is for the next one
            self._bars.remove_task(self._tasks.pop(topic))


@contextmanager
def restore_progress(plan: RestorePlan, *, quiet: bool, stream: TextIO | None = None) -> Iterator[RestoreProgress]:
    """Show the progress of a restore while the block runs.

    Args:
        plan: what is restored.
        quiet: show nothing.
        stream: by default stderr.
    """
    out = sys.stderr if stream is None else stream
    if quiet:
        yield RestoreProgress(plan)
        return
    if not out.isatty():
        lines = _Lines(plan, out)
        try:
            yield lines
        finally:
            lines.end()
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = rich_progress.Progress(
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.TaskProgressColumn(),
        rich_progress.TextColumn("{task.fields[rate]}", markup=False),
        rich_progress.TimeRemainingColumn(),
        console=Console(file=out),
    )
    with columns:
        bars = _Bars(plan, columns)
        yield bars
        bars.show()
