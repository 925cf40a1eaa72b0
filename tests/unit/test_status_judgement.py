"""The judgement of partitions and the verdict of the cluster: values in, words out."""

from typing import Any

import pytest

from mirror.core.objectives import (
    Objectives,
    Prices,
    bytes_headroom_ms,
    monthly_price,
    recovery_point_age_ms,
    time_headroom_ms,
    time_left_ms,
)
from mirror.core.status import PartitionFacts, PartitionStatus, Verdict, judge_partition, verdict

NOW_MS = 1_790_000_000_000
OBJECTIVES = Objectives(recovery_point_ms=60_000, retention_headroom_ms=7_200_000)
HOUR_MS = 3_600_000
STORED: dict[str, Any] = {"position": 100, "stored_offsets": 100, "fetched_bytes": 10_000, "stored_bytes": 8_000}


def _facts(topic: str = "orders", **changes: Any) -> PartitionFacts:
    values = {
        "topic_id": "A" * 22,
        "partition": 0,
        **STORED,
        "log_start_offset": 0,
        "high_watermark": 100,
        "last_stable_offset": 100,
        **changes,
    }
    return PartitionFacts(topic=topic, **values)


def _judge(**changes: Any) -> PartitionStatus:
    return judge_partition(_facts(**changes), OBJECTIVES, NOW_MS)


def _behind(seconds: float, offsets: int = 50, **changes: Any) -> PartitionStatus:
    end = 100 + offsets
    values = {"high_watermark": end, "last_stable_offset": end, "oldest_unstored_ms": NOW_MS - int(seconds * 1000)}
    return _judge(**(values | changes))


def _verdict(*partitions: PartitionStatus, **changes: Any) -> Verdict:
    return verdict(partitions, **({"now_ms": NOW_MS, "uncovered_topic_count": 0} | changes))


def test_everything_stored_is_safe_with_age_zero() -> None:
    """A partition whose log is stored to its end has age 0, however old its last record is."""
    status = _judge()
    assert (status.state, status.recovery_point_age_ms, status.lag_offsets) == ("safe", 0, 0)
    assert status.retention_headroom_ms is None
    found = _verdict(status)
    assert (found.word, found.exit_code, found.restorable_to_ms) == ("SAFE", 0, NOW_MS)


def test_a_stamp_in_the_future_does_not_make_it_safe() -> None:
    """A producer may stamp its records an hour ahead: they came some time after what was stored last, and that is what is told."""
    status = _behind(-3000, last_sealed_ms=NOW_MS - 350_000, newest_object_ms=NOW_MS - 350_000)
    assert (status.state, status.recovery_point_age_ms, status.is_approximate) == ("late", 350_000, True)
    assert _verdict(status).restorable_to_ms == NOW_MS - 350_000
    assert _behind(-3000, last_sealed_ms=NOW_MS - 8000).recovery_point_age_ms == 8000
    assert _behind(-3000).state == "unknown"
    assert _behind(-3000, is_covered=False).state == "not_covered"
    by_broker = _behind(-3000, last_sealed_ms=NOW_MS - 350_000, is_append_time=True)
    assert by_broker.recovery_point_age_ms == 0


def test_where_no_worker_is_at_work_young_stamps_are_not_believed() -> None:
    """A stamp that was ahead becomes a young one in time. Right after a record came nothing can be told from that it is not stored yet."""
    silent = {"last_sealed_ms": NOW_MS - 3_000_000, "newest_object_ms": NOW_MS - 3_000_000}
    assert _behind(30, **silent).recovery_point_age_ms == 3_000_000
    assert _behind(30, **silent).state == "late"
    assert _behind(10, **silent).state == "safe"
    assert _behind(4000, **silent).recovery_point_age_ms == 4_000_000
    assert _behind(30, **(silent | {"newest_object_ms": NOW_MS - 50_000})).recovery_point_age_ms == 30_000
    assert _behind(30, is_append_time=True, **silent).recovery_point_age_ms == 30_000


def test_nothing_is_loading_where_nothing_was_stored_lately() -> None:
    """Nobody is told to wait for a worker that is not there."""
    pace = {"recent_offsets": 50, "recent_bytes": 5000, "recent_ms": 300_000}
    at_work = _behind(3600, last_sealed_ms=NOW_MS - 9000, **pace)
    assert (at_work.is_loading, at_work.reason) == (True, "still loading: 50 offsets to go")
    ended = _behind(3600, last_sealed_ms=NOW_MS - 110_000, **pace)
    assert (ended.is_loading, ended.reason) == (False, "50 offsets behind, and nothing was stored lately")


def test_empty_partition_is_safe() -> None:
    """A partition without records has nothing to lose, covered or not."""
    status = _judge(is_covered=False, position=0, high_watermark=0, last_stable_offset=0, stored_offsets=0)
    assert status.state == "safe"


