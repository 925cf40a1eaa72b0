"""Which ACLs and quotas of a capture a restore puts, under which names, and how they differ from the target."""

from typing import Any

import pytest

from mirror.core.cluster_state import ClusterState, StateAcl, StateQuota, StateUser
from mirror.core.restore_scope import StateChoice
from mirror.core.state_plan import StatePlan, TargetState, plan_state

ACLS = StateChoice(acls=True)


def acl(
    name: str, *, kind: str = "TOPIC", pattern: str = "LITERAL", user: str = "app", operation: str = "READ"
) -> StateAcl:
    """One of a user."""
    return StateAcl(
        resource_type=kind,
        resource_name=name,
        pattern_type=pattern,
        principal=f"User:{user}",
        host="*",
        operation=operation,
        permission="ALLOW",
    )


def captured(**known: Any) -> ClusterState:
    """A capture."""
    return ClusterState(
        format_version=1, repository_id="r", cluster_id="c", captured_at_ms=7, topics=[], brokers=[], **known
    )


def planned(
    choice: StateChoice, state: ClusterState, target: TargetState | None = None, **names: dict[str, str]
) -> StatePlan:
    """The plan; by default of topic orders and group billing under their own names."""
    names = {"topics": {"orders": "orders"}, "groups": {"billing": "billing"}, **names}
    return plan_state(choice, state, target or TargetState(alias="standby", users=["app"]), **names)


def names_of(plan: StatePlan) -> list[tuple[str, str, str]]:
    """Kind, name and pattern of each ACL."""
    return [(p.acl.resource_type, p.acl.resource_name, p.acl.pattern_type) for p in plan.acls]


@pytest.mark.parametrize(
    ("source", "target", "expected"),
    [
        (acl("orders"), "orders", [("TOPIC", "orders", "LITERAL")]),
        (acl("orders"), "copy", [("TOPIC", "copy", "LITERAL")]),
        (acl("orders-x"), "orders", []),
        (acl("ord", pattern="PREFIXED"), "orders", [("TOPIC", "ord", "PREFIXED")]),
        (acl("ord", pattern="PREFIXED"), "orders-restored", [("TOPIC", "ord", "PREFIXED")]),
        (acl("ord", pattern="PREFIXED"), "copy-orders", [("TOPIC", "copy-orders", "LITERAL")]),
        (acl("x", pattern="PREFIXED"), "orders", []),
        (acl("*"), "orders", []),
        (acl("billing", kind="GROUP"), "orders", [("GROUP", "billing", "LITERAL")]),
        (acl("orders", kind="GROUP"), "orders", []),
        (acl("kafka-cluster", kind="CLUSTER"), "orders", []),
    ],
)
def test_acls_follow_what_is_restored(source: StateAcl, target: str, expected: list[tuple[str, str, str]]) -> None:
    """By name and by prefix, under the new name, and never wider than they were."""
    plan = planned(ACLS, captured(acls=[source]), topics={"orders": target})
    assert names_of(plan) == expected
    assert any("--all-acls" in note for note in plan.notes) is (not expected)


def test_all_acls_are_all_and_those_of_new_names() -> None:
    """Whatever they name; of a kind without a name here none is put."""
    known = [acl("*"), acl("orders"), acl("kafka-cluster", kind="CLUSTER")]
    state = captured(acls=[*known, acl("x", operation="UNKNOWN_99")])
    plan = planned(StateChoice(all_acls=True), state, topics={"orders": "copy"})
    assert {p.acl for p in plan.acls} == {*known, acl("copy")}
    assert [note.partition(" are of")[0] for note in plan.notes] == ["1 ACLs"]


def test_what_is_there_is_left() -> None:
    """ACLs by being equal in every field, quotas by entity and limit; nothing else of the target is looked at."""
    quota = StateQuota(entity={"user": "app", "client-id": None}, values={"a": 1.0, "b": 2.0, "c": 3.0})
    state = captured(acls=[acl("orders"), acl("orders", operation="WRITE")], quotas=[quota])
    there = StateQuota(entity={"client-id": None, "user": "app"}, values={"a": 1.0, "b": 5.0, "z": 9.0})
    other = StateQuota(entity={"user": "app"}, values={"c": 3.0})
    target = TargetState(alias="standby", acls=[acl("orders")], quotas=[there, other], users=["app"])
    plan = planned(StateChoice(acls=True, quotas=True), state, target)
    assert [(p.acl.operation, p.sign) for p in plan.acls] == [("READ", "="), ("WRITE", "+")]
    assert [(p.name, p.sign, p.present) for p in plan.quotas] == [("a", "=", 1.0), ("b", "~", 5.0), ("c", "+", None)]
    assert [one.operation for one in plan.new_acls] == ["WRITE"]
    assert [one.name for one in plan.new_quotas] == ["b", "c"]
    assert planned(ACLS, state, target).quotas == ()


def test_users_that_are_missing_are_named() -> None:
    """Those that logged in by SCRAM at the source, where that is known; who logs in otherwise is none of them."""
    acls = [acl("orders"), acl("orders", user="gone"), acl("orders", user="CN=cert"), acl("orders", user="*")]
    users = [StateUser(user=name, mechanisms=["SCRAM-SHA-512"]) for name in ("app", "gone", "unused")]
    (note,) = planned(ACLS, captured(acls=acls, users=users)).notes
    assert note.startswith("SCRAM users that standby does not have: gone (")
    (note,) = planned(ACLS, captured(acls=acls)).notes
    assert note.endswith("make those that log in so: CN=cert, gone")
    (note,) = planned(ACLS, captured(acls=acls, users=users), TargetState(alias="standby")).notes
    assert "DESCRIBE on the cluster is missing" in note
