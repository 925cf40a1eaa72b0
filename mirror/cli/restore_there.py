"""What a restore's plan says of what a topic holds on the target now."""

from typing import Any

from mirror.core.restore_plan import TopicPlan, TopicState

__all__ = ["append_lines", "doomed_json", "doomed_lines", "there_now"]

_SHOWN = 20

_STATES = {
    TopicState.ABSENT: "nothing",
    TopicState.EMPTY: "empty topic",
    TopicState.UNFINISHED: "part of this restore",
    TopicState.FILLED: "records",
    TopicState.COMPLETE: "all of it",
    TopicState.REPLACED: "records: TO BE DESTROYED",
}


def there_now(topic: TopicPlan) -> str:
    """In a few words, for the table of topics."""
    if topic.state is TopicState.APPENDED:
        return "records: stay, this goes behind them"
    if topic.state is not TopicState.BEGINNING:
        return _STATES[topic.state]
    ends = sorted({one.there_next_offset for one in topic.partitions if one.coverage is not None}) or [0]
    if len(ends) == 1:
        return f"restored to offset {ends[0]:,}, goes on"
    return f"restored to offsets {ends[0]:,} … {ends[-1]:,}, goes on"


def doomed_lines(topic: TopicPlan) -> list[str]:
    """What is destroyed before the topic is restored: every log with its offsets and records, and those that are stored nowhere."""
    if topic.state is not TopicState.REPLACED:
        return []
    records = sum(log.records for log in topic.doomed)
    logs = [log for log in topic.doomed if log.next_offset > log.start_offset]
    lines = [f"TO BE DESTROYED: topic {topic.target_topic} and its {records:,} records"]
    lines += [
        f"  {topic.target_topic}-{log.partition}: [{log.start_offset:,}, {log.next_offset:,}), {log.records:,} records, "
        + (f"{log.unstored_records:,} of them NOT IN THIS REPOSITORY" if log.unstored else "all in this repository")
        for log in logs[:_SHOWN]
    ]
    if len(logs) > _SHOWN:
        lines.append(f"  … and {len(logs) - _SHOWN} partitions more (--json has all)")
    return lines


def append_lines(topic: TopicPlan) -> list[str]:
    """What appending to the topic means."""
    if topic.state is not TopicState.APPENDED:
        return []
    there = sum(p.base_offset for p in topic.partitions if p.coverage is not None)
    return [
        f"{topic.target_topic}: APPENDED behind the {there:,} offsets that are there. What is in both is there TWICE afterwards",
        f"{topic.target_topic}: its settings become those of the source",
    ]


def doomed_json(topic: TopicPlan) -> list[dict[str, Any]]:
    """The same, of all partitions."""
    return [
        {
            "partition": log.partition,
            "start_offset": log.start_offset,
            "next_offset": log.next_offset,
            "records": log.records,
            "unstored": [part._asdict() for part in log.unstored],
        }
        for log in topic.doomed
    ]