def test_behind_within_the_objective_is_safe_and_dates_the_verdict() -> None:
    """What is not durable yet moves the restorable time back by its age."""
    found = _verdict(_behind(4), _judge())
    assert (found.word, found.restorable_to_ms) == ("SAFE", NOW_MS - 4_000)


def test_older_than_the_objective_is_at_risk() -> None:
    """One partition over the objective is enough."""
    found = _verdict(_judge(), _behind(61, topic="late"))
    assert (found.word, found.exit_code) == ("AT RISK", 6)
    assert found.reason.startswith("late-0: 50 offsets behind")
    assert "mirror worker" in found.next_step


def test_initial_load_is_told_with_time_left() -> None:
    """While offsets come in, the cause is the load, and the pace gives the time left."""
    status = _behind(86_400, offsets=6_000, recent_offsets=1_000, recent_bytes=100_000, recent_ms=60_000)
    assert (status.state, status.is_loading, status.time_left_ms) == ("late", True, 360_000)
    assert "still loading" in _verdict(status).reason


def test_open_transaction_is_told() -> None:
    """Stored up to the last stable offset, with more behind it: blocked since the transaction's first record."""
    status = _behind(600, last_stable_offset=100)
    assert (status.state, status.lag_offsets, status.blocked_since_ms) == ("late", 0, NOW_MS - 600_000)
    assert "open transaction" in status.reason
    assert "kafka-transactions" in _verdict(status).next_step
    assert _behind(1, last_stable_offset=100).state == "safe", "short transactions are normal"


def test_uncovered_partition_with_records_is_unprotected() -> None:
    """A selected partition of which nothing is stored."""
    status = _behind(3_600, is_covered=False, position=0, stored_offsets=0)
    assert status.state == "not_covered"
    assert _verdict(status).word == "NOT PROTECTED"
    assert _verdict(status, _judge()).word == "AT RISK"
    young = _behind(5, is_covered=False, position=0, stored_offsets=0)
    assert young.state == "safe", "a topic made seconds ago is within the objective"
    assert _verdict(young, _judge()).word == "SAFE"
    assert _verdict(young).word == "NOT PROTECTED", "where nothing at all is stored, nothing is safe"


def test_retention_headroom_by_time() -> None:
    """The broker will delete the oldest record that is not stored when its age reaches retention.ms."""
    status = _behind(30, retention_ms=HOUR_MS)
    assert status.retention_headroom_ms == HOUR_MS - 30_000
    assert status.state == "headroom"
    assert "retention.ms of orders" in _verdict(status).next_step
    assert _behind(30, retention_ms=-1).state == "safe"
    assert _behind(30, retention_ms=10 * HOUR_MS).state == "safe"


def test_retention_headroom_by_bytes() -> None:
    """retention.bytes counts by the average size of an offset and the pace of growth; the smaller headroom wins."""
    recent = {"recent_bytes": 60_000, "recent_ms": 60_000, "recent_offsets": 600}
    status = _behind(5, retention_bytes=65_000, retention_ms=100 * HOUR_MS, **recent)
    assert status.retention_headroom_ms == 60_000, "50 offsets of 100 bytes leave 60,000 bytes at 1,000 bytes/s"
    assert _behind(5, retention_bytes=4_000, **recent).retention_headroom_ms == 0


def test_missing_offsets_lead_over_everything() -> None:
    """An unexplained hole is the worst that can be seen."""
    found = _verdict(_behind(900, topic="late"), _judge(topic="hole", missing_offsets=20, position=40))
    assert found.worst is not None
    assert found.worst.facts.topic == "hole"
    assert "mirror verify" in found.next_step


def test_log_that_begins_behind_the_position_is_lost() -> None:
    """Retention outran the backup: told before a worker has recorded the gap."""
    status = _behind(10, log_start_offset=130)
    assert (status.state, status.lag_offsets) == ("lost", 20)
    assert "30 offsets" in status.reason
    assert _verdict(status).gap_count == 1


def test_gap_is_a_reason_for_a_day_and_then_history() -> None:
    """A recent gap is at risk, an old one only counted."""
    recent = _judge(gap_offsets=5, last_gap_ms=NOW_MS - HOUR_MS)
    assert (recent.state, _verdict(recent).exit_code) == ("gap", 6)
    old = _judge(gap_offsets=5, last_gap_ms=NOW_MS - 25 * HOUR_MS)
    assert (old.state, _verdict(old).gap_count, _verdict(old).exit_code) == ("safe", 1, 0)


def test_unreachable_cluster_shows_what_is_stored() -> None:
    """Without the cluster the newest object dates what can be restored, and the verdict is not safe."""
    status = _judge(high_watermark=None, last_stable_offset=None, log_start_offset=None)
    assert (status.state, status.lag_offsets, status.recovery_point_age_ms) == ("unknown", None, None)
    found = _verdict(status, unreachable="no answer", newest_object_ms=NOW_MS - 9_000)
    assert (found.word, found.restorable_to_ms, found.is_estimate) == ("AT RISK", NOW_MS - 9_000, True)
    assert "mirror restore" in found.next_step
    assert _verdict(unreachable="no answer").word == "NOT PROTECTED"


