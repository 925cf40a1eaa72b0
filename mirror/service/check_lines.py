"""What `mirror check` found, line by line."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mirror.errors import MirrorError

__all__ = ["CheckLine", "exit_code_of", "failed", "grant_command", "ok", "skipped", "warned"]

CheckLevel = Literal["ok", "warn", "fail", "skip"]

_WORST_FIRST = (13, 12, 11, 10, 2, 1)
"""What hides other problems comes first: who is not reached cannot say what rights are missing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckLine:
    """One thing that was looked at. ``commands`` are ready to be run by somebody with the rights to."""

    area: str
    level: CheckLevel
    message: str
    next_step: str = ""
    commands: tuple[str, ...] = ()
    exit_code: int = 0


def ok(area: str, message: str) -> CheckLine:
    """Fine."""
    return CheckLine(area=area, level="ok", message=message)


def warned(area: str, message: str, next_step: str = "") -> CheckLine:
    """Works, but somebody should know."""
    return CheckLine(area=area, level="warn", message=message, next_step=next_step)


def skipped(area: str, message: str, next_step: str = "") -> CheckLine:
    """Not proven."""
    return CheckLine(area=area, level="skip", message=message, next_step=next_step)


def failed(
    area: str,
    problem: str | MirrorError,
    next_step: str = "",
    *,
    commands: Iterable[str] = (),
    exit_code: int | None = None,
) -> CheckLine:
    """Does not work: an error of ours brings its hint and exit code along."""
    if isinstance(problem, MirrorError):
        return CheckLine(
            area=area,
            level="fail",
            message=problem.message,
            next_step=next_step or problem.hint or "",
            commands=tuple(commands),
            exit_code=problem.exit_code if exit_code is None else exit_code,
        )
    return CheckLine(
        area=area,
        level="fail",
        message=problem,
        next_step=next_step,
        commands=tuple(commands),
        exit_code=1 if exit_code is None else exit_code,
    )


def exit_code_of(lines: Iterable[CheckLine]) -> int:
    """0 where nothing failed, else the code of the worst failure."""
    codes = {line.exit_code for line in lines if line.level == "fail"}
    return next((code for code in _WORST_FIRST if code in codes), 1 if codes else 0)


def grant_command(
    bootstrap: str,
    principal: str,
    operations: Iterable[str],
    *,
    resource: Literal["topic", "group", "cluster", "transactional-id"],
    names: Iterable[str],
    prefixed: bool = False,
) -> str:
    """The `kafka-acls` command that grants these operations (Kafka's upper-case names) to the principal.

    The cluster has no name, whatever ``names`` are.
    """
    ops = " ".join(f"--operation {''.join(word.capitalize() for word in op.split('_'))}" for op in sorted(operations))
    on = "--cluster" if resource == "cluster" else " ".join(f"--{resource} {name}" for name in names)
    pattern = " --resource-pattern-type prefixed" if prefixed else ""
    return (
        f"kafka-acls.sh --bootstrap-server {bootstrap} --command-config admin.properties --add "
        f"--allow-principal {principal} {ops} {on}{pattern}"
    )
