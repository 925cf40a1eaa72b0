"""The footer index of a segment object, and the other JSON objects of a repository, as typed values.

Readers ignore unknown fields and refuse unknown ``required_features``; every field has the meaning that docs/format.md gives it.
"""

import threading
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import xxhash

from mirror.core.positions import PartitionId, TopicPartition
from mirror.errors import DamageError, UnsupportedFormatError

__all__ = [
    "FORMAT_VERSION",
    "KNOWN_FEATURES",
    "BlockColumns",
    "ForkEntry",
    "GapEntry",
    "GapReason",
    "GoneEntry",
    "RepositoryObject",
    "RunEntry",
    "SegmentIndex",
    "StartEntry",
    "TopicObject",
    "WatermarkSample",
    "decode_checked",
    "decode_json",
    "encode_checked",
    "encode_json",
    "require_features",
]

FORMAT_VERSION = 1
KNOWN_FEATURES: frozenset[str] = frozenset({"columns"})  # of roll-ups; "encryption" is reserved

# What a decoder takes for a number: JSON's have no bound, offsets and times have 64 bits.
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Signed64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Offset = Count
Timestamp = Signed64

BodyCodec = Literal["passthrough", "zstd"]
_T = TypeVar("_T", bound=msgspec.Struct)
GapReason = Literal["retention", "deleted_records", "quarantined"]


class _Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Common options of all stored values."""


class WatermarkSample(msgspec.Struct, frozen=True, array_like=True):
    """What the leader said in one fetch answer; see :class:`mirror.core.positions.Watermarks`."""

    fetched_at_ms: Timestamp
    log_start_offset: Signed64
    high_watermark: Signed64
    last_stable_offset: Signed64


class BlockColumns(_Entry, frozen=True):
    """The sparse batch index of a run: equally long columns, one entry a block.

    A block is a whole number of batches; in a ``zstd`` run it is one zstd frame, so it can be read without what stands before it.
    ``positions`` are relative to the run's first byte; a block ends where the next one begins.
    """

    base_offsets: list[Offset]
    positions: list[Count]
    raw_bytes: list[Count]
    record_counts: list[Count]
    min_base_timestamps_ms: list[Timestamp]
    max_timestamps_ms: list[Timestamp]


class RunEntry(_Entry, frozen=True, weakref=True):
    """Consecutive batches of one partition incarnation that cover ``[start_offset, next_offset)``.

    ``start_offset`` is the fetch position: the first batch may begin below it (a log trimmed inside a batch), and records below it are
    not part of the run. ``raw_bytes`` is the size of the blocks' content, ``stored_bytes`` what they take in the object.
    ``leader_epochs`` lists ``[leader_epoch, first offset of that epoch in this run]``, ascending.
    ``unpacked`` says that the batches' bodies are stored without their own compression (see :mod:`mirror.core.segment.blocks`).
    """

    topic: str
    topic_id: str
    partition: Count
    start_offset: Offset
    next_offset: Offset
    position: Count
    stored_bytes: Count
    raw_bytes: Count
    batch_count: Count
    record_count: Count
    checksum: str
    body_codec: BodyCodec = "passthrough"
    unpacked: bool = False
    has_markers: bool = False
    fetched_bytes: Count = 0
    min_base_timestamp_ms: Timestamp | None = None
    max_timestamp_ms: Timestamp | None = None
    leader_epochs: list[tuple[Signed64, Offset]] = []
    watermarks: list[WatermarkSample] = []
    blocks: BlockColumns | None = None

    @property
    def partition_id(self) -> PartitionId:
        """Whose offsets these are."""
        return PartitionId(self.topic_id, self.partition)

    @property
    def topic_partition(self) -> TopicPartition:
        """The same by name, for people."""
        return TopicPartition(self.topic, self.partition)


class StartEntry(_Entry, frozen=True):
    """Where the backup of a partition begins; durable before the partition's first fetch.

    ``reason``: ``earliest`` (the log's first offset), ``latest`` (by the user's setting: what lies before was never wanted).
    """

    topic: str
    topic_id: str
    partition: Count
    start_offset: Offset
    reason: str
    recorded_at_ms: Timestamp


class GapEntry(_Entry, frozen=True):
    """Offsets that are lost, with the reason; counts only where no run covers them."""

    topic: str
    topic_id: str
    partition: Count
    start_offset: Offset
    next_offset: Offset
    reason: str
    detected_at_ms: Timestamp


class ForkEntry(_Entry, frozen=True):
    """The log was truncated (unclean election): bytes at or after ``fork_offset`` whose leader epoch is at most
    ``last_leader_epoch`` are the cut tail: kept, readable on request, not part of the coverage."""

    topic: str
    topic_id: str
    partition: Count
    fork_offset: Offset
    last_leader_epoch: Signed64
    detected_at_ms: Timestamp


class GoneEntry(_Entry, frozen=True):
    """A person has accepted that this object was deleted."""

    writer: str
    sequence: Count
    accepted_at_ms: Timestamp


class SegmentIndex(_Entry, frozen=True):
    """Everything a reader needs to know of one segment object.

    ``durable_sequence``: all objects of this writer up to this one were durable when it was made.
    """

    format_version: Count
    repository_id: str
    cluster_id: str
    writer: str
    sequence: Count
    sealed_at_ms: Timestamp
    durable_sequence: Count = 0
    level: Count = 0
    required_features: list[str] = []
    runs: list[RunEntry] = []
    starts: list[StartEntry] = []
    gaps: list[GapEntry] = []
    forks: list[ForkEntry] = []
    gone: list[GoneEntry] = []


class TopicObject(_Entry, frozen=True):
    """One capture of a topic's incarnation: what a restore needs to create it again. Only non-default configs."""

    format_version: Count
    topic: str
    topic_id: str
    partition_count: Count
    replication_factor: Count
    configs: dict[str, str]
    captured_at_ms: Timestamp
    deleted: bool = False
    unwatched: bool = False


