"""Partition buffers: they accept a slice only if it begins exactly where the buffer ends.

Faust may drop, repeat or delay what was fetched; none of that can make a hole here. The expected offset comes from whoever resolved the
position (:meth:`Collector.expect`), never from the first slice.
"""

import enum
import time
from dataclasses import dataclass, field

from mirror.core.positions import TopicPartition, Watermarks
from mirror.core.segment.index import ForkEntry, GapEntry, StartEntry, WatermarkSample
from mirror.core.segment.runs import RunDraft
from mirror.core.slices import FetchSlice

__all__ = ["Collector", "FlushBatch", "PartitionBuffer", "Verdict"]

_SAMPLE_EVERY_MS = 1000


class Verdict(enum.Enum):
    """What became of a slice."""

    ACCEPTED = "accepted"
    STALE = "stale"  # of an older assignment, or not ours: dropped
    REPEATED = "repeated"  # wholly before the buffer's end: dropped
    HOLE = "hole"  # something before it was lost on the way: dropped, fetch again from the buffer's end


@dataclass(slots=True)
class FlushBatch:
    """Everything that was buffered at one moment, on its way to one object.

    ``looked_at_ms`` is of one with nothing in it: when every partition was known to have nothing new.
    """

    drafts: list[RunDraft]
    gaps: list[GapEntry]
    forks: list[ForkEntry]
    starts: list[StartEntry] = field(default_factory=list)
    first_buffered_at_ms: int = 0
    looked_at_ms: int = 0

    @property
    def size_bytes(self) -> int:
        """Bytes of the batches as fetched."""
        return sum(draft.size_bytes for draft in self.drafts)

    def __bool__(self) -> bool:
        return bool(self.drafts or self.gaps or self.forks or self.starts)


@dataclass(slots=True)
class PartitionBuffer:
    """One assigned partition. ``expected`` is the offset at which the next slice must begin.

    Between ``loud_offset`` and ``expected`` lie only quiet slices: nothing is lost if they are never stored.
    """

    topic_partition: TopicPartition
    topic_id: str
    assignment_epoch: int
    expected: int
    leader_epoch: int = -1
    draft: RunDraft | None = None
    last_sample: Watermarks | None = None
    unwritten_sample: Watermarks | None = None
    seeking: bool = False
    loud_offset: int = field(init=False)

    def __post_init__(self) -> None:
        self.loud_offset = self.expected

    def append(self, piece: FetchSlice, *, is_quiet: bool) -> None:
        """Add the slice that was expected."""
        if self.draft is None:
            self.draft = RunDraft(
                self.topic_partition.topic, self.topic_id, self.topic_partition.partition, self.expected, self.expected
            )
        self.draft.append(piece)
        self.expected = piece.next_offset
        if is_quiet:
            self.unwritten_sample = piece.watermarks
        else:
            self._sample(piece.watermarks, self.draft)
            self.loud_offset = piece.next_offset
        if piece.leader_epoch >= 0:
            self.leader_epoch = piece.leader_epoch
        self.seeking = False

    def observe(self, watermarks: Watermarks) -> None:
        """A fetch answer without records: kept in mind, so that the next run can say until when nothing had changed."""
        is_complete = watermarks.last_stable_offset <= self.expected
        if is_complete or watermarks.same_offsets(self.last_sample) or watermarks.same_offsets(self.unwritten_sample):
            self.unwritten_sample = watermarks

    def _sample(self, watermarks: Watermarks, draft: RunDraft) -> None:
        last = self.last_sample
        if self.unwritten_sample is not None and (
            last is None or self.unwritten_sample.fetched_at_ms > last.fetched_at_ms
        ):
            draft.watermarks.append(_sample_of(self.unwritten_sample))
            self.unwritten_sample = None
        if last is None or watermarks.fetched_at_ms - last.fetched_at_ms >= _SAMPLE_EVERY_MS or not draft.watermarks:
            draft.watermarks.append(_sample_of(watermarks))
            self.last_sample = watermarks


def _sample_of(watermarks: Watermarks) -> WatermarkSample:
    return WatermarkSample(
        watermarks.fetched_at_ms,
        watermarks.log_start_offset,
        watermarks.high_watermark,
        watermarks.last_stable_offset,
    )


