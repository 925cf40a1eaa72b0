"""The record of a restore: ids, keys, what is kept of it, and what its history says."""

import msgspec
import pytest

from mirror.core.keys import RestoreKey, format_restore_key, parse_restore_key
from mirror.core.positions import TopicPartition
from mirror.core.restore_record import (
    MappedPartition,
    RecordedGroup,
    RecordedPosition,
    RecordedTopic,
    RestoreEnd,
    RestoreGroups,
    RestorePlanned,
    RestoreStart,
)
from mirror.core.segment.index import FORMAT_VERSION
from mirror.errors import DamageError, NoMatchError, RefusedError
from mirror.service.restore.plan_file import PlanFile, decode_plan
from mirror.service.restore.records import find_restore, list_restores, put_record, read_history, read_record
from mirror.service.verify import verify_repository
from tests.builders import T0_MS, TOPIC_ID, a_repository

ID = "r-k3x7qmv2ha"


def a_plan_file(**changes: object) -> PlanFile:
    """To a moment, of one topic."""
    plan: dict[str, object] = {
        "format_version": 1,
        "created_at": "2026-11-18T11:06:40.000Z",
        "repository_id": "repo",
        "target": "dr",
        "target_cluster_id": "cluster",
        "kind": "at",
        "snapshot": "",
        "time_ms": T0_MS,
        "since_ms": None,
        "offsets": {},
        "offset_mode": "exact",
        "topics": {"orders": {"topic_id": TOPIC_ID, "target_topic": "orders", "partitions": [[0, 0, 9]]}},
        "renames": {},
        "incarnations": {"orders": TOPIC_ID},
        "replication_factor": None,
        "allow_missing": False,
        "allow_short": False,
        "max_fill_s": 600.0,
        "partitions": [],
        "has_groups": False,
        "groups": [],
        "group_renames": {},
    }
    return decode_plan({**plan, **changes}, "test")


def planned(at_ms: int = T0_MS, restore_id: str = ID, *, before: str = "absent") -> RestorePlanned:
    """The record of a plan."""
    file = a_plan_file()
    topic = RecordedTopic(
        topic="orders",
        topic_id=TOPIC_ID,
        target_topic="orders",
        mark="1",
        before=before,
        log_ends=[9],
        replication_factor=1,
    )
    return RestorePlanned(
        format_version=FORMAT_VERSION,
        repository_id="repo",
        restore_id=restore_id,
        written_at_ms=at_ms,
        target="dr",
        target_cluster_id="cluster",
        plan=msgspec.to_builtins(file),
        plan_digest=file.digest,
        topics=[topic],
    )


def start(at_ms: int, verb: str = "restore", reason: str = "") -> RestoreStart:
    """A run begins."""
    return msgspec.convert(
        {
            "format_version": FORMAT_VERSION,
            "restore_id": ID,
            "written_at_ms": at_ms,
            "verb": verb,
            "user": "ann",
            "host": "h",
            "version": "0",
            "command": ["restore"],
            "plan_digest": "d",
            "reason": reason,
        },
        RestoreStart,
    )


def end(started_at_ms: int, outcome: str = "done") -> RestoreEnd:
    """It ends ten milliseconds later."""
    value = {"format_version": 1, "restore_id": ID, "written_at_ms": started_at_ms + 10, "exit_code": 0}
    return msgspec.convert({**value, "started_at_ms": started_at_ms, "outcome": outcome}, RestoreEnd)


def groups(at_ms: int, offset: int, before: int | None) -> RestoreGroups:
    """Group "bill" is put."""
    position = RecordedPosition(topic="orders", partition=0, offset=offset, before_offset=before)
    group = RecordedGroup(group="bill", positions=[position])
    return RestoreGroups(format_version=FORMAT_VERSION, restore_id=ID, written_at_ms=at_ms, groups=[group])


