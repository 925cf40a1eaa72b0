"""What `mirror status` says of topics that were deleted while no worker looked."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from mirror.cli.human import utc
from mirror.service.status_deleted import UnwatchedTopic

__all__ = ["unwatched_json", "unwatched_lines"]

_SHOWN: Final = 5
_FOR_MS: Final = 7 * 24 * 60 * 60 * 1000


def unwatched_lines(topics: Sequence[UnwatchedTopic], *, now_ms: int) -> Iterator[str]:
    """A line a topic, for a week after it was noticed."""
    recent = [topic for topic in topics if now_ms - topic.noticed_at_ms < _FOR_MS]
    for topic in recent[:_SHOWN]:
        ends = [
            f"{topic.topic}-{end.partition} up to offset {end.next_offset:,}"
            + (f" at {utc(end.stored_at_ms)}" if end.stored_at_ms is not None else "")
            for end in topic.partitions
        ]
        more = f" and {len(ends) - _SHOWN} partitions more" if len(ends) > _SHOWN else ""
        yield (
            f"{topic.topic} ({topic.topic_id}) was deleted while no worker looked (noticed {utc(topic.noticed_at_ms)}): what was written "
            f"later than this is lost with it, if anything was: {', '.join(ends[:_SHOWN])}{more}"
        )
    if len(recent) > _SHOWN:
        yield f"{len(recent) - _SHOWN} more topics were deleted while no worker looked, see --json"


def unwatched_json(topics: Sequence[UnwatchedTopic]) -> list[dict[str, Any]]:
    """All of them."""
    return [
        {
            "topic": topic.topic,
            "topic_id": topic.topic_id,
            "noticed_at": utc(topic.noticed_at_ms, with_ms=True),
            "partitions": [
                {
                    "partition": end.partition,
                    "next_offset": end.next_offset,
                    "stored_at": None if end.stored_at_ms is None else utc(end.stored_at_ms, with_ms=True),
                }
                for end in topic.partitions
            ],
        }
        for topic in topics
    ]
