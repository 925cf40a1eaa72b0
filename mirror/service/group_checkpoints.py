"""The checkpoints of the group log in a repository: listing, reading, putting, and which of them a look-up can begin from."""

import logging
from collections.abc import Iterable, Mapping
from typing import Final

from mirror.core.coverage import PartitionCoverage
from mirror.core.group_checkpoint import (
    CheckpointPartition,
    GroupCheckpoint,
    decode_group_checkpoint,
    digest_of_reads,
    encode_group_checkpoint,
)
from mirror.core.keys import (
    GROUPS_PREFIX,
    GroupCheckpointKey,
    format_group_checkpoint_key,
    parse_group_checkpoint_key,
)
from mirror.core.positions import PartitionId
from mirror.core.run_pieces import RunPieces
from mirror.errors import DamageError, ObjectExistsError, ObjectNotFoundError, UnsupportedFormatError
from mirror.storage.repository import Repository

__all__ = ["find_checkpoints", "list_group_checkpoints", "put_group_checkpoint", "read_group_checkpoint"]

log = logging.getLogger(__name__)

_MOST_TRIES: Final = 4


def list_group_checkpoints(repository: Repository, topic_id: str) -> list[GroupCheckpointKey]:
    """Those of one incarnation of the group log, the oldest first; foreign objects are passed over (`mirror verify` names them).

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    found = []
    for info in repository.store.list(f"{GROUPS_PREFIX}{topic_id}/"):
        try:
            found.append(parse_group_checkpoint_key(info.key))
        except DamageError:
            continue
    return found


def read_group_checkpoint(repository: Repository, key: GroupCheckpointKey) -> tuple[GroupCheckpoint, int]:
    """One of them, and its size in bytes.

    Raises:
        DamageError: it is not what was written.
        UnsupportedFormatError: a newer mirror wrote it.
        ObjectNotFoundError: it was deleted meanwhile.
        AccessError, UnreachableError, StoreError: the store.
    """
    name = format_group_checkpoint_key(key)
    data = repository.store.get(name)
    checkpoint = decode_group_checkpoint(data, name)
    identity = (repository.identity.repository_id, key.topic_id, key.newest_record_ms)
    if (checkpoint.repository_id, checkpoint.topic_id, checkpoint.newest_record_ms) != identity:
        raise DamageError(f"{name}: holds another checkpoint, or one of another repository: objects were swapped")
    return checkpoint, len(data)


def put_group_checkpoint(repository: Repository, checkpoint: GroupCheckpoint, writer: str) -> str:
    """Store one; its key, or an empty text where one of that name is there already, or it is too large to be of use.

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    data = encode_group_checkpoint(checkpoint)
    if data is None:
        return ""
    name = format_group_checkpoint_key(GroupCheckpointKey(checkpoint.topic_id, checkpoint.newest_record_ms, writer))
    try:
        repository.store.put_new(name, data)
    except ObjectExistsError:
        return ""
    return name


def find_checkpoints(
    repository: Repository,
    chosen: Mapping[PartitionId, PartitionCoverage],
    *,
    at_ms: int | None = None,
    next_offsets: Mapping[PartitionId, int] | None = None,
) -> dict[PartitionId, CheckpointPartition]:
    """For each partition the newest checkpoint that holds nothing but what the look-up would read and count; none where there is none.

    One that cannot be read is passed over: it is a cache.

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    wanted = {pid: entry for pid, entry in chosen.items() if RunPieces.of(entry.runs).total("stored_bytes")}
    if not wanted:
        return {}
    newest_ms = _newest_ms(wanted.values(), next_offsets)
    bounds = [bound for bound in (at_ms, newest_ms) if bound is not None]
    keys = [
        key
        for key in list_group_checkpoints(repository, next(iter(wanted)).topic_id)
        if all(key.newest_record_ms <= bound for bound in bounds)
    ]
    found: dict[PartitionId, CheckpointPartition] = {}
    for key in keys[: -_MOST_TRIES - 1 : -1]:
        try:
            checkpoint, _ = read_group_checkpoint(repository, key)
        except (DamageError, UnsupportedFormatError, ObjectNotFoundError) as error:
            log.warning("a checkpoint is not used, more of the group log is read: %s", error)
            continue
        for part in checkpoint.partitions:
            pid = PartitionId(key.topic_id, part.partition)
            limit = None if next_offsets is None else next_offsets.get(pid, 0)
            if pid in wanted and pid not in found and _fits(part, wanted[pid], at_ms, limit):
                found[pid] = part
        if found.keys() == wanted.keys():
            break
    return found


def _newest_ms(entries: Iterable[PartitionCoverage], next_offsets: Mapping[PartitionId, int] | None) -> int | None:
    """Before the given offsets nothing is younger; None where that is not known. So checkpoints of later times are not even opened."""
    if next_offsets is None:
        return None
    times = [-1]
    for entry in entries:
        pieces = RunPieces.of(entry.runs).clipped(0, next_offsets.get(entry.partition_id, 0))
        times.append(pieces.newest_ms() or -1)
    return max(times)


def _fits(part: CheckpointPartition, entry: PartitionCoverage, at_ms: int | None, limit: int | None) -> bool:
    return (
        (at_ms is None or part.newest_record_ms <= at_ms)
        and (limit is None or part.next_offset <= limit)
        and part.next_offset <= entry.next_offset
        and part.reads == digest_of_reads(entry.runs, part.next_offset)
    )
