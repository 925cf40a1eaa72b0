"""Which worker reads which source partition: balanced by count, and everybody keeps what they have as far as that allows."""

from collections.abc import Mapping, Sequence

__all__ = ["place"]

Partition = tuple[str, int]


def place(
    partitions: Mapping[str, Sequence[int]],
    subscribed: Mapping[str, set[str]],
    held: Mapping[str, set[Partition]],
) -> dict[str, set[Partition]]:
    """Place every partition of every topic that somebody subscribes.

    Args:
        partitions: topic → partition numbers.
        subscribed: member → the topics it knows of (they differ for a moment when topics are new).
        held: member → what it had before; claims of two members for one partition are settled by name.

    Returns:
        member → its partitions. Loads differ by at most one wherever all members subscribe to the same topics, and one more member
        moves no more than its own share.
    """
    wanted = sorted((topic, partition) for topic, numbers in partitions.items() for partition in numbers)
    out: dict[str, set[Partition]] = {member: set() for member in subscribed}
    able = {topic: sorted(m for m, topics in subscribed.items() if topic in topics) for topic in partitions}
    wanted = [tp for tp in wanted if able[tp[0]]]
    if not out or not wanted:
        return out
    floor, extra = divmod(len(wanted), len(out))
    owner: dict[Partition, str] = {}
    at_ceiling = 0
    everything = set(wanted)
    for member in sorted(held, key=lambda m: (-len(held[m]), m)):
        if member not in out:
            continue
        keep = sorted(tp for tp in held[member] & everything if tp not in owner and member in able[tp[0]])
        allowed = floor
        if len(keep) > floor and at_ceiling < extra:
            allowed += 1
            at_ceiling += 1
        for tp in keep[:allowed]:
            owner[tp] = member
            out[member].add(tp)
    for tp in wanted:
        if tp not in owner:
            member = min(able[tp[0]], key=lambda m: (len(out[m]), m))
            owner[tp] = member
            out[member].add(tp)
    return out
