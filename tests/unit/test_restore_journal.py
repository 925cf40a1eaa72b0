"""The record of a run: what is put when, what a store that may only be read does to it, and what a person is told."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from mirror.cli.context import CliContext
from mirror.cli.restore_again import going_on
from mirror.config.secrets import Secret
from mirror.core.cluster_state import StateAcl
from mirror.core.recovery_point import LATEST, OffsetMode
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicPlan, TopicState
from mirror.core.restore_record import RecordedGroup, RecordedPosition, RecordedQuota
from mirror.core.restore_scope import StateChoice
from mirror.core.state_plan import AclPlan, QuotaPlan, StatePlan
from mirror.errors import AccessError, PartialError, RefusedError
from mirror.service.restore.journal import RestoreJournal
from mirror.service.restore.records import list_restores, read_history
from mirror.storage.memory import MemoryStore
from mirror.storage.repository import Repository
from tests.builders import TOPIC_ID, a_repository
from tests.unit.test_restore_record import a_plan_file


class _ReadOnly(MemoryStore):
    """As a key without the right to put sees it."""

    def put_new(self, key: str, body: bytes) -> None:
        raise AccessError(f"putting {key}: the key may not")


def a_plan() -> RestorePlan:
    """Of one topic that is not there."""
    topic = TopicPlan(
        topic="orders",
        topic_id=TOPIC_ID,
        target_topic="orders",
        state=TopicState.ABSENT,
        partitions=(PartitionPlan(partition=0, coverage=None, records=0, is_exact=True, stored_bytes=0),),
        replication_factor=1,
        present_configs={},
        load_configs={},
        final_configs={},
        held=(),
        notes=(),
        mark=RestoreMark.of(LATEST, OffsetMode.EXACT, TOPIC_ID, "orders"),
    )
    return RestorePlan(
        target_alias="dr",
        target_cluster_id="cluster",
        target_bootstrap="b:1",
        target_is_source=False,
        topics=(topic,),
        point=LATEST,
        offsets=OffsetMode.EXACT,
    )


def a_state_plan() -> StatePlan:
    """One ACL and one quota are there already, one of each is not."""
    acls = [
        StateAcl(
            resource_type="TOPIC",
            resource_name="orders",
            pattern_type="LITERAL",
            principal="User:a",
            host="*",
            operation=operation,
            permission="ALLOW",
        )
        for operation in ("READ", "WRITE")
    ]
    return StatePlan(
        choice=StateChoice(acls=True, quotas=True),
        captured_at_ms=0,
        acls=(AclPlan(acl=acls[0], is_there=True), AclPlan(acl=acls[1], is_there=False)),
        quotas=(
            QuotaPlan(entity={"user": "a"}, name="x", wanted=2.0, present=2.0),
            QuotaPlan(entity={"user": "a"}, name="y", wanted=2.0, present=None),
        ),
    )


def _journal(repository: Repository, verb: Any = "restore", **options: Any) -> RestoreJournal:
    return RestoreJournal(repository, a_plan_file(), verb=verb, **options)


async def test_two_runs_of_one_plan() -> None:
    """The plan is put once, starts and ends for each run; how a run ended follows from its error."""
    repository = a_repository()
    for error in (PartialError("half"), None, asyncio.CancelledError()):
        journal = _journal(repository, reason="drill")
        await journal.begin(a_plan())
        await journal.end(error, loaded_records=3)
    history = read_history(repository, journal.restore_id)
    assert len(history.plans) == 1
    assert [(end.outcome, end.exit_code, end.error) for end in history.ends] == [
        ("partial", 3, "half"),
        ("done", 0, ""),
        ("interrupted", 130, "interrupted"),
    ]
    assert history.topics_before()["orders"].before == "absent"


async def test_after_an_abort_the_plan_is_put_again() -> None:
    """What there was before counts from then on anew."""
    repository = a_repository()
    for verb in ("restore", "abort", "restore"):
        journal = _journal(repository, verb)
        await journal.begin(a_plan() if verb == "restore" else None)
        await journal.end()
    assert len(read_history(repository, journal.restore_id).plans) == 2


async def test_a_key_that_may_only_read_keeps_nothing() -> None:
    """No error: the reason is told, and everything else is as without a record."""
    identity = a_repository().identity
    repository = Repository(_ReadOnly(), identity)
    journal = _journal(repository)
    await journal.begin(a_plan())
    position = RecordedPosition(topic="orders", partition=0, offset=3)
    await journal.note_groups([RecordedGroup(group="bill", positions=[position])])
    await journal.end()
    assert not journal.is_kept
    assert journal.why_not.endswith("the key may not")
    assert list_restores(repository) == []


async def test_state_is_kept_as_far_as_it_is_changed() -> None:
    """The ACLs that are added, the quotas that are set with what they were; nothing where nothing is changed, or no record is kept."""
    repository, plan = a_repository(), a_state_plan()
    journal = _journal(repository)
    await journal.note_state(plan)
    await journal.begin(a_plan())
    await journal.note_state(replace(plan, acls=plan.acls[:1], quotas=plan.quotas[:1]))
    await journal.note_state(plan)
    (state,) = read_history(repository, journal.restore_id).states
    assert [acl.operation for acl in state.acls] == ["WRITE"]
    assert state.quotas == [RecordedQuota(entity={"user": "a"}, name="y", value=2.0)]


async def test_an_abort_begins_no_record() -> None:
    """A start without a plan would be the record of nothing."""
    repository = a_repository()
    journal = _journal(repository, "abort")
    await journal.begin()
    await journal.end()
    assert (journal.is_kept, journal.why_not) == (False, "none was begun")
    assert list_restores(repository) == []


async def test_no_secret_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in the command nor in an error."""
    monkeypatch.setenv("A_SECRET", "hunter2hunter2")
    assert Secret(variable="A_SECRET", environ={"A_SECRET": "hunter2hunter2"}).reveal() == "hunter2hunter2"
    repository = a_repository()
    journal = _journal(repository, command=["restore", "--oops=hunter2hunter2"])
    await journal.begin(a_plan())
    await journal.end(PartialError("with hunter2hunter2"))
    kept = msgspec.json.encode(read_history(repository, journal.restore_id).starts).decode()
    kept += msgspec.json.encode(read_history(repository, journal.restore_id).ends).decode()
    assert "****" in kept
    assert "hunter2" not in kept


async def test_an_unfinished_restore_names_the_command_that_goes_on() -> None:
    """Beside the same command; a refusal, after which nothing is to be resumed, does not."""
    journal = _journal(a_repository())
    await journal.begin(a_plan())
    with pytest.raises(PartialError) as partial, going_on(CliContext(), journal, "main"):
        raise PartialError("half", hint="the same command resumes it")
    again = f"`mirror restore resume {journal.restore_id} --repository main`"
    assert partial.value.hint == f"the same command resumes it, or {again}"
    with pytest.raises(RefusedError) as refused, going_on(CliContext(), journal, None):
        raise RefusedError("no", hint="the same command would too")
    assert refused.value.hint == "the same command would too"
