"""Records of the group log as Kafka's coordinator writes them, by an encoder of their own."""

import base64
import struct
from collections.abc import Sequence

from tests.builders import T0_MS, a_batch, a_tail


def a_string(text: str) -> bytes:
    """With its length as an int16."""
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def an_unsigned_varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def a_commit_key(group: str, topic: str = "orders", partition: int = 0, *, version: int = 1) -> bytes:
    """The key of a commit."""
    return struct.pack(">h", version) + a_string(group) + a_string(topic) + struct.pack(">i", partition)


def a_group_key(group: str, *, version: int = 2, rest: bytes = b"") -> bytes:
    """The key of a group's metadata."""
    return struct.pack(">h", version) + a_string(group) + rest


def a_commit_value(
    offset: int,
    *,
    version: int = 4,
    leader_epoch: int = -1,
    metadata: str = "",
    commit_timestamp_ms: int = T0_MS,
    expire_timestamp_ms: int = -1,
    topic_id: str | None = None,
    other_tags: Sequence[tuple[int, bytes]] = (),
) -> bytes:
    """The value of a commit in a version of the schema."""
    out = struct.pack(">hq", version, offset)
    if version >= 3:
        out += struct.pack(">i", leader_epoch)
    if version >= 4:
        data = metadata.encode()
        out += an_unsigned_varint(len(data) + 1) + data
    else:
        out += a_string(metadata)
    out += struct.pack(">q", commit_timestamp_ms)
    if version == 1:
        out += struct.pack(">q", expire_timestamp_ms)
    if version >= 4:
        tags = [*([(0, base64.urlsafe_b64decode(topic_id + "=="))] if topic_id else []), *other_tags]
        out += an_unsigned_varint(len(tags))
        for tag, body in tags:
            out += an_unsigned_varint(tag) + an_unsigned_varint(len(body)) + body
    return out


def a_commit_batch(
    base_offset: int,
    *records: tuple[bytes | None, bytes | None],
    at_ms: int = T0_MS,
    codec: int = 0,
    producer_id: int = -1,
    transactional: bool = False,
) -> bytes:
    """A batch of records ``(key, value)``, all of one time."""
    return a_batch(
        base_offset,
        len(records),
        codec=codec,
        timestamps=[at_ms] * len(records),
        tails=[a_tail(key, value) for key, value in records],
        producer_id=producer_id,
        transactional=transactional,
    )
