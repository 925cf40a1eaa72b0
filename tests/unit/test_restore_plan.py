"""Plans are pure: what is refused, what is asked, which settings a topic has while it is loaded and afterwards."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click
import pytest

from mirror.cli.consent import Consent, confirm
from mirror.core.coverage import PartitionCoverage, cover_partition
from mirror.core.cuts import PartitionCut
from mirror.core.named_incarnation import named_incarnation
from mirror.core.positions import PartitionId
from mirror.core.recovery_point import LATEST, OffsetMode
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_plan import (
    CheckLogEnd,
    CreateTopic,
    LoadPartitions,
    PutConfigs,
    RestorePlan,
    TargetCluster,
    TargetTopic,
    TopicPlan,
    TopicState,
    instructions_of,
)
from mirror.core.restore_planning import plan_restore
from mirror.core.restore_scope import RestoreScope
from mirror.core.restore_selection import RestoreSelection, choose_incarnations
from mirror.core.segment.index import RunEntry, TopicObject
from mirror.core.topic_filter import TopicFilter
from mirror.errors import NoMatchError, RefusedError, UsageError

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
ID_1, ID_2 = "A" * 22, "B" * 22
MARK = RestoreMark.of(LATEST, OffsetMode.EXACT, ID_1, "t").value


def _run(topic: str, topic_id: str, partition: int, start: int, end: int, **fields: Any) -> RunEntry:
    defaults: dict[str, Any] = {
        "position": 16,
        "stored_bytes": 100,
        "raw_bytes": 100,
        "fetched_bytes": 100,
        "batch_count": 1,
        "record_count": end - start,
        "checksum": "0" * 32,
        "max_timestamp_ms": NOW_MS - 1000,
    }
    return RunEntry(
        topic=topic,
        topic_id=topic_id,
        partition=partition,
        start_offset=start,
        next_offset=end,
        **{**defaults, **fields},
    )


def _coverage(topic: str, *runs: RunEntry) -> PartitionCoverage:
    stored = [(f"l0/{n}", 0, n, run) for n, run in enumerate(runs)]
    return cover_partition(runs[0].partition_id, topic, stored, [], [], [])


def _topic(name: str, topic_id: str = ID_1, partitions: int = 1, **configs: str) -> TopicObject:
    return TopicObject(
        format_version=1,
        topic=name,
        topic_id=topic_id,
        partition_count=partitions,
        replication_factor=3,
        configs={key.replace("_", "."): value for key, value in configs.items()},
        captured_at_ms=1,
    )


def _plan(
    topics: Sequence[TopicObject],
    coverages: Sequence[PartitionCoverage],
    /,
    *,
    present: dict[str, TargetTopic] | None = None,
    cluster_id: str = "target",
    defaults: dict[str, str] | None = None,
    names: Sequence[str] = (),
    brokers: int = 3,
    **selection: Any,
) -> RestorePlan:
    target = TargetCluster(
        alias="dr",
        cluster_id=cluster_id,
        bootstrap="b:1",
        broker_count=brokers,
        topics=present or {},
        default_configs=defaults or {},
        topic_names=frozenset(names),
    )
    wanted = RestoreSelection(**{"topics": TopicFilter(), **selection})
    by_id = {coverage.partition_id: coverage for coverage in coverages}
    return plan_restore(
        wanted,
        chosen=choose_incarnations(wanted, by_id, topics),
        cuts={
            pid: PartitionCut(start_offset=c.start_offset, next_offset=c.next_offset, wanted_next_offset=c.next_offset)
            for pid, c in by_id.items()
        },
        coverages=by_id,
        topics=topics,
        target=target,
        source_cluster_id="source",
        now_ms=NOW_MS,
    )


def test_a_plain_topic() -> None:
    """Created with settings that lose nothing, loaded, checked, then given its own settings."""
    plan = _plan([_topic("t", partitions=2, segment_ms="5")], [_coverage("t", _run("t", ID_1, 1, 0, 10))])
    (topic,) = plan.topics
    assert topic.state is TopicState.ABSENT
    assert [p.records for p in topic.partitions] == [0, 10]
    assert topic.partitions[1].is_exact
    assert topic.replication_factor == 3
    assert topic.load_configs["retention.ms"] == "-1"
    assert topic.load_configs["message.timestamp.before.max.ms"] == MARK
    assert topic.final_configs == {"segment.ms": "5"}
    assert [type(i) for i in instructions_of(plan)] == [CreateTopic, LoadPartitions, CheckLogEnd, PutConfigs]


def test_a_trimmed_or_clipped_start_is_not_exact() -> None:
    """A first batch may begin below the run: its record count is an upper bound."""
    plan = _plan([_topic("t")], [_coverage("t", _run("t", ID_1, 0, 7, 10))])
    assert not plan.topics[0].partitions[0].is_exact


def test_every_name_that_is_given_must_match() -> None:
    """A misspelt topic beside a right one is no smaller restore."""
    with pytest.raises(NoMatchError, match="matches 'typo'"):
        _plan([_topic("t")], [], topics=TopicFilter(include=("t", "typo")))
    assert _plan([_topic("t")], [], topics=TopicFilter(include=("t", "*"))).topics


def test_nothing_selected() -> None:
    """Never an empty success."""
    with pytest.raises(NoMatchError):
        _plan([_topic("t")], [], topics=TopicFilter(include=("other",)))


def test_several_incarnations_are_asked_for() -> None:
    """The table names them; a choice takes one; a wrong choice is no match."""
    topics = [_topic("t", ID_1), _topic("t", ID_2, partitions=4)]
    coverages = [_coverage("t", _run("t", ID_1, 0, 0, 1000))]
    with pytest.raises(RefusedError) as refused:
        _plan(topics, coverages)
    assert ID_1 in refused.value.message
    assert "1,000 records" in refused.value.message
    assert "4 partitions" in refused.value.message
    assert "one of these ids with --incarnation t=ID" in (refused.value.hint or "")
    plan = _plan(topics, coverages, incarnations={"t": ID_2}, renames={"t": "husk"})
    assert (plan.topics[0].topic_id, plan.topics[0].target_topic, plan.records) == (ID_2, "husk", 0)
    with pytest.raises(NoMatchError):
        _plan(topics, coverages, incarnations={"t": "C" * 22})


def test_an_incarnation_is_chosen_by_its_first_letters() -> None:
    """Where they are those of one only; several are listed, and a whole id is itself also where another is longer."""
    near = f"{ID_1[:5]}{'z' * 17}"
    topics = [_topic("t", ID_1), _topic("t", near), _topic("t", ID_2)]
    for named in (ID_2[:1], ID_2):
        assert _plan(topics, [], incarnations={"t": named}).topics[0].topic_id == ID_2
    with pytest.raises(RefusedError, match="2 incarnations of topic t begin with") as several:
        _plan(topics, [], incarnations={"t": ID_1[:5]})
    assert ID_1 in several.value.message
    assert near in several.value.message
    assert named_incarnation("t", "ab", ["ab", "abc"]) == "ab"
    with pytest.raises(NoMatchError, match="no incarnation"):
        named_incarnation("t", "", ["ab"])


def test_missing_offsets_are_refused_unless_allowed() -> None:
    """The ranges are named."""
    coverage = _coverage("t", _run("t", ID_1, 0, 0, 10), _run("t", ID_1, 0, 15, 20))
    with pytest.raises(RefusedError, match=r"t-0: \[10, 15\)"):
        _plan([_topic("t")], [coverage])
    assert _plan([_topic("t")], [coverage], allow_missing=True).records == 15


@pytest.mark.parametrize(
    ("selection", "said"),
    [
        ({"renames": {"x": "y"}}, "no topic of that name"),
        ({"renames": {"t": "a b"}}, "not a name"),
        ({"renames": {"t": "__consumer_offsets"}}, "not a name"),
        ({"replication_factor": 4}, "more than the 3 brokers"),
    ],
)
def test_names_and_numbers_that_cannot_be(selection: dict[str, Any], said: str) -> None:
    """Refused as usage, before anything else."""
    with pytest.raises(UsageError, match=said):
        _plan([_topic("t"), _topic("u", ID_2)], [], **selection)


def test_names_that_brokers_would_refuse_are_refused() -> None:
    """One name for two topics, and names that differ in . and _ only, on the target or in the plan: both topics are named."""
    topics = [_topic("a.b"), _topic("u", ID_2)]
    with pytest.raises(RefusedError, match=r"topics a\.b and u would both be restored as u"):
        _plan(topics, [], renames={"a.b": "u"})
    with pytest.raises(RefusedError, match=r"topics a\.b and u cannot be restored as a\.b and a_b"):
        _plan(topics, [], renames={"u": "a_b"})
    with pytest.raises(RefusedError, match=r"topic a\.b cannot be restored as a\.b: topic a_b is on the target"):
        _plan(topics, [], names=("a_b", "other"))
    assert len(_plan(topics, [], names=("a_b",), prefix="x-").topics) == 2
    there = TargetTopic(partition_count=1, configs={}, logs=[(0, 0)])
    assert len(_plan(topics, [], names=("a.b",), present={"a.b": there}).topics) == 2


def test_settings_of_an_empty_topic_that_are_replaced_are_told() -> None:
    """Nothing of the user's is changed in silence; the same settings are no news."""
    there = TargetTopic(partition_count=1, configs={"segment.ms": "7", "retention.ms": "5"}, logs=[(0, 0)])
    (planned,) = _plan([_topic("t", segment_ms="5")], [], present={"t": there}).topics
    assert planned.state is TopicState.EMPTY
    assert planned.notes[-1].startswith("the empty topic's own settings (retention.ms=5, segment.ms=7) are replaced")
    same = TargetTopic(partition_count=1, configs={"segment.ms": "5"}, logs=[(0, 0)])
    assert not any(
        "own settings" in note for note in _plan([_topic("t", segment_ms="5")], [], present={"t": same}).topics[0].notes
    )


