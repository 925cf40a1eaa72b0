"""Which ACLs and quotas of a restore an abort takes back: those that it put, where they stand as it put them."""

from collections.abc import Sequence

import pytest

from mirror.core.cluster_state import StateAcl, StateQuota
from mirror.core.restore_record import RecordedQuota, RestoreState
from mirror.core.segment.index import FORMAT_VERSION
from mirror.core.state_undo import PutState, plan_state_undo, put_by
from mirror.service.restore.records import put_record, read_history
from tests.builders import T0_MS, a_repository
from tests.unit.test_restore_record import ID, end, planned, start

USER = {"user": "app"}


def acl(name: str) -> StateAcl:
    """On a topic."""
    return StateAcl(
        resource_type="TOPIC",
        resource_name=name,
        pattern_type="LITERAL",
        principal="User:app",
        host="*",
        operation="READ",
        permission="ALLOW",
    )


def quota(value: float, before: float | None) -> RecordedQuota:
    """That of a user."""
    return RecordedQuota(entity=USER, name="producer_byte_rate", value=value, before=before)


def state(at_ms: int, acls: Sequence[str] = (), quotas: Sequence[RecordedQuota] = ()) -> RestoreState:
    """A run puts these."""
    return RestoreState(
        format_version=FORMAT_VERSION,
        restore_id=ID,
        written_at_ms=at_ms,
        acls=[acl(name) for name in acls],
        quotas=list(quotas),
    )


def _put(*states: RestoreState, aborted_at_ms: int | None = None) -> PutState:
    repository = a_repository()
    put_record(repository, planned())
    for one in states:
        put_record(repository, one)
    if aborted_at_ms is not None:
        put_record(repository, start(aborted_at_ms, "abort"))
        put_record(repository, end(aborted_at_ms))
    return put_by(read_history(repository, ID))


def test_all_runs_together() -> None:
    """What an earlier one added is the restore's, though a later one finds it there."""
    put = _put(state(T0_MS, ["a", "b"]), state(T0_MS + 9, ["b", "c"]))
    assert [one.resource_name for one in put.acls] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("quotas", "value", "before"),
    [
        ([quota(2.0, None), quota(3.0, 2.0)], 3.0, None),  # put twice: before the first
        ([quota(2.0, 1.0), quota(2.0, 1.0)], 2.0, 1.0),  # the first was killed before it was put
        ([quota(2.0, 1.0), quota(2.0, 7.0)], 2.0, 7.0),  # somebody set it in between
        ([quota(2.0, 1.0), quota(2.0, None)], 2.0, None),  # somebody removed it in between
    ],
    ids=["twice", "killed", "set between", "removed between"],
)
def test_what_a_quota_was_before(quotas: list[RecordedQuota], value: float, before: float | None) -> None:
    """The last value that was not the restore's own."""
    put = _put(*(state(T0_MS + number, (), [one]) for number, one in enumerate(quotas)))
    assert put.quotas == (quota(value, before),)


def test_what_was_put_before_an_abort_counts_no_more() -> None:
    """From then on whatever stands there is somebody else's, until a run puts it again."""
    first, later = state(T0_MS, ["a"], [quota(2.0, 1.0)]), state(T0_MS + 90, ["b"])
    assert _put(first, aborted_at_ms=T0_MS + 20) == PutState()
    assert _put(first, later, aborted_at_ms=T0_MS + 20) == PutState(acls=(acl("b"),))


@pytest.mark.parametrize(
    ("present", "before", "action"),
    [
        (2.0, 1.0, "put back"),
        (2.0, None, "remove"),
        (1.0, 1.0, "nothing to do"),
        (None, None, "nothing to do"),
        (7.0, 1.0, "KEEP"),
        (7.0, None, "KEEP"),
        (None, 1.0, "KEEP"),
    ],
)
def test_a_quota_goes_back_from_where_it_was_put(present: float | None, before: float | None, action: str) -> None:
    """And from nowhere else."""
    there = [] if present is None else [StateQuota(entity=USER, values={"producer_byte_rate": present})]
    other = StateQuota(entity={"user": "app", "client-id": None}, values={"producer_byte_rate": 2.0})
    found = plan_state_undo(PutState(quotas=(quota(2.0, before),)), [], [*there, other])
    assert [one.action for one in found.quotas] == [action]
    assert found.has_changes == (action in ("put back", "remove"))
    assert len(found.shown.quotas) == found.has_changes
    assert len(found.kept_quotas) == (action == "KEEP")


def test_only_acls_that_are_there_go() -> None:
    """Of those that were added; others are never named."""
    found = plan_state_undo(PutState(acls=(acl("a"), acl("b"))), {acl("b"), acl("c")}, [])
    assert found.acls == (acl("b"),)
