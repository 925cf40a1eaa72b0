"""Checkpoints of the group log: what folding its partitions came to, up to an offset of each; nobody folds from the beginning again.

A checkpoint is a cache. It names by a digest what was read for it; whoever would read something else (an object that came late, a fork,
another copy) does not use it.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
import numpy as np
import xxhash

from mirror.core.coverage import CoveredRun
from mirror.core.group_log import CommitRecord, GroupLogFold, TransactionVerdict
from mirror.core.run_pieces import RunPieces
from mirror.core.segment.index import FORMAT_VERSION, Count, Offset, Signed64, Timestamp, decode_json
from mirror.core.segment.layout import (
    HEADER_BYTES,
    INDEX_LIMIT_BYTES,
    check_header,
    decode_payload,
    decode_trailer,
    encode_rollup_frame,
)
from mirror.errors import DamageError

__all__ = [
    "CheckpointCommit",
    "CheckpointPartition",
    "CheckpointTransaction",
    "GroupCheckpoint",
    "checkpoint_of",
    "decode_group_checkpoint",
    "digest_of_reads",
    "encode_group_checkpoint",
    "fold_from",
]


class CheckpointCommit(msgspec.Struct, frozen=True, array_like=True):
    """A record that counts: its key (version 1) and value as in the log, its offset, and from when on it counts."""

    key: bytes
    value: bytes
    offset: Offset
    timestamp_ms: Timestamp


class CheckpointTransaction(msgspec.Struct, frozen=True, kw_only=True):
    """What an open transaction commits if it ends so."""

    producer_id: Signed64
    commits: list[CheckpointCommit]


class CheckpointPartition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One partition, folded up to ``next_offset``; ``reads`` is :func:`digest_of_reads` of what was read for it."""

    partition: Count
    next_offset: Offset
    reads: str
    newest_record_ms: Timestamp = -1
    commits: list[CheckpointCommit] = []
    open_transactions: list[CheckpointTransaction] = []
    problems: list[str] = []


class GroupCheckpoint(msgspec.Struct, frozen=True, kw_only=True):
    """The partitions of one incarnation of the group log."""

    format_version: Count = FORMAT_VERSION
    repository_id: str
    topic_id: str
    newest_record_ms: Timestamp
    created_at_ms: Timestamp
    partitions: list[CheckpointPartition]
    required_features: list[str] = []


def digest_of_reads(pieces: Sequence[CoveredRun], next_offset: int) -> str:
    """Which stored bytes answer for the offsets before ``next_offset``: xxh3_128 over start, end and checksum of each piece, in order."""
    read = RunPieces.of(pieces).clipped(0, next_offset)
    columns = (read.start_offsets, read.next_offsets, read.column("checksum_high"), read.column("checksum_low"))
    return xxhash.xxh3_128_hexdigest(np.stack(columns, axis=1).astype(">i8").tobytes())


def checkpoint_of(
    fold: GroupLogFold, partition: int, pieces: Sequence[CoveredRun], problems: Sequence[str]
) -> CheckpointPartition:
    """What a partition's fold came to after all of ``pieces``, which are not empty."""
    next_offset = pieces[-1].next_offset
    return CheckpointPartition(
        partition=partition,
        next_offset=next_offset,
        reads=digest_of_reads(pieces, next_offset),
        newest_record_ms=fold.newest_record_ms,
        commits=_commits(fold.entries),
        open_transactions=[
            CheckpointTransaction(producer_id=producer_id, commits=_commits(pending))
            for producer_id, pending in sorted(fold.open_transactions.items())
        ],
        problems=list(problems),
    )


def fold_from(
    checkpoint: CheckpointPartition,
    *,
    at_ms: int | None = None,
    next_offset: int | None = None,
    verdict: TransactionVerdict | None = None,
) -> GroupLogFold:
    """A fold that goes on behind the checkpoint; see :class:`mirror.core.group_log.GroupLogFold` for the bounds."""
    return GroupLogFold(
        at_ms=at_ms,
        next_offset=next_offset,
        verdict=verdict,
        entries=_records(checkpoint.commits),
        open_transactions={open_.producer_id: _records(open_.commits) for open_ in checkpoint.open_transactions},
        newest_record_ms=checkpoint.newest_record_ms,
    )


def encode_group_checkpoint(checkpoint: GroupCheckpoint) -> bytes | None:
    """The checkpoint as an object; None where it would be larger than a reader takes."""
    payload = msgspec.json.encode(checkpoint)
    return encode_rollup_frame(payload) if len(payload) <= INDEX_LIMIT_BYTES else None


def decode_group_checkpoint(data: bytes, where: str) -> GroupCheckpoint:
    """The inverse of :func:`encode_group_checkpoint`.

    Raises:
        DamageError: the object is not a sound checkpoint; it can be deleted.
        UnsupportedFormatError: a newer version.
    """
    check_header(data, where)
    trailer = decode_trailer(data, len(data), where)
    if trailer.index_position != HEADER_BYTES:
        raise DamageError(f"{where}: is not a checkpoint: something stands before its JSON")
    return decode_json(GroupCheckpoint, decode_payload(data, trailer, where), where)


def _commits(entries: Mapping[bytes, CommitRecord]) -> list[CheckpointCommit]:
    return [CheckpointCommit(key, one.value, one.offset, one.timestamp_ms) for key, one in sorted(entries.items())]


def _records(commits: Iterable[CheckpointCommit]) -> dict[bytes, CommitRecord]:
    return {one.key: CommitRecord(one.offset, one.timestamp_ms, one.value) for one in commits}
