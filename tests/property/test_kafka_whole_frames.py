"""Answers that come in pieces of any size are put together as they were sent."""

import asyncio
import struct
from collections import deque
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.errors import ClusterError
from mirror.kafka import whole_frames
from mirror.kafka.whole_frames import _WholeFrames
from mirror.kafka.wire.api import Api, RawRequest

REQUEST = RawRequest(Api("Fetch", 1, 13, since="3.1"), b"")


class _Connection(SimpleNamespace):
    """What the protocol uses of aiokafka's connection, with requests that wait."""

    def __init__(self, count: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(_last_action=0.0, odd=[])
        self.futures = [loop.create_future() for _ in range(count)]
        self._requests: deque[Any] = deque((number, REQUEST, future) for number, future in enumerate(self.futures))

    def _handle_frame(self, frame: bytes) -> None:
        self.odd.append(frame)


def _frame(correlation_id: int, body: bytes, tags: bytes = b"\x00") -> bytes:
    return struct.pack(">ii", 4 + len(tags) + len(body), correlation_id) + tags + body


def _feed(protocol: _WholeFrames, data: bytes, most: list[int]) -> None:
    """As a transport does: as much as there is, at most what the buffer takes."""
    at = turn = 0
    while at < len(data):
        room = protocol.get_buffer(-1)
        assert len(room) > 0, "asyncio refuses an empty buffer"
        size = min(len(room), len(data) - at, most[turn % len(most)])
        room[:size] = data[at : at + size]
        protocol.buffer_updated(size)
        at += size
        turn += 1


@given(
    bodies=st.lists(st.binary(max_size=300), min_size=1, max_size=8),
    most=st.lists(st.integers(1, 400), min_size=1, max_size=6),
    small_bytes=st.integers(9, 200),
)
def test_every_answer_reaches_its_request_however_it_is_cut(
    bodies: list[bytes], most: list[int], small_bytes: int
) -> None:
    """In order, each with its own bytes, whichever of them count as large."""
    loop = asyncio.new_event_loop()
    connection = _Connection(len(bodies), loop)
    with mock.patch.object(whole_frames, "_SMALL_BYTES", small_bytes):
        protocol = _WholeFrames(connection, None)
        _feed(protocol, b"".join(_frame(number, body) for number, body in enumerate(bodies)), most)
    assert [bytes(future.result()) for future in connection.futures] == bodies
    assert (len(connection._requests), connection.odd) == (0, [])
    loop.close()


def test_what_is_not_the_plain_answer_to_a_request_of_ours_is_left_to_aiokafka() -> None:
    """Another correlation id, a header with tagged fields: whole, with their header, and the request still waits there."""
    loop = asyncio.new_event_loop()
    connection = _Connection(1, loop)
    protocol = _WholeFrames(connection, None)
    for frame in (_frame(7, b"odd"), _frame(0, b"x", tags=b"\x01\x00\x00")):
        _feed(protocol, frame, [1000])
    assert connection.odd == [_frame(7, b"odd")[4:], _frame(0, b"x", tags=b"\x01\x00\x00")[4:]]
    assert not connection.futures[0].done()
    loop.close()


@pytest.mark.parametrize("size", [-1, 0, 4, (1 << 30) + 1])
def test_an_impossible_size_closes_the_connection(size: int) -> None:
    """The exception does it: asyncio closes what raises here. Memory is never taken for it."""
    protocol = _WholeFrames(_Connection(0, asyncio.new_event_loop()), None)
    with pytest.raises(ClusterError, match="an answer of"):
        _feed(protocol, struct.pack(">i", size), [4])
