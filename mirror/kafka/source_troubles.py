"""What goes wrong with one partition: told from each other, quarantined, or put before the owner of positions."""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine
from typing import Any

from mirror.errors import MirrorError
from mirror.kafka.cluster import log_offsets
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.source_state import Diverged, IncarnationLost, Notice, OutOfRange, Quarantined, SourcePartition
from mirror.kafka.wire.fetch import FetchedPartition
from mirror.kafka.wire.offset_for_leader_epoch import offset_for_leader_epoch

__all__ = ["SourceTroubles"]

log = logging.getLogger(__name__)

_OFFSET_OUT_OF_RANGE = 1
_STALE_METADATA_CODES = frozenset({3, 5, 6, 9, 56, 74, 75, 78, 100, 103})
_PAUSE_SECONDS = 0.2
_VIEW_IS_FRESH_SECONDS = 0.3  # a view answers from what it knows for a quarter of a second
_LONGEST_PAUSE_SECONDS = 30.0


class SourceTroubles:
    """Decides what an error of one partition means. Never raises, never stops another partition.

    Args:
        view: leaders and topic ids.
        is_current: whether a state is still the one of its partition (it is replaced by every seek).
        on_notice: told what only the owner of positions can decide.
        on_stale: told of topics whose metadata must be asked for again.
        on_wake: told that a partition may be fetched again.
    """

    def __init__(
        self,
        view: ClusterView,
        *,
        is_current: Callable[[SourcePartition], bool],
        on_notice: Callable[[Notice], None],
        on_stale: Callable[[str], None],
        on_wake: Callable[[], None],
    ) -> None:
        self.errors = 0
        self._view = view
        self._is_current = is_current
        self._on_notice = on_notice
        self._on_stale = on_stale
        self._on_wake = on_wake
        self._tasks: set[asyncio.Task[None]] = set()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def handle(self, source: SourcePartition, answer: FetchedPartition, now: float) -> None:
        """An answer with an error code or a diverging epoch."""
        if answer.diverging_epoch is not None:
            epoch, fork_offset = answer.diverging_epoch
            self._tell_fork(source, epoch, fork_offset)
        elif answer.error_code == _OFFSET_OUT_OF_RANGE and source.replica is not None:
            source.replica = None  # a follower may lag: only the leader's word counts
        elif answer.error_code == _OFFSET_OUT_OF_RANGE:
            source.waiting_for_owner = True
            self._start(self._explain(source))
        elif answer.error_code in _STALE_METADATA_CODES:
            source.replica = None
            source.retry_at = now + _PAUSE_SECONDS
            self._on_stale(source.topic_partition.topic)
        else:
            self.quarantine(source, kafka_error_to_ours(answer.error_code, f"fetch of {source.topic_partition}"), now)

    async def _explain(self, source: SourcePartition) -> None:
        try:
            await self._explain_out_of_range(source)
        except Exception as error:
            log.exception("%s: not understood", source.topic_partition)
            self.quarantine(source, kafka_error_to_ours(error, f"{source.topic_partition}"), time.monotonic())
            source.waiting_for_owner = False

    async def _explain_out_of_range(self, source: SourcePartition) -> None:
        """Tell a lost range from a fork: the leader also answers so where it does not know the epoch that we fetched last."""
        tp = source.topic_partition
        # With that error the broker sends -1 for all offsets. It is asked by name: only if the topic is the same one afterwards was the
        # answer about this incarnation.
        try:
            log_now = (await log_offsets(self._view.client, {tp}))[tp]
            await asyncio.sleep(_VIEW_IS_FRESH_SECONDS)
            await self._view.refresh({tp.topic})
        except MirrorError as error:
            self._ask_again(source, error)
            return
        if self._view.topic_id(tp.topic) != source.topic_id:
            source.waiting_for_owner = False
            self.check_incarnation(source)
            return
        inside = log_now.log_start_offset <= source.position <= log_now.high_watermark
        beyond = source.position > log_now.high_watermark
        if source.leader_epoch >= 0 and source.check_epoch and (inside or beyond):
            leader = self._view.leader(tp)
            try:
                ends = await offset_for_leader_epoch(
                    self._view.client, leader.node_id if leader else -1, {tp: source.leader_epoch}
                )
            except MirrorError as error:
                self._ask_again(source, error)
                return
            end = ends[0] if ends else None
            if end is None or end.error_code:
                self._ask_again(source, kafka_error_to_ours(end.error_code if end else -1, f"leader epoch of {tp}"))
                return
            if end.leader_epoch >= 0 and end.next_offset < source.position:
                self._tell_fork(source, end.leader_epoch, end.next_offset)
                return
            # A leader that never heard of our epoch, and is not of a later one, has another log: never go on in silence.
            is_older = end.leader_epoch < 0 and (leader is None or leader.leader_epoch < source.leader_epoch)
            inside = inside and not is_older
            # One of a later epoch no longer remembers ours (its records are gone).
            source.check_epoch = end.leader_epoch >= 0
        if inside:  # the log has moved on since: the position is sound
            source.waiting_for_owner = False
            self._on_wake()
            return
        self._tell(
            source,
            OutOfRange(
                topic_partition=tp,
                topic_id=source.topic_id,
                assignment_epoch=source.assignment_epoch,
                position=source.position,
                log_start_offset=log_now.log_start_offset,
                high_watermark=log_now.high_watermark,
            ),
        )

    def _ask_again(self, source: SourcePartition, error: MirrorError) -> None:
        log.warning("%s: %s", source.topic_partition, error)
        source.waiting_for_owner = False
        source.retry_at = time.monotonic() + 1.0
        self._on_stale(source.topic_partition.topic)

    def _tell_fork(self, source: SourcePartition, epoch: int, fork_offset: int) -> None:
        self._tell(
            source,
            Diverged(
                topic_partition=source.topic_partition,
                topic_id=source.topic_id,
                assignment_epoch=source.assignment_epoch,
                position=source.position,
                fork_offset=max(0, min(fork_offset, source.position)),
                last_leader_epoch=source.leader_epoch,
                leader_epoch=epoch,
            ),
        )

    def _tell(self, source: SourcePartition, notice: Notice) -> None:
        source.waiting_for_owner = True
        source.waiting_since = time.monotonic()
        if self._is_current(source):
            self._on_notice(notice)

    def quarantine(self, source: SourcePartition, error: MirrorError, now: float) -> None:
        """The partition cannot be read now: tried again after a growing pause, the owner is told once."""
        source.failures += 1
        self.errors += 1
        source.retry_at = now + min(_PAUSE_SECONDS * 2**source.failures, _LONGEST_PAUSE_SECONDS)
        first = source.quarantine is None
        source.quarantine = error
        if first:
            self._on_notice(
                Quarantined(
                    topic_partition=source.topic_partition,
                    topic_id=source.topic_id,
                    assignment_epoch=source.assignment_epoch,
                    position=source.position,
                    error=error,
                )
            )

    def check_incarnation(self, source: SourcePartition) -> None:
        """After a look at the metadata: is the topic still the one that we fetch?"""
        current = self._view.topic_id(source.topic_partition.topic)
        if current == source.topic_id or source.waiting_for_owner:
            return
        self._tell(
            source,
            IncarnationLost(
                topic_partition=source.topic_partition,
                topic_id=source.topic_id,
                assignment_epoch=source.assignment_epoch,
                position=source.position,
                new_topic_id=current,
            ),
        )