def test_the_id_says_what_is_restored_where_to() -> None:
    """The same for the same records into the same cluster; neither the reason, nor groups, nor the time of planning change it."""
    one = a_plan_file()
    assert parse_restore_key(format_restore_key(RestoreKey(one.restore_id, T0_MS, "plan"))).restore_id == one.restore_id
    same = a_plan_file(created_at="later", reason="why not", has_groups=True, groups=["bill"], allow_short=True)
    assert same.restore_id == one.restore_id
    assert a_plan_file(created_at="later", reason="why not").digest == one.digest != same.digest
    others = [
        a_plan_file(repository_id="other"),
        a_plan_file(target_cluster_id="other"),
        a_plan_file(time_ms=T0_MS + 1),
        a_plan_file(kind="until"),
        a_plan_file(offset_mode="translated"),
        a_plan_file(partitions=[0]),
        a_plan_file(offsets={"orders": {"0": 7}}),
        a_plan_file(topics={"orders": {"topic_id": TOPIC_ID, "target_topic": "o2", "partitions": []}}),
    ]
    assert len({one.restore_id, *(other.restore_id for other in others)}) == 1 + len(others)


@pytest.mark.parametrize(
    "key",
    [
        f"restores/{ID}/1795000000000-other.json",
        f"restores/{ID}/179500000000-plan.json",
        "restores/r-K3X7QMV2HA/1795000000000-plan.json",
        "restores/r-k3x7qmv2/1795000000000-plan.json",
        f"restores/{ID}/1795000000000-plan.json\n",
    ],
    ids=["kind", "width", "capitals", "short", "newline"],
)
def test_foreign_keys_are_refused(key: str) -> None:
    """A name that mirror never makes is no record."""
    with pytest.raises(DamageError):
        parse_restore_key(key)
    with pytest.raises(ValueError, match="no object can be named"):
        format_restore_key(RestoreKey("r-1", T0_MS, "plan"))


def test_nothing_is_overwritten() -> None:
    """Two of one millisecond get two names; each reads back as it was put."""
    repository = a_repository()
    times = [put_record(repository, planned()) for _ in range(3)]
    assert times == [T0_MS, T0_MS + 1, T0_MS + 2]
    assert [one.written_at_ms for one in read_history(repository, ID).plans] == times
    report, _ = verify_repository(repository)
    assert not report.findings
    assert report.counts.restore_records == 3


def test_a_swapped_object_is_damage() -> None:
    """What its name says is compared with what it holds, also by `mirror verify`."""
    repository = a_repository()
    at_ms = put_record(repository, planned())
    key = format_restore_key(RestoreKey(ID, at_ms, "plan"))
    other = format_restore_key(RestoreKey("r-aaaaaaaaaa", at_ms, "plan"))
    repository.store.put(other, repository.store.get(key))
    with pytest.raises(DamageError, match="swapped"):
        read_record(repository, other)
    report, _ = verify_repository(repository)
    assert [finding.kind for finding in report.findings] == ["restore_damaged"]


def test_a_restore_is_found_by_the_beginning_of_its_id() -> None:
    """As long as it is the only one; an unknown one is named with the newest that is there."""
    repository = a_repository()
    put_record(repository, planned())
    put_record(repository, planned(T0_MS + 5, "r-k3aaaaaaaa"))
    assert list_restores(repository) == [ID, "r-k3aaaaaaaa"]
    assert find_restore(repository, "r-k3x") == ID
    for name in ("r-k3", "r-"):
        with pytest.raises(RefusedError, match=f"2 restores begin with {name}") as several:
            find_restore(repository, name)
        assert "r-k3aaaaaaaa" in (several.value.hint or "")
    for name in ("r-zzz", ""):
        with pytest.raises(NoMatchError, match="the newest is r-k3aaaaaaaa"):
            find_restore(repository, name)


