"""Records for programs: one JSON object a line, and nothing lost of bytes that are no text."""

import base64
import json
from collections.abc import Callable
from typing import Any

import msgspec

from mirror.cli.streams import can_encode
from mirror.core.moments import format_moment
from mirror.service.cat import FoundRecord

__all__ = ["json_writer"]

Writer = Callable[[FoundRecord], str]
_TIMES = {False: "CreateTime", True: "LogAppendTime"}


def json_writer(topic: str) -> Writer:
    """``key`` and ``value`` are text or null; where the bytes are not UTF-8 there is ``key_base64`` or ``value_base64`` instead.

    ``headers`` are pairs in their order; a name or value that is not UTF-8 is ``{"base64": …}`` there.
    """
    ascii_only = not can_encode("é\u20ac\U0001f600")
    encode = msgspec.json.Encoder().encode

    def write(found: FoundRecord) -> str:
        record = found.record
        line: dict[str, Any] = {
            "topic": topic,
            "partition": found.partition,
            "offset": record.offset,
            "timestamp": format_moment(record.timestamp_ms),
            "timestamp_ms": record.timestamp_ms,
            "timestamp_type": _TIMES[found.has_append_time],
        }
        _put(line, "key", record.key)
        _put(line, "value", record.value)
        line["headers"] = [
            (_text(name.encode("utf-8", "surrogateescape")), None if value is None else _text(value))
            for name, value in record.headers
        ]
        return (json.dumps(line, separators=(",", ":")) if ascii_only else encode(line).decode()) + "\n"

    return write


def _put(line: dict[str, Any], name: str, raw: bytes | None) -> None:
    if raw is None:
        line[name] = None
        return
    try:
        line[name] = raw.decode()
    except UnicodeDecodeError:
        line[f"{name}_base64"] = base64.b64encode(raw).decode()


def _text(raw: bytes) -> str | dict[str, str]:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode()}
