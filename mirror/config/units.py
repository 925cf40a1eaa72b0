"""Durations and sizes as people write them: ``10s``, ``32MiB``."""

import re

__all__ = ["format_duration", "format_size", "parse_duration_ms", "parse_size_bytes"]

_DURATION_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SIZE_BYTES = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
# Few enough digits that int() stays cheap whatever is typed.
_QUANTITY = re.compile(r"([0-9]{1,15}) ?([A-Za-z]*)", re.ASCII)


def parse_duration_ms(text: str) -> int:
    """Milliseconds of ``500ms``, ``10s``, ``5m``, ``2h`` or ``7d``.

    Raises:
        ValueError: no such duration; the message says why. A bare number is refused, because it has no unit.
    """
    number, unit = _split(text)
    if not unit:
        raise ValueError("a duration needs a unit: ms, s, m, h or d")
    if unit not in _DURATION_MS:
        raise ValueError(f"{unit!r} is no unit of time: use ms, s, m, h or d")
    return number * _DURATION_MS[unit]


def parse_size_bytes(value: str | int) -> int:
    """Bytes of ``64KiB``, ``32MiB``, ``1GB`` or of a bare number.

    Raises:
        ValueError: no such size; the message says why.
    """
    if isinstance(value, int):
        if value < 0:
            raise ValueError("a size is not negative")
        return value
    number, unit = _split(value)
    if unit and unit not in _SIZE_BYTES:
        raise ValueError(f"{unit!r} is no unit of size: use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB")
    return number * _SIZE_BYTES[unit or "B"]


def format_duration(duration_ms: int) -> str:
    """The shortest exact spelling; ``parse_duration_ms`` reads it back to the same value."""
    if duration_ms == 0:
        return "0s"
    for unit in ("d", "h", "m", "s"):
        if duration_ms % _DURATION_MS[unit] == 0:
            return f"{duration_ms // _DURATION_MS[unit]}{unit}"
    return f"{duration_ms}ms"


def format_size(size_bytes: int) -> str:
    """The shortest exact spelling; ``parse_size_bytes`` reads it back to the same value."""
    if size_bytes == 0:
        return "0"
    for unit in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB", "kB"):
        if size_bytes % _SIZE_BYTES[unit] == 0:
            return f"{size_bytes // _SIZE_BYTES[unit]}{unit}"
    return f"{size_bytes}B"


def _split(text: str) -> tuple[int, str]:
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a whole number followed by a unit")
    return int(match[1]), match[2]