def test_the_state_is_that_of_the_last_run() -> None:
    """A run without an end was killed or is at work; an abort is told as one."""
    repository = a_repository()
    put_record(repository, planned())
    said = [read_history(repository, ID).state]
    for value in (
        start(T0_MS, reason="drill"),
        end(T0_MS, "partial"),
        start(T0_MS + 100),
        end(T0_MS + 100),
        start(T0_MS + 200, "abort"),
        end(T0_MS + 200, "failed"),
        start(T0_MS + 300, "abort"),
        end(T0_MS + 300),
    ):
        put_record(repository, value)
        said.append(read_history(repository, ID).state)
    assert said == [
        "planned",
        "no end",
        "partial",
        "no end",
        "done",
        "no end",
        "abort failed",
        "no end",
        "aborted",
    ]
    assert read_history(repository, ID).reason == "drill"


def test_what_was_there_before_is_what_the_first_run_found() -> None:
    """Until an abort undid it: then the next run is the first."""
    repository = a_repository()
    put_record(repository, planned(before="empty"))
    put_record(repository, planned(T0_MS + 50, before="unfinished"))
    assert read_history(repository, ID).topics_before()["orders"].before == "empty"
    put_record(repository, start(T0_MS + 60, "abort"))
    put_record(repository, end(T0_MS + 60))
    assert read_history(repository, ID).topics_before() == {}
    put_record(repository, planned(T0_MS + 90))
    assert read_history(repository, ID).topics_before()["orders"].before == "absent"


def test_positions_before_are_those_before_the_first_put() -> None:
    """A second run finds what the first one put; after a roll-back the next put counts."""
    repository = a_repository()
    put_record(repository, planned())
    put_record(repository, groups(T0_MS, 5, None))
    put_record(repository, groups(T0_MS + 10, 6, 5))
    tp = TopicPartition("orders", 0)
    found = read_history(repository, ID).positions_before()["bill"][tp]
    assert (found.offset, found.before_offset) == (6, None)
    put_record(repository, start(T0_MS + 20, "rollback"))
    put_record(repository, end(T0_MS + 20))
    assert read_history(repository, ID).positions_before() == {}
    put_record(repository, groups(T0_MS + 60, 6, 3))
    assert read_history(repository, ID).positions_before()["bill"][tp].before_offset == 3


def test_a_record_without_its_plan_is_damage() -> None:
    """Somebody deleted it: said, not guessed."""
    repository = a_repository()
    put_record(repository, start(T0_MS))
    with pytest.raises(DamageError, match="no plan"):
        read_history(repository, ID)


def test_mapped_offsets() -> None:
    """Target offsets count on through the ranges; a hole has none."""
    mapped = MappedPartition(topic="orders", partition=0, target_topic="orders", ranges=[(17, 100), (118, 40)])
    assert [mapped.target_offset(offset) for offset in (16, 17, 116, 117, 118, 157, 158)] == [
        None,
        0,
        99,
        None,
        100,
        139,
        None,
    ]


def test_a_plan_of_all_that_is_stored_says_so() -> None:
    """Its file names offsets, but shows what was asked for; a proof of one without a file keeps the kind, which writers are known by."""
    topics = {"orders": {"topic_id": TOPIC_ID, "target_topic": "orders", "partitions": [[0, 0, 9]]}}
    frozen = a_plan_file(kind="offsets", time_ms=None, offsets={"orders": {"0": 9}}, was_latest=True)
    assert frozen.selection.point.option == "--latest (as planned at 2026-11-18T11:06:40.000Z)"
    by_hand = a_plan_file(kind="offsets", time_ms=None, offsets={"orders": {"0": 9}})
    assert by_hand.selection.point.option == "--to-offsets FILE"
    assert by_hand.restore_id == frozen.restore_id
    found = a_plan_file(kind="latest", time_ms=None, topics=topics).as_found()
    assert (found.kind, found.offsets, found.selection.point.option) == ("latest", {"orders": {"0": 9}}, "--latest")
    assert found.is_frozen
