"""Where consumer groups stood, at any moment since the backup began, from the repository alone."""

import struct
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from mirror.core.compression import unpack
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.group_log import GROUP_LOG_TOPIC, CommittedOffset, GroupLogFold, collect_positions
from mirror.core.group_records import keyed_records
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.record_batch import TRANSACTIONAL_BIT
from mirror.errors import DamageError, NoMatchError
from mirror.service.reading import ClippedBatch, iterate_runs
from mirror.storage.repository import Repository

__all__ = ["GroupProblem", "GroupView", "choose_group_log", "read_groups"]

_THREADS = 8  # many small runs: the store's answers are waited for, not the processor
_CLOCK_SLACK_MS = 10 * 60 * 1000
_BEGINNING_MS = 60 * 60 * 1000
_COMMIT_MARKER = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupProblem:
    """Something of the group log that cannot be understood; ``group`` is empty where not even that is known."""

    group: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupView:
    """Where groups stood at one moment.

    Attributes:
        topic_id: the incarnation of the group log that was read.
        at_ms: the moment that was asked for; None for the newest stored.
        groups: group → partition → position, sorted by name.
        known_from_ms: when the capture of the last partition began: of the time before nothing is known; None where no start is stored.
        newest_record_ms: time of the newest record that was read, None without one.
        problems: positions that are left out, since they cannot be read, and offsets of the group log that are lost or missing.
    """

    topic_id: str
    at_ms: int | None
    groups: Mapping[str, Mapping[TopicPartition, CommittedOffset]]
    known_from_ms: int | None
    newest_record_ms: int | None
    problems: tuple[GroupProblem, ...] = ()


def choose_group_log(
    coverages: Mapping[PartitionId, PartitionCoverage], at_ms: int | None = None
) -> dict[PartitionId, PartitionCoverage]:
    """The coverage of the group log: of its newest incarnation, or of the one that was captured at ``at_ms``; empty where none is."""
    incarnations: dict[str, dict[PartitionId, PartitionCoverage]] = {}
    for partition_id, entry in coverages.items():
        if entry.topic == GROUP_LOG_TOPIC:
            incarnations.setdefault(partition_id.topic_id, {})[partition_id] = entry
    if not incarnations:
        return {}
    ordered = sorted(incarnations.values(), key=_first_seen_ms)
    begun = [parts for parts in ordered if at_ms is None or _first_seen_ms(parts) <= at_ms]
    return (begun or ordered[:1])[-1]


def _first_seen_ms(parts: Mapping[PartitionId, PartitionCoverage]) -> int:
    return min((entry.start.recorded_at_ms for entry in parts.values() if entry.start is not None), default=0)


def _known_from_ms(parts: Mapping[PartitionId, PartitionCoverage]) -> int | None:
    """When the last of the partitions was begun with that were there; what was added to the group log later began empty."""
    first_ms = _first_seen_ms(parts)
    starts = [entry.start for entry in parts.values() if entry.start is not None]
    return max(
        (s.recorded_at_ms for s in starts if s.start_offset or s.recorded_at_ms - first_ms < _BEGINNING_MS),
        default=None,
    )


