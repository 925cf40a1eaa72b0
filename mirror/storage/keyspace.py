"""What a key may look like: one check shared by every store, so that a key one store takes, all take."""

import re

from mirror.errors import StoreError

__all__ = [
    "MAX_KEY_BYTES",
    "MAX_SEGMENT_BYTES",
    "check_folder_prefix",
    "check_key",
    "check_length",
    "check_range",
    "folder_of",
]

MAX_KEY_BYTES = 1024
"""Of S3. Callers keep to 900, so that a prefix still fits in front."""

MAX_SEGMENT_BYTES = 255
"""Of file systems and of MinIO; a Kafka topic name has at most 249."""

_SEGMENT = r"(?!\.\.?(?:/|\Z))[ -.0-\[\]-~]{1,255}"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")


def check_key(key: str) -> None:
    """Raise :class:`StoreError` if ``key`` is not one that every store can hold, or could lead out of a folder."""
    if len(key) > MAX_KEY_BYTES or _KEY.fullmatch(key) is None:
        raise StoreError(
            f"not a possible object key: {key[:300]!r}",
            hint="keys are /-separated printable ASCII without empty, '.' or '..' segments, at most 900 bytes",
        )


def check_folder_prefix(prefix: str) -> None:
    """Raise :class:`ValueError` unless ``prefix`` names a folder: empty, or ending in ``/``."""
    if prefix and not prefix.endswith("/"):
        raise ValueError(f"a folder prefix ends in '/': {prefix!r}")


def check_range(position: int, length_bytes: int) -> None:
    """Raise :class:`ValueError` for a range no object can have."""
    if position < 0:
        raise ValueError(f"position {position} is negative")
    check_length(length_bytes)


def check_length(length_bytes: int) -> None:
    """Raise :class:`ValueError` for a length below one byte."""
    if length_bytes < 1:
        raise ValueError(f"length {length_bytes} is below 1")


def folder_of(prefix: str) -> str:
    """The part of ``prefix`` up to and including its last ``/``."""
    return prefix[: prefix.rfind("/") + 1]
