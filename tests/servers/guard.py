"""The guardian: a tiny process that kills the servers of a Python process that died without stopping them.

Run as a script by `process`. It reads `add PID START_TICKS` and `del PID` lines; at the end of its input, or when its
parent is gone, it kills what is still registered and exits. A guardian and not PR_SET_PDEATHSIG, because that signal is
tied to the *thread* that forked: a server started from a worker thread would die with it.
"""

import os
import selectors
import signal
import sys

_CHECK_PARENT_EVERY_S = 0.5


def start_ticks(pid: int) -> int | None:
    """When that process was started, in clock ticks since boot, or None; with the pid it names one process for ever."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    is_dead = fields[0] in (b"Z", b"X")
    return None if is_dead else int(fields[19])


def kill_exactly(pid: int, ticks: int) -> None:
    """Send SIGKILL to the process of that pid and start time, and to no later one that got the same pid."""
    if start_ticks(pid) == ticks:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return


def _watch(parent_pid: int) -> None:
    registered: dict[int, int] = {}
    selector = selectors.DefaultSelector()
    selector.register(0, selectors.EVENT_READ)
    pending = b""
    while os.getppid() == parent_pid:
        # the timeout covers a forked child of the parent that still holds the pipe open
        if not selector.select(_CHECK_PARENT_EVERY_S):
            continue
        chunk = os.read(0, 4096)
        if not chunk:
            break
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            verb, *numbers = line.split()
            if verb == b"add":
                registered[int(numbers[0])] = int(numbers[1])
                os.write(1, b"ok\n")
            else:
                registered.pop(int(numbers[0]), None)
    for pid, ticks in registered.items():
        kill_exactly(pid, ticks)


if __name__ == "__main__":
    _watch(int(sys.argv[1]))
