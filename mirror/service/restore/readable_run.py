"""Running a plan to its end although stored runs turn out to be unreadable while they are loaded, where that is allowed.

Each time the plan is made again without them and compared with the target, as a later run of the same restore would; then it goes on.
Whoever asked for it with ``--allow-missing`` has decided already; the plan that was run in the end says what is missing.
"""

import asyncio
import time
from dataclasses import replace
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan, TopicState
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import DamageError, PartialError, RefusedError, UnreadableRunsError
from mirror.service.restore.execute import RestoreObserver, RestoreResult
from mirror.service.restore.groups import OnBefore
from mirror.service.restore.rest import PartitionRest
from mirror.service.restore.run import RestoreSession
from mirror.service.restore.state import OnState

__all__ = ["ReadableRun"]

_CHECK_ALL_AFTER: Final = 3


class ReadableRun:
    """One run of a restore; used once.

    Args:
        session: opened.
        selection: what makes the plan again.
        plan, rests: of :meth:`RestoreSession.plan`.

    Attributes:
        plan: the plan as it is run now.
    """

    def __init__(
        self,
        session: RestoreSession,
        selection: RestoreSelection,
        plan: RestorePlan,
        rests: dict[TopicPartition, PartitionRest],
    ) -> None:
        self.plan = plan
        self._first = plan
        self._session = session
        self._selection = selection
        self._rests = rests

    async def execute(
        self,
        *,
        observer: RestoreObserver,
        bytes_per_second: int | None = None,
        on_groups: OnBefore | None = None,
        on_state: OnState | None = None,
    ) -> RestoreResult:
        """As :meth:`RestoreSession.execute`.

        Raises:
            PartialError: also where the plan cannot be made without what is unreadable.
            MirrorError: as :meth:`RestoreSession.execute`.
        """
        met = 0
        while True:
            try:
                result = await self._session.execute(
                    self.plan,
                    self._rests,
                    observer=observer,
                    bytes_per_second=bytes_per_second,
                    on_groups=on_groups,
                    on_state=on_state,
                    complete_before=_complete(self._first),
                )
                return _since(self._first, result) if met else result
            except DamageError as error:
                found = error if isinstance(error, UnreadableRunsError) else error.__cause__
                if not isinstance(found, UnreadableRunsError) or not self._selection.allow_missing:
                    raise
                if not await asyncio.to_thread(self._session.leave_out, found):
                    raise
            met += 1
            await self._plan_again(checks_all=met >= _CHECK_ALL_AFTER)

    async def _plan_again(self, *, checks_all: bool) -> None:
        try:
            self.plan, self._rests = await self._session.plan(self._selection, now_ms=time.time_ns() // 1_000_000)
            if checks_all:  # each costs a look at everything: find the others at once
                await self._session.check_bodies(self.plan, self._rests)
        except RefusedError as error:
            raise PartialError(
                f"the restore is not finished, and cannot go on without what cannot be read: {error.message}",
                hint=error.hint,
            ) from error
        except UnreadableRunsError as error:
            await asyncio.to_thread(self._session.leave_out, error)
            await self._plan_again(checks_all=False)


def _complete(plan: RestorePlan) -> frozenset[str]:
    return frozenset(topic.target_topic for topic in plan.topics if topic.state is TopicState.COMPLETE)


def _since(first: RestorePlan, result: RestoreResult) -> RestoreResult:
    """The result of all attempts together: what is there now, but was not when the first began."""
    there = {topic.target_topic: sum(p.done_records for p in topic.partitions) for topic in first.topics}
    topics = tuple(
        replace(topic, loaded_records=topic.records - there.get(topic.target_topic, 0)) for topic in result.topics
    )
    return replace(result, topics=topics, loaded_records=sum(topic.loaded_records for topic in topics))
