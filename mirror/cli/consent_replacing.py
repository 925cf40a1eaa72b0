"""A person's consent to the destruction of topics: their number is typed, or given."""

import sys

import click

from mirror.core.restore_plan import RestorePlan, TopicState
from mirror.errors import RefusedError

__all__ = ["confirm_replacing"]


def confirm_replacing(plan: RestorePlan, *, yes: bool, count: int | None) -> None:
    """Go on only if the number of topics that the plan destroys is typed, or `--yes` and at least that many are given.

    Fewer than were given are destroyed where an earlier run of the same command has replaced some already.

    Raises:
        RefusedError: no consent. Nothing was changed.
    """
    names = [topic.target_topic for topic in plan.topics if topic.state is TopicState.REPLACED]
    if not names:
        return
    wanted = len(names)
    shown = ", ".join(names[:10]) + (f" and {wanted - 10} more" if wanted > 10 else "")
    said = f"{wanted} topics" if wanted > 1 else "1 topic"
    if yes:
        if count is None or count < wanted:
            raise RefusedError(
                f"{said} on {plan.target_alias} would be destroyed: {shown}",
                hint=f"if that is meant: --yes --replace-topics {wanted}",
            )
        return
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise RefusedError(
            f"{said} on {plan.target_alias} would be destroyed: {shown}",
            hint=f"if that is meant: --yes --replace-topics {wanted}",
        )
    typed = click.prompt(
        f"{said} on {plan.target_alias} WILL BE DESTROYED and restored: {shown}. Type how many", default="", err=True
    )
    if typed.strip() != str(wanted):
        raise RefusedError("the number of topics was not typed: nothing was changed")
