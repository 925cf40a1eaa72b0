"""One server process: start, stop, kill, pause, continue; it never outlives the Python process that started it."""

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers import guard
from tests.servers.errors import StackError

# The server proper is exec'ed only after its pid was registered with the guardian: whenever this process dies, either
# the guardian knows the pid, or `read` sees the end of its input and nothing is started.
_WAIT_FOR_GO = 'read -r go && exec "$0" "$@" </dev/null'


class _Guardian:
    """The guardian process of this Python process, started with the first server."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._owner_pid = 0

    def add(self, pid: int, ticks: int) -> None:
        with self._lock:
            if self._process is None or self._owner_pid != os.getpid():
                self._owner_pid = os.getpid()
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", guard.__file__, str(self._owner_pid)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C in the terminal must not reach it
                )
                atexit.register(self._end)
            assert self._process.stdout is not None
            self._write(f"add {pid} {ticks}\n")
            if self._process.stdout.readline() != b"ok\n":
                raise StackError("the guardian of the servers is gone")

    def remove(self, pid: int) -> None:
        with self._lock:
            if self._process is not None and self._owner_pid == os.getpid() and self._process.poll() is None:
                self._write(f"del {pid}\n")

    def _write(self, line: str) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()

    def _end(self) -> None:
        if self._process is not None and self._owner_pid == os.getpid():
            self._process.communicate()


_guardian = _Guardian()


class ServerProcess:
    """A server and its log file; may be started again after it was stopped or killed. Not for use by two threads."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        log_path: Path,
        env: Mapping[str, str] | None = None,
        pid_path: Path | None = None,
    ) -> None:
        """`env` is added to this process's own.

        With a `pid_path` the server is detached: it lives on when this process ends, and the file, written before the
        server proper starts, holds its pid and start time (see `guard.start_ticks`) for whoever ends it later.
        """
        self.name = name
        self.log_path = log_path
        self._argv = list(argv)
        self._env = {**os.environ, **(env or {})}
        self._pid_path = pid_path
        self._process: subprocess.Popen[bytes] | None = None
        self._is_paused = False

    @property
    def pid(self) -> int:
        """Process id of the running server; raises StackError when it does not run."""
        return self._running().pid

    @property
    def is_running(self) -> bool:
        """Whether the process is there (a paused one is)."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it, appending to its log. Raises StackError when it runs already."""
        if self.is_running:
            raise StackError(f"{self.name} is already running")
        with self.log_path.open("ab") as log_file:
            process = subprocess.Popen(
                ["/bin/sh", "-c", _WAIT_FOR_GO, *self._argv],
                stdin=subprocess.PIPE,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=self._env,
                start_new_session=True,
            )
        self._process, self._is_paused = process, False
        assert process.stdin is not None
        ticks = guard.start_ticks(process.pid)
        if ticks is None:
            raise StackError(f"{self.name} could not be started: /bin/sh ended at once")
        if self._pid_path is None:
            _guardian.add(process.pid, ticks)
        else:
            self._pid_path.write_text(f"{process.pid} {ticks}\n")
        process.stdin.write(b"go\n")
        process.stdin.close()

    def terminate(self) -> None:
        """Ask it to end (TERM), also when paused, and do not wait. Does nothing when it does not run."""
        if self._process is not None and self.is_running:
            self._process.terminate()
            self.cont()

    def stop(self, timeout_s: float = 15.0) -> None:
        """Ask it to end (TERM), and kill it when it has not after `timeout_s`. Does nothing when it does not run."""
        if self._process is None:
            return
        if self.is_running:
            self.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._reap()

    def kill(self) -> None:
        """Kill it (-9), also when paused; returns when it is gone. Does nothing when it does not run."""
        if self._process is None:
            return
        self._process.kill()
        self._reap()

    def pause(self) -> None:
        """Freeze it (STOP): its ports stay open, nothing answers. Raises StackError when it does not run."""
        os.kill(self._running().pid, signal.SIGSTOP)
        self._is_paused = True

    def cont(self) -> None:
        """Let a paused server go on; does nothing when it is not paused."""
        if self._is_paused and self.is_running:
            os.kill(self._running().pid, signal.SIGCONT)
        self._is_paused = False

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of its log, for error messages."""
        if not self.log_path.exists():
            return "(no log)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def require_alive(self) -> None:
        """Raise StackError with the end of the log when the process ended by itself."""
        if self._process is None or (code := self._process.poll()) is None:
            return
        raise StackError(f"{self.name} ended with {code}, log {self.log_path}:\n{self.log_tail()}")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise StackError(f"{self.name} is not running")
        return self._process

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait()
        if self._pid_path is None:
            _guardian.remove(self._process.pid)
        else:
            self._pid_path.unlink(missing_ok=True)
        self._process, self._is_paused = None, False
