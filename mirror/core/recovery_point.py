"""Which moment a restore brings back, and what that means for each partition.

``--at T``: the cluster as it stood at T, a prefix of every partition. ``--until T``: the records whose own timestamp is at most T, in
whatever order they lie. ``--to-offsets``: a prefix that a person names. ``--latest``: all that is stored.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

from mirror.core.moments import format_moment
from mirror.core.positions import TopicPartition

__all__ = ["ALL_TIMES", "LATEST", "OffsetMode", "PointKind", "RecoveryPoint", "TimeBounds"]


class PointKind(IntEnum):
    """How a recovery point is named; the numbers are stored in the mark of a topic that is being loaded."""

    LATEST = 0
    AT = 1
    UNTIL = 2
    OFFSETS = 3
    SNAPSHOT = 4


class OffsetMode(IntEnum):
    """Which offsets records get on the target; the numbers are stored as those of :class:`PointKind`."""

    EXACT = 0  # those of the source
    TRANSLATED = 1  # from 0, without holes


class TimeBounds(NamedTuple):
    """Records with ``since_ms`` ≤ timestamp ≤ ``until_ms`` are kept, where set; the timestamp is the one that a consumer sees."""

    since_ms: int | None = None
    until_ms: int | None = None

    def keeps(self, timestamp_ms: int) -> bool:
        """Whether a record of that time is kept."""
        return (self.since_ms is None or timestamp_ms >= self.since_ms) and (
            self.until_ms is None or timestamp_ms <= self.until_ms
        )

    def keeps_all(self, max_timestamp_ms: int) -> bool:
        """Whether nothing of a batch, whose largest timestamp this is, can be dropped. (A batch's header does not tell its smallest.)"""
        return self.since_ms is None and (self.until_ms is None or max_timestamp_ms <= self.until_ms)

    def keeps_none(self, max_timestamp_ms: int) -> bool:
        """Whether all of it is dropped."""
        return self.since_ms is not None and max_timestamp_ms < self.since_ms


ALL_TIMES = TimeBounds()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveryPoint:
    """What the user named.

    Attributes:
        kind: how.
        time_ms: of ``AT`` and ``UNTIL``; of ``SNAPSHOT`` once it is resolved: when it was taken.
        offsets: of ``OFFSETS``: the offset after the last one that is wanted; partitions that are not named are not restored. A frozen
            plan bounds ``UNTIL`` in the same way, and the proof of a restore ``LATEST``; ``SNAPSHOT`` has those of the snapshot once
            it is resolved.
        snapshot: the name of ``SNAPSHOT``.
        since_ms: the other end: with ``AT`` what stood in the log then is left out, else records with an earlier timestamp.
        planned_at: of ``OFFSETS``: when a plan made them of ``--latest``, which is what was asked for; empty if none did.
    """

    kind: PointKind
    time_ms: int | None = None
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)
    since_ms: int | None = None
    snapshot: str = ""
    planned_at: str = ""

    @property
    def bounds(self) -> TimeBounds:
        """Which records are kept by their own timestamp."""
        if self.kind is PointKind.AT:
            return ALL_TIMES
        return TimeBounds(self.since_ms, self.time_ms if self.kind is PointKind.UNTIL else None)

    @property
    def option(self) -> str:
        """The options that name it, with times written out: what to type to say the same again."""
        since = "" if self.since_ms is None else f" --since {format_moment(self.since_ms)}"
        if self.kind is PointKind.LATEST:
            return f"--latest{since}"
        if self.planned_at:
            return f"--latest{since} (as planned at {self.planned_at})"
        if self.kind is PointKind.OFFSETS:
            return f"--to-offsets FILE{since}"
        if self.kind is PointKind.SNAPSHOT:
            return f"--snapshot {self.snapshot}{since}"
        return f"--{self.kind.name.lower()} {format_moment(self.time_ms or 0)}{since}"


LATEST = RecoveryPoint(kind=PointKind.LATEST)
