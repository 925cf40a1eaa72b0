"""Where consumer groups stood, at any moment since the backup began, from the repository alone."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from mirror.core.coverage import PartitionCoverage
from mirror.core.group_collecting import collect_positions
from mirror.core.group_log import GROUP_LOG_TOPIC, CommittedOffset
from mirror.core.keys import parse_segment_key
from mirror.core.polled_groups import is_polled
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.whole_transactions import TransactionVerdicts
from mirror.errors import NoMatchError
from mirror.service.group_folding import fold_group_log
from mirror.storage.repository import Repository

__all__ = ["GroupProblem", "GroupView", "choose_group_log", "read_groups"]

_BEGINNING_MS = 60 * 60 * 1000


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
        is_polled: whether a worker asked the brokers every few seconds: what lies between two polls is not known.
        has_missing: offsets of the group log are gone that nothing explains: commits may be unknown.
        problems: positions that are left out, since they cannot be read, and offsets of the group log that are lost or missing.
    """

    topic_id: str
    at_ms: int | None
    groups: Mapping[str, Mapping[TopicPartition, CommittedOffset]]
    known_from_ms: int | None
    newest_record_ms: int | None
    is_polled: bool = False
    has_missing: bool = False
    problems: tuple[GroupProblem, ...] = ()


def choose_group_log(
    coverages: Mapping[PartitionId, PartitionCoverage], at_ms: int | None = None
) -> dict[PartitionId, PartitionCoverage]:
    """The coverage of the group log: of the incarnation that says most of ``at_ms``, or of the present; empty where none is stored.

    Of Kafka's own logs that is the one that was begun last by then, of sessions of polling workers too; of both the one that was written
    for longer. Where both reach the moment it is Kafka's: it misses nothing.
    """
    incarnations: dict[str, dict[PartitionId, PartitionCoverage]] = {}
    for partition_id, entry in coverages.items():
        if entry.topic == GROUP_LOG_TOPIC:
            incarnations.setdefault(partition_id.topic_id, {})[partition_id] = entry
    if not incarnations:
        return {}
    ordered = sorted(incarnations.values(), key=_first_seen_ms)
    begun = [parts for parts in ordered if at_ms is None or _first_seen_ms(parts) <= at_ms] or ordered[:1]
    newest = {is_polled(next(iter(parts)).topic_id): parts for parts in begun}

    def reach_ms(is_from_polling: bool) -> tuple[int, bool]:
        written_ms = _last_written_ms(newest[is_from_polling])
        return written_ms if at_ms is None else min(written_ms, at_ms), not is_from_polling

    return newest[max(newest, key=reach_ms)]


def _last_written_ms(parts: Mapping[PartitionId, PartitionCoverage]) -> int:
    written = [parse_segment_key(entry.runs[-1].object_key).sealed_at_ms for entry in parts.values() if entry.runs]
    return max([_first_seen_ms(parts), *written])


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
    verdicts: TransactionVerdicts | None = None,
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
        verdicts: say of a transaction that wrote to other topics too whether it counts, whatever the bounds say.
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
            hint='[worker] groups = "auto" captures them; `mirror check` says what a worker lacks',
        )
    folded = fold_group_log(
        repository, chosen, at_ms=at_ms, next_offsets=next_offsets, verdicts=verdicts, on_run=on_run
    )
    found = collect_positions(folded.folds.values(), without_groups=without_groups)
    newest_ms = max(fold.newest_record_ms for fold in folded.folds.values())
    messages = [*folded.lost, *(message for _, of_one in sorted(folded.problems.items()) for message in of_one)]
    problems = [GroupProblem(group="", message=message) for message in messages]
    problems += [GroupProblem(group=group, message=message) for group, message in found.problems]
    return GroupView(
        topic_id=next(iter(chosen)).topic_id,
        at_ms=at_ms,
        groups=found.groups,
        known_from_ms=_known_from_ms(chosen),
        newest_record_ms=newest_ms if newest_ms >= 0 else None,
        is_polled=is_polled(next(iter(chosen)).topic_id),
        has_missing=folded.has_missing,
        problems=tuple(problems),
    )
