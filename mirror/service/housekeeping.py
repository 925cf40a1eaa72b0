"""What one worker of several does for all readers, about once a minute: roll-ups, and checkpoints of the group log."""

import asyncio
import logging
import time
from collections.abc import Callable

from mirror.errors import MirrorError
from mirror.service.group_checkpointing import GroupCheckpointer
from mirror.service.rolling_up import RollupMaker
from mirror.storage.repository import Repository

__all__ = ["Housekeeper"]

log = logging.getLogger(__name__)


class Housekeeper:
    """Makes caches; its troubles are logged and never more.

    Args:
        repository: where.
        writer: of this worker.
        every_seconds: between rounds.
    """

    def __init__(self, repository: Repository, writer: str, *, every_seconds: float = 60.0) -> None:
        self._every_seconds = every_seconds
        self._rollups = RollupMaker(repository, writer, on_problem=_report_problem)
        self._checkpoints = GroupCheckpointer(repository, writer)

    async def run(self, is_mine: Callable[[], bool]) -> None:
        """Go on until cancelled, as long as it is this worker's task."""
        while True:
            await asyncio.sleep(self._every_seconds)
            if not is_mine():
                continue
            now_ms = time.time_ns() // 1_000_000
            try:
                await asyncio.to_thread(self._rollups.run_once, now_ms)
            except MirrorError as error:
                log.warning("roll-ups are not made now, tried again: %s", error)
            try:
                await asyncio.to_thread(self._checkpoints.run_once, now_ms)
            except MirrorError as error:
                log.warning("a checkpoint of consumer groups is not made now, tried again in an hour: %s", error)


def _report_problem(problem: str) -> None:
    log.error("a roll-up cannot be made until this is mended: %s", problem)
