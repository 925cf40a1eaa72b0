"""Holds as `mirror status` shows them: a line for each cluster, with the command that ends them."""

from collections.abc import Sequence
from typing import Any

from mirror.service.status_holds import ClusterHolds

__all__ = ["holds_json", "holds_lines"]

_NAMED = 5


def holds_lines(holds: Sequence[ClusterHolds]) -> list[str]:
    """``on hold since a restore: retention of 2 topics of standby (orders, payments): mirror holds release --target standby``."""
    lines: list[str] = []
    for one in holds:
        if one.problem:
            lines.append(f"holds of {one.cluster}: not known, {one.problem}")
            continue
        names = ", ".join(topic.topic for topic in one.topics[:_NAMED]) + (" …" if len(one.topics) > _NAMED else "")
        count = "1 topic" if len(one.topics) == 1 else f"{len(one.topics)} topics"
        lines.append(f"on hold since a restore: retention of {count} of {one.cluster} ({names})")
        lines.append(f"  what would go: mirror holds list {one.options} · to end it: {one.release_command}")
    return lines


def holds_json(holds: Sequence[ClusterHolds]) -> list[dict[str, Any]]:
    """The same, with the settings."""
    return [
        {
            "cluster": one.cluster,
            "topics": [
                {"topic": topic.topic, "source": topic.source, "settings": dict(topic.settings)} for topic in one.topics
            ],
            "release_command": one.release_command or None,
            "problem": one.problem or None,
        }
        for one in holds
    ]
