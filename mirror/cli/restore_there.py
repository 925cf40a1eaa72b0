"""What a restore's plan says of what a topic holds on the target now."""

from mirror.core.restore_plan import TopicPlan, TopicState

__all__ = ["there_now"]

_STATES = {
    TopicState.ABSENT: "nothing",
    TopicState.EMPTY: "empty topic",
    TopicState.UNFINISHED: "part of this restore",
    TopicState.FILLED: "records",
    TopicState.COMPLETE: "all of it",
}


def there_now(topic: TopicPlan) -> str:
    """In a few words, for the table of topics."""
    if topic.state is not TopicState.BEGINNING:
        return _STATES[topic.state]
    ends = sorted({partition.there_next_offset for partition in topic.partitions if partition.coverage is not None})
    if len(ends) == 1:
        return f"restored to offset {ends[0]:,}, goes on"
    return f"restored to offsets {ends[0]:,} … {ends[-1]:,}, goes on"
