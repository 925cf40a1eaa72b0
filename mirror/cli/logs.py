"""Logging: one line per event, as text for people or JSON for machines, without secrets and without record contents."""

import json
import logging
import sys
import time
from typing import Any, Final, TextIO

from mirror.config.secrets import redact

__all__ = ["JsonFormatter", "TextFormatter", "setup_logging"]

# Attributes that every LogRecord has; the others came by `extra=`.
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}

# At DEBUG these write whole requests and answers, records included: never below INFO, whatever was asked for.
_LOGS_CONTENTS: Final = ("aiokafka", "kafka")
# At INFO these are about themselves: from WARNING on, unless everything is asked for.
_CHATTY: Final = ("faust", "mode", "aiokafka", "urllib3", "asyncio")


def setup_logging(log_format: str, level: str, *, stream: TextIO | None = None) -> None:
    """Send all logging of this process to one stream, by default stderr, replacing what was set up before.

    Args:
        log_format: ``text`` or ``json``.
        level: ``debug``, ``info``, ``warning`` or ``error``.
        stream: where to write.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    if level != "debug":
        handler.addFilter(_is_no_service_line)
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    wanted = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(wanted)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(wanted, logging.WARNING) if wanted > logging.DEBUG else wanted)
    if wanted > logging.DEBUG:  # its warning that table writes wait their turn, which is what they are meant to do
        logging.getLogger("faust.transport.producer").setLevel(logging.ERROR)
    for name in _LOGS_CONTENTS:
        logging.getLogger(name).setLevel(max(logging.getLogger(name).level, logging.INFO))
    logging.captureWarnings(capture=True)


def _is_no_service_line(record: logging.LogRecord) -> bool:
    """Mode lets each of its services, ours too, tell of its start and stop: ``[^--Consumer]: Stopping...``."""
    return record.levelno >= logging.WARNING or not str(record.msg).startswith("[^")


class _SafeFormatter(logging.Formatter):
    """What both formats share: UTC times, no bytes, no secrets."""

    @staticmethod
    def time_of(record: logging.LogRecord) -> str:
        """``2026-11-23T02:41:07.123Z``."""
        whole_s = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        return f"{whole_s}.{int(record.msecs):03d}Z"

    @staticmethod
    def message_of(record: logging.LogRecord) -> str:
        """The message, in which every bytes argument became its length."""
        message = str(_without_bytes(record.msg))
        if not record.args:
            return message
        args = record.args
        safe: Any = {key: _without_bytes(value) for key, value in args.items()} if isinstance(args, dict) else None
        if safe is None:
            safe = tuple(_without_bytes(value) for value in args)
        return str(message % safe)

    @staticmethod
    def extra_of(record: logging.LogRecord) -> dict[str, Any]:
        """The fields given by ``extra=``, as JSON could hold them."""
        return {key: _plain(value) for key, value in vars(record).items() if key not in _STANDARD}

    def traceback_of(self, record: logging.LogRecord) -> str | None:
        """The traceback, if the record has one."""
        return self.formatException(record.exc_info) if record.exc_info and record.exc_info[0] else None


class JsonFormatter(_SafeFormatter):
    """One JSON object a line: ts, level, logger, message, the extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """The object as text. Redaction works on the strings in it, so that the line stays JSON whatever a secret is."""
        fields = {
            **self.extra_of(record),
            "ts": self.time_of(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.message_of(record),
        }
        if (traceback := self.traceback_of(record)) is not None:
            fields["exception"] = traceback
        first = ("ts", "level", "logger", "message")
        ordered = {key: fields[key] for key in (*first, *(key for key in fields if key not in first))}
        return json.dumps(_redacted(ordered), ensure_ascii=False)


class TextFormatter(_SafeFormatter):
    """``2026-11-23T02:41:07.123Z INFO    mirror.agents: message key=value``, with line breaks of the message escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback below it."""
        message = self.message_of(record).replace("\r", "\\r").replace("\n", "\\n")
        extra = "".join(f" {key}={value!r}" for key, value in self.extra_of(record).items())
        traceback = self.traceback_of(record)
        below = "" if traceback is None else f"\n{traceback}"
        return redact(f"{self.time_of(record)} {record.levelname:<7} {record.name}: {message}{extra}{below}")


def _without_bytes(value: Any) -> Any:
    """The value with bytes, which may be contents of records, replaced by their length."""
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, dict | list | tuple | set | frozenset):
        return _plain(value)
    return value


def _plain(value: Any) -> Any:
    """The value as JSON could hold it, without bytes."""
    if isinstance(value, dict):
        return {str(_without_bytes(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    value = _without_bytes(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _redacted(value: Any) -> Any:
    if isinstance(value, dict):
        return {redact(key): _redacted(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_redacted(item) for item in value]
    return redact(value) if isinstance(value, str) else value
