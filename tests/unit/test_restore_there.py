"""What a plan says of topics that hold something: gone on with, appended to, destroyed."""

from dataclasses import replace

from mirror.cli.restore_there import append_lines, doomed_json, doomed_lines, there_now
from mirror.core.not_empty import DoomedLog, UnstoredRange
from mirror.core.restore_plan import PartitionPlan, TopicPlan, TopicState
from tests.unit.test_restore_plan import _plan, _topic


def _planned(state: TopicState, *ends: int) -> TopicPlan:
    """A topic whose partitions end so on the target."""
    (topic,) = _plan([_topic("orders")], []).topics
    partitions = tuple(
        PartitionPlan(
            partition=number,
            coverage=None,
            records=9,
            is_exact=True,
            stored_bytes=9,
            there_next_offset=log_end,
            base_offset=log_end,
        )
        for number, log_end in enumerate(ends)
    )
    return replace(topic, state=state, partitions=partitions)


def test_every_state_has_words() -> None:
    """None that a plan can have is missing."""
    for state in set(TopicState) - {TopicState.MISFIT}:
        assert there_now(_planned(state, 5))


def test_nothing_is_said_where_nothing_is_destroyed_or_appended() -> None:
    """An ordinary plan has no such lines."""
    for state in (TopicState.ABSENT, TopicState.COMPLETE, TopicState.BEGINNING):
        assert doomed_lines(_planned(state, 5)) == append_lines(_planned(state, 5)) == []


def test_what_is_destroyed_is_told_by_partition() -> None:
    """Offsets, records, and what is stored nowhere; empty logs are left out, JSON has them."""
    lost = UnstoredRange(30, 33, 3)
    logs = (
        DoomedLog(partition=0, start_offset=10, next_offset=40, records=25, unstored=(lost,)),
        DoomedLog(partition=1, start_offset=0, next_offset=7, records=7, unstored=()),
        DoomedLog(partition=2, start_offset=5, next_offset=5, records=0, unstored=()),
    )
    topic = replace(_planned(TopicState.REPLACED, 1), doomed=logs)
    assert doomed_lines(topic) == [
        "TO BE DESTROYED: topic orders and its 32 records",
        "  orders-0: [10, 40), 25 records, 3 of them NOT IN THIS REPOSITORY",
        "  orders-1: [0, 7), 7 records, all in this repository",
    ]
    told = doomed_json(topic)
    assert [one["partition"] for one in told] == [0, 1, 2]
    assert told[0]["unstored"] == [{"start_offset": 30, "next_offset": 33, "records": 3}]
