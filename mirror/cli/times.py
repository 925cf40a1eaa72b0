"""Moments as people type them. What could mean two moments is refused, with both written out to be copied."""

import re
from datetime import UTC, datetime, timedelta, timezone

from mirror.core.moments import format_moment
from mirror.errors import UsageError

__all__ = ["FORMS", "parse_moment"]

FORMS = "2026-11-23T02:41:07Z, 2026-11-23T02:41:07.123+01:00, '2h ago', '1h 30m ago', now, or @ and epoch milliseconds"

_DATE = r"(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)"
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
_ZONE = r" ?(?P<zone>Z|z|UTC|GMT|[+-]\d\d(?::?\d\d)?)"
_ISO = re.compile(f"(?:{_DATE})?(?:(?:^|[Tt ]){_TIME})?(?:{_ZONE})?", re.ASCII)
_AGO = re.compile(r"((?:\d{1,15} ?[a-z]+ ?)+)ago", re.ASCII)
_AMOUNT = re.compile(r"(\d+) ?([a-z]+)", re.ASCII)
_EPOCH = re.compile(r"@(-?\d{1,19})", re.ASCII)
_UNIT_MS = {
    1: ("ms", "millisecond", "milliseconds"),
    1_000: ("s", "sec", "secs", "second", "seconds"),
    60_000: ("m", "min", "mins", "minute", "minutes"),
    3_600_000: ("h", "hour", "hours"),
    86_400_000: ("d", "day", "days"),
    604_800_000: ("w", "week", "weeks"),
}
_MS_OF = {name: size_ms for size_ms, names in _UNIT_MS.items() for name in names}
_LIKELY_SECONDS_BELOW = 100_000_000_000  # as milliseconds: March 1973
_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)


def parse_moment(text: str, *, now_ms: int) -> int:
    """Milliseconds since the epoch, UTC, of a moment as a person types it; see ``FORMS``. Fractions below a millisecond are cut.

    Args:
        text: with a zone, or relative to now.
        now_ms: what ``now`` and ``ago`` mean.

    Raises:
        UsageError: not a moment; or one without a zone or a part of one: then the hint has each reading, to be copied.
    """
    typed = text.strip()
    if typed.lower() == "now":
        return now_ms
    if match := _AGO.fullmatch(typed.lower()):
        return _ago_ms(text, match[1], now_ms)
    if match := _EPOCH.fullmatch(typed):
        return _epoch_ms(text, int(match[1]))
    if typed.isdigit() and len(typed) > 8:
        raise UsageError(f"{text!r} is not a time", hint=f"epoch milliseconds are written with an @: @{typed}")
    if _AGO.fullmatch(f"{typed.lower()} ago"):
        raise UsageError(f"{text!r} is not a time", hint=f"a time in the past is written '{typed} ago'")
    match = _ISO.fullmatch(typed)
    if match is None or not (match["year"] or match["hour"]):
        raise UsageError(f"{text!r} is not a time", hint=f"write it as {FORMS}")
    try:
        return _iso_ms(text, match, now_ms)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"{text!r} is not a time: {error}", hint=f"write it as {FORMS}") from None


def _ago_ms(text: str, amounts: str, now_ms: int) -> int:
    total_ms = 0
    for number, unit in _AMOUNT.findall(amounts):
        if unit not in _MS_OF:
            raise UsageError(
                f"{text!r} is not a time: there is no unit {unit!r}", hint="units are ms, s, m, h, d and w"
            )
        total_ms += int(number) * _MS_OF[unit]
    if total_ms > now_ms:
        raise UsageError(f"{text!r} is before 1970", hint=f"write it as {FORMS}")
    return now_ms - total_ms


def _epoch_ms(text: str, moment_ms: int) -> int:
    if 0 < moment_ms < _LIKELY_SECONDS_BELOW:
        raise UsageError(
            f"{text!r}: milliseconds or seconds?",
            hint=f"as milliseconds it is {format_moment(moment_ms)}; as seconds {format_moment(moment_ms * 1000)}: "
            "give the one that is meant",
        )
    return moment_ms


def _iso_ms(text: str, match: "re.Match[str]", now_ms: int) -> int:
    rest_ms = int((match["fraction"] or "")[:3].ljust(3, "0"))
    if match["year"]:
        date = datetime(int(match["year"]), int(match["month"]), int(match["day"]))  # noqa: DTZ001 the zone comes below
    else:
        date = (_EPOCH_START + timedelta(milliseconds=now_ms)).replace(tzinfo=None, hour=0, minute=0, second=0)
    hour, minute, second = (int(match[name] or 0) for name in ("hour", "minute", "second"))
    moment = date.replace(hour=hour, minute=minute, second=second, microsecond=rest_ms * 1000)
    whole = match["year"] and match["hour"]
    if whole and match["zone"]:
        return _ms_of(moment.replace(tzinfo=_zone(match["zone"])))
    lacks = "no zone" if whole else "no time of day" if match["year"] else "no date"
    if match["zone"]:
        readings = [("midnight" if match["year"] else "today", moment.replace(tzinfo=_zone(match["zone"])))]
    else:
        readings = _readings(moment)
    shown = "; ".join(f"{what}: {_written(reading)}" for what, reading in readings)
    raise UsageError(f"{text!r} has {lacks}: which moment is meant?", hint=f"copy one: {shown}")


def _zone(text: str) -> timezone:
    if text[0] not in "+-":
        return UTC
    digits = text[1:].replace(":", "").ljust(4, "0")
    if int(digits[:2]) > 23 or int(digits[2:]) > 59:
        raise ValueError(f"there is no zone {text}")
    offset = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-offset if text[0] == "-" else offset)


def _readings(moment: datetime) -> list[tuple[str, datetime]]:
    """As UTC and in this machine's zone; twice there in the hour in which its clocks go back."""
    found = [("UTC", moment.replace(tzinfo=UTC))]
    for fold in (0, 1):
        local = moment.replace(fold=fold).astimezone()
        if all(local != known for _, known in found):
            found.append((f"this machine's zone, {local.tzname()}", local))
    if len(found) == 1:
        found[0] = ("UTC, which is this machine's zone too", found[0][1])
    return found


def _written(moment: datetime) -> str:
    text = moment.isoformat(timespec="milliseconds" if moment.microsecond else "seconds")
    return text.removesuffix("+00:00") + "Z" if moment.tzinfo is UTC else text


def _ms_of(moment: datetime) -> int:
    return (moment - _EPOCH_START) // timedelta(milliseconds=1)
