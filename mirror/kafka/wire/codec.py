"""The protocol's primitives of flexible versions: big-endian integers, compact strings and arrays, tagged fields.

A `Reader` walks over a memoryview and never copies what it hands out; whatever the bytes are, it answers with the
value or with `MalformedError`, never beyond the end of its buffer.
"""

import base64
import struct
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

from mirror.errors import ClusterError

__all__ = ["ZERO_TOPIC_ID", "MalformedError", "Reader", "Writer", "topic_id_bytes", "topic_id_text"]

T = TypeVar("T")

_I16: Final = struct.Struct(">h")
_I32: Final = struct.Struct(">i")
_I64: Final = struct.Struct(">q")

_ONE_BYTE: Final = tuple(bytes((value,)) for value in range(0x80))

ZERO_TOPIC_ID: Final = "AAAAAAAAAAAAAAAAAAAAAA"
"""The id that means "none" on the wire."""


class MalformedError(ClusterError):
    """A response that does not follow the protocol."""


def topic_id_text(raw: bytes | memoryview) -> str:
    """Kafka's own text form of a topic id: URL-safe base64 of the 16 bytes without padding, 22 characters."""
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def topic_id_bytes(text: str) -> bytes:
    """The 16 bytes of a topic id in text form; ValueError if it is not one."""
    raw = base64.urlsafe_b64decode(text + "==") if len(text) == 22 else b""
    if len(raw) != 16:
        raise ValueError(f"not a topic id: {text!r}")
    return raw


