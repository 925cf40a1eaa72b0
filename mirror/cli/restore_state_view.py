"""ACLs and client quotas of a restore's plan and result, for people and as JSON."""

from typing import Any

import msgspec

from mirror.cli.output import print_line, utc
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_scope import RestoreScope
from mirror.core.state_plan import QuotaPlan
from mirror.service.restore.execute import RestoreResult
from mirror.service.state_diff import acl_text, entity_text

__all__ = ["print_state_plan", "print_state_result", "state_plan_json"]

_SCOPES = {
    RestoreScope.STATE: "only state: topics are made, with their settings, and stay empty; no records, no groups",
    RestoreScope.DATA: "only data: records, into topics that keep the settings they have; none is made",
}
_COLORS = {"+": "green", "~": "yellow", "=": None}


def print_state_plan(plan: RestorePlan) -> None:
    """Where not all is restored: what. Every ACL and quota with its sign: + is added, ~ changed, = there already."""
    if plan.scope in _SCOPES:
        print_line(_SCOPES[plan.scope], bold=True)
    state = plan.state
    if state is None:
        return
    print_line(f"ACLs and quotas as captured {utc(state.captured_at_ms)}: + added, ~ changed, = there; none is deleted")
    for acl in state.acls:
        print_line(f"{acl.sign} acl {acl_text(acl.acl)}", color=_COLORS[acl.sign])
    for quota in state.quotas:
        print_line(f"{quota.sign} quota {_limit(quota)}", color=_COLORS[quota.sign])
    for what, is_wanted, found in (
        ("ACLs", state.choice.wants_acls, state.acls),
        ("client quotas", state.choice.quotas, state.quotas),
    ):
        if is_wanted and not found:
            print_line(f"no {what} to restore", color="yellow")
    for note in state.notes:
        print_line(f"ACLs: {note}", color="yellow")


def _limit(quota: QuotaPlan) -> str:
    before = f"{quota.present:.15g} -> " if quota.sign == "~" else ""
    return f"{entity_text(quota.entity)}: {quota.name} {before}{quota.wanted:.15g}"


def print_state_result(plan: RestorePlan, result: RestoreResult) -> None:
    """What was put."""
    if plan.state is None or result.state is None:
        return
    parts = []
    if plan.state.choice.wants_acls:
        parts.append(f"{len(plan.state.acls):,} ACLs ({result.state.acls:,} added by this run)")
    if plan.state.choice.quotas:
        parts.append(f"{len(plan.state.quotas):,} client quotas ({result.state.quotas:,} set by this run)")
    print_line(f"{' and '.join(parts)} are there, read back", bold=True, color="green")


def state_plan_json(plan: RestorePlan) -> dict[str, Any] | None:
    """What is put of ACLs and quotas, compared with the target."""
    state = plan.state
    if state is None:
        return None
    return {
        "captured": utc(state.captured_at_ms, with_ms=True),
        "captured_ms": state.captured_at_ms,
        "acls": [{"sign": one.sign, **msgspec.structs.asdict(one.acl)} for one in state.acls],
        "quotas": [
            {
                "sign": one.sign,
                "entity": dict(one.entity),
                "quota": one.name,
                "wanted": one.wanted,
                "present": one.present,
            }
            for one in state.quotas
        ],
        "notes": list(state.notes),
    }
