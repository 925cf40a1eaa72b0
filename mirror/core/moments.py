"""Moments as people read them."""

from datetime import UTC, datetime
from functools import lru_cache

__all__ = ["format_moment", "utc_second"]


def utc_second(timestamp_ms: int) -> str:
    """``2026-11-23T02:41:07Z``: milliseconds since the epoch, to the second below."""
    return datetime.fromtimestamp(timestamp_ms / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def format_moment(moment_ms: int) -> str:
    """``2026-11-23T02:41:07.123Z``, exact; what no calendar of four-digit years holds is ``@`` and the milliseconds since the epoch."""
    seconds, rest_ms = divmod(moment_ms, 1000)
    whole = _second(seconds)
    return f"@{moment_ms}" if whole is None else f"{whole}.{rest_ms:03d}Z"


@lru_cache(maxsize=4096)  # neighbours in a log share their second
def _second(seconds: int) -> str | None:
    try:
        return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    except (OverflowError, ValueError, OSError):
        return None