class RepositoryObject(_Entry, frozen=True):
    """``repository.json``: which cluster this repository belongs to."""

    format_version: Count
    repository_id: str
    cluster_id: str
    created_at_ms: Timestamp
    created_by: str
    required_features: list[str] = []


def encode_json(value: msgspec.Struct) -> bytes:
    """A stored value as JSON (fields in the order of their definition)."""
    return msgspec.json.encode(value)


def encode_checked(value: msgspec.Struct) -> bytes:
    """A stored value as an object of its own: its JSON with one more member at the end, the checksum of what stands before it."""
    body = encode_json(value)[:-1]
    return body + _checksum_member(body)


def decode_checked(kind: type[_T], data: bytes, where: str) -> _T:
    """The inverse of :func:`encode_checked`.

    Raises:
        DamageError: the checksum does not match, or not JSON of that shape.
        UnsupportedFormatError: a newer format version, or a required feature that is not known here.
    """
    body = data[:-_CHECKSUM_MEMBER_BYTES]
    if data[-_CHECKSUM_MEMBER_BYTES:] != _checksum_member(body):
        raise DamageError(f"{where}: does not match its checksum, or is cut")
    return decode_json(kind, data, where)


def _checksum_member(body: bytes) -> bytes:
    return b',"checksum":"xxh3_128:%b"}' % xxhash.xxh3_128_hexdigest(body).encode()


_CHECKSUM_MEMBER_BYTES = len(_checksum_member(b""))


_decoders: dict[type[msgspec.Struct], msgspec.json.Decoder[Any]] = {}
_one_at_a_time = threading.Lock()


def _decoder_of(kind: type[_T]) -> "msgspec.json.Decoder[_T]":
    """The decoder of a type, made by one thread.

    msgspec (0.22) describes a type to itself when it is first decoded. Threads that find the description half made read where nothing is:
    the process dies.
    """
    known = _decoders.get(kind)
    if known is None:
        with _one_at_a_time:
            known = _decoders.setdefault(kind, msgspec.json.Decoder(kind))
    return known


def decode_json(kind: type[_T], data: bytes, where: str) -> _T:
    """The inverse of :func:`encode_json`, for the versions and features this reader knows.

    Raises:
        DamageError: not JSON of that shape.
        UnsupportedFormatError: a newer format version, or a required feature that is not known here.
    """
    try:
        probe = _decoder_of(_Versions).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamageError(f"{where}: {error}") from error
    require_features(probe.format_version, probe.required_features, where)
    try:
        return _decoder_of(kind).decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DamageError(f"{where}: {error}") from error


class _Versions(msgspec.Struct, frozen=True):
    format_version: int
    required_features: list[str] = []


def require_features(format_version: int, required_features: list[str], where: str) -> None:
    """Refuse what this version cannot read.

    Raises:
        UnsupportedFormatError: names the version or the features.
    """
    if not 1 <= format_version <= FORMAT_VERSION:
        raise UnsupportedFormatError(
            f"{where}: format version {format_version}, this mirror reads up to {FORMAT_VERSION}",
            hint="upgrade mirror: a newer version wrote it",
        )
    unknown = sorted(set(required_features) - KNOWN_FEATURES)
    if unknown:
        raise UnsupportedFormatError(
            f"{where}: needs features this mirror does not know: {', '.join(unknown)}",
            hint="upgrade mirror: a newer version wrote it",
        )