def read_groups(
    repository: Repository,
    coverages: Mapping[PartitionId, PartitionCoverage],
    *,
    at_ms: int | None = None,
    next_offsets: Mapping[PartitionId, int] | None = None,
    without_groups: Collection[str] = (),
    on_run: Callable[[int, int], None] | None = None,
) -> GroupView:
    """Read the group log and fold it.

    Args:
        repository: where from.
        coverages: of all that is stored; what is not of the group log is passed over.
        at_ms: only commits up to this time, by the brokers' clock; None: all that are stored.
        next_offsets: only records before these offsets of the group log's partitions, and nothing of partitions that are not named;
            None: all.
        without_groups: further groups to leave out; those of mirrors are never given.
        on_run: told ``(bytes read so far, bytes in all)``.

    Raises:
        NoMatchError: nothing of the group log is stored.
        DamageError: what is stored of it is not what was written.
        UnreachableError, AccessError, StoreError: the store cannot be read.
    """
    chosen = choose_group_log(coverages, at_ms)
    if not chosen:
        raise NoMatchError(
            "no consumer group is stored: the group log was not captured",
            hint='[worker] groups = "auto" captures it where the worker may read __consumer_offsets; `mirror check` says what it lacks',
        )
    folds = {
        partition_id: GroupLogFold(
            at_ms=at_ms, next_offset=None if next_offsets is None else next_offsets.get(partition_id, 0)
        )
        for partition_id in chosen
    }
    wanted = [_needed(entry, at_ms, next_offsets) for entry in chosen.values()]
    total_bytes = sum(piece.run.stored_bytes for entry in wanted for piece in entry.runs)
    problems = [problem for entry in wanted for problem in _lost(entry)]
    done_bytes, newest_ms = 0, -1
    for loaded in iterate_runs(repository, wanted, threads=_THREADS):
        fold = folds[loaded.partition_id]
        for clipped in loaded.batches():
            written_ms = clipped.batch.header.max_timestamp
            newest_ms = max(newest_ms, written_ms if at_ms is None or written_ms <= at_ms else -1)
            problems += _fold_batch(fold, clipped, loaded.run.partition)
        done_bytes += loaded.run.stored_bytes
        if on_run:
            on_run(done_bytes, total_bytes)
    found = collect_positions(folds.values(), without_groups=without_groups)
    problems += [GroupProblem(group=group, message=message) for group, message in found.problems]
    return GroupView(
        topic_id=next(iter(chosen)).topic_id,
        at_ms=at_ms,
        groups=found.groups,
        known_from_ms=_known_from_ms(chosen),
        newest_record_ms=newest_ms if newest_ms >= 0 else None,
        problems=tuple(problems),
    )


def _needed(
    entry: PartitionCoverage, at_ms: int | None, next_offsets: Mapping[PartitionId, int] | None
) -> PartitionCoverage:
    """Without the runs that cannot hold a record of interest. Clocks of brokers differ, by far less than the slack."""
    limit = None if next_offsets is None else next_offsets.get(entry.partition_id, 0)

    def is_needed(piece: CoveredRun) -> bool:
        base_ms = piece.run.min_base_timestamp_ms
        return (limit is None or piece.start_offset < limit) and (
            at_ms is None or base_ms is None or base_ms <= at_ms + _CLOCK_SLACK_MS
        )

    return replace(entry, runs=[piece for piece in entry.runs if is_needed(piece)])


def _lost(entry: PartitionCoverage) -> list[GroupProblem]:
    """What is not stored of the log may have moved any group of that partition."""
    first = entry.runs[0].start_offset if entry.runs else 0
    last = entry.runs[-1].next_offset if entry.runs else 0
    gone = [(gap.start_offset, gap.next_offset, f"lost: {gap.reason}") for gap in entry.gaps]
    gone += [(hole.start_offset, hole.next_offset, "missing") for hole in entry.missing]
    where = f"{entry.topic}-{entry.partition_id.partition}"
    return [
        GroupProblem(group="", message=f"{where}: offsets [{start}, {following}) are {why}: commits may be unknown")
        for start, following, why in sorted(gone)
        if first <= start < last
    ]


def _fold_batch(fold: GroupLogFold, clipped: ClippedBatch, partition: int) -> list[GroupProblem]:
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
                fold.end_transaction(offset, timestamp_ms, header.producer_id, is_commit=_is_commit(key))
            else:
                fold.add(offset, timestamp_ms, key, value, producer_id=producer_id)
        except DamageError as error:
            message = f"{GROUP_LOG_TOPIC}-{partition} at offset {offset}: {error.message}"
            problems.append(GroupProblem(group="", message=message))
    return problems


def _is_commit(key: bytes | None) -> bool:
    if key is None or len(key) < 4:
        raise DamageError("a transaction marker without a type")
    kind: int = struct.unpack_from(">h", key, 2)[0]
    return kind == _COMMIT_MARKER
