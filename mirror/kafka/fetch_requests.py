"""Fetch requests of one broker, encoded anew only when something in them changed: idle partitions cost next to nothing."""

from mirror.core.positions import TopicPartition
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.fetch_settings import FetchSettings
from mirror.kafka.source_state import SourcePartition
from mirror.kafka.wire.fetch import FetchPartition, FetchRequest, encode_fetch

__all__ = ["RequestMaker"]

_IDLE_WAIT_MS = 2000
_MIN_BYTES_PER_PARTITION = 4 << 10

_Key = tuple[bool, list[tuple[TopicPartition, str, int, int, int]]]


class RequestMaker:
    """Makes the bodies of fetch requests to one broker.

    Args:
        view: leaders and their epochs.
        settings: sizes and waits.
    """

    def __init__(self, view: ClusterView, settings: FetchSettings) -> None:
        self._view = view
        self._settings = settings
        self._key: _Key | None = None
        self._body = b""

    def body(self, chosen: list[SourcePartition], *, is_idle: bool) -> bytes:
        """The encoded request for these partitions, in their order.

        An idle request waits for the first byte for long; a busy one for a fair amount, for a short time: a request and its answer cost by
        the partition, so the more there are, the more an answer should bring.
        """
        key: _Key = (is_idle, [self._entry(source) for source in chosen])
        if key != self._key:
            self._body = encode_fetch(self._request(chosen, key))
            self._key = key
        return self._body

    def _entry(self, source: SourcePartition) -> tuple[TopicPartition, str, int, int, int]:
        leader = self._view.leader(source.topic_partition) if source.replica is None else None
        return (
            source.topic_partition,
            source.topic_id,
            source.position,
            leader.leader_epoch if leader is not None else -1,
            source.leader_epoch if source.check_epoch else -1,
        )

    def _request(self, chosen: list[SourcePartition], key: _Key) -> FetchRequest:
        settings = self._settings
        is_idle, entries = key
        min_bytes = min(settings.max_bytes // 2, max(settings.min_bytes, len(chosen) * _MIN_BYTES_PER_PARTITION))
        return FetchRequest(
            partitions=[
                FetchPartition(
                    topic_id=topic_id,
                    partition=tp.partition,
                    fetch_offset=position,
                    max_bytes=settings.partition_bytes,
                    current_leader_epoch=current_epoch,
                    last_fetched_epoch=last_epoch,
                )
                for tp, topic_id, position, current_epoch, last_epoch in entries
            ],
            max_wait_ms=_IDLE_WAIT_MS if is_idle else settings.wait_ms,
            min_bytes=1 if is_idle else min_bytes,
            max_bytes=settings.max_bytes,
            rack=settings.rack,
        )
