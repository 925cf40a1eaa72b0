"""Arithmetic of recovery objectives: ages, headroom, time left, price. Pure: ``now_ms`` is a parameter, None means not known."""

from dataclasses import dataclass

__all__ = [
    "Objectives",
    "Prices",
    "bytes_headroom_ms",
    "monthly_price",
    "recovery_point_age_ms",
    "time_headroom_ms",
    "time_left_ms",
]

DAY_MS = 24 * 60 * 60 * 1000
GIB = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What a user promised: both in milliseconds.

    ``recent_gap_ms``: a gap detected within this time still counts against the verdict; an older one is history.
    """

    recovery_point_ms: int = 60_000
    retention_headroom_ms: int = 2 * 60 * 60 * 1000
    recent_gap_ms: int = DAY_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What the store charges."""

    per_thousand_puts: float = 0.005
    per_gib_month: float = 0.023
    currency: str = "USD"


def recovery_point_age_ms(
    now_ms: int, *, position: int, high_watermark: int, oldest_unstored_ms: int | None
) -> int | None:
    """How much time would be lost with the cluster: the age of the oldest record that is not durable.

    Args:
        now_ms: the present.
        position: end of contiguous coverage.
        high_watermark: end of the log.
        oldest_unstored_ms: time of the first batch at ``position``; None where it could not be read.

    Returns:
        0 where everything is stored, also for an idle partition; None where it is not known.
    """
    if position >= high_watermark:
        return 0
    return None if oldest_unstored_ms is None else max(0, now_ms - oldest_unstored_ms)


def time_headroom_ms(now_ms: int, *, oldest_unstored_ms: int | None, retention_ms: int | None) -> int | None:
    """Time until retention.ms lets the broker delete the oldest record that is not stored; never below 0.

    None where nothing is limited (no such record, no limit). The broker deletes whole segments by their newest record, so that it may
    come later, never earlier.
    """
    if oldest_unstored_ms is None or retention_ms is None or retention_ms < 0:
        return None
    return max(0, oldest_unstored_ms + retention_ms - now_ms)


def bytes_headroom_ms(
    *, unstored_bytes: int, retention_bytes: int | None, bytes_per_second: float | None
) -> int | None:
    """An estimate of the time until retention.bytes lets the broker delete something that is not stored.

    Args:
        unstored_bytes: from the position to the end of the log.
        retention_bytes: per partition, −1 or None for no limit.
        bytes_per_second: how fast the log grows; None where unknown.
    """
    if retention_bytes is None or retention_bytes < 0 or unstored_bytes <= 0:
        return None
    room = retention_bytes - unstored_bytes
    if room <= 0:
        return 0
    return None if not bytes_per_second else int(room / bytes_per_second * 1000)


def time_left_ms(*, remaining: int, done: int, during_ms: int) -> int | None:
    """How long ``remaining`` takes at the pace of ``done`` in ``during_ms``; None without a pace."""
    if remaining <= 0:
        return 0
    if done <= 0 or during_ms <= 0:
        return None
    return int(remaining / done * during_ms)


def monthly_price(prices: Prices, *, puts_per_day: float, stored_bytes: int) -> tuple[float, float]:
    """Price of 30 days of puts, and of keeping what is stored for a month."""
    return puts_per_day * 30 / 1000 * prices.per_thousand_puts, stored_bytes / GIB * prices.per_gib_month
