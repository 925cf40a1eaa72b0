"""How far each partition is safe: folded from sealed ranges, never from a maximum, and never ahead of the store.

The same fold serves the Faust table, a worker's own view, and the first look at a repository. It advances over contiguous ranges only; a
range that begins beyond the position is kept aside until the hole before it is filled. It goes back only at a fork.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mirror.core.coverage import PartitionCoverage
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

    def get(self, partition_id: PartitionId) -> SafePosition | None:
        """What is known of a partition, None where nothing ever was."""
        return self._positions.get(partition_id)

    def __len__(self) -> int:
        return len(self._positions)

    def start(self, entry: StartEntry) -> None:
        """A partition begins, unless it is known already."""
        self._positions.setdefault(PartitionId(entry.topic_id, entry.partition), SafePosition(entry.start_offset))

    def set_coverage(self, coverage: Iterable[PartitionCoverage]) -> None:
        """Take the positions of a repository's coverage."""
        for entry in coverage:
            self._positions[entry.partition_id] = SafePosition(entry.position, entry.leader_epoch)

    def fold(self, indexes: Iterable[SegmentIndex]) -> None:
        """Fold segments sealed later: starts, runs by offset, gaps, then forks."""
        runs: list[RunEntry | GapEntry] = []
        starts: list[StartEntry] = []
        forks: list[ForkEntry] = []
        for index in indexes:
            starts += index.starts
            runs += index.runs
            runs += index.gaps
            forks += index.forks
        for start in starts:
            self.start(start)
        for run in sorted(runs, key=lambda entry: entry.start_offset):
            epochs = run.leader_epochs if isinstance(run, RunEntry) else []
            found = self._positions.setdefault(PartitionId(run.topic_id, run.partition), SafePosition(run.start_offset))
            found.cover(run.start_offset, run.next_offset, epochs[-1][0] if epochs else -1)
        for fork in forks:
            known = self._positions.get(PartitionId(fork.topic_id, fork.partition))
            if known is not None:
                known.fork(fork.fork_offset, fork.last_leader_epoch)
