"""What the fetcher cannot decide: lost ranges, truncated logs, topics that were deleted."""

import asyncio
import logging
import time
from collections.abc import Callable

from mirror.core.positions import TopicPartition
from mirror.kafka.source_state import Diverged, IncarnationLost, Notice, OutOfRange, Quarantined
from mirror.service.backup.collector import Collector
from mirror.service.backup.counters import BackupCounters

__all__ = ["NoticeHandler"]

log = logging.getLogger(__name__)

_TRY_AGAIN_SECONDS = 60.0
_ARRIVAL_SECONDS = 0.5


class NoticeHandler:
    """Decides positions after a notice, and records what was lost or cut. Nothing is ever skipped in silence.

    Args:
        collector: whose buffers end where fetching goes on.
        counters: of gaps and forks.
        seek_to_buffer: fetches a partition from its buffer's end.
        resolve_again: resolves a partition's position anew, once its topic is there.
        flush_soon: what was recorded should be durable soon.
    """

    def __init__(
        self,
        collector: Collector,
        counters: BackupCounters,
        *,
        seek_to_buffer: Callable[[TopicPartition], None],
        resolve_again: Callable[[TopicPartition], None],
        flush_soon: Callable[[], None],
    ) -> None:
        self._collector = collector
        self._counters = counters
        self._seek_to_buffer = seek_to_buffer
        self._resolve_again = resolve_again
        self._flush_soon = flush_soon

    def handle(self, notice: Notice) -> None:
        """Act on a notice of the present assignment."""
        now_ms = int(time.time() * 1000)
        if isinstance(notice, OutOfRange):
            self._out_of_range(notice, now_ms)
        elif isinstance(notice, Diverged):
            self._diverged(notice, now_ms)
        elif isinstance(notice, IncarnationLost):
            self._incarnation_lost(notice)
        elif isinstance(notice, Quarantined):
            log.error(
                "%s cannot be read at offset %d, tried again: %s", notice.topic_partition, notice.position, notice.error
            )

    def _out_of_range(self, notice: OutOfRange, now_ms: int) -> None:
        tp = notice.topic_partition
        buffer = self._collector.buffers.get(tp)
        if buffer is not None and buffer.expected < notice.position and notice.position < notice.log_start_offset:
            # Slices are still on their way here, and are no loss. Fetching from the buffer's end then says what really is.
            loop = asyncio.get_running_loop()
            loop.call_later(_ARRIVAL_SECONDS, self._try_again, tp, notice.assignment_epoch)
            return
        if notice.position < notice.log_start_offset:
            gap = self._collector.add_gap(tp, notice.log_start_offset, "retention", now_ms)
            if gap is not None:
                self._counters.gaps += 1
                self._counters.lost_offsets += gap.next_offset - gap.start_offset
                log.error(
                    "%s: offsets [%d, %d) are LOST: the broker deleted them before they were stored (retention)",
                    tp,
                    gap.start_offset,
                    gap.next_offset,
                )
                self._flush_soon()
            self._seek_to_buffer(tp)
            return
        log.error(
            "%s: position %d is not of the log that is there now (%d to %d), and no leader epoch tells why: it was truncated or replaced; "
            "this partition waits, tried again in a minute",
            tp,
            notice.position,
            notice.log_start_offset,
            notice.high_watermark,
        )
        asyncio.get_running_loop().call_later(_TRY_AGAIN_SECONDS, self._try_again, tp, notice.assignment_epoch)

    def _try_again(self, tp: TopicPartition, assignment_epoch: int) -> None:
        buffer = self._collector.buffers.get(tp)
        if buffer is not None and buffer.assignment_epoch == assignment_epoch:
            self._seek_to_buffer(tp)

    def _diverged(self, notice: Diverged, now_ms: int) -> None:
        tp = notice.topic_partition
        fork = self._collector.add_fork(tp, notice.fork_offset, notice.last_leader_epoch, notice.leader_epoch, now_ms)
        if fork is not None:
            self._counters.forks += 1
            log.error(
                "%s: the log was truncated to offset %d (unclean leader election): what was stored from there on under leader epoch %d "
                "and before is kept as a cut tail and is not restored",
                tp,
                fork.fork_offset,
                fork.last_leader_epoch,
            )
        self._seek_to_buffer(tp)

    def _incarnation_lost(self, notice: IncarnationLost) -> None:
        tp = notice.topic_partition
        if notice.new_topic_id is None:
            log.warning("%s: the topic was deleted; what is stored of it stays restorable", tp)
        else:
            log.warning("%s: the topic was deleted and created anew: its new incarnation is backed up too", tp)
        self._resolve_again(tp)
