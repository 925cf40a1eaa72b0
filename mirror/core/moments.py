"""Moments as people read them."""

from datetime import UTC, datetime

__all__ = ["utc_second"]


def utc_second(timestamp_ms: int) -> str:
    """``2026-11-23T02:41:07Z``: milliseconds since the epoch, to the second below."""
    return datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
