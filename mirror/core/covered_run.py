"""A piece of a run that is chosen to be read."""

from dataclasses import dataclass

from mirror.core.segment.index import RunEntry

__all__ = ["CoveredRun"]


@dataclass(frozen=True, slots=True)
class CoveredRun:
    """Read ``[start_offset, next_offset)`` from this run."""

    start_offset: int
    next_offset: int
    object_key: str
    run: RunEntry
