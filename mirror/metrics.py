"""What a worker tells Prometheus. Names are public: dashboards and config/alerts.yml use them.

Per-partition series are only those that somebody alerts on; everything else is per worker.
"""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["WorkerMetrics"]

_PARTITION = ("topic", "partition")


class WorkerMetrics:
    """All series of one worker, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.recovery_point_age_seconds = Gauge(
            "mirror_recovery_point_age_seconds",
            "How long the oldest record that is not durable has been in the log (0: everything is durable)",
            _PARTITION,
            registry=registry,
        )
        self.worst_recovery_point_age_seconds = Gauge(
            "mirror_worst_recovery_point_age_seconds",
            "The largest recovery-point age of this worker's partitions",
            registry=registry,
        )
        self.lag_offsets = Gauge(
            "mirror_lag_offsets",
            "Offsets up to the last stable offset that are not durable",
            _PARTITION,
            registry=registry,
        )
        self.durable_offset = Gauge(
            "mirror_durable_offset", "The next offset after what is durable", _PARTITION, registry=registry
        )
        self.retention_headroom_seconds = Gauge(
            "mirror_retention_headroom_seconds",
            "Time until the broker may delete a record that is not durable (absent: nothing is waiting)",
            _PARTITION,
            registry=registry,
        )
        self.blocked_seconds = Gauge(
            "mirror_blocked_by_transaction_seconds",
            "How long an open transaction has held the last stable offset below the end of the log",
            _PARTITION,
            registry=registry,
        )
        self.partitions = Gauge(
            "mirror_partitions", "Source partitions of this worker by state", ("state",), registry=registry
        )
        self.records = Counter("mirror_record_count", "Records made durable", registry=registry)
        self.fetched_bytes = Counter("mirror_fetched_bytes", "Bytes fetched from the source", registry=registry)
        self.stored_bytes = Counter("mirror_stored_bytes", "Bytes of durable objects", registry=registry)
        self.objects = Counter("mirror_object_count", "Durable objects", registry=registry)
        self.put_seconds = Histogram(
            "mirror_put_seconds",
            "Time of a put, by outcome",
            ("outcome",),
            buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 120),
            registry=registry,
        )
        self.errors = Counter("mirror_error_count", "Errors by where they came from", ("source",), registry=registry)
        self.gaps = Counter("mirror_gap_count", "Ranges that were lost before they were stored", registry=registry)
        self.lost_offsets = Counter("mirror_lost_offset_count", "Offsets in these ranges", registry=registry)
        self.forks = Counter("mirror_fork_count", "Truncations of a source log", registry=registry)
        self.refetches = Counter(
            "mirror_refetch_count", "Slices that were lost inside the worker and fetched again", registry=registry
        )
        self.rebalances = Counter("mirror_rebalance_count", "Assignments of partitions", registry=registry)
        self.memory_bytes = Gauge(
            "mirror_memory_bytes", "Bytes fetched, buffered, being encoded or uploaded", registry=registry
        )
        self.memory_limit_bytes = Gauge(
            "mirror_memory_limit_bytes", "The ceiling of mirror_memory_bytes", registry=registry
        )
        self.unsent_events = Gauge(
            "mirror_unsent_event_count", "SegmentSealed events that Kafka has not taken yet", registry=registry
        )
        self.store_failing_seconds = Gauge(
            "mirror_store_failing_seconds",
            "How long the store has refused every put (0: it takes them)",
            registry=registry,
        )
        self.topics_not_covered = Gauge(
            "mirror_topics_not_covered", "Topics of the cluster that the rules leave out", registry=registry
        )

    def render(self) -> bytes:
        """The text exposition format."""
        return generate_latest(self.registry)
