"""What a plan says about transactions: which partitions end earlier so that none is split, and where one may be."""

from mirror.core.restore_plan import RestorePlan

__all__ = ["transaction_lines"]

_SHOWN = 10


def transaction_lines(plan: RestorePlan) -> list[str]:
    """For people; empty where no cut was moved and nothing is in doubt."""
    moved = [
        (f"{topic.topic}-{partition.partition}", cut.moved_from_offset - cut.next_offset, cut.moved_because)
        for topic in plan.topics
        for partition in topic.partitions
        if (cut := partition.cut) is not None and cut.moved_from_offset is not None
    ]
    lines = [f"{name} ends {count:,} offsets earlier: {why}" for name, count, why in moved[:_SHOWN]]
    if len(moved) > _SHOWN:
        lines.append(f"… and {len(moved) - _SHOWN} more partitions, so that no transaction is split (--json has all)")
    return lines + [f"TRANSACTIONS MAY BE SPLIT  {doubt}" for doubt in plan.transaction_doubts]
