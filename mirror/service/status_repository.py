"""What `mirror status` knows from the repository alone; looked up once, then only what was added."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.keys import DAY_MS, ROLLUP_PREFIX, parse_segment_key, segment_prefix
from mirror.core.positions import PartitionId
from mirror.core.rollup import RolledObject, rolled_object
from mirror.errors import DamageError, MirrorError, ObjectNotFoundError
from mirror.service.gone import find_gone
from mirror.storage.repository import Repository

__all__ = ["RecentPace", "RepositoryObserver", "RepositoryTotals"]

RECENT_MS = 5 * 60 * 1000
_A_MINUTE_MS = 60_000
_HOUR_MS = 60 * 60 * 1000
_LOOK_BACK_MS = 20 * 60 * 1000
_ROLLUPS_PER_DAY = 145


@dataclass(frozen=True, slots=True)
class RecentPace:
    """What was stored of a partition lately: offsets and bytes as fetched, during so many milliseconds."""

    offsets: int = 0
    fetched_bytes: int = 0
    during_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryTotals:
    """The repository as a whole.

    Attributes:
        puts_per_day: of the last day (or of its part since the first object), scaled to a day; None where that is less than an hour.
        predicted_puts_per_day: what the flush interval makes of the workers seen lately (at least one), if none flushes by size.
        damaged: objects that could not be read.
    """

    objects: int
    stored_bytes: int
    newest_object_ms: int | None
    active_writers: int
    puts_per_day: float | None
    predicted_puts_per_day: float
    damaged: int


@dataclass(slots=True)
class RepositoryObserver:
    """Keeps the indexes of a repository for repeated looks. Blocks."""

    repository: Repository
    _objects: dict[str, RolledObject] = field(default_factory=dict)
    _damaged: set[str] = field(default_factory=set)
    _looked_at_ms: int = 0
    _coverage: dict[PartitionId, PartitionCoverage] = field(default_factory=dict)

    def refresh(
        self, now_ms: int, *, on_progress: Callable[[int], None] | None = None
    ) -> dict[PartitionId, PartitionCoverage]:
        """The coverage now.

        Raises:
            AccessError, UnreachableError, StoreError: the store cannot be read.
            UnsupportedFormatError: a newer mirror wrote an object.
        """
        before = len(self._objects)
        if not self._looked_at_ms:
            loaded = self.repository.load_indexes(on_progress=on_progress, on_damage=self._note_damage)
            self._objects = {entry.key: entry for entry in loaded}
            self.repository.list_topics(on_damage=self._note_damage)
            self._damaged |= {f"{gone.writer}-{gone.sequence}" for gone in find_gone(self.repository, loaded)}
        else:
            self._add_new(now_ms)
        if len(self._objects) != before or not self._looked_at_ms:
            self._coverage = build_coverage((entry.key, entry.index) for entry in self._objects.values())
        self._looked_at_ms = now_ms
        return self._coverage

    def _add_new(self, now_ms: int) -> None:
        since_ms = self._looked_at_ms - _LOOK_BACK_MS
        hours = {segment_prefix(at_ms) for at_ms in (*range(since_ms, now_ms, _HOUR_MS), now_ms)}
        for hour in sorted(hours):
            for info in self.repository.list_segments(hour):
                if info.key in self._objects or info.key in self._damaged:
                    continue
                try:
                    index, size_bytes = self.repository.read_index(info.key)
                except (DamageError, ObjectNotFoundError) as error:
                    self._note_damage(info.key, error)
                    continue
                self._objects[info.key] = rolled_object(info.key, size_bytes, index)

    def _note_damage(self, key: str, _error: MirrorError | Exception) -> None:
        if not key.startswith(ROLLUP_PREFIX):  # a cache: the footers were read instead
            self._damaged.add(key)

    def recent(self, now_ms: int, flush_interval_ms: int) -> dict[PartitionId, RecentPace]:
        """The pace of each partition over the last five minutes."""
        offsets: dict[PartitionId, int] = defaultdict(int)
        fetched: dict[PartitionId, int] = defaultdict(int)
        first_ms: dict[PartitionId, int] = {}
        for entry in self._sealed_since(now_ms - RECENT_MS):
            for run in entry.index.runs:
                offsets[run.partition_id] += run.next_offset - run.start_offset
                fetched[run.partition_id] += run.fetched_bytes
                first_ms[run.partition_id] = min(
                    first_ms.get(run.partition_id, entry.index.sealed_at_ms), entry.index.sealed_at_ms
                )
        return {
            pid: RecentPace(count, fetched[pid], max(1, now_ms - first_ms[pid]) + flush_interval_ms)
            for pid, count in offsets.items()
        }

    def last_sealed(self) -> dict[PartitionId, int]:
        """When the newest run of each partition was sealed."""
        newest: dict[PartitionId, int] = {}
        for entry in self._objects.values():
            for run in entry.index.runs:
                newest[run.partition_id] = max(newest.get(run.partition_id, 0), entry.index.sealed_at_ms)
        return newest

    def totals(self, now_ms: int, flush_interval_ms: int) -> RepositoryTotals:
        """Objects, bytes, puts."""
        newest = max((entry.index.sealed_at_ms for entry in self._objects.values()), default=None)
        day = [entry.index.sealed_at_ms for entry in self._sealed_since(now_ms - DAY_MS)]
        during_ms = min(DAY_MS, now_ms - min(day) + flush_interval_ms) if day else 0
        pace_ms = max(_A_MINUTE_MS, 3 * flush_interval_ms)  # a worker that was stopped puts nothing any more
        writers = {parse_segment_key(entry.key).writer for entry in self._sealed_since(now_ms - pace_ms)}
        return RepositoryTotals(
            objects=len(self._objects),
            stored_bytes=sum(entry.size_bytes for entry in self._objects.values()),
            newest_object_ms=newest,
            active_writers=len(writers),
            puts_per_day=len(day) / during_ms * DAY_MS if during_ms >= _HOUR_MS else None,
            predicted_puts_per_day=max(1, len(writers)) * DAY_MS / flush_interval_ms + _ROLLUPS_PER_DAY,
            damaged=len(self._damaged),
        )

    def _sealed_since(self, since_ms: int) -> Iterable[RolledObject]:
        return (entry for entry in self._objects.values() if entry.index.sealed_at_ms >= since_ms)
