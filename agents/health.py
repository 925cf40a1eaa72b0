"""Health that tells the truth: what is wrong, in words, and whether a restart could help."""

import time
from typing import Any

from agents.app import MirrorApp
from agents.discovery import Discovery
from agents.ledger import EventPublisher
from mirror.service.backup.pipeline import BackupPipeline

__all__ = ["Health"]

_STALLED_SECONDS = 60.0
_NO_PROGRESS_SECONDS = 600.0
_RECOVERY_SECONDS = 180.0
_STORE_SECONDS = 30.0
_WAITING_SECONDS = 5.0


class Health:
    """Problems of one worker, now.

    ``dead``: a restart may help (the fetcher or a partition stands still, the table does not recover). ``unready``: the worker is not
    doing its work, for a reason that a restart would not change.
    """

    def __init__(
        self, app: MirrorApp, pipeline: BackupPipeline, discovery: Discovery, publisher: EventPublisher
    ) -> None:
        self._app = app
        self._pipeline = pipeline
        self._discovery = discovery
        self._publisher = publisher
        self._progress: dict[Any, tuple[int, float]] = {}
        self._rebalancing_since = time.monotonic()

    def observe(self) -> None:
        """Call about once a second."""
        now = time.monotonic()
        if not self._app.rebalancing and self._app.pipeline is not None and self._pipeline.assignment_epoch:
            self._rebalancing_since = 0.0
        elif not self._rebalancing_since:
            self._rebalancing_since = now
        sources = self._pipeline.fetcher.sources
        for tp, source in sources.items():
            waiting = source.watermarks is not None and source.position < source.watermarks.last_stable_offset
            known = self._progress.get(tp)
            if known is None or known[0] != source.position or not waiting:
                self._progress[tp] = (source.position, now)
        for tp in self._progress.keys() - sources.keys():
            del self._progress[tp]

    def dead(self) -> list[str]:
        """Problems for which a restart may help."""
        now = time.monotonic()
        problems = []
        if self._pipeline.crashed is not None:
            problems.append(f"the pipeline ended: {self._pipeline.crashed!r}")
        fetcher = self._pipeline.fetcher
        active = [source for source in fetcher.sources.values() if not source.waiting_for_owner]
        full = fetcher.is_full
        answered = max(fetcher.statistics.last_answer_at, fetcher.started_at)
        if active and not full and now - answered > _STALLED_SECONDS:
            problems.append(f"no broker has answered a fetch for {now - answered:.0f} s")
        if not full:
            stuck = [tp for tp, (_, since) in self._progress.items() if now - since > _NO_PROGRESS_SECONDS]
            problems += [f"{tp} has made no progress for {_NO_PROGRESS_SECONDS:.0f} s" for tp in stuck[:10]]
        if self._rebalancing_since and now - self._rebalancing_since > _RECOVERY_SECONDS:
            problems.append(f"no assignment, or the table does not recover, for {now - self._rebalancing_since:.0f} s")
        return problems

    def unready(self) -> list[str]:
        """All problems, also those that only somebody else can end."""
        problems = self.dead()
        pipeline = self._pipeline
        if self._rebalancing_since:
            problems.append("a rebalance is under way")
        if pipeline.resolving:
            some = ", ".join(str(tp) for tp in sorted(pipeline.resolving)[:5])
            problems.append(f"positions of {len(pipeline.resolving)} partitions are not known: {some}")
        health = pipeline.flusher.health
        failing_s = time.time() - health.failing_since_ms / 1000 if health.failing_since_ms else 0.0
        if failing_s > _STORE_SECONDS:
            problems.append(f"the store has taken no object for {failing_s:.0f} s: {health.last_error}")
        elif health.silent_seconds() > _STORE_SECONDS:
            problems.append(f"the store has not answered a put for {health.silent_seconds():.0f} s")
        quarantined = [source for source in pipeline.fetcher.sources.values() if source.quarantine is not None]
        problems += [f"{source.topic_partition} cannot be read: {source.quarantine}" for source in quarantined[:10]]
        now = time.monotonic()
        waiting = [
            tp
            for tp, source in pipeline.fetcher.sources.items()
            if source.waiting_for_owner and source.waiting_since and now - source.waiting_since > _WAITING_SECONDS
        ]
        problems += [
            f"{tp}: its log is not the one that was backed up; see the log of the worker" for tp in waiting[:10]
        ]
        if self._discovery.failing_since:
            problems.append(f"topics cannot be listed for {time.time() - self._discovery.failing_since:.0f} s")
        if self._publisher.failing:
            problems.append(f"{self._publisher.unsent} events wait: Kafka does not take them (backup goes on)")
        return problems
