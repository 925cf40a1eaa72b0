"""The group log: Kafka's topic ``__consumer_offsets``, in which every commit of a consumer group is a record.

Keys (Kafka ``OffsetCommitKey`` v0 and v1; other versions are metadata of groups and no positions)::

    version int16 · group string · topic string · partition int32

Values (``OffsetCommitValue`` v0 to v4; a null value deletes the position)::

    version int16 · offset int64 · leader epoch int32 (v3) · metadata string · commit timestamp int64 · expiry int64 (only v1)
    · tagged fields (v4; tag 0 is the topic id)

A string is an int16 length and UTF-8; in v4 values the length is an unsigned varint, one more than the length. How Kafka's own coordinator
reads the log, and :class:`GroupLogFold` too: by key the record with the highest offset counts; what a transaction commits counts from its
commit marker on, unless a record with a higher offset came before the marker.
"""

import base64
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, NamedTuple

from mirror.errors import DamageError, UnsupportedFormatError

__all__ = [
    "GROUP_LOG_TOPIC",
    "OWN_COMMIT_METADATA",
    "CommitKey",
    "CommitRecord",
    "CommittedOffset",
    "GroupLogFold",
    "TransactionVerdict",
    "decode_commit_key",
    "decode_commit_value",
    "group_of_key",
]

GROUP_LOG_TOPIC: Final = "__consumer_offsets"
OWN_COMMIT_METADATA: Final = "mirror worker"
"""With every commit of a worker: so that a reader who does not know the names of mirrors knows their groups."""

_SHORT = struct.Struct(">h")
_INT = struct.Struct(">i")
_LONG = struct.Struct(">q")
_COMMIT_KEY_VERSIONS: Final = frozenset({0, 1})
_OLD_KEY: Final = b"\x00\x00"
_NEW_KEY: Final = b"\x00\x01"
_NEWEST_VALUE_VERSION: Final = 4
_TOPIC_ID_TAG: Final = 0
_NO_TOPIC_ID: Final = bytes(16)


class CommitKey(NamedTuple):
    """Whose position it is."""

    group: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CommittedOffset:
    """A position as a group committed it.

    Attributes:
        offset: the offset that the group reads next.
        leader_epoch: of the last record that was consumed, −1 where the consumer named none.
        metadata: the consumer's own text.
        commit_timestamp_ms: as the coordinator noted it.
        expire_timestamp_ms: when it ends, where an old client asked for that; else None.
        topic_id: the incarnation that was consumed, in Kafka's text form; None where the broker did not note it (before Kafka 4.1).
    """

    offset: int
    leader_epoch: int = -1
    metadata: str = ""
    commit_timestamp_ms: int = -1
    expire_timestamp_ms: int | None = None
    topic_id: str | None = None


