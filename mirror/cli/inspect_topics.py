"""``mirror inspect`` without a name: the topics that a repository holds."""

from collections.abc import Sequence
from typing import Any

from mirror.cli.output import emit_json, human_bytes, human_count, print_line, print_table, utc
from mirror.service.inspect import StoredTopic

__all__ = ["show_topics"]


def show_topics(found: Sequence[StoredTopic], address: str, damaged: Sequence[str], *, as_json: bool) -> None:
    """Print the list as a table or as JSON."""
    if as_json:
        emit_json({"repository": address, "damaged": list(damaged), "topics": [_as_json(topic) for topic in found]})
        return
    if not found:
        print_line(f"{address} is empty")
        return
    print_table(
        ("topic", "incarnation", "partitions", "records", "lost", "raw", "stored", "times"),
        [_row(topic) for topic in found],
        title=address,
        right=("partitions", "records", "lost", "raw", "stored"),
        fixed=("incarnation",),
        below=("times",),
        optional=("raw", "lost"),
    )
    print_line("next: `mirror inspect TOPIC` shows a topic's partitions and offsets")


def _row(topic: StoredTopic) -> tuple[object, ...]:
    return (
        topic.topic,
        topic.topic_id,
        topic.partition_count,
        ("" if topic.records_are_exact else "≤ ") + human_count(topic.records),
        human_count(topic.lost_offsets + topic.missing_offsets),
        human_bytes(topic.fetched_bytes),
        human_bytes(topic.stored_bytes),
        "–" if topic.max_timestamp_ms is None else f"{utc(topic.min_timestamp_ms)} – {utc(topic.max_timestamp_ms)}",
    )


def _as_json(topic: StoredTopic) -> dict[str, Any]:
    return {
        "topic": topic.topic,
        "topic_id": topic.topic_id,
        "partition_count": topic.partition_count,
        "records": topic.records,
        "records_are_exact": topic.records_are_exact,
        "lost_offsets": topic.lost_offsets,
        "missing_offsets": topic.missing_offsets,
        "fetched_bytes": topic.fetched_bytes,
        "stored_bytes": topic.stored_bytes,
        "min_timestamp": None if topic.min_timestamp_ms is None else utc(topic.min_timestamp_ms, with_ms=True),
        "min_timestamp_ms": topic.min_timestamp_ms,
        "max_timestamp": None if topic.max_timestamp_ms is None else utc(topic.max_timestamp_ms, with_ms=True),
        "max_timestamp_ms": topic.max_timestamp_ms,
        "partitions": [
            {"partition": number, "start_offset": start, "next_offset": following}
            for number, start, following in topic.ranges
        ],
    }
