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
_CLOCKS_APART_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Objectives:
    """What a user promised, and what may be expected of workers: all in milliseconds.

    ``recent_gap_ms``: a gap detected within this time still counts against the verdict; an older one is history.
    ``fresh_ms``: so long a record may wait for a worker that is at work.
    ``silent_ms``: a worker that is at work puts something more often than this.
    """

    recovery_point_ms: int = 60_000
    retention_headroom_ms: int = 2 * 60 * 60 * 1000
    recent_gap_ms: int = DAY_MS
    fresh_ms: int = 20_000
    silent_ms: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """What the store charges."""

    per_thousand_puts: float = 0.005
    per_gib_month: float = 0.023
    currency: str = "USD"


def recovery_point_age_ms(
    now_ms: int,
    *,
    position: int,
    high_watermark: int,
    oldest_unstored_ms: int | None,
    is_append_time: bool = False,
    last_sealed_ms: int | None = None,
    newest_object_ms: int | None = None,
    objectives: Objectives | None = None,
) -> int | None:
    """How much time would be lost with the cluster: the age of the oldest record that is not durable.

    A producer may stamp its records as it likes. So a stamp in the future tells nothing: the record may have come right after the last
    ones that were stored. And where no worker has stored anything for long, a stamp that is younger than that is not believed, but for
    the time that a record may wait.

    Args:
        now_ms: the present.
        position: end of contiguous coverage.
        high_watermark: end of the log.
        oldest_unstored_ms: time of the first batch at ``position``; None where it could not be read.
        is_append_time: that time is the broker's.
        last_sealed_ms: when something of the partition was stored last.
        newest_object_ms: when anything was stored last, by any worker.
        objectives: tells how long workers may take.

    Returns:
        0 where everything is stored, also for an idle partition; None where it is not known.
    """
    if position >= high_watermark:
        return 0
    if oldest_unstored_ms is None:
        return None
    age_ms = now_ms - oldest_unstored_ms
    if is_append_time:
        return max(0, age_ms)
    if age_ms < -_CLOCKS_APART_MS:
        return None if last_sealed_ms is None else max(0, now_ms - last_sealed_ms)
    expected = objectives or Objectives()
    silent_ms = 0 if newest_object_ms is None else now_ms - newest_object_ms
    if silent_ms > expected.silent_ms and age_ms > expected.fresh_ms:
        return max(age_ms, silent_ms)
    return max(0, age_ms)


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
