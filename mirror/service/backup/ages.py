"""Recovery-point age: how long the oldest record that is not durable has been in the log.

The append time of a record is not in its batch (a producer may stamp anything), so it is bounded by what was seen: when the last stable
offset was first seen beyond the durable offset, the record had been appended at most one observation before.
"""

from collections import deque
from dataclasses import dataclass, field

__all__ = ["BehindTracker"]

_MOST_SAMPLES = 512


@dataclass(slots=True)
class BehindTracker:
    """Observations of one partition's last stable offset, thinned out as they grow older."""

    _samples: deque[tuple[int, int]] = field(default_factory=deque)

    def observe(self, last_stable_offset: int, durable_offset: int, now_ms: int) -> int:
        """Add an observation.

        Returns:
            The recovery-point age in milliseconds: 0 where everything is durable.
        """
        samples = self._samples
        if not samples or samples[-1][0] < last_stable_offset:
            samples.append((last_stable_offset, now_ms))
        while samples and samples[0][0] <= durable_offset:
            samples.popleft()
        if len(samples) > _MOST_SAMPLES:
            # Dropping every second sample keeps the oldest, which is the one that is answered with.
            self._samples = deque(list(samples)[::2])
        return max(0, now_ms - self._samples[0][1]) if self._samples else 0