class Collector:
    """The buffers of all assigned partitions. Used from one event loop, never blocks."""

    def __init__(self) -> None:
        self._buffers: dict[TopicPartition, PartitionBuffer] = {}
        self._closed: list[RunDraft] = []
        self._gaps: list[GapEntry] = []
        self._forks: list[ForkEntry] = []
        self._size_bytes = 0
        self._first_buffered_at_ms = 0

    @property
    def size_bytes(self) -> int:
        """Bytes that the next flush would take."""
        return self._size_bytes

    @property
    def first_buffered_at_ms(self) -> int:
        """When the oldest thing in the buffers came that must be stored, 0 without one."""
        return self._first_buffered_at_ms

    @property
    def buffers(self) -> dict[TopicPartition, PartitionBuffer]:
        """By partition; read only."""
        return self._buffers

    def expect(
        self, tp: TopicPartition, topic_id: str, offset: int, leader_epoch: int, assignment_epoch: int
    ) -> PartitionBuffer:
        """The position of a partition was resolved (again): the next slice must begin at ``offset``.

        A buffer of the same incarnation that already ends at or beyond ``offset`` survives: what is before its end is in it, or on its
        way to the store from this very process.
        """
        old = self._buffers.get(tp)
        if old is not None and old.topic_id == topic_id and old.expected >= offset:
            old.assignment_epoch = assignment_epoch
            return old
        if old is not None and old.topic_id != topic_id:
            self._close_draft(old)  # the old incarnation is gone: what was fetched of it is the only copy
        elif old is not None and old.draft is not None:
            self._size_bytes -= old.draft.size_bytes
        buffer = PartitionBuffer(tp, topic_id, assignment_epoch, offset, leader_epoch)
        self._buffers[tp] = buffer
        return buffer

    def forget(self, tps: set[TopicPartition]) -> int:
        """Partitions that are ours no longer; their unflushed bytes are dropped, the next owner fetches them again.

        Returns:
            How many bytes were dropped.
        """
        dropped = 0
        for tp in tps & self._buffers.keys():
            draft = self._buffers.pop(tp).draft
            if draft is not None:
                dropped += draft.size_bytes
        self._size_bytes -= dropped
        return dropped

    def retire(self, tps: set[TopicPartition]) -> None:
        """Partitions whose topic is gone: what was fetched of them is the only copy, and goes with the next flush."""
        for tp in tps & self._buffers.keys():
            self._close_draft(self._buffers.pop(tp))

    def add(self, piece: FetchSlice, *, is_quiet: bool = False) -> Verdict:
        """Offer a slice. A quiet one goes with the next flush, and is no reason for one."""
        buffer = self._buffers.get(piece.topic_partition)
        if buffer is None or piece.assignment_epoch != buffer.assignment_epoch or piece.topic_id != buffer.topic_id:
            return Verdict.STALE
        if piece.start_offset != buffer.expected:
            return Verdict.REPEATED if piece.next_offset <= buffer.expected else Verdict.HOLE
        buffer.append(piece, is_quiet=is_quiet)
        self._size_bytes += piece.size_bytes
        if not is_quiet:
            self._touch()
        return Verdict.ACCEPTED

    def add_gap(self, tp: TopicPartition, next_offset: int, reason: str, now_ms: int) -> GapEntry | None:
        """Offsets from the buffer's end to ``next_offset`` are lost; None where they are not beyond it."""
        buffer = self._buffers.get(tp)
        if buffer is None or next_offset <= buffer.expected:
            return None
        gap = GapEntry(
            topic=tp.topic,
            topic_id=buffer.topic_id,
            partition=tp.partition,
            start_offset=buffer.expected,
            next_offset=next_offset,
            reason=reason,
            detected_at_ms=now_ms,
        )
        self._gaps.append(gap)
        self._close_draft(buffer)
        buffer.expected = buffer.loud_offset = next_offset
        self._touch()
        return gap

    def add_fork(
        self, tp: TopicPartition, fork_offset: int, last_leader_epoch: int, leader_epoch: int, now_ms: int
    ) -> ForkEntry | None:
        """The log was truncated to ``fork_offset``: what is buffered stays as the cut tail, fetching goes on from there."""
        buffer = self._buffers.get(tp)
        if buffer is None or fork_offset > buffer.expected:
            return None
        fork = ForkEntry(
            topic=tp.topic,
            topic_id=buffer.topic_id,
            partition=tp.partition,
            fork_offset=fork_offset,
            last_leader_epoch=last_leader_epoch,
            detected_at_ms=now_ms,
        )
        self._forks.append(fork)
        self._close_draft(buffer)
        buffer.expected = buffer.loud_offset = fork_offset
        buffer.leader_epoch = leader_epoch
        self._touch()
        return fork

    def take(self) -> FlushBatch:
        """Everything that is buffered; the buffers go on empty, at the same positions. Nothing where all of it is quiet."""
        if not self._first_buffered_at_ms:
            return FlushBatch([], [], [])
        drafts = self._closed
        for buffer in self._buffers.values():
            if buffer.draft is not None:
                drafts.append(buffer.draft)
                buffer.draft = None
        batch = FlushBatch(drafts, self._gaps, self._forks, first_buffered_at_ms=self._first_buffered_at_ms)
        self._closed, self._gaps, self._forks = [], [], []
        self._size_bytes = 0
        self._first_buffered_at_ms = 0
        return batch

    def _close_draft(self, buffer: PartitionBuffer) -> None:
        if buffer.draft is not None:
            self._closed.append(buffer.draft)
            buffer.draft = None

    def _touch(self) -> None:
        if not self._first_buffered_at_ms:
            self._first_buffered_at_ms = int(time.time() * 1000)
