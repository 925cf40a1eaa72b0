"""The group log as a worker writes it itself, where it may not read Kafka's: what polling found changed, as the same records.

Each worker that begins to poll begins an incarnation of its own, a *session*: with all positions there are, then what changed. So no two
writers ever write the same offsets, and a session needs nothing of those before it.
"""

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from mirror.core.group_log import GROUP_LOG_TOPIC, OWN_COMMIT_METADATA, CommitKey
from mirror.core.positions import Watermarks
from mirror.core.records import RawRecord, encode_batch, write_varint
from mirror.core.segment.index import StartEntry, WatermarkSample
from mirror.core.segment.runs import RunDraft
from mirror.core.slices import FetchSlice, read_slice

__all__ = [
    "POLLED_REASON",
    "SESSION_RANDOM_BYTES",
    "Polled",
    "changed_records",
    "encode_commit_key",
    "encode_commit_value",
    "is_polled",
    "run_of_records",
    "session_id",
    "start_of_session",
    "without_mirrors",
]

POLLED_REASON: Final = "polled"
SESSION_RANDOM_BYTES: Final = 7
_MARK: Final = "mirror-poll-"
_RECORDS_A_BATCH: Final = 5_000
_VALUE_VERSION: Final = 4

Polled = Mapping[CommitKey, tuple[int, str]]
"""Whose position it is → the committed offset, and the consumer's own text."""


def session_id(random: bytes) -> str:
    """The topic id of a new session from 7 random bytes: such as no broker makes, but by a chance of one in 2⁷²."""
    return base64.urlsafe_b64encode(base64.urlsafe_b64decode(_MARK) + random).decode().rstrip("=")


def is_polled(topic_id: str) -> bool:
    """Whether an incarnation of the group log is a session of a polling worker."""
    return topic_id.startswith(_MARK)


def encode_commit_key(key: CommitKey) -> bytes:
    """The key of a record of the group log, version 1."""
    return struct.pack(">h", 1) + _string(key.group) + _string(key.topic) + struct.pack(">i", key.partition)


def encode_commit_value(offset: int, metadata: str, at_ms: int) -> bytes:
    """Its value, version 4, without a leader epoch and a topic id: both are not asked for."""
    text = metadata.encode()
    size = len(text) + 1
    varint = bytearray()
    while size > 0x7F:
        varint.append(size & 0x7F | 0x80)
        size >>= 7
    varint.append(size)
    return struct.pack(">hqi", _VALUE_VERSION, offset, -1) + bytes(varint) + text + struct.pack(">q", at_ms) + b"\0"


def _string(text: str) -> bytes:
    data = text.encode()
    return struct.pack(">h", len(data)) + data


def without_mirrors(found: Polled) -> dict[CommitKey, tuple[int, str]]:
    """Without the groups of mirrors: of those that a worker commits for."""
    theirs = {key.group for key, (_, metadata) in found.items() if metadata == OWN_COMMIT_METADATA}
    return {key: position for key, position in found.items() if key.group not in theirs}


def changed_records(before: Polled, now: Polled, at_ms: int) -> list[tuple[bytes, bytes | None]]:
    """The records that lead from one look to the next, in the order of their keys; a position that is gone is a deletion."""
    records: list[tuple[bytes, bytes | None]] = []
    for key in sorted({*before, *now}):
        position = now.get(key)
        if position is None:
            records.append((encode_commit_key(key), None))
        elif before.get(key) != position:
            records.append((encode_commit_key(key), encode_commit_value(*position, at_ms)))
    return records


def start_of_session(topic_id: str, at_ms: int) -> StartEntry:
    """Where a session begins: with the positions of that moment."""
    return StartEntry(
        topic=GROUP_LOG_TOPIC,
        topic_id=topic_id,
        partition=0,
        start_offset=0,
        reason=POLLED_REASON,
        recorded_at_ms=at_ms,
    )


def run_of_records(
    topic_id: str, start_offset: int, records: Iterable[tuple[bytes, bytes | None]], at_ms: int
) -> RunDraft:
    """At least one record, all of one moment, from ``start_offset`` on."""
    buffer = b"".join(_batches(start_offset, list(records), at_ms))
    body = read_slice(buffer, start_offset)
    marks = Watermarks(
        fetched_at_ms=at_ms, log_start_offset=0, high_watermark=body.next_offset, last_stable_offset=body.next_offset
    )
    draft = RunDraft(GROUP_LOG_TOPIC, topic_id, 0, start_offset, start_offset)
    draft.append(FetchSlice(GROUP_LOG_TOPIC, topic_id, 0, 0, start_offset, body, marks))
    draft.watermarks.append(WatermarkSample(at_ms, 0, body.next_offset, body.next_offset))
    return draft


def _batches(base_offset: int, records: list[tuple[bytes, bytes | None]], at_ms: int) -> Iterator[bytes]:
    for first in range(0, len(records), _RECORDS_A_BATCH):
        part = records[first : first + _RECORDS_A_BATCH]
        yield encode_batch(
            [
                RawRecord(base_offset + first + number, at_ms, 0, memoryview(_tail(key, value)))
                for number, (key, value) in enumerate(part)
            ]
        )


def _tail(key: bytes, value: bytes | None) -> bytes:
    of_value = write_varint(-1) if value is None else write_varint(len(value)) + value
    return write_varint(len(key)) + key + of_value + write_varint(0)
