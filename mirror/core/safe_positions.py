"""How far each partition is safe: folded from sealed ranges, never from a maximum, and never ahead of the store.

The same fold serves the Faust table, a worker's own view, and the first look at a repository. It advances over contiguous ranges only; a
range that begins beyond the position is kept aside until the hole before it is filled. It goes back only at a fork.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mirror.core.coverage import PartitionCoverage, split_at_forks
from mirror.core.positions import PartitionId
from mirror.core.segment.index import ForkEntry, GapEntry, RunEntry, SegmentIndex, StartEntry

__all__ = ["PositionsBook", "SafePosition"]

_MOST_PENDING = 1000


@dataclass(slots=True)
class SafePosition:
    """The end of contiguous coverage of one partition incarnation.

    ``leader_epoch`` is that of the last batch before ``next_offset`` (−1 unknown); ``pending`` are ranges beyond it,
    ``(start_offset, next_offset, leader_epoch)`` in ascending order.
    """

    next_offset: int
    leader_epoch: int = -1
    pending: list[tuple[int, int, int]] = field(default_factory=list)

    def cover(self, start_offset: int, next_offset: int, leader_epoch: int) -> bool:
        """Fold a range; True if the position moved."""
        if start_offset > self.next_offset:
            if len(self.pending) < _MOST_PENDING and (start_offset, next_offset, leader_epoch) not in self.pending:
                self.pending.append((start_offset, next_offset, leader_epoch))
                self.pending.sort()
            return False
        if next_offset <= self.next_offset:
            return False
        self._advance(next_offset, leader_epoch)
        while self.pending and self.pending[0][0] <= self.next_offset:
            _, following, epoch = self.pending.pop(0)
            if following > self.next_offset:
                self._advance(following, epoch)
        return True

    def fork(self, fork_offset: int, last_leader_epoch: int) -> bool:
        """Fold a truncation of the log; True if the position went back."""
        if self.next_offset <= fork_offset or self.leader_epoch > last_leader_epoch:
            return False
        self.next_offset = fork_offset
        self.leader_epoch = -1
        self.pending = [entry for entry in self.pending if entry[2] > last_leader_epoch]
        return True

    def _advance(self, next_offset: int, leader_epoch: int) -> None:
        self.next_offset = next_offset
        if leader_epoch >= 0:
            self.leader_epoch = leader_epoch


class PositionsBook:
    """Safe positions of many partitions."""

    def __init__(self) -> None:
        self._positions: dict[PartitionId, SafePosition] = {}
        self._forks: dict[PartitionId, list[ForkEntry]] = {}

    def get(self, partition_id: PartitionId) -> SafePosition | None:
        """What is known of a partition, None where nothing ever was."""
        return self._positions.get(partition_id)

    def __len__(self) -> int:
        return len(self._positions)

    def start(self, entry: StartEntry) -> None:
        """A partition begins, unless it is known already."""
        self._positions.setdefault(PartitionId(entry.topic_id, entry.partition), SafePosition(entry.start_offset))

    def set_coverage(self, coverage: Iterable[PartitionCoverage], forks: Iterable[ForkEntry] = ()) -> None:
        """Take the positions of a repository's coverage, and the forks that it was made with."""
        for entry in coverage:
            self._positions[entry.partition_id] = SafePosition(entry.position, entry.leader_epoch)
        for fork in forks:
            self._learn(fork)

    def fold(self, indexes: Iterable[SegmentIndex]) -> None:
        """Fold segments, also ones that were folded before: starts, new forks, then runs and gaps by offset.

        Of a run only what no fork cut off counts: a cut tail must never close a hole of the log that replaced it.
        """
        found = list(indexes)
        for index in found:
            for start in index.starts:
                self.start(start)
            for fork in index.forks:
                known = self._positions.get(PartitionId(fork.topic_id, fork.partition))
                if self._learn(fork) and known is not None:
                    known.fork(fork.fork_offset, fork.last_leader_epoch)
        ranges = [piece for index in found for run in index.runs for piece in self._ranges(run, index.sealed_at_ms)]
        for index in found:
            ranges += [(gap.start_offset, gap.next_offset, -1, _whose(gap)) for gap in index.gaps]
        for start_offset, next_offset, epoch, whose in sorted(ranges):
            self._positions.setdefault(whose, SafePosition(start_offset)).cover(start_offset, next_offset, epoch)

    def _learn(self, fork: ForkEntry) -> bool:
        known = self._forks.setdefault(_whose(fork), [])
        if fork in known:
            return False
        known.append(fork)
        return True

    def _ranges(self, run: RunEntry, sealed_at_ms: int) -> list[tuple[int, int, int, PartitionId]]:
        pieces = split_at_forks(run, sealed_at_ms, self._forks.get(_whose(run), ()))
        return [
            (start_offset, next_offset, _epoch_before(run, next_offset), _whose(run))
            for start_offset, next_offset, is_cut in pieces
            if not is_cut
        ]


def _whose(entry: RunEntry | GapEntry | ForkEntry) -> PartitionId:
    return PartitionId(entry.topic_id, entry.partition)


def _epoch_before(run: RunEntry, next_offset: int) -> int:
    return max((epoch for epoch, first in run.leader_epochs if first < next_offset), default=-1)