def test_the_source_cluster_must_be_meant() -> None:
    """The cluster's id tells it, not the alias; without a terminal `--yes` is not enough."""
    plan = _plan([_topic("t")], [], cluster_id="source")
    assert plan.target_is_source
    for consent in (Consent(yes=False, cluster_id="source"), Consent(yes=True, cluster_id=None)):
        with pytest.raises(RefusedError, match="THIS IS THE SOURCE CLUSTER") as refused:
            confirm(plan, consent, is_source=True)
        assert refused.value.hint == "if it is meant: --yes --target-cluster-id source"
    confirm(plan, Consent(yes=True, cluster_id="source"), is_source=True)
    confirm(plan, Consent(yes=False, cluster_id=None), is_source=False)
    with pytest.raises(RefusedError, match="is cluster source, not other"):
        confirm(plan, Consent(yes=True, cluster_id="other"), is_source=False)


def test_on_a_terminal_the_alias_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else refuses."""
    plan = _plan([_topic("t")], [], cluster_id="source")
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    typed = iter(["yes", "dr"])
    monkeypatch.setattr(click, "prompt", lambda *_, **__: next(typed))
    with pytest.raises(RefusedError, match="was not typed"):
        confirm(plan, Consent(yes=False, cluster_id=None), is_source=True)
    confirm(plan, Consent(yes=False, cluster_id=None), is_source=True)


@pytest.mark.parametrize(
    ("configs", "logs", "state"),
    [
        ({}, [(0, 0)], TopicState.EMPTY),
        ({}, [(0, 5)], TopicState.FILLED),
        ({"message.timestamp.before.max.ms": MARK}, [(0, 5)], TopicState.UNFINISHED),
        ({"message.timestamp.difference.max.ms": MARK}, [(0, 0)], TopicState.UNFINISHED),
    ],
)
def test_what_is_there_already(configs: dict[str, str], logs: list[tuple[int, int]], state: TopicState) -> None:
    """Only the mark makes a topic an unfinished restore."""
    present = {"t": TargetTopic(partition_count=1, configs=configs, logs=logs)}
    assert _plan([_topic("t")], [], present=present).topics[0].state is state


def test_retention_that_would_delete_is_held() -> None:
    """By age or by size, by the topic's own setting or the cluster's default, and only where the policy deletes."""
    old = [_coverage("t", _run("t", ID_1, 0, 0, 9, max_timestamp_ms=NOW_MS - 8 * DAY_MS, fetched_bytes=5000))]
    (held,) = _plan([_topic("t")], old).topics[0].held
    assert held.release_command("b:1", "t") == (
        "kafka-configs.sh --bootstrap-server b:1 --alter --entity-type topics --entity-name t --delete-config retention.ms"
    )
    assert not _plan([_topic("t")], old, defaults={"retention.ms": "-1"}).topics[0].held
    assert not _plan([_topic("t", retention_ms=str(9 * DAY_MS))], old).topics[0].held
    assert not _plan([_topic("t", cleanup_policy="compact")], old).topics[0].held
    both = _plan([_topic("t", cleanup_policy="compact,delete", retention_ms="1", retention_bytes="10")], old).topics[0]
    assert [hold.name for hold in both.held] == ["retention.ms", "retention.bytes"]
    assert both.final_configs == {"cleanup.policy": "compact,delete", "retention.ms": "-1", "retention.bytes": "-1"}
    assert both.held[1].release_command("b:1", "t").endswith("--add-config retention.bytes=10")


def test_settings_that_cannot_be_put_back_are_told() -> None:
    """Replica counts beyond the target's, and settings that name brokers."""
    topic = _topic("t", min_insync_replicas="3", follower_replication_throttled_replicas="0:1")
    (plan,) = _plan([topic], [], replication_factor=2).topics
    assert plan.final_configs == {"min.insync.replicas": "2"}
    assert plan.load_configs["min.insync.replicas"] == "2"
    assert len(plan.notes) == 3


