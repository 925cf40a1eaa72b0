"""Answers read straight into their place.

aiokafka reads through an ``asyncio.StreamReader``: every answer is copied twice on its way, the socket is paused and resumed for each
128 KiB of it, and two tasks are woken for each answer. On our own connections a buffered protocol takes the stream's place once the
connection is set up (versions asked, logged in): small answers are cut out of one buffer, and the kernel writes the rest of a large one
into the memory that it stays in.
"""

import asyncio
import struct
import time
import weakref
from typing import Any, Final

import numpy as np

from mirror.errors import ClusterError
from mirror.kafka.wire.api import RawRequest

__all__ = ["read_whole_frames"]

_SIZE: Final = struct.Struct(">i")
_CORRELATION_ID: Final = struct.Struct(">i")
_HEADER_BYTES: Final = 5  # correlation id, and no tagged fields: response header v1
_LONGEST_BYTES: Final = 1 << 30
_SMALL_BYTES: Final = 64 << 10


def read_whole_frames(connection: Any) -> None:
    """Let an open connection of aiokafka read this way from now on. Nothing happens while it waits for an answer, or the second time."""
    transport = connection._writer.transport
    before = transport.get_protocol()
    if isinstance(before, _WholeFrames) or connection._requests or connection._reader._buffer:
        return
    transport.set_protocol(_WholeFrames(connection, before))


class _WholeFrames(asyncio.BufferedProtocol):
    """Frames of ``size (i32) · bytes``. Whatever is no frame is left to the protocol that was there before."""

    def __init__(self, connection: Any, before: Any) -> None:
        self._connection = weakref.ref(connection)
        self._before = before
        self._small = memoryview(bytearray(_SMALL_BYTES))
        self._frame: memoryview | None = None  # the large one that is being filled
        self._filled = 0  # of it, or of the small buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where the next bytes go."""
        return (self._small if self._frame is None else self._frame)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come. An exception closes the connection."""
        self._filled += nbytes
        if self._frame is None:
            self._cut()
        elif self._filled == len(self._frame):
            frame, self._frame, self._filled = self._frame, None, 0
            self._deliver(frame)

    def _cut(self) -> None:
        """Deliver the whole frames of the small buffer; what is left of it begins the next one."""
        at = 0
        while self._filled - at >= _SIZE.size:
            (size_bytes,) = _SIZE.unpack_from(self._small, at)
            if not _HEADER_BYTES <= size_bytes <= _LONGEST_BYTES:
                raise ClusterError(f"a broker announces an answer of {size_bytes} bytes")
            begin = at + _SIZE.size
            here = self._small[begin : min(begin + size_bytes, self._filled)]
            if len(here) < size_bytes:
                if size_bytes > _SMALL_BYTES - _SIZE.size:
                    self._frame = np.empty(
                        size_bytes, dtype=np.uint8
                    ).data  # not filled with zeros first, as a bytearray is
                    self._frame[: len(here)] = here
                    self._filled = len(here)
                    return
                break
            self._deliver(memoryview(bytes(here)))
            at = begin + size_bytes
        left = self._filled - at
        if at and left:
            self._small[:left] = bytes(self._small[at : self._filled])
        self._filled = left

    def _deliver(self, frame: memoryview) -> None:
        connection = self._connection()
        if connection is None or not connection._requests:
            return
        correlation_id, request, future = connection._requests[0]
        is_plain = type(request) is RawRequest and frame[_CORRELATION_ID.size] == 0
        if not is_plain or _CORRELATION_ID.unpack_from(frame)[0] != correlation_id:
            connection._handle_frame(bytes(frame))  # it knows what to do with anything
            return
        if not future.done():
            future.set_result(frame[_HEADER_BYTES:].toreadonly())
        connection._last_action = time.monotonic()
        connection._requests.popleft()

    def eof_received(self) -> bool | None:
        """The broker hung up."""
        kept: bool | None = self._before.eof_received()
        return kept

    def connection_lost(self, exc: Exception | None) -> None:
        """What waits for answers is told by the connection's own reader."""
        self._before.connection_lost(exc)

    def pause_writing(self) -> None:
        """The send buffer is full."""
        self._before.pause_writing()

    def resume_writing(self) -> None:
        """It is not any more."""
        self._before.resume_writing()
