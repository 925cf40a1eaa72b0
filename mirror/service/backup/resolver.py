"""Where each assigned partition goes on: from the repository, which is the truth; the table tells whether we have read all of it.

A table that knows more than we do speaks of objects that came after our last look, so we look again. What is not there then is there
no more (somebody deleted it, or it cannot be read), and is fetched again. A partition that was never seen gets a start, which is durable
before its first fetch: else `latest`, killed before the first flush, would begin again later and lose what came between.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

from mirror.core.coverage import build_coverage
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.keys import parse_segment_key
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.safe_positions import PositionsBook, SafePosition
from mirror.core.segment.index import SegmentIndex, StartEntry
from mirror.errors import MirrorError
from mirror.kafka.cluster import LogOffsets, log_offsets
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.source_state import FetchPosition
from mirror.storage.repository import Repository

__all__ = ["PositionResolver"]

log = logging.getLogger(__name__)

_OVERLAP_MS = 20 * 60 * 1000


class PositionResolver:
    """Resolves positions; one at a time.

    Args:
        repository: read when a worker starts, and again (only what is new) when partitions come from another worker.
        view: topic ids and leaders.
        look_up: what the table says of a partition.
        put_starts: makes start entries durable.
        start: where a partition begins that was never seen; the group log always at its earliest: only all of it tells where groups stand.
    """

    def __init__(
        self,
        repository: Repository,
        view: ClusterView,
        *,
        look_up: Callable[[PartitionId], SafePosition | None],
        put_starts: Callable[[list[StartEntry]], Awaitable[None]],
        start: Literal["earliest", "latest"],
    ) -> None:
        self._repository = repository
        self._view = view
        self._look_up = look_up
        self._put_starts = put_starts
        self._start = start
        self._book = PositionsBook()
        self._loaded_at_ms = 0
        self._at_start: dict[PartitionId, tuple[int, int]] = {}
        self._lock = asyncio.Lock()

    async def load(self) -> None:
        """Read the repository's coverage, or what was added since the last time.

        Raises:
            MirrorError: the store cannot be read; nothing is known then.
        """
        async with self._lock:
            now_ms = int(time.time() * 1000)
            since_ms = max(0, self._loaded_at_ms - _OVERLAP_MS)
            first = not self._loaded_at_ms
            objects = await asyncio.to_thread(
                self._repository.load_indexes, on_damage=_report_damage, since_ms=since_ms
            )
            if first:
                coverage = build_coverage((entry.key, entry.index) for entry in objects)
                self._at_start = {
                    pid: (one.position, parse_segment_key(one.runs[-1].object_key).sealed_at_ms)
                    for pid, one in coverage.items()
                    if one.runs
                }
                self._book.set_coverage(coverage.values(), [fork for entry in objects for fork in entry.index.forks])
            else:
                self._book.fold(entry.index for entry in objects)
            self._loaded_at_ms = now_ms

    async def resolve(self, tps: set[TopicPartition]) -> dict[TopicPartition, FetchPosition]:
        """Positions of partitions; those whose topic is not there are left out.

        Call :meth:`load` before, where another worker may have written to them since the last load.

        Raises:
            MirrorError: store or cluster cannot be asked; the caller tries again.
        """
        if not self._loaded_at_ms:
            await self.load()
        present = {tp: topic_id for tp in tps if (topic_id := self._view.topic_id(tp.topic)) is not None}
        if ahead := self._ahead(present):
            await self.load()
            self._report_gone(self._ahead({tp: present[tp] for tp in ahead}))
        found: dict[TopicPartition, FetchPosition] = {}
        unseen: dict[TopicPartition, str] = {}
        for tp, topic_id in present.items():
            safe = self.safe_position(PartitionId(topic_id, tp.partition))
            if safe is None:
                unseen[tp] = topic_id
            else:
                found[tp] = FetchPosition(topic_id, safe.next_offset, safe.leader_epoch)
        if unseen:
            found.update(await self._begin(unseen))
        return found

    async def stored_at_start(self, topic_id: str) -> dict[int, tuple[int, int]]:
        """Of an incarnation, what was stored when this worker started: partition → its end, and when that was stored (ms).

        Raises:
            MirrorError: the store cannot be read.
        """
        if not self._loaded_at_ms:
            await self.load()
        return {pid.partition: found for pid, found in self._at_start.items() if pid.topic_id == topic_id}

    def fold(self, index: SegmentIndex) -> None:
        """An object of ours became durable."""
        self._book.fold((index,))

    def durable_offset(self, partition_id: PartitionId) -> int:
        """How far a partition of ours is durable, 0 where nothing is known."""
        known = self._book.get(partition_id)
        return known.next_offset if known is not None else 0

    def safe_position(self, partition_id: PartitionId) -> SafePosition | None:
        """How far a partition of ours is safe in the repository, as last read and as written since."""
        return self._book.get(partition_id)

    def _ahead(self, present: Mapping[TopicPartition, str]) -> dict[TopicPartition, int]:
        """Partitions of which the table says more than we know, and what it says."""
        found = {}
        for tp, topic_id in present.items():
            partition_id = PartitionId(topic_id, tp.partition)
            told, known = self._look_up(partition_id), self._book.get(partition_id)
            if told is not None and (known is None or known.next_offset < told.next_offset):
                found[tp] = told.next_offset
        return found

    def _report_gone(self, gone: Mapping[TopicPartition, int]) -> None:
        for tp, told in sorted(gone.items()):
            topic_id = self._view.topic_id(tp.topic)
            stored = self.durable_offset(PartitionId(topic_id, tp.partition)) if topic_id else 0
            log.error(
                "%s was stored up to %d, but the repository has it up to %d only: an object is gone or cannot be read; "
                "what the source still has is fetched again",
                tp,
                told,
                stored,
            )

    async def _begin(self, unseen: Mapping[TopicPartition, str]) -> dict[TopicPartition, FetchPosition]:
        logs = await self._log_offsets(set(unseen))
        now_ms = int(time.time() * 1000)
        starts = []
        for tp, offsets in logs.items():
            where = "earliest" if tp.topic == GROUP_LOG_TOPIC else self._start
            offset = offsets.log_start_offset if where == "earliest" else offsets.last_stable_offset
            starts.append(
                StartEntry(
                    topic=tp.topic,
                    topic_id=unseen[tp],
                    partition=tp.partition,
                    start_offset=offset,
                    reason=where,
                    recorded_at_ms=now_ms,
                )
            )
        if starts:
            await self._put_starts(starts)
        found = {}
        for start in starts:
            self._book.start(start)
            tp = TopicPartition(start.topic, start.partition)
            found[tp] = FetchPosition(start.topic_id, start.start_offset, -1)
        return found

    async def _log_offsets(self, tps: set[TopicPartition]) -> Mapping[TopicPartition, LogOffsets]:
        """Of all at once; one by one where that fails, so that one bad partition never stops the others."""
        try:
            return await log_offsets(self._view.client, tps)
        except MirrorError:
            if len(tps) == 1:
                raise
        found: dict[TopicPartition, LogOffsets] = {}
        for topic in {tp.topic for tp in tps}:
            of_topic = {tp for tp in tps if tp.topic == topic}
            try:
                found.update(await log_offsets(self._view.client, of_topic))
            except MirrorError as error:
                log.error("no start for %d partitions of %s, tried again: %s", len(of_topic), topic, error)
        return found


def _report_damage(key: str, error: Exception) -> None:
    log.error("%s cannot be read, its ranges are fetched again: %s", key, error)
