"""What a restore does about a topic on the target that holds something else than its own beginning, as values."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

__all__ = ["DoomedLog", "IfNotEmpty", "UnstoredRange"]


class IfNotEmpty(StrEnum):
    """What was asked for."""

    REFUSE = "refuse"
    APPEND = "append"  # load behind what it holds
    REPLACE = "replace"  # delete the topic on the target, and restore it


class UnstoredRange(NamedTuple):
    """Records at offsets ``[start_offset, next_offset)`` of the target that the repository does not have: so many."""

    start_offset: int
    next_offset: int
    records: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoomedLog:
    """A log of the target that is deleted with its topic: its offsets, its records, and those that are stored nowhere."""

    partition: int
    start_offset: int
    next_offset: int
    records: int
    unstored: tuple[UnstoredRange, ...]

    @property
    def unstored_records(self) -> int:
        """Records that would be gone for good."""
        return sum(part.records for part in self.unstored)
