"""Folds the stored group log up to a moment or offset: from a checkpoint where one fits, which changes no answer."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mirror.core.compression import unpack
from mirror.core.coverage import PartitionCoverage
from mirror.core.group_checkpoint import fold_from
from mirror.core.group_log import GROUP_LOG_TOPIC, GroupLogFold
from mirror.core.group_records import keyed_records
from mirror.core.positions import PartitionId
from mirror.core.record_batch import TRANSACTIONAL_BIT, is_commit_key
from mirror.core.run_pieces import RunPieces
from mirror.core.whole_transactions import TransactionVerdicts
from mirror.errors import DamageError
from mirror.service.group_checkpoints import find_checkpoints
from mirror.service.reading import ClippedBatch, iterate_runs
from mirror.storage.repository import Repository

__all__ = ["FoldedGroupLog", "fold_batch", "fold_group_log"]

_THREADS = 8  # many small runs: the store's answers are waited for, not the processor
_CLOCK_SLACK_MS = 10 * 60 * 1000
_NO_LIMIT = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldedGroupLog:
    """What folding came to.

    Attributes:
        folds: by partition.
        problems: what of a partition cannot be understood, in the order of its offsets.
        lost: offsets that are lost or missing, as text.
        has_missing: some of them are missing: nothing explains why they are not stored.
        read_bytes: stored bytes of the runs that were read.
    """

    folds: dict[PartitionId, GroupLogFold]
    problems: dict[PartitionId, list[str]]
    lost: list[str] = field(default_factory=list)
    has_missing: bool = False
    read_bytes: int = 0


def fold_group_log(
    repository: Repository,
    chosen: Mapping[PartitionId, PartitionCoverage],
    *,
    at_ms: int | None = None,
    next_offsets: Mapping[PartitionId, int] | None = None,
    verdicts: TransactionVerdicts | None = None,
    with_checkpoints: bool = True,
    on_run: Callable[[int, int], None] | None = None,
) -> FoldedGroupLog:
    """Fold the partitions of one incarnation.

    Args:
        repository: where from.
        chosen: the coverage of each partition.
        at_ms: only records up to this time, by the brokers' clock; None: all that are stored.
        next_offsets: only records before these offsets, and nothing of partitions that are not named; None: all.
        verdicts: say of a transaction that wrote to other topics too whether it counts, whatever the bounds say.
        with_checkpoints: whether to begin from checkpoints.
        on_run: told ``(bytes read so far, bytes in all)``.

    Raises:
        DamageError: what is stored of it is not what was written.
        UnreachableError, AccessError, StoreError: the store cannot be read.
    """
    wanted = {pid: _needed(entry, at_ms, next_offsets, verdicts) for pid, entry in chosen.items()}
    lost = [
        one
        for pid, entry in wanted.items()
        for one in _lost(entry, None if next_offsets is None else next_offsets.get(pid, 0))
    ]
    found = (
        find_checkpoints(repository, chosen, at_ms=_not_after(at_ms, verdicts), next_offsets=next_offsets)
        if with_checkpoints and any(entry.runs for entry in wanted.values())
        else {}
    )
    folds: dict[PartitionId, GroupLogFold] = {}
    problems: dict[PartitionId, list[str]] = {}
    for pid, entry in wanted.items():
        limit = None if next_offsets is None else next_offsets.get(pid, 0)
        checkpoint = found.get(pid)
        if checkpoint is None:
            folds[pid], problems[pid] = GroupLogFold(at_ms=at_ms, next_offset=limit, verdict=verdicts), []
        else:
            folds[pid] = fold_from(checkpoint, at_ms=at_ms, next_offset=limit, verdict=verdicts)
            problems[pid] = list(checkpoint.problems)
            wanted[pid] = replace(entry, runs=RunPieces.of(entry.runs).clipped(checkpoint.next_offset, _NO_LIMIT))
    total_bytes = sum(RunPieces.of(entry.runs).total("stored_bytes") for entry in wanted.values())
    done_bytes = 0
    for loaded in iterate_runs(repository, list(wanted.values()), threads=_THREADS):
        pid = loaded.partition_id
        for clipped in loaded.batches():
            problems[pid] += fold_batch(folds[pid], clipped, pid.partition)
        done_bytes += loaded.run.stored_bytes
        if on_run:
            on_run(done_bytes, total_bytes)
    return FoldedGroupLog(
        folds=folds,
        problems=problems,
        lost=[words for _, words in lost],
        has_missing=any(is_missing for is_missing, _ in lost),
        read_bytes=total_bytes,
    )


def _not_after(at_ms: int | None, verdicts: TransactionVerdicts | None) -> int | None:
    """A checkpoint that knows a transaction which does not count is of no use."""
    bounds = [at_ms, None if verdicts is None else verdicts.oldest_outside_ms]
    return min((bound for bound in bounds if bound is not None), default=None)


def _needed(
    entry: PartitionCoverage,
    at_ms: int | None,
    next_offsets: Mapping[PartitionId, int] | None,
    verdicts: TransactionVerdicts | None,
) -> PartitionCoverage:
    """Without the runs that cannot hold a record of interest. Clocks of brokers differ, by far less than the slack."""
    pieces = RunPieces.of(entry.runs)
    base_ms = pieces.column("min_base_timestamp_ms")  # less than any time where there is none
    needed = np.ones(len(pieces), dtype=np.bool_)
    if at_ms is not None:
        needed &= base_ms <= at_ms + _CLOCK_SLACK_MS
    if next_offsets is not None:
        beyond = pieces.start_offsets >= next_offsets.get(entry.partition_id, 0)
        # A transaction may count though its marker lies beyond.
        needed &= ~beyond if verdicts is None else ~beyond | (base_ms <= verdicts.newest_ms)
    return replace(entry, runs=pieces if needed.all() else pieces.chosen(needed))


def _lost(entry: PartitionCoverage, limit: int | None) -> list[tuple[bool, str]]:
    """What is not stored of the log may have moved any group of that partition: whether nothing explains it, and words."""
    # Whatever lies beyond what is read is of a later time, but what directly follows it may be of this one.
    beyond = entry.runs[-1].next_offset if entry.runs else entry.start_offset
    gone = [(gap.start_offset, gap.next_offset, f"lost: {gap.reason}") for gap in entry.gaps]
    gone += [(hole.start_offset, hole.next_offset, "missing") for hole in entry.missing]
    where = f"{entry.topic}-{entry.partition_id.partition}"
    return [
        (why == "missing", f"{where}: offsets [{start}, {following}) are {why}: commits may be unknown")
        for start, following, why in sorted(gone)
        if start <= beyond and (limit is None or start < limit)
    ]


def fold_batch(fold: GroupLogFold, clipped: ClippedBatch, partition: int) -> list[str]:
    """Fold the records that are meant of a batch of ``partition``; what cannot be understood, in words.

    Raises:
        BatchDamageError: the body is not what its header says.
    """
    batch = clipped.batch
    header = batch.header
    producer_id = header.producer_id if header.attributes & TRANSACTIONAL_BIT else None
    problems = []
    for offset, timestamp_ms, key, value in keyed_records(
        header, batch.body if batch.unpacked else unpack(header.codec, batch.body)
    ):
        if not clipped.start_offset <= offset < clipped.next_offset:
            continue
        try:
            if header.is_control:
                fold.end_transaction(
                    offset, timestamp_ms, header.producer_id, header.producer_epoch, is_commit=is_commit_key(key)
                )
            else:
                fold.add(offset, timestamp_ms, key, value, producer_id=producer_id)
        except DamageError as error:
            problems.append(f"{GROUP_LOG_TOPIC}-{partition} at offset {offset}: {error.message}")
    return problems
