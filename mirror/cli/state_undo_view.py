"""ACLs and client quotas of an abort, for people and as JSON."""

from typing import Any

import msgspec

from mirror.cli.output import print_line
from mirror.core.state_undo import QuotaUndo, StateUndo
from mirror.service.state_diff import acl_text, entity_text

__all__ = ["kept_texts", "print_state_undo", "state_undo_json"]


def print_state_undo(state: StateUndo) -> None:
    """Each with its sign: - removed, ~ set back, ! kept since somebody changed it."""
    if state.waits_for:
        names = ", ".join(state.waits_for[:5])
        print_line(f"ACLs and quotas that it put stay as long as its topics: {names}", color="yellow")
    for acl in state.acls:
        print_line(f"- acl {acl_text(acl)}", color="red")
    for one in state.quotas:
        if one.is_changed:
            sign, color = ("-", "red") if one.action == "remove" else ("~", "yellow")
            print_line(f"{sign} quota {_limit(one)}", color=color)
    for text in kept_texts(state):
        print_line(f"! {text}", color="yellow")


def kept_texts(state: StateUndo) -> list[str]:
    """What somebody changed since, and so is kept."""
    return [f"quota {_limit(one)}" for one in state.kept_quotas]


def _limit(one: QuotaUndo) -> str:
    put, before = one.recorded.value, one.recorded.before
    head = f"{entity_text(one.recorded.entity)}: {one.recorded.name}"
    if one.action == "KEEP":
        now = "is gone" if one.present is None else f"is {one.present:.15g}"
        then = "not there" if before is None else f"{before:.15g}"
        return f"{head} {now}, was put to {put:.15g}, was {then} before: changed since, KEPT"
    return f"{head} {put:.15g}" + ("" if before is None else f" -> {before:.15g}")


def state_undo_json(state: StateUndo | None) -> dict[str, Any] | None:
    """The same; null where it is not known what was put, or was not asked for."""
    if state is None:
        return None
    return {
        "waits_for": list(state.waits_for),
        "acls": [msgspec.structs.asdict(acl) for acl in state.acls],
        "quotas": [
            {
                "entity": one.recorded.entity,
                "quota": one.recorded.name,
                "put": one.recorded.value,
                "before": one.recorded.before,
                "present": one.present,
                "undo": one.action,
            }
            for one in state.quotas
        ],
    }
