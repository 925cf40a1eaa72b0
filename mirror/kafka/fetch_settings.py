"""How sources are fetched, and what was fetched."""

from dataclasses import dataclass

__all__ = ["FetchSettings", "FetchStatistics"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchSettings:
    """How to fetch.

    Attributes:
        max_bytes: of one answer; the first batch comes even if it is larger.
        partition_bytes: of one partition in one answer: the size of a slice.
        min_bytes, wait_ms: a busy broker may collect so much for so long before it answers.
        max_read_bytes_per_second: 0 means no limit.
    """

    max_bytes: int = 16 << 20
    partition_bytes: int = 4 << 20
    min_bytes: int = 128 << 10
    wait_ms: int = 250
    max_read_bytes_per_second: int = 0
    rack: str = ""


@dataclass(slots=True)
class FetchStatistics:
    """Counters since the start, for metrics."""

    requests: int = 0
    fetched_bytes: int = 0
    slices: int = 0
    failed_requests: int = 0
    last_answer_at: float = 0.0
