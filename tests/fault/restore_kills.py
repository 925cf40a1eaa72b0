"""Ends, freezes and doubles restores at seeded random moments; resumes them; an independent consumer judges."""

import random
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.fault.restore_lab import RestoreLab, Run, watermarks

__all__ = ["ACTIONS", "KillResult", "RestoreKills"]

RATE = "110k"
_ENDED_BY = {"kill": {-9}, "lead": {-9}, "hole": {-9}, "int": {130, -2}, "term": {-15, 130, 143}}
_SIGNALS = {
    "kill": signal.SIGKILL,
    "lead": signal.SIGKILL,
    "hole": signal.SIGKILL,
    "int": signal.SIGINT,
    "term": signal.SIGTERM,
}
_NOISY = {3, 4, 5}
_DENSE = ["--offsets", "translated"]
_MOST_RESUMES = 3

ACTIONS: dict[str, str] = {
    "kill": "killed at a random moment",
    "lead": "killed while the log is brought to its beginning",
    "hole": "killed inside a long hole",
    "int": "Ctrl-C",
    "term": "SIGTERM",
    "frozen": "SIGSTOP, a second one runs to its end, SIGCONT",
    "early": "the same, before the first one has written anything",
    "race": "SIGSTOP, a second one runs for a second, SIGCONT",
    "double": "a second one is started while the first loads",
}


@dataclass
class KillResult:
    """What happened: one line for each case, and how many of them ended in a refusal that a person must deal with."""

    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


class RestoreKills:
    """Runs cases against a prepared lab.

    Args:
        lab: prepared.
        seed: of the moments.
        lead: partition 0 of this topic begins late.
        hole: ``(topic, partition, offset, offset)``: the long hole.
        say: told of every case.
    """

    def __init__(
        self,
        lab: RestoreLab,
        seed: int,
        *,
        lead: str,
        hole: tuple[str, int, int, int],
        say: Callable[[str], None] = print,
    ) -> None:
        self._lab = lab
        self._random = random.Random(seed)
        self._lead = lead
        self._hole = hole
        self._say = say
        self._number = 0
        self._args: list[str] = []
        self.result = KillResult()

    def run(self, actions: Sequence[str]) -> KillResult:
        """Each of them once, in this order; those that only end a restore two to a case.

        Raises AssertionError where a copy differs though a restore said that it is complete.
        """
        left = list(actions)
        while left:
            begun_s = time.monotonic()
            action = left.pop(0)
            self._number += 1
            prefix = f"k{self._number}-"
            self._args = self._random.choice([["--latest"], ["--latest"], self._lab.until, ["--latest", *_DENSE]])
            if action in _SIGNALS:
                also = [left.pop(0)] if left and left[0] in _SIGNALS else []
                told = [self._end(prefix, one) for one in (action, *also)]
                may_refuse = False
            else:
                told = [self._twice(prefix, action)]
                may_refuse = True
            line = self._finish(prefix, told, may_refuse=may_refuse)
            self.result.done.append(line)
            self._say(f"{line} ({time.monotonic() - begun_s:.1f} s)")
            self._lab.forget(prefix)
        return self.result

    @property
    def _is_dense(self) -> bool:
        return self._args[1:] == _DENSE

    def _end(self, prefix: str, action: str) -> str:
        run = self._lab.start(prefix, *self._args, rate=RATE)
        self._wait(prefix, action, run)
        there = self._there(prefix)
        run.signal(_SIGNALS[action])
        code = run.wait()
        assert code in {*_ENDED_BY[action], 0}, f"{action} {there}: exit {code}: {run.said[-1500:]}"
        return f"{action} at {there}: {code}"

    def _twice(self, prefix: str, action: str) -> str:
        first = self._lab.start(prefix, *self._args, rate=RATE)
        self._wait(prefix, action, first)
        there = self._there(prefix)
        if action != "double":
            first.signal(signal.SIGSTOP)
        second = self._lab.start(prefix, *self._args, rate="" if action in ("frozen", "early") else RATE)
        if action in ("frozen", "early"):
            second.wait()
            self._judge_said(prefix, second, "the second")
        else:
            time.sleep(self._random.uniform(0.8, 2.5))
        first.signal(signal.SIGCONT)
        codes = [first.wait(), second.wait()]
        for run, name in ((first, "the first"), (second, "the second")):
            assert run.wait() in {0, *_NOISY}, f"{action} at {there}: {name} exit {run.wait()}: {run.said[-1500:]}"
        return f"{action} at {there}: {codes[0]} and {codes[1]}"

    def _judge_said(self, prefix: str, run: Run, name: str) -> None:
        """Exit 0 is a promise at that moment."""
        if run.wait() == 0:
            difference = self._lab.difference(prefix, is_dense=self._is_dense)
            assert not difference, f"{name} said that it is complete: {difference}"

    def _wait(self, prefix: str, action: str, run: Run) -> None:
        """Until the moment of this action."""
        if action == "early":
            self._until(run, lambda: bool(watermarks(self._lab.bootstrap, f"{prefix}{self._lead}", 1)))
        elif action == "lead":
            self._until(
                run, lambda: any(high for _, high in watermarks(self._lab.bootstrap, f"{prefix}{self._lead}", 1))
            )
        elif action == "hole":
            topic, partition, start_offset, next_offset = self._hole
            partitions = self._lab.topics[topic]

            def inside() -> bool:
                marks = watermarks(self._lab.bootstrap, f"{prefix}{topic}", partitions)
                return bool(marks) and start_offset <= marks[partition][1] < next_offset

            self._until(run, inside)
        else:
            if self._random.random() < 0.8:
                self._until(run, lambda: bool(watermarks(self._lab.bootstrap, f"{prefix}{self._lead}", 1)))
            time.sleep(self._random.uniform(0.0, 4.5))

    def _until(self, run: Run, is_time: Callable[[], bool]) -> None:
        while run.is_running and not is_time():
            time.sleep(self._random.uniform(0.0, 0.02))

    def _there(self, prefix: str) -> str:
        found = [
            "/".join(f"{low}-{high}" for low, high in watermarks(self._lab.bootstrap, f"{prefix}{topic}", partitions))
            or "–"
            for topic, partitions in self._lab.topics.items()
        ]
        return " ".join(found)

    def _finish(self, prefix: str, told: list[str], *, may_refuse: bool) -> str:
        codes: list[int] = []
        while not codes or (codes[-1] == 3 and len(codes) < _MOST_RESUMES):
            last = self._lab.start(prefix, *self._args)
            codes.append(last.wait())
        line = f"{prefix} {' '.join(self._args)}: {'; '.join(told)}; then {codes}"
        if codes[-1]:
            assert codes[-1] in _NOISY, f"{line}: {last.said[-1500:]}"
            assert may_refuse, f"{line}: {last.said[-1500:]}"
            self.result.refused.append(f"{line}: {last.said.strip()[-600:]}")
        else:
            difference = self._lab.difference(prefix, is_dense=self._is_dense)
            assert not difference, f"{line}: {difference}"
        return line
