"""Child processes that are watched while they run: CPU seconds and memory, sampled from /proc, and never left behind."""

import bisect
import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["REPOSITORY_ROOT", "BenchError", "Child", "Usage", "run_python"]

REPOSITORY_ROOT = Path(__file__).resolve().parents[1]
SAMPLE_EVERY_S = 0.02
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


class BenchError(Exception):
    """A measurement could not be made; the message says what and where to look."""


@dataclass(slots=True)
class Usage:
    """CPU seconds (user and system, all threads) by wall time in seconds since the epoch, and peak memory."""

    times_s: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    peak_rss_bytes: int = 0

    def between(self, begin_s: float, finish_s: float) -> float:
        """CPU seconds spent in that span, interpolated between samples (whose own resolution is 10 ms)."""
        return self._at(finish_s) - self._at(begin_s)

    @property
    def total_cpu_seconds(self) -> float:
        """Since the process was started, its start-up included."""
        return self.cpu_seconds[-1] if self.cpu_seconds else 0.0

    def _at(self, time_s: float) -> float:
        times, values = self.times_s, self.cpu_seconds
        index = bisect.bisect_left(times, time_s)
        if not times or index == 0:
            return 0.0 if not values else values[0]
        if index == len(times):
            return values[-1]
        share = (time_s - times[index - 1]) / (times[index] - times[index - 1])
        return values[index - 1] + share * (values[index] - values[index - 1])


class Child:
    """A process that ends with this one, and whose output goes to a file."""

    def __init__(self, name: str, argv: Sequence[str], log_path: Path, env: Mapping[str, str] | None = None) -> None:
        """Start it. The log is appended to."""
        self.name = name
        self.log_path = log_path
        self.usage = Usage()
        self.started_at_s = time.time()
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                cwd=REPOSITORY_ROOT,
                env={**os.environ, **(env or {})},
                preexec_fn=_die_with_parent,
            )
        self.pid = self._process.pid
        self._output: list[bytes] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def wait(self, timeout_s: float, *, good_codes: Collection[int] = (0,)) -> str:
        """Wait for a good end and return what it printed. Raises BenchError on a bad one, or when it takes too long."""
        try:
            code = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BenchError(f"{self.name}: not done after {timeout_s} s\n{self.log_tail()}") from None
        self._reader.join()
        self._watcher.join()
        if code not in good_codes:
            raise BenchError(f"{self.name}: ended with {code}\n{self.log_tail()}")
        return b"".join(self._output).decode()

    def require_alive(self) -> None:
        """Raise BenchError when it ended by itself."""
        if not self.is_running:
            raise BenchError(f"{self.name}: ended with {self._process.returncode}\n{self.log_tail()}")

    def terminate(self, timeout_s: float) -> None:
        """Ask it to end (TERM) and wait. Raises BenchError as `wait`."""
        if self.is_running:
            self._process.send_signal(signal.SIGTERM)
        self.wait(timeout_s)

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.is_running:
            self._process.kill()
        self._process.wait()

    def log_tail(self) -> str:
        """The end of what it wrote, for messages."""
        printed = b"".join(self._output).decode(errors="replace")
        return (self.log_path.read_text(errors="replace") + printed)[-3000:]

    def _read(self) -> None:
        assert self._process.stdout is not None
        self._output.extend(iter(self._process.stdout.readline, b""))

    def _watch(self) -> None:
        usage = self.usage
        while self.is_running:
            try:
                cpu_seconds, peak_rss_bytes = _cpu_seconds(self.pid), _peak_rss_bytes(self.pid)
            except (OSError, IndexError, ValueError):
                return  # it is ending
            usage.times_s.append(time.time())
            usage.cpu_seconds.append(cpu_seconds)
            usage.peak_rss_bytes = max(usage.peak_rss_bytes, peak_rss_bytes)
            time.sleep(SAMPLE_EVERY_S)


def run_python(
    module: str, settings: Mapping[str, Any], log_path: Path, timeout_s: float
) -> tuple[dict[str, Any], Usage]:
    """Run `python -m module '<settings as JSON>'` and return the JSON object that it printed, with its usage."""
    argv = [sys.executable, "-m", module, json.dumps(settings)]
    with Child(module, argv, log_path) as child:
        printed = child.wait(timeout_s)
    result: dict[str, Any] = json.loads(printed.strip().splitlines()[-1])
    return result, child.usage


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _peak_rss_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _die_with_parent() -> None:
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
