"""Which offsets of a topic a plan brings back, what is lost of them and what filling them takes, in a few words."""

from mirror.cli.human import human_count, human_duration
from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_plan import RestorePlan, TopicPlan

__all__ = ["offsets_text"]

_NAMED = 3


def offsets_text(plan: RestorePlan, topic: TopicPlan) -> str:
    """``[0, 1,200); 5 lost (retention); 12 without a record, about 1 s to fill``: those of the source, in either mode."""
    covered = [p.coverage for p in topic.partitions if p.coverage is not None]
    if not covered:
        return "none"
    first, following = min(c.start_offset for c in covered), max(c.next_offset for c in covered)
    parts = [f"[{human_count(first)}, {human_count(following)})"]
    if len(covered) > 1:
        parts[0] += " at most"
    lost: dict[str, int] = {}
    for coverage in covered:
        for gap in coverage.gaps:
            lost[gap.reason] = lost.get(gap.reason, 0) + gap.next_offset - gap.start_offset
    parts += [f"{human_count(count)} lost ({reason})" for reason, count in sorted(lost.items())[:_NAMED]]
    missing = sum(one.length for coverage in covered for one in coverage.missing)
    if missing:
        parts.append(f"{human_count(missing)} MISSING")
    if plan.offsets is OffsetMode.TRANSLATED:
        parts.append("translated")
    else:
        unused = sum(partition.lead_offset + partition.hole_offsets for partition in topic.partitions)
        fill_s = max(partition.fill_s for partition in topic.partitions)
        if unused:
            parts.append(
                f"{human_count(unused)} without a record, about {human_duration(max(100.0, fill_s * 1000))} to fill"
            )
    return "; ".join(parts)
