"""The long forms of the tests of restores: kills at random moments, and random histories against a model. Run by pytest, as in CI."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

_TESTS = Path(__file__).parents[1] / "fault"
_ROOT = _TESTS.parents[1]
_CASE = re.compile(r"^\.?(k\d+- .*): ((?:\w+ at .*?; )+)then (\[.*\] \(.* s\))$")
_PASSED = re.compile(r"\b(\d+) passed\b")
_SECONDS_A_CASE = 120


def run_restore_kills(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> str:
    """That many restores are ended, frozen or doubled; what came of it. AssertionError where one was not made whole.

    Args:
        count: of ill-treatments; one or two to a restore.
        seed: of the moments.
        folder: for servers and repositories.
        say: told of every ill-treatment.
    """
    cases = refused = done = 0
    in_refused = False
    for line in _pytest("test_restore_kills.py", {"SOAK_RESTORE_KILLS": str(count)}, seed, folder, count):
        in_refused = in_refused or line.startswith("refused:")
        if in_refused:
            refused += line.startswith("  k")
        elif found := _CASE.match(line):
            cases += 1
            options, told, end = found.groups()
            for one in told.removesuffix("; ").split("; "):
                done += 1
                say(f"restore-{one} · {options} · then {end}")
    assert cases, "no case was run"
    return (
        f"{done} ill-treatments of {cases} restores (trimmed, transactional and compacted topics, a leading gap of millions, a group), "
        "each then given again until it ended: every record, offset, log end and position equal by an independent consumer; "
        f"{refused} ended in a refusal because two of them had run at once"
    )


def run_restore_histories(count: int, seed: int, folder: Path, say: Callable[[str], None]) -> str:
    """That many random histories, each restored to random moments; AssertionError where one differs from the model.

    Args:
        count: of histories.
        seed: of the first; the others follow it.
        folder: for servers and repositories.
        say: told of the end.
    """
    passed = 0
    for line in _pytest("test_restore_model.py", {"SOAK_RESTORE_HISTORIES": str(count)}, seed, folder, count):
        if found := _PASSED.search(line):
            passed = int(found.group(1))
            say(line.strip("= "))
    assert passed == count, f"{passed} of {count} histories passed"
    return (
        f"{passed} random histories (several topics and partitions, all codecs, transactions, trimmed logs, out-of-order times, "
        "group commits), each restored --at and --until random moments: records and positions equal those of a model that replays "
        "the history"
    )


def _pytest(name: str, environment: dict[str, str], seed: int, folder: Path, count: int) -> Iterator[str]:
    """What it says, line by line; AssertionError with the last of it where a test failed."""
    command = [sys.executable, "-m", "pytest", "-q", "-s", "--require-servers", "-p", "no:cacheprovider"]
    command += [f"--timeout={150 + _SECONDS_A_CASE * count}", f"--basetemp={folder}", str(_TESTS / name)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    said: list[str] = []
    running = subprocess.Popen(
        command,
        cwd=_ROOT,
        env={**os.environ, **environment, "MIRROR_TEST_SEED": str(seed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    try:
        assert running.stdout is not None
        for line in running.stdout:
            said.append(line.rstrip())
            yield said[-1]
        code = running.wait()
    finally:
        running.terminate()  # pytest then ends the servers that it started
        running.wait()
    assert code == 0, f"{name}: exit {code}\n" + "\n".join(said[-40:])
