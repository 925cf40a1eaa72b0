"""A sampling profiler inside a process: where each thread is, and how much CPU each thread took. No other tools needed.

`python -m bench.sampling <arguments of mirror>` runs a `mirror` command under it; the report goes to $BENCH_PROFILE_PATH. A sample is
taken for every few milliseconds of CPU, in a signal handler, which the main thread runs at its next bytecode: where that thread is, is
where it was. (A sampling thread must wait for the interpreter's lock, which a busy thread gives up in its system calls, and then sees
nothing but those.) The other threads are seen where they hold no lock. Each sample weighs what CPU its thread took since the last;
imports are left out.
"""

import os
import signal
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

from bench.timed import timed_main

__all__ = ["PROFILE_VARIABLE", "Sampler"]

PROFILE_VARIABLE = "BENCH_PROFILE_PATH"
_EVERY_S = 0.004
_TOP = 36


class Sampler:
    """Samples all threads but its own, from `start` to `stop`, weighting each sample by the CPU its thread took since the last."""

    def __init__(self) -> None:
        self._self: Counter[tuple[str, str]] = Counter()
        self._cumulative: Counter[tuple[str, str]] = Counter()
        self._cpu_seconds: dict[str, float] = {}
        self._last: dict[int, float] = {}
        self._is_sampling = False

    def start(self) -> None:
        """Begin; from the main thread."""
        signal.signal(signal.SIGPROF, self._on_signal)
        signal.setitimer(signal.ITIMER_PROF, _EVERY_S, _EVERY_S)

    def stop(self) -> str:
        """End; returns the report."""
        signal.setitimer(signal.ITIMER_PROF, 0)
        return self._report()

    def _on_signal(self, _signal: int, interrupted: FrameType | None) -> None:
        if self._is_sampling:  # a sample takes CPU too, and the next signal interrupts it
            return
        self._is_sampling = True
        try:
            self._sample(interrupted)
        finally:
            self._is_sampling = False

    def _sample(self, interrupted: FrameType | None) -> None:
        frames: dict[int, FrameType | None] = dict(sys._current_frames())
        # Not this handler's own frame: one in its own variable is a cycle, and with it the other frames and the memory they hold would
        # live until the collector comes by.
        frames[threading.get_ident()] = interrupted
        for thread in threading.enumerate():
            frame = frames.get(thread.ident or 0)
            if frame is None or thread.native_id is None:
                continue
            cpu_seconds = _thread_cpu_seconds(thread.native_id)
            spent = max(0.0, cpu_seconds - self._last.get(thread.native_id, 0.0))  # 0 where it has just ended
            self._last[thread.native_id] = cpu_seconds
            group = thread.name.rstrip("0123456789").rstrip("-_")
            self._cpu_seconds[group] = self._cpu_seconds.get(group, 0.0) + spent
            if spent > 0 and not _is_importing(frame):
                self._count(group, frame, spent)

    def _count(self, group: str, frame: FrameType | None, spent: float) -> None:
        seen: set[tuple[str, str]] = set()
        leaf = True
        while frame is not None:
            code = frame.f_code
            where = (group, f"{_short(code.co_filename)}:{code.co_qualname}:{frame.f_lineno if leaf else 0}")
            if leaf:
                self._self[where] += spent  # type: ignore[assignment]
            whole = (group, where[1].rpartition(":")[0])
            if whole not in seen:
                self._cumulative[whole] += spent  # type: ignore[assignment]
                seen.add(whole)
            leaf = False
            frame = frame.f_back

    def _report(self) -> str:
        lines = ["CPU seconds by thread:"]
        lines += [f"  {spent:7.2f}  {group}" for group, spent in sorted(self._cpu_seconds.items(), key=lambda e: -e[1])]
        for title, counted in (("by line (self)", self._self), ("by function (with what it called)", self._cumulative)):
            lines.append(f"CPU seconds {title}:")
            lines += [f"  {spent:7.2f}  [{group}] {where}" for (group, where), spent in counted.most_common(_TOP)]
        return "\n".join(lines) + "\n"


def _thread_cpu_seconds(native_id: int) -> float:
    # nanoseconds on a CPU; /proc/.../stat counts in ticks of 10 ms, too coarse for a share of each sample
    try:
        return int(Path(f"/proc/self/task/{native_id}/schedstat").read_text().split()[0]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def _is_importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _short(path: str) -> str:
    for mark in ("site-packages/", "lib/python3.11/"):
        if mark in path:
            return path.rpartition(mark)[2]
    return path.removeprefix(str(Path(__file__).resolve().parents[1]) + "/")


if __name__ == "__main__":
    sampler = Sampler()
    sampler.start()
    code = 1
    try:
        code = timed_main()
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else 1
    finally:
        Path(os.environ[PROFILE_VARIABLE]).write_text(sampler.stop())
    sys.exit(code)
