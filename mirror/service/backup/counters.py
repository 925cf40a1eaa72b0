"""What the pipeline counts, for metrics."""

from dataclasses import dataclass

__all__ = ["BackupCounters"]


@dataclass(slots=True)
class BackupCounters:
    """Counted since the start, for metrics."""

    slices: int = 0
    records: int = 0
    stale_slices: int = 0
    holes: int = 0
    gaps: int = 0
    lost_offsets: int = 0
    forks: int = 0
    objects: int = 0
    stored_bytes: int = 0
    fetched_bytes: int = 0
    rebalances: int = 0
    resolve_failures: int = 0
