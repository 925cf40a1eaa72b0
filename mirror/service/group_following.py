"""Where all consumer groups stand now, as far as it is stored: follows SegmentSealed events, and reads the new objects they name."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.events import SealedEvent, SealedRun
from mirror.core.group_collecting import PositionCollector
from mirror.core.group_log import GROUP_LOG_TOPIC, CommitKey, CommittedOffset, GroupLogFold
from mirror.core.polled_groups import is_polled
from mirror.core.positions import PartitionId
from mirror.core.run_pieces import RunPieces
from mirror.core.table_coverage import cover_table
from mirror.service.group_folding import fold_batch, fold_group_log
from mirror.service.groups import choose_group_log
from mirror.service.reading import iterate_runs
from mirror.storage.repository import Repository
from mirror.storage.table_loading import load_table

__all__ = ["FollowedGroups", "GroupFollower"]

_NO_LIMIT: Final = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowedGroups:
    """Where groups stand; ``newest_record_ms`` is the time of the newest record that counted, −1 without one."""

    topic_id: str
    is_polled: bool
    newest_record_ms: int
    positions: Mapping[CommitKey, CommittedOffset]


class GroupFollower:
    """Folds the group log once from the repository, and goes on from there event by event. Blocks; one call at a time works.

    Events may come twice, out of order among writers, or not at all: what does not follow on what is known makes it fold anew. So its
    answer is always that of :func:`mirror.service.groups.read_groups` over what was told so far, or over more.

    Args:
        repository: where from.
    """

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._lock = threading.Lock()  # a call whose agent was cancelled still works in its thread
        self._is_stale = True
        self._topic_id: str | None = None
        self._folds: dict[int, GroupLogFold] = {}
        self._reached: dict[int, int] = {}
        self._collector = PositionCollector()

    def forget(self) -> None:
        """Fold anew at the next call: somebody else may have been told what this one was not. Any thread may call it."""
        self._is_stale = True

    def follow(self, events: Sequence[SealedEvent]) -> FollowedGroups | None:
        """Take in events; None while nothing of the group log is stored.

        Raises:
            DamageError: what is stored of the group log is not what was written.
            ObjectNotFoundError, AccessError, UnreachableError, StoreError: the store. After any error the next call folds anew.
        """
        with self._lock:
            return self._follow(events)

    def _follow(self, events: Sequence[SealedEvent]) -> FollowedGroups | None:
        known, is_stale = self._topic_id, self._is_stale
        self._topic_id, self._is_stale = None, False
        if known is None or is_stale or not all(self._goes_on(known, event) for event in events):
            known = self._fold_anew()
        self._topic_id = known
        if known is None:
            return None
        return FollowedGroups(
            topic_id=known,
            is_polled=is_polled(known),
            newest_record_ms=max((fold.newest_record_ms for fold in self._folds.values()), default=-1),
            positions=self._collector.collect(self._folds.values()),
        )

    def _goes_on(self, topic_id: str, event: SealedEvent) -> bool:
        """Fold what an event adds; False where it does not follow on what is known."""
        if event.repository_id != self._repository.identity.repository_id:
            return True
        if any(fork.topic_id == topic_id for fork in event.forks):
            return False
        runs = [run for run in event.runs if run.topic == GROUP_LOG_TOPIC]
        added = [
            run for run in runs if run.topic_id != topic_id or run.next_offset > self._reached.get(run.partition, 0)
        ]
        if any(run.topic_id != topic_id or run.start_offset > self._reached.get(run.partition, 0) for run in added):
            return False
        if added:
            if event.key is None:
                return False  # `mirror repair table`
            self._fold_object(event.key, added)
        for run in added:
            self._reached[run.partition] = max(run.next_offset, self._reached.get(run.partition, 0))
        return True

    def _fold_object(self, key: str, added: Sequence[SealedRun]) -> None:
        index, _ = self._repository.read_index(key)
        wanted = {PartitionId(run.topic_id, run.partition) for run in added}
        entries = [
            self._beyond(entry) for pid, entry in build_coverage([(key, index)]).items() if pid in wanted and entry.runs
        ]
        for loaded in iterate_runs(self._repository, entries):
            fold = self._folds.setdefault(loaded.partition_id.partition, GroupLogFold())
            for clipped in loaded.batches():
                fold_batch(fold, clipped, loaded.partition_id.partition)

    def _beyond(self, entry: PartitionCoverage) -> PartitionCoverage:
        reached = self._reached.get(entry.partition_id.partition, 0)
        return replace(entry, runs=RunPieces.of(entry.runs).clipped(reached, _NO_LIMIT))

    def _fold_anew(self) -> str | None:
        coverages = cover_table(load_table(self._repository, on_damage=lambda _key, _error: None).table)
        chosen = choose_group_log(coverages)
        folded = fold_group_log(self._repository, chosen)
        self._folds = {pid.partition: fold for pid, fold in folded.folds.items()}
        self._reached = {pid.partition: entry.next_offset for pid, entry in chosen.items()}
        return next(iter(chosen)).topic_id if chosen else None
