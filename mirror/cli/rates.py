"""Rates as people write them: ``20MB/s``, ``40KiB/s``, ``1.5G``."""

import re

from mirror.config.units import parse_size_bytes
from mirror.errors import UsageError

__all__ = ["RATE_HELP", "parse_rate"]

# Few enough digits that a float holds them.
_RATE = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?) ?([A-Za-z]*)(?:/s)?", re.ASCII)
_SHORT = {"k": "kB", "M": "MB", "G": "GB"}
_FORMS = "a number and B, kB, MB, GB, KiB, MiB or GiB a second, as 20MB/s, 40KiB/s or 0.5MB/s"

RATE_HELP = "At most so much: 20MB/s, 40KiB/s, 0.5MB/s (B, kB, MB, GB, KiB, MiB, GiB)."


def parse_rate(text: str) -> int:
    """Bytes per second of ``20MB/s``, ``40KiB/s``, ``0.5MB/s``; also without ``/s``, and ``500k`` or ``1.5G``, decimal.

    Raises:
        UsageError: it is none of these, or less than 1 byte; the hint lists the units.
    """
    match = _RATE.fullmatch(text.strip())
    try:
        unit_bytes = parse_size_bytes("1" + _SHORT.get(match[2], match[2])) if match else 0
    except ValueError:
        unit_bytes = 0
    bytes_per_second = round(float(match[1]) * unit_bytes) if match else 0
    if bytes_per_second < 1:
        raise UsageError(f"--limit-rate {text}: not a rate", hint=f"write it as {_FORMS}")
    return bytes_per_second
