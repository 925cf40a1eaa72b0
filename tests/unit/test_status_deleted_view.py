"""What `mirror status` says of topics that were deleted while no worker looked."""

from mirror.cli.status_deleted_view import unwatched_json, unwatched_lines
from mirror.service.status_deleted import StoredEnd, UnwatchedTopic
from tests.builders import T0_MS, TOPIC_ID

DAY_MS = 86_400_000


def _topic(name: str, noticed_at_ms: int, *ends: StoredEnd) -> UnwatchedTopic:
    return UnwatchedTopic(topic=name, topic_id=TOPIC_ID, noticed_at_ms=noticed_at_ms, partitions=ends)


def test_it_says_up_to_where_each_partition_is_stored() -> None:
    """With the time, where there is one; a few partitions and topics by name."""
    ends = [StoredEnd(partition=n, next_offset=1000 + n, stored_at_ms=T0_MS if n else None) for n in range(8)]
    (line,) = unwatched_lines([_topic("orders", T0_MS, *ends)], now_ms=T0_MS + 5)
    assert "orders-0 up to offset 1,000, orders-1 up to offset 1,001 at 2026-" in line
    assert line.endswith(" and 3 partitions more")
    many = [_topic(f"t{n}", T0_MS, ends[0]) for n in range(7)]
    lines = list(unwatched_lines(many, now_ms=T0_MS + 5))
    assert len(lines) == 6
    assert lines[-1].startswith("2 more topics")


def test_after_a_week_only_the_json_tells() -> None:
    """A person has read it by then."""
    topic = _topic("orders", T0_MS, StoredEnd(partition=0, next_offset=7, stored_at_ms=T0_MS))
    assert list(unwatched_lines([topic], now_ms=T0_MS + 8 * DAY_MS)) == []
    (told,) = unwatched_json([topic])
    assert (told["topic"], told["partitions"][0]["next_offset"]) == ("orders", 7)