class Reader:
    """A position in a response."""

    __slots__ = ("_buffer", "_position")

    def __init__(self, buffer: memoryview) -> None:
        self._buffer = buffer
        self._position = 0

    @property
    def remaining_bytes(self) -> int:
        """Bytes not read yet."""
        return len(self._buffer) - self._position

    def _advance(self, size_bytes: int) -> int:
        start = self._position
        if size_bytes < 0 or start + size_bytes > len(self._buffer):
            raise MalformedError(
                f"response ends inside a field: {size_bytes} bytes wanted, {len(self._buffer) - start} left"
            )
        self._position = start + size_bytes
        return start

    def i8(self) -> int:
        """Signed 8-bit integer."""
        value = self._buffer[self._advance(1)]
        return value - 256 if value > 127 else value

    def boolean(self) -> bool:
        """One byte, not zero."""
        return self._buffer[self._advance(1)] != 0

    def i16(self) -> int:
        """Signed 16-bit integer."""
        value: int = _I16.unpack_from(self._buffer, self._advance(2))[0]
        return value

    def i32(self) -> int:
        """Signed 32-bit integer."""
        value: int = _I32.unpack_from(self._buffer, self._advance(4))[0]
        return value

    def i64(self) -> int:
        """Signed 64-bit integer."""
        value: int = _I64.unpack_from(self._buffer, self._advance(8))[0]
        return value

    def fields(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Several fixed-size fields at once: for the hot paths."""
        return layout.unpack_from(self._buffer, self._advance(layout.size))

    def peek(self, layout: struct.Struct) -> tuple[Any, ...] | None:
        """The same without moving on; None where the response ends before."""
        if layout.size > self.remaining_bytes:
            return None
        return layout.unpack_from(self._buffer, self._position)

    def uvarint(self) -> int:
        """Unsigned variable-length integer of at most 32 bits."""
        position = self._position
        if position < len(self._buffer) and (byte := self._buffer[position]) < 0x80:
            self._position = position + 1
            return byte
        value = shift = 0
        while True:
            byte = self._buffer[self._advance(1)]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 28:
                raise MalformedError("a variable-length integer has more than five bytes")
        if value > 0xFFFFFFFF:
            raise MalformedError("a variable-length integer has more than 32 bits")
        return value

    def raw(self, size_bytes: int) -> memoryview:
        """The next bytes, as a view on the response."""
        start = self._advance(size_bytes)
        return self._buffer[start : start + size_bytes]

    def nullable_bytes(self) -> memoryview | None:
        """Compact bytes or records, as a view on the response."""
        length = self.uvarint()
        return None if length == 0 else self.raw(length - 1)

    def nullable_string(self) -> str | None:
        """Compact nullable string."""
        view = self.nullable_bytes()
        if view is None:
            return None
        try:
            return str(view, "utf-8")
        except UnicodeDecodeError as error:
            raise MalformedError("a string is not UTF-8") from error

    def string(self) -> str:
        """Compact string that must not be null."""
        value = self.nullable_string()
        if value is None:
            raise MalformedError("a string is null where the protocol forbids it")
        return value

    def topic_id(self) -> str:
        """A topic id, in text form."""
        return topic_id_text(self.raw(16))

    def array(self, item: Callable[["Reader"], T], *, least_item_bytes: int = 1) -> list[T]:
        """Compact array; null counts as empty. A count that the remaining bytes cannot hold is refused unread."""
        count = self.uvarint() - 1
        if count * least_item_bytes > self.remaining_bytes:
            raise MalformedError(f"an array says {count} items, more than the response has bytes for")
        return [item(self) for _ in range(count)]

    def i32_array(self) -> tuple[int, ...]:
        """Compact array of 32-bit integers; null counts as empty."""
        count = max(self.uvarint() - 1, 0)
        view = self.raw(4 * count)
        return struct.unpack(f">{count}i", view)

    def tags(self) -> dict[int, memoryview]:
        """Tagged fields by number."""
        count = self.uvarint()
        if count == 0:
            return {}
        if 2 * count > self.remaining_bytes:
            raise MalformedError("more tagged fields than the response has bytes for")
        fields: dict[int, memoryview] = {}
        for _ in range(count):
            tag = self.uvarint()
            fields[tag] = self.raw(self.uvarint())
        return fields


def _uvarint(value: int) -> bytes:
    if value < 0x80:
        return _ONE_BYTE[value]
    encoded = bytearray()
    while value > 0x7F:
        encoded.append((value & 0x7F) | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


class Writer:
    """Collects the parts of a request; large byte strings are joined once, at the end."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes | bytearray | memoryview] = []

    def finish(self) -> bytes:
        """The request body."""
        return b"".join(self._parts)

    def i8(self, value: int) -> "Writer":
        """Signed 8-bit integer."""
        self._parts.append(struct.pack(">b", value))
        return self

    def boolean(self, value: bool) -> "Writer":
        """One byte."""
        self._parts.append(b"\x01" if value else b"\x00")
        return self

    def i16(self, value: int) -> "Writer":
        """Signed 16-bit integer."""
        self._parts.append(_I16.pack(value))
        return self

    def i32(self, value: int) -> "Writer":
        """Signed 32-bit integer."""
        self._parts.append(_I32.pack(value))
        return self

    def i64(self, value: int) -> "Writer":
        """Signed 64-bit integer."""
        self._parts.append(_I64.pack(value))
        return self

    def raw(self, value: bytes) -> "Writer":
        """Bytes as they are, without their length."""
        self._parts.append(value)
        return self

    def uvarint(self, value: int) -> "Writer":
        """Unsigned variable-length integer."""
        self._parts.append(_uvarint(value))
        return self

    def nullable_bytes(self, value: bytes | bytearray | memoryview | None) -> "Writer":
        """Compact bytes or records; not copied before `finish`."""
        if value is None:
            return self.uvarint(0)
        self.uvarint(len(value) + 1)
        self._parts.append(value)
        return self

    def string(self, value: str | None) -> "Writer":
        """Compact (nullable) string."""
        return self.nullable_bytes(None if value is None else value.encode())

    def topic_id(self, text: str) -> "Writer":
        """A topic id given in text form."""
        self._parts.append(topic_id_bytes(text))
        return self

    def array(self, items: Iterable[T], write: Callable[["Writer", T], object]) -> "Writer":
        """Compact array."""
        items = list(items)
        self.uvarint(len(items) + 1)
        for item in items:
            write(self, item)
        return self

    def no_tags(self) -> "Writer":
        """The end of every structure: no tagged fields."""
        self._parts.append(b"\x00")
        return self