class _Cursor:
    """Reads fields in order and never beyond the end."""

    __slots__ = ("_data", "_position")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def number(self, kind: struct.Struct) -> int:
        try:
            (found,) = kind.unpack_from(self._data, self._position)
        except struct.error:
            raise _damage("it ends inside a number") from None
        self._position += kind.size
        return int(found)

    def string(self) -> str:
        return self._text(self.number(_SHORT))

    def compact_string(self) -> str:
        return self._text(self.varint() - 1)

    def varint(self) -> int:
        value = shift = 0
        while shift < 35:
            (byte,) = self.raw(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise _damage("a length has more than five bytes")

    def raw(self, size_bytes: int) -> bytes:
        following = self._position + size_bytes
        if following > len(self._data):
            raise _damage("a field runs past its end")
        found = self._data[self._position : following]
        self._position = following
        return found

    def end(self) -> None:
        if self._position != len(self._data):
            raise _damage(f"{len(self._data) - self._position} bytes follow its last field")

    def _text(self, size_bytes: int) -> str:
        if size_bytes < 0:
            raise _damage("a string is null")
        try:
            return self.raw(size_bytes).decode()
        except UnicodeDecodeError:
            raise _damage("a string is not UTF-8") from None


def _damage(what: str) -> DamageError:
    return DamageError(f"not a record of a group's commit: {what}")


def decode_commit_key(key: bytes) -> CommitKey | None:
    """The key of a commit; None for a key of another kind (metadata of groups).

    Raises:
        DamageError: it is not what Kafka writes.
    """
    cursor = _Cursor(key)
    if cursor.number(_SHORT) not in _COMMIT_KEY_VERSIONS:
        return None
    found = CommitKey(cursor.string(), cursor.string(), cursor.number(_INT))
    cursor.end()
    if found.partition < 0 or not found.topic:
        raise _damage(f"it names partition {found.partition} of topic {found.topic!r}")
    return found


def group_of_key(key: bytes) -> str:
    """The group that a key of any kind is about: in all of them it is the first field.

    Raises:
        DamageError: it is not what Kafka writes.
    """
    cursor = _Cursor(key)
    cursor.number(_SHORT)
    return cursor.string()


def decode_commit_value(value: bytes) -> CommittedOffset:
    """The value of a commit that is no deletion.

    Raises:
        UnsupportedFormatError: a version that this mirror does not know.
        DamageError: it is not what Kafka writes.
    """
    cursor = _Cursor(value)
    version = cursor.number(_SHORT)
    if not 0 <= version <= _NEWEST_VALUE_VERSION:
        raise UnsupportedFormatError(f"a group's commit has version {version}, known are 0 to {_NEWEST_VALUE_VERSION}")
    offset = cursor.number(_LONG)
    leader_epoch = cursor.number(_INT) if version >= 3 else -1
    metadata = cursor.compact_string() if version >= 4 else cursor.string()
    commit_timestamp_ms = cursor.number(_LONG)
    expire_timestamp_ms = cursor.number(_LONG) if version == 1 else -1
    topic_id = _topic_id(cursor) if version >= 4 else None
    cursor.end()
    return CommittedOffset(
        offset=offset,
        leader_epoch=leader_epoch,
        metadata=metadata,
        commit_timestamp_ms=commit_timestamp_ms,
        expire_timestamp_ms=expire_timestamp_ms if expire_timestamp_ms >= 0 else None,
        topic_id=topic_id,
    )


def _topic_id(cursor: _Cursor) -> str | None:
    """From the tagged fields; others are passed over. Each takes two bytes at least, so what is claimed cannot be long."""
    found = None
    for _ in range(cursor.varint()):
        tag = cursor.varint()
        body = cursor.raw(cursor.varint())
        if tag == _TOPIC_ID_TAG:
            if len(body) != 16:
                raise _damage(f"a topic id has {len(body)} bytes")
            found = base64.urlsafe_b64encode(body).decode().rstrip("=") if body != _NO_TOPIC_ID else None
    return found


TransactionVerdict = Callable[[int, int, int], bool | None]
"""Whether a transaction counts, by producer id, epoch and time (ms) of its commit marker; None where that is not known."""


class CommitRecord(NamedTuple):
    """What counts for a key: the offset of the record (not the committed one), its time (of a transaction: of its marker), its value."""

    offset: int
    timestamp_ms: int
    value: bytes


class GroupLogFold:
    """What one partition of the group log says, record by record in the order of offsets.

    Values are kept as they are and decoded at the end: most of a log is overwritten.

    Args:
        at_ms: records (of a transaction: its commit marker) with a later timestamp do not count; None for all.
        next_offset: nor do records and markers at or after this offset; None for all.
        verdict: of a transaction that it knows decides it, and not its place in the log. Positions that a transaction committed which does
            not count stay where they were before it: a later one would skip what is left out.
        entries, open_transactions, newest_record_ms: what another fold had come to, of all records before those that are added here.

    Attributes:
        newest_record_ms: the latest time of a record or marker that counted, −1 without one.
    """

    def __init__(
        self,
        *,
        at_ms: int | None = None,
        next_offset: int | None = None,
        verdict: TransactionVerdict | None = None,
        entries: Mapping[bytes, CommitRecord] = MappingProxyType({}),
        open_transactions: Mapping[int, Mapping[bytes, CommitRecord]] = MappingProxyType({}),
        newest_record_ms: int = -1,
    ) -> None:
        self.newest_record_ms = newest_record_ms
        self._at_ms = at_ms
        self._next_offset = next_offset
        self._verdict = verdict
        self._barred: set[bytes] = set()
        self._entries = dict(entries)
        self._open = {producer_id: dict(pending) for producer_id, pending in open_transactions.items()}

    @property
    def entries(self) -> Mapping[bytes, CommitRecord]:
        """Key (v1) → the record that counts."""
        return self._entries

    @property
    def open_transactions(self) -> Mapping[int, Mapping[bytes, CommitRecord]]:
        """Producer id → key → what its transaction commits so far: it counts once its marker says so."""
        return self._open

    def add(
        self, offset: int, timestamp_ms: int, key: bytes | None, value: bytes | None, *, producer_id: int | None = None
    ) -> None:
        """A record; ``producer_id`` where it is of a transaction (of one that was aborted no record comes, or its abort marker does).

        Raises:
            DamageError: a record without a key: there is none in a compacted topic.
        """
        counts = self._counts(offset, timestamp_ms)
        waits = producer_id is not None and value is not None and self._verdict is not None
        if not counts and not waits:
            return
        if key is None or len(key) < _SHORT.size:
            raise _damage("its key is missing or cut")
        if key[:2] != _NEW_KEY:
            if key[:2] != _OLD_KEY:
                return
            key = _NEW_KEY + key[2:]  # both versions have the same fields, and are about the same position
        if value is None:
            self._entries.pop(key, None)
            for pending in self._open.values():
                pending.pop(key, None)
        elif producer_id is None:
            if key in self._barred:
                return
            self._entries[key] = CommitRecord(offset, timestamp_ms, value)
        else:
            self._open.setdefault(producer_id, {})[key] = CommitRecord(offset, timestamp_ms, value)

    def end_transaction(
        self, offset: int, timestamp_ms: int, producer_id: int, producer_epoch: int = -1, *, is_commit: bool
    ) -> None:
        """A transaction marker."""
        counts = self._counts(offset, timestamp_ms)
        if self._verdict is None and not counts:
            return
        pending = self._open.pop(producer_id, {})
        if not pending or not is_commit:
            return
        said = None if self._verdict is None else self._verdict(producer_id, producer_epoch, timestamp_ms)
        if said is False:
            self._barred |= pending.keys()
        if not (counts if said is None else said):
            return
        for key, entry in pending.items():
            if key in self._barred:
                continue
            known = self._entries.get(key)
            if known is None or known.offset < entry.offset:
                self._entries[key] = entry._replace(timestamp_ms=max(timestamp_ms, entry.timestamp_ms))

    def _counts(self, offset: int, timestamp_ms: int) -> bool:
        counts = (self._at_ms is None or timestamp_ms <= self._at_ms) and (
            self._next_offset is None or offset < self._next_offset
        )
        if counts and timestamp_ms > self.newest_record_ms:
            self.newest_record_ms = timestamp_ms
        return counts
