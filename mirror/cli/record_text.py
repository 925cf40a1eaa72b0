"""Records for people: a line each, or a hex dump. Whatever the bytes are, the text can be told back to them and moves no cursor."""

from collections.abc import Callable

from mirror.cli.streams import can_encode
from mirror.core.moments import format_moment
from mirror.service.cat import FoundRecord

__all__ = ["bytes_as_text", "hex_writer", "text_writer"]

Writer = Callable[[FoundRecord], str]

_HEX_WIDTH = 16
# Nothing and the empty text are shown as these, so texts that look like them need another look.
_NULL = "null"
_ALIKE = {b"": '""', b"null": '"null"', b'"null"': '\\"null"', b'""': '\\""'}
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def bytes_as_text(raw: bytes | None, *, ascii_only: bool = False) -> str:
    r"""UTF-8 as it is; ``\xNN`` for other bytes, ``\uNNNN`` for signs that do not print, ``\\`` for a backslash.

    ``null`` is no bytes at all, ``""`` an empty text; a text of these letters is shown as ``"null"``.
    """
    if raw is None:
        return _NULL
    if raw in _ALIKE:
        return _ALIKE[raw]
    try:
        text = raw.decode()
        if text.isprintable() and "\\" not in text and not (ascii_only and not text.isascii()):
            return text
    except UnicodeDecodeError:
        pass
    text = raw.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace")
    if text.isprintable() and not (ascii_only and not text.isascii()):
        return text
    return "".join(
        char if char.isprintable() and (char.isascii() or not ascii_only) else _escaped(char) for char in text
    )


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def text_writer(_topic: str) -> Writer:
    """Partition, offset, time, key, value and each header as ``name=value``, with tabs between them."""
    ascii_only = not can_encode("é\u20ac\U0001f600")

    def write(found: FoundRecord) -> str:
        record = found.record
        fields = [
            str(found.partition),
            str(record.offset),
            format_moment(record.timestamp_ms),
            bytes_as_text(record.key, ascii_only=ascii_only),
            bytes_as_text(record.value, ascii_only=ascii_only),
        ]
        for name, value in record.headers:
            name_text = bytes_as_text(name.encode("utf-8", "surrogateescape"), ascii_only=ascii_only)
            name_text = name_text.replace("=", "\\x3d")
            fields.append(f"{name_text}={bytes_as_text(value, ascii_only=ascii_only)}")
        return "\t".join(fields) + "\n"

    return write


def hex_writer(topic: str) -> Writer:
    """A paragraph a record: where it is, then key, value and headers as a hex dump."""

    def write(found: FoundRecord) -> str:
        record = found.record
        lines = [f"{topic}:{found.partition} offset {record.offset} {format_moment(record.timestamp_ms)}"]
        lines += _dump("key", record.key)
        lines += _dump("value", record.value)
        for name, value in record.headers:
            lines += _dump(f"header {bytes_as_text(name.encode('utf-8', 'surrogateescape'), ascii_only=True)}", value)
        return "\n".join(lines) + "\n\n"

    return write


def _dump(what: str, raw: bytes | None) -> list[str]:
    if raw is None:
        return [f"  {what}: null"]
    lines = [f"  {what}: {len(raw)} bytes"]
    for begin in range(0, len(raw), _HEX_WIDTH):
        part = raw[begin : begin + _HEX_WIDTH]
        digits = f"{part[:8].hex(' ')}  {part[8:].hex(' ')}"
        shown = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in part)
        lines.append(f"  {begin:08x}  {digits:<48}  |{shown}|")
    return lines
