"""From the pipeline's state to metrics, whenever somebody asks for them."""

import time

from agents.discovery import Discovery
from agents.ledger import EventPublisher
from mirror.core.positions import PartitionId, TopicPartition
from mirror.kafka.source_state import SourcePartition
from mirror.metrics import WorkerMetrics
from mirror.service.backup.pipeline import BackupPipeline
from mirror.service.backup.topic_recorder import TopicRecorder

__all__ = ["Gauges"]


class Gauges:
    """Copies counters and states into the series of :class:`~mirror.metrics.WorkerMetrics`."""

    def __init__(
        self,
        metrics: WorkerMetrics,
        pipeline: BackupPipeline,
        publisher: EventPublisher,
        discovery: Discovery,
        recorder: TopicRecorder,
    ) -> None:
        self._metrics = metrics
        self._pipeline = pipeline
        self._publisher = publisher
        self._discovery = discovery
        self._recorder = recorder
        self._seen: dict[str, int] = {}
        self._labelled: set[TopicPartition] = set()

    def update(self) -> None:
        """Call it before the metrics are rendered; thousands of series are not kept up to date for nobody."""
        self._count()
        self._partitions()
        metrics, pipeline = self._metrics, self._pipeline
        metrics.memory_bytes.set(pipeline.budget.used_bytes)
        metrics.memory_limit_bytes.set(pipeline.budget.limit_bytes)
        metrics.unsent_events.set(self._publisher.unsent)
        since_ms = pipeline.flusher.health.failing_since_ms
        metrics.store_failing_seconds.set(max(0.0, time.time() - since_ms / 1000) if since_ms else 0.0)
        metrics.topics_not_covered.set(len(self._discovery.excluded))
        metrics.worst_recovery_point_age_seconds.set(max(pipeline.ages_ms.values(), default=0) / 1000)

    def _count(self) -> None:
        metrics, counters = self._metrics, self._pipeline.counters
        for counter, value in (
            (metrics.records, counters.records),
            (metrics.fetched_bytes, counters.fetched_bytes),
            (metrics.stored_bytes, counters.stored_bytes),
            (metrics.objects, counters.objects),
            (metrics.gaps, counters.gaps),
            (metrics.lost_offsets, counters.lost_offsets),
            (metrics.forks, counters.forks),
            (metrics.refetches, counters.holes),
            (metrics.rebalances, counters.rebalances),
        ):
            name = counter._name
            counter.inc(value - self._seen.get(name, 0))
            self._seen[name] = value
        errors = self._pipeline.fetcher.error_count
        metrics.errors.labels("source").inc(errors - self._seen.get("source", 0))
        self._seen["source"] = errors

    def _partitions(self) -> None:
        metrics, pipeline = self._metrics, self._pipeline
        now_ms = int(time.time() * 1000)
        states = {"fetching": 0, "waiting": 0, "quarantined": 0, "resolving": len(pipeline.resolving)}
        seen: set[TopicPartition] = set()
        for tp, source in pipeline.fetcher.sources.items():
            seen.add(tp)
            state = "quarantined" if source.quarantine else "waiting" if source.waiting_for_owner else "fetching"
            states[state] += 1
            self._one(tp, source, now_ms)
        for tp in self._labelled - seen:
            self._forget(tp)
        self._labelled = seen
        for state, count in states.items():
            metrics.partitions.labels(state).set(count)

    def _one(self, tp: TopicPartition, source: SourcePartition, now_ms: int) -> None:
        metrics, pipeline = self._metrics, self._pipeline
        labels = (tp.topic, str(tp.partition))
        durable = pipeline.resolver.durable_offset(PartitionId(source.topic_id, tp.partition))
        safe = pipeline.safe_offset(tp, source.topic_id)
        age_ms = pipeline.ages_ms.get(tp, 0)
        metrics.recovery_point_age_seconds.labels(*labels).set(age_ms / 1000)
        metrics.durable_offset.labels(*labels).set(durable)
        if source.watermarks is not None:
            metrics.lag_offsets.labels(*labels).set(max(0, source.watermarks.last_stable_offset - safe))
        blocked_ms = now_ms - pipeline.blocked_since_ms.get(tp, now_ms)
        metrics.blocked_seconds.labels(*labels).set(blocked_ms / 1000)
        retention_ms = int(self._recorder.configs.get(tp.topic, {}).get("retention.ms") or -1)
        if age_ms and retention_ms >= 0:
            metrics.retention_headroom_seconds.labels(*labels).set(max(0, retention_ms - age_ms) / 1000)
        elif tp in self._labelled:
            _remove(metrics.retention_headroom_seconds, labels)

    def _forget(self, tp: TopicPartition) -> None:
        labels = (tp.topic, str(tp.partition))
        metrics = self._metrics
        for gauge in (
            metrics.recovery_point_age_seconds,
            metrics.durable_offset,
            metrics.lag_offsets,
            metrics.blocked_seconds,
            metrics.retention_headroom_seconds,
        ):
            _remove(gauge, labels)


def _remove(gauge: object, labels: tuple[str, str]) -> None:
    try:
        gauge.remove(*labels)  # type: ignore[attr-defined]
    except KeyError:
        return