def test_unreachable_cluster_does_not_hide_a_hole() -> None:
    """Missing offsets are known from the repository alone."""
    status = _judge(high_watermark=None, last_stable_offset=None, missing_offsets=3)
    assert status.state == "missing"
    assert "mirror verify" in _verdict(status, unreachable="down").next_step


def test_unreadable_head_is_unknown() -> None:
    """Where the time of the oldest record that is not stored cannot be read, nothing is claimed."""
    status = _behind(0, oldest_unstored_ms=None)
    assert (status.state, status.recovery_point_age_ms) == ("unknown", None)
    assert _verdict(status).restorable_to_ms is None


def test_rules_that_select_nothing_are_not_protected() -> None:
    """No selected topic is never an empty success."""
    found = _verdict(uncovered_topic_count=3)
    assert (found.word, found.uncovered_topic_count) == ("NOT PROTECTED", 3)


def test_age_is_approximate_where_producers_set_the_times() -> None:
    """With LogAppendTime the age is exact."""
    assert _behind(4).is_approximate
    assert not _behind(4, is_append_time=True).is_approximate
    assert not _judge().is_approximate


def test_clock_behind_the_broker_gives_no_negative_age() -> None:
    """A record that is a little ahead of the clock is zero seconds old."""
    assert _behind(-3).recovery_point_age_ms == 0


def test_log_shorter_than_what_is_stored_is_safe() -> None:
    """After a truncation more may be stored than the log holds."""
    assert _judge(high_watermark=90, last_stable_offset=90).state == "safe"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (recovery_point_age_ms(10, position=5, high_watermark=5, oldest_unstored_ms=None), 0),
        (recovery_point_age_ms(10, position=4, high_watermark=5, oldest_unstored_ms=None), None),
        (recovery_point_age_ms(10, position=4, high_watermark=5, oldest_unstored_ms=3), 7),
        (time_headroom_ms(10, oldest_unstored_ms=3, retention_ms=5), 0),
        (time_headroom_ms(10, oldest_unstored_ms=None, retention_ms=5), None),
        (time_headroom_ms(10, oldest_unstored_ms=3, retention_ms=-1), None),
        (bytes_headroom_ms(unstored_bytes=0, retention_bytes=5, bytes_per_second=1.0), None),
        (bytes_headroom_ms(unstored_bytes=4, retention_bytes=-1, bytes_per_second=1.0), None),
        (bytes_headroom_ms(unstored_bytes=4, retention_bytes=6, bytes_per_second=None), None),
        (bytes_headroom_ms(unstored_bytes=4, retention_bytes=6, bytes_per_second=2.0), 1000),
        (time_left_ms(remaining=0, done=0, during_ms=0), 0),
        (time_left_ms(remaining=5, done=0, during_ms=9), None),
        (time_left_ms(remaining=10, done=5, during_ms=8), 16),
    ],
)
def test_arithmetic(found: int | None, expected: int | None) -> None:
    """Ages, headroom and time left, with what is unknown left unknown."""
    assert found == expected


def test_price() -> None:
    """8,640 puts a day and 100 GiB at the usual prices."""
    puts, kept = monthly_price(Prices(), puts_per_day=8_640, stored_bytes=100 << 30)
    assert puts == pytest.approx(1.296)
    assert kept == pytest.approx(2.3)


def test_newest_object_that_is_gone_is_missing() -> None:
    """What workers have committed as stored and the repository lacks is at risk, however young, and says how it is fetched again."""
    gone = _behind(1, gone_offsets=20)
    assert (gone.state, gone.reason) == (
        "missing",
        "its newest 20 offsets were stored once, and the object that held them is gone",
    )
    found = _verdict(gone)
    assert (found.word, found.exit_code) == ("AT RISK", 6)
    assert "after a restart" in found.next_step


@pytest.mark.parametrize(("count", "said"), [(1, "1 object of the repository cannot be read"), (3, "3 objects of")])
def test_unreadable_objects_are_at_risk(count: int, said: str) -> None:
    """Objects that cannot be read lead, whatever else is wrong; nothing stored at all stays the worse word."""
    found = _verdict(_judge(), unreadable_count=count)
    assert (found.word, found.exit_code) == ("AT RISK", 6)
    assert found.reason.startswith(said)
    assert "mirror verify" in found.next_step
    late = _verdict(_behind(300), unreadable_count=count)
    assert late.reason.startswith(said)
    assert "orders-0: " in late.reason
    nothing = _verdict(_behind(300, is_covered=False), unreadable_count=count)
    assert nothing.word == "NOT PROTECTED"
    assert _verdict(_judge(), unreadable_count=0).word == "SAFE"
