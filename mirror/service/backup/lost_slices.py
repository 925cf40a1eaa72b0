"""Slices that were fetched and never came: found out by the next slice, except of a log that then stands still."""

import time
from collections.abc import Collection

from mirror.core.positions import TopicPartition

__all__ = ["LostSlices"]

_LOST_AFTER_SECONDS = 5.0


class LostSlices:
    """Watches the distance between what was fetched and what was collected. Look about once a second."""

    def __init__(self) -> None:
        self._ahead: dict[TopicPartition, tuple[int, float]] = {}

    def are_certain(self, tp: TopicPartition, fetched_until: int, collected_until: int) -> bool:
        """Whether what lies between has been on its way for so long that it must be fetched again."""
        now = time.monotonic()
        known = self._ahead.get(tp)
        if fetched_until <= collected_until:
            self._ahead.pop(tp, None)
        elif known is None or known[0] != collected_until:
            self._ahead[tp] = (collected_until, now)
        elif now - known[1] > _LOST_AFTER_SECONDS:
            del self._ahead[tp]
            return True
        return False

    def keep(self, tps: Collection[TopicPartition]) -> None:
        """Forget all others."""
        for tp in self._ahead.keys() - set(tps):
            del self._ahead[tp]
