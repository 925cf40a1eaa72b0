"""The producer id of a restore: one and the same for all of its runs, on whatever machine, without being kept anywhere.

Every batch carries it, with the number of its first record (filler included) as sequence. So whatever an earlier run still sends, be it a
request that was under way or a process that stood still for hours, is a repetition or out of order to the leader, also in partitions that
had nothing when the later run looked. A leader takes any producer id; those that a cluster gives out begin at 0 and never come near.
"""

import hashlib

from mirror.core.recovery_point import OffsetMode, RecoveryPoint
from mirror.kafka.wire.init_producer_id import ProducerIdentity

__all__ = ["is_of_a_restore", "restore_identity"]

_LEAST = 2**62


def restore_identity(
    repository_id: str, point: RecoveryPoint, mode: OffsetMode, *, number: int = 0, appends: bool = False
) -> ProducerIdentity:
    """Of a restore from this repository to this point; the same for all topics, since sequences count by partition.

    ``number`` chooses another one, where a leader remembers the one before from an earlier restore; see `writers`.
    An append has one of its own: its batches are told by it.
    """
    text = f"{repository_id} {point.kind} {point.time_ms} {point.since_ms} {mode}" + (f" {number}" if number else "")
    text += " append" if appends else ""
    digest = hashlib.sha256(text.encode()).digest()
    return ProducerIdentity(producer_id=_LEAST | int.from_bytes(digest[:8], "big") >> 2, producer_epoch=0)


def is_of_a_restore(identity: ProducerIdentity) -> bool:
    """Whether it is computed, so that no cluster gave it out."""
    return identity.producer_id >= _LEAST
