"""What stands against a restore on its target: told with what is done about it, or refused with the option that decides."""

from typing import Any

import pytest

from mirror.core.coverage import PartitionCoverage, cover_partition
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import PartitionId
from mirror.core.restore_conflicts import refuse_too_many_replicas, replicas_of, setting_notes
from mirror.core.restore_plan import TargetCluster, TargetTopic
from mirror.core.restore_selection import RestoreSelection
from mirror.core.segment.index import RunEntry, TopicObject
from mirror.core.topic_filter import TopicFilter
from mirror.errors import RefusedError

DAY_MS = 86_400_000
NOW_MS = 1_800_000_000_000
ID = "A" * 22


def _coverage(first_ms: int, last_ms: int, fetched_bytes: int = 100) -> PartitionCoverage:
    run = RunEntry(
        topic="t",
        topic_id=ID,
        partition=0,
        start_offset=0,
        next_offset=10,
        position=16,
        stored_bytes=100,
        raw_bytes=100,
        fetched_bytes=fetched_bytes,
        batch_count=2,
        record_count=10,
        checksum="0" * 32,
        min_base_timestamp_ms=first_ms,
        max_timestamp_ms=last_ms,
    )
    return cover_partition(PartitionId(ID, 0), "t", [("l0/1", 0, 1, run)], [], [], [])


def _notes(final: dict[str, str], defaults: dict[str, str], coverage: PartitionCoverage) -> str:
    return "\n".join(setting_notes(final, [coverage], default_configs=defaults, now_ms=NOW_MS))


WEEK = _coverage(NOW_MS - 7 * DAY_MS, NOW_MS - DAY_MS)
AHEAD = _coverage(NOW_MS, NOW_MS + DAY_MS)
LARGE = _coverage(NOW_MS, NOW_MS, fetched_bytes=4_000_000)


@pytest.mark.parametrize(
    ("final", "defaults", "coverage", "told"),
    [
        (
            {"message.timestamp.before.max.ms": str(DAY_MS)},
            {},
            WEEK,
            "before.max.ms 86400000 would refuse a record of 2027",
        ),
        (
            {},
            {"message.timestamp.before.max.ms": str(DAY_MS)},
            WEEK,
            "lifted while it is loaded, put back for new records",
        ),
        ({"message.timestamp.difference.max.ms": str(DAY_MS)}, {}, WEEK, "before.max.ms 86400000"),
        ({"message.timestamp.before.max.ms": str(8 * DAY_MS)}, {"message.timestamp.before.max.ms": "1"}, WEEK, ""),
        ({}, {"message.timestamp.after.max.ms": "3600000"}, AHEAD, "after.max.ms 3600000 would refuse"),
        ({}, {"message.timestamp.after.max.ms": "3600000"}, WEEK, ""),
        ({"message.timestamp.type": "LogAppendTime"}, {}, WEEK, "CreateTime while it is loaded"),
        ({}, {"message.timestamp.type": "LogAppendTime"}, WEEK, "CreateTime while it is loaded"),
        ({"max.message.bytes": "1000000"}, {}, LARGE, "batches of 2,000,000 bytes or more: raised while it is loaded"),
        ({}, {}, LARGE, "max.message.bytes 1,048,588"),
        ({"max.message.bytes": "3000000"}, {}, LARGE, ""),
        (
            {"max.message.bytes": "3000000"},
            {"socket.request.max.bytes": "9"},
            LARGE,
            "raise it on the target's brokers",
        ),
        (
            {"cleanup.policy": "compact"},
            {"cleanup.policy": "delete"},
            WEEK,
            "cleanup.policy compact: nothing is compacted",
        ),
        ({}, {"cleanup.policy": "compact"}, WEEK, "the target's default cleanup.policy compact"),
        ({"cleanup.policy": "delete"}, {"cleanup.policy": "compact"}, WEEK, ""),
        ({}, {}, WEEK, ""),
    ],
)
def test_settings_are_told_where_they_matter(
    final: dict[str, str], defaults: dict[str, str], coverage: PartitionCoverage, told: str
) -> None:
    """The topic's own setting counts before the target's default; what touches no record is not told."""
    said = _notes(final, defaults, coverage)
    assert told in said
    assert bool(said) == bool(told)


TOPIC = TopicObject(
    format_version=1, topic="t", topic_id=ID, partition_count=1, replication_factor=3, configs={}, captured_at_ms=1
)
EMPTY, FILLED = (
    TargetTopic(partition_count=1, configs={}, logs=[(0, log_end)], replication_factor=1) for log_end in (0, 9)
)


def _target(brokers: int, present: TargetTopic | None) -> TargetCluster:
    topics = {"t": present} if present else {}
    return TargetCluster(
        alias="dr", cluster_id="c", bootstrap="b:1", broker_count=brokers, topics=topics, default_configs={}
    )


def _refuse(brokers: int, *, there: TargetTopic | None = None, **selection: Any) -> None:
    topic, target = TOPIC, _target(brokers, there)
    refuse_too_many_replicas(RestoreSelection(topics=TopicFilter(), **selection), {"t": ID}, [topic], target)


def test_fewer_replicas_are_a_decision() -> None:
    """Refused with the number that goes, unless it is given, or the topic is there already."""
    with pytest.raises(
        RefusedError, match="dr has 1 broker, 1 topic has more replicas than that at the source:\n  t: 3"
    ) as told:
        _refuse(1)
    assert (told.value.hint or "").startswith("--replication-factor 1 creates")
    _refuse(3)
    _refuse(1, replication_factor=1)
    _refuse(1, there=FILLED)
    with pytest.raises(RefusedError):
        _refuse(2, there=FILLED, prefix="x-")
    with pytest.raises(RefusedError):
        _refuse(2, there=FILLED, if_not_empty=IfNotEmpty.REPLACE)
    _refuse(2, there=EMPTY, if_not_empty=IfNotEmpty.REPLACE)


@pytest.mark.parametrize(
    ("there", "given", "factor", "told"),
    [
        (None, {}, 3, ""),
        (None, {"replication_factor": 2}, 2, "2 instead of 3 replicas: --replication-factor"),
        (FILLED, {}, 1, "1 instead of 3 replicas: as it is there now"),
        (EMPTY, {"if_not_empty": IfNotEmpty.REPLACE}, 1, "1 instead of 3 replicas: as it is there now"),
        (FILLED, {"if_not_empty": IfNotEmpty.REPLACE}, 3, ""),
    ],
)
def test_how_many_replicas_there_will_be(
    there: TargetTopic | None, given: dict[str, Any], factor: int, told: str
) -> None:
    """Those of the source; of a topic that stays, its own; of one that is replaced, those of the source again."""
    selection = RestoreSelection(topics=TopicFilter(), **given)
    assert replicas_of(selection, TOPIC, _target(3, there), there) == (factor, [told] if told else [])