def test_only_data_keeps_the_settings_of_the_topic() -> None:
    """All of them while it is loaded, but for what would harm; a hold where they would delete; known from the plan afterwards."""
    old = [_coverage("t", _run("t", ID_1, 0, 0, 9, max_timestamp_ms=NOW_MS - 8 * DAY_MS))]
    own = {"retention.ms": "5", "segment.ms": "7", "min.insync.replicas": "9"}

    def planned(configs: dict[str, str], **selection: Any) -> TopicPlan:
        present = {"t": TargetTopic(partition_count=1, configs=configs, logs=[(0, 0)], replication_factor=2)}
        captured = _topic("t", cleanup_policy="compact")
        return _plan([captured], old, present=present, scope=RestoreScope.DATA, **selection).topics[0]

    plan = planned(own)
    assert dict(plan.final_configs) == {**own, "retention.ms": "-1"}
    assert [(hold.name, hold.wanted) for hold in plan.held] == [("retention.ms", "5")]
    assert {name: plan.load_configs[name] for name in ("retention.ms", "segment.ms", "min.insync.replicas")} == {
        **own,
        "retention.ms": "-1",
    }
    assert (plan.replication_factor, plan.notes) == (2, ())
    marked = {**plan.load_configs, "message.timestamp.before.max.ms": plan.mark.value}
    with pytest.raises(RefusedError, match="in the plan of that restore only"):
        planned(marked)
    assert planned(marked, kept_configs={"t": own}) == replace(
        plan, state=TopicState.UNFINISHED, present_configs=marked
    )
    with pytest.raises(RefusedError, match="does not have t"):
        _plan([_topic("t")], old, scope=RestoreScope.DATA)


def test_only_state_plans_no_records() -> None:
    """What is not stored is no obstacle, and retention cannot delete what is not loaded."""
    old = [_coverage("t", _run("t", ID_1, 0, 5, 9, max_timestamp_ms=NOW_MS - 8 * DAY_MS))]
    plan = _plan([_topic("t", retention_ms="5")], old, scope=RestoreScope.STATE)
    (topic,) = plan.topics
    assert (topic.records, topic.held, dict(topic.final_configs)) == (0, (), {"retention.ms": "5"})
    assert instructions_of(plan) == [CreateTopic(topic), PutConfigs(topic)]


def test_the_largest_batch_fits() -> None:
    """No batch is larger than its run, so a limit above the largest run takes all."""
    large = [_coverage("t", _run("t", ID_1, 0, 0, 9, fetched_bytes=8_000_000))]
    assert int(_plan([_topic("t")], large).topics[0].load_configs["max.message.bytes"]) >= 8_000_000
    assert PartitionId(ID_1, 0) == large[0].partition_id
