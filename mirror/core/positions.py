"""The nouns of position: partitions, incarnations, ranges, watermarks."""

from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["EARLIEST_OFFSET", "OffsetRange", "PartitionId", "TopicPartition", "Watermarks"]

EARLIEST_OFFSET = 0


class TopicPartition(NamedTuple):
    """A partition by the name of its topic: what consumers assign. It says nothing about the incarnation."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


class PartitionId(NamedTuple):
    """A partition of one incarnation of a topic: what coverage is kept for.

    ``topic_id`` is Kafka's topic id (KIP-516) in Kafka's own text form: 22 characters of unpadded base64url.
    """

    topic_id: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic_id}-{self.partition}"


class OffsetRange(NamedTuple):
    """Offsets ``start_offset`` ≤ o < ``next_offset``."""

    start_offset: int
    next_offset: int

    @property
    def length(self) -> int:
        """How many offsets it covers (which may be more than it has records)."""
        return self.next_offset - self.start_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Watermarks:
    """What the leader said of a partition in one fetch answer (Fetch response: log_start_offset, high_watermark, last_stable_offset).

    ``fetched_at_ms`` is the mirror's clock when the answer arrived.
    """

    fetched_at_ms: int
    log_start_offset: int
    high_watermark: int
    last_stable_offset: int

    def same_offsets(self, other: "Watermarks | None") -> bool:
        """Whether only the time differs."""
        return (
            other is not None
            and self.high_watermark == other.high_watermark
            and self.last_stable_offset == other.last_stable_offset
            and self.log_start_offset == other.log_start_offset
        )
