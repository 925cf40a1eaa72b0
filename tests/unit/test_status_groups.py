"""What status says of consumer groups: values in, words out."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from mirror.cli.status_view import groups_line
from mirror.core.coverage import build_coverage
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.objectives import Objectives
from mirror.core.status import PartitionFacts, PartitionStatus, judge_partition
from mirror.kafka.cluster import TopicDescription
from mirror.service.status import StatusReport
from mirror.service.status_groups import GroupCounter, groups_status, not_to_be_ignored
from mirror.service.status_source import SourceView
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_slice

NOW_MS = 1_790_000_060_000  # 14:14:20Z
OBJECTIVES = Objectives(recovery_point_ms=60_000, retention_headroom_ms=7_200_000)


def a_partition(number: int = 0, *, end: int = 100, seconds: float = 0, **changes: Any) -> PartitionStatus:
    """Stored up to 100; what follows up to ``end`` is that old."""
    facts = PartitionFacts(
        topic=GROUP_LOG_TOPIC,
        topic_id=TOPIC_ID,
        partition=number,
        position=100,
        stored_offsets=100,
        log_start_offset=0,
        high_watermark=end,
        last_stable_offset=end,
        oldest_unstored_ms=NOW_MS - int(seconds * 1000) if end > 100 else None,
        **changes,
    )
    return judge_partition(facts, OBJECTIVES, NOW_MS)


def a_view(**changes: Any) -> SourceView:
    """A source whose group log is visible."""
    log = TopicDescription(
        name=GROUP_LOG_TOPIC, topic_id=TOPIC_ID, is_internal=True, partitions=(), authorized_operations=None
    )
    return SourceView(cluster_id="c", selected={}, left_out={}, **{"group_log": log, **changes})


def line(
    *partitions: PartitionStatus, mode: str = "auto", view: SourceView | None = None, count: int | None = 14
) -> str:
    """The line as printed."""
    found = groups_status(mode, partitions, view, group_count=count, newest_object_ms=NOW_MS - 9_000, now_ms=NOW_MS)
    return groups_line(cast("StatusReport", SimpleNamespace(at_ms=NOW_MS)), found)


def test_captured_up_to_the_oldest_commit_that_is_not_stored() -> None:
    """Now, where everything is; about the newest object, where the source cannot be asked."""
    view = a_view()
    assert line(a_partition(), a_partition(1), view=view) == "consumer groups: 14 captured, to 14:14:20Z"
    assert line(a_partition(), a_partition(1, end=103, seconds=8), view=view, count=None) == (
        "consumer groups: captured, to 14:14:12Z"
    )
    assert line(a_partition(), view=None) == "consumer groups: 14 captured, to about 14:14:11Z"
    late = line(a_partition(3, end=103, seconds=90), view=view)
    assert late.startswith("consumer groups: 14 captured, to 14:12:50Z; __consumer_offsets-3: 3 offsets behind")


@pytest.mark.parametrize(
    ("mode", "view", "words"),
    [
        ("off", a_view(), '[worker] groups = "off"'),
        ("auto", None, "the source is not reachable"),
        ("auto", a_view(missing_group_rights=frozenset({"READ"}), group_log=None), "READ on topic __consumer_offsets"),
        ("topic", a_view(group_log=None), "no group has committed"),
        ("auto", a_view(), "no worker has begun"),
    ],
)
def test_why_groups_are_not_captured(mode: str, view: SourceView | None, words: str) -> None:
    """The setting, a missing right, nothing there, no worker."""
    found = line(mode=mode, view=view, count=None)
    assert found.startswith("consumer groups: not captured, because ")
    assert words in found


def test_what_counts_for_the_verdict() -> None:
    """Late ones; not the first load, nor what could not be asked."""
    late = a_partition(end=103, seconds=90)
    loading = a_partition(end=103, seconds=90, recent_offsets=50, recent_ms=1000)
    unknown = judge_partition(PartitionFacts(topic=GROUP_LOG_TOPIC, topic_id=TOPIC_ID, partition=0), OBJECTIVES, NOW_MS)
    assert not_to_be_ignored([a_partition(), late, loading, unknown]) == [late]


def test_groups_are_counted_where_that_is_quick() -> None:
    """Without own ones; again only after something was added; not at all over a hundred objects, or where one is damaged."""
    builder = RepositoryBuilder()
    counter = GroupCounter(builder.repository)

    def count() -> int | None:
        coverages = build_coverage((entry.key, entry.index) for entry in builder.repository.load_indexes())
        return counter.count(coverages, {"mirror"})

    def put(number: int, group: str) -> str:
        batch = a_commit_batch(number, (a_commit_key(group), a_commit_value(1)), at_ms=T0_MS)
        return builder.put([a_slice(GROUP_LOG_TOPIC, 0, number, batch)])

    assert count() is None
    put(0, "mirror")
    put(1, "bill")
    assert count() == 1
    key = put(2, "jill")
    assert count() == count() == 2
    data = builder.store.get(key)
    builder.store.delete(key)
    builder.store.put(key, bytes([*data[:20], data[20] ^ 1, *data[21:]]))
    put(3, "jack")
    assert count() is None
    for number in range(4, 101):
        put(number, "bill")
    assert count() is None


def test_polled_groups_say_so() -> None:
    """How far is an estimate, since polls that find nothing new leave no trace; with the missing right, where that is why."""
    view = a_view(missing_group_rights=frozenset({"READ"}))

    def polled(mode: str, view: SourceView | None) -> str:
        found = groups_status(
            mode, [], view, group_count=14, newest_object_ms=NOW_MS - 9_000, now_ms=NOW_MS, is_polled=True
        )
        assert (found.is_captured, found.way, found.is_estimate) == (True, "poll", True)
        return groups_line(cast("StatusReport", SimpleNamespace(at_ms=NOW_MS)), found)

    assert polled("poll", None) == polled("poll", view) == "consumer groups: 14 polled, to about 14:14:11Z"
    assert polled("auto", view).startswith("consumer groups: 14 polled, to about 14:14:11Z; READ on topic __consumer")
    off = groups_status("off", [], view, group_count=14, newest_object_ms=NOW_MS, now_ms=NOW_MS, is_polled=True)
    assert not off.is_captured
    assert line(mode="poll", view=a_view()).endswith("because no worker has polled them yet (14 stored)")
