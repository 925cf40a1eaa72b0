"""What the source fetcher knows of one partition, and what it tells about it."""

from dataclasses import dataclass
from typing import NamedTuple

from mirror.core.positions import TopicPartition, Watermarks
from mirror.errors import MirrorError

__all__ = [
    "Diverged",
    "FetchPosition",
    "IncarnationLost",
    "Notice",
    "OutOfRange",
    "Quarantined",
    "SourcePartition",
]


class FetchPosition(NamedTuple):
    """Where to go on: the incarnation, the next offset, and the leader epoch of the batch before it (−1: unknown, not checked)."""

    topic_id: str
    offset: int
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that only the owner of positions can decide. The partition is not fetched until it is sought again."""

    topic_partition: TopicPartition
    topic_id: str
    assignment_epoch: int
    position: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutOfRange(Notice):
    """The leader answered OFFSET_OUT_OF_RANGE, and says where its log of the same topic id stands."""

    log_start_offset: int
    high_watermark: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverged(Notice):
    """The log was truncated below our position (KIP-595 diverging epoch): from ``fork_offset`` on it is another one.

    Bytes at or after ``fork_offset`` with a leader epoch of at most ``last_leader_epoch`` are the cut tail. ``leader_epoch`` is the epoch
    of the log before ``fork_offset``.
    """

    fork_offset: int
    last_leader_epoch: int
    leader_epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class IncarnationLost(Notice):
    """The topic of this id is gone; ``new_topic_id`` is that of another topic of the same name, if there is one."""

    new_topic_id: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantined(Notice):
    """The partition cannot be read now; it is tried again by itself, the others go on."""

    error: MirrorError


@dataclass(slots=True)
class SourcePartition:
    """Mutable state of one assigned partition with a known position; lives in the fetcher's loop only."""

    topic_partition: TopicPartition
    topic_id: str
    assignment_epoch: int
    position: int
    leader_epoch: int
    held: bool = False
    waiting_for_owner: bool = False
    retry_at: float = 0.0
    failures: int = 0
    quarantine: MirrorError | None = None
    replica: int | None = None
    replica_until: float = 0.0
    watermarks: Watermarks | None = None
    queued_bytes: int = 0
    check_epoch: bool = True
    waiting_since: float = 0.0

    def ready(self, now: float) -> bool:
        """Whether it may be fetched at monotonic time ``now`` (seconds)."""
        return not (self.held or self.waiting_for_owner or now < self.retry_at)
