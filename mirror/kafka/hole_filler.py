"""What fills holes in a restored partition, whichever way: see `marker_filler` (the better one) and `abort_filler`."""

from typing import Protocol

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterError
from mirror.kafka.wire.init_producer_id import ProducerIdentity

__all__ = ["HoleFiller", "went_back_error", "written_beyond_error"]


class HoleFiller(Protocol):
    """Makes the next records of a partition begin at a later offset."""

    async def start(self) -> ProducerIdentity:
        """Get ready; fences earlier runs as far as the way allows. Before anybody looks at log ends."""

    async def fill(self, tp: TopicPartition, *, start_offset: int, count: int) -> None:
        """Move the log end from ``start_offset`` to ``start_offset + count``; all of the caller's own batches are acknowledged.

        Partitions may be filled concurrently, each by one call at a time.

        Raises:
            AccessError: the right that this way needs is missing; the message names it.
            ClusterError: somebody else writes to the partition, or a newer run of the same restore fills it.
            TopicNotFoundError, UnreachableError, ClusterBusyError: naming the partition; what is filled stays filled.
        """

    async def close(self) -> None:
        """Let go of what is under way."""


def written_beyond_error(tp: TopicPartition, *, expected_offset: int, found_offset: int) -> ClusterError:
    """A log end that we did not cause."""
    return ClusterError(
        f"{tp} ends at {found_offset} where {expected_offset} was expected: somebody else writes to the topic",
        hint="stop its producers (or an older run of this restore); the partition must be restored anew",
    )


def went_back_error(tp: TopicPartition, *, known_offset: int, found_offset: int) -> ClusterError:
    """A log end before what a leader had acknowledged."""
    return ClusterError(
        f"{tp} ends at {found_offset}, but had been acknowledged up to {known_offset}: the cluster lost records, "
        "or the topic was deleted and created anew",
        hint="look for an unclean leader election; the partition must be restored anew",
    )
