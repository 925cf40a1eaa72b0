"""The mark on a topic that is being loaded: which restore is at work on it, in a setting that bounds nothing.

While a topic is loaded, ``message.timestamp.before.max.ms`` (before Kafka 3.6: ``message.timestamp.difference.max.ms``) is a number of
at least 2⁶² milliseconds, which nobody sets by hand. Its bits say which recovery point and which offsets that restore was asked for, so
that only the same restore goes on with the topic::

    bit 62   always set
    59–61    kind of recovery point
    58       offset mode
    16–57    time of the recovery point, ms
    0–15     digest of everything else that decides which records are loaded
"""

import zlib
from collections.abc import Mapping
from typing import NamedTuple

from mirror.core.moments import format_moment
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint

__all__ = ["MARK_NAMES", "RestoreMark"]

MARK_NAMES = ("message.timestamp.before.max.ms", "message.timestamp.difference.max.ms")
_LEAST = 2**62
_TIME_BITS = (1 << 42) - 1


class RestoreMark(NamedTuple):
    """What the mark of a topic says."""

    kind: PointKind
    mode: OffsetMode
    time_ms: int
    digest: int

    @classmethod
    def of(
        cls,
        point: RecoveryPoint,
        mode: OffsetMode,
        topic_id: str,
        topic: str,
        partitions: frozenset[int] = frozenset(),
        *,
        appends: bool = False,
    ) -> "RestoreMark":
        """The mark of a restore of this incarnation, or of some partitions of it, to this point."""
        named = sorted((tp.partition, offset) for tp, offset in point.offsets.items() if tp.topic == topic)
        text = f"{topic_id} {point.since_ms} {named} {sorted(partitions)}" + (" append" if appends else "")
        return cls(point.kind, mode, (point.time_ms or 0) & _TIME_BITS, zlib.crc32(text.encode()) & 0xFFFF)

    @classmethod
    def read(cls, configs: Mapping[str, str]) -> "RestoreMark | None":
        """The mark in a topic's settings, if it has one."""
        for name in MARK_NAMES:
            text = configs.get(name, "")
            value = int(text) if text.isascii() and text.isdigit() else 0
            kind = value >> 59 & 7
            if _LEAST <= value < 2**63 and kind in PointKind._value2member_map_:
                return cls(PointKind(kind), OffsetMode(value >> 58 & 1), value >> 16 & _TIME_BITS, value & 0xFFFF)
        return None

    @property
    def value(self) -> str:
        """The setting."""
        return str(_LEAST | self.kind << 59 | self.mode << 58 | self.time_ms << 16 | self.digest)

    @property
    def option(self) -> str:
        """The options that were given, as far as the mark tells."""
        time = f" {format_moment(self.time_ms)}" if self.kind in (PointKind.AT, PointKind.UNTIL) else ""
        taken = f"--snapshot (of {format_moment(self.time_ms)})"
        named = {PointKind.OFFSETS: "--to-offsets FILE", PointKind.SNAPSHOT: taken}.get(
            self.kind, f"--{self.kind.name.lower()}{time}"
        )
        return f"{named} --offsets {self.mode.name.lower()}"
