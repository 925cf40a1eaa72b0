"""Times, sizes, durations and counts as a person reads them. Times are UTC, ISO-8601."""

import math
import time

__all__ = ["human_bytes", "human_count", "human_duration", "human_rate", "utc"]

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def utc(time_ms: int | None, *, with_ms: bool = False) -> str:
    """``2026-11-23T02:41:07Z`` for milliseconds since the epoch; ``–`` for None. The fraction is cut, not rounded."""
    if time_ms is None:
        return "–"
    seconds, rest_ms = divmod(time_ms, 1000)
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{rest_ms:03d}Z" if with_ms else f"{whole}Z"


def human_bytes(size_bytes: float) -> str:
    """``512 B``, ``1.5 KiB``, ``268.0 MiB``."""
    size = float(size_bytes)
    for unit in _UNITS:
        if abs(size) < 1024 or unit == _UNITS[-1]:
            break
        size /= 1024
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def human_rate(bytes_per_second: float) -> str:
    """``12.3 MB/s``, ``20.5 kB/s``: rates are in decimal units, like disks and networks."""
    return f"{bytes_per_second / 1e6:,.1f} MB/s" if bytes_per_second >= 1e6 else f"{bytes_per_second / 1e3:.1f} kB/s"


def human_count(count: int) -> str:
    """``1,234,567``."""
    return f"{count:,}"


def human_duration(duration_ms: float | None) -> str:
    """Two units at most: ``0.4 s``, ``7 s``, ``2 m 5 s``, ``3 h 0 m``, ``4 d 2 h``; ``–`` for None, ``∞`` for infinity."""
    if duration_ms is None:
        return "–"
    if math.isinf(duration_ms):
        return "∞"
    if duration_ms < 0:
        return "-" + human_duration(-duration_ms)
    if duration_ms < 1000:
        return "0 s" if duration_ms < 50 else f"{math.floor(duration_ms / 100) / 10:.1f} s"
    seconds = int(duration_ms // 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes} m {seconds} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} m"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"
