"""Topics that were gone when a worker started: what was written to them behind what is stored is lost with them, if anything was."""

from collections.abc import Iterable
from dataclasses import dataclass

from mirror.core.status import PartitionStatus
from mirror.storage.repository import Repository

__all__ = ["StoredEnd", "UnwatchedTopic", "find_unwatched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEnd:
    """Where what is stored of a partition ends, and when that was stored; None where only its start was recorded."""

    partition: int
    next_offset: int
    stored_at_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UnwatchedTopic:
    """An incarnation that was deleted while no worker looked; ``noticed_at_ms`` is when a worker found it gone."""

    topic: str
    topic_id: str
    noticed_at_ms: int
    partitions: tuple[StoredEnd, ...]


def find_unwatched(repository: Repository, others: Iterable[PartitionStatus]) -> list[UnwatchedTopic]:
    """Those among stored partitions that do not live any more, the one noticed last first.

    Args:
        repository: opened.
        others: as in a status report.

    Raises:
        AccessError, UnreachableError, StoreError: the repository cannot be read.
    """
    ends: dict[tuple[str, str], list[StoredEnd]] = {}
    for one in others:
        end = StoredEnd(
            partition=one.facts.partition, next_offset=one.facts.position, stored_at_ms=one.facts.last_sealed_ms
        )
        ends.setdefault((one.facts.topic, one.facts.topic_id), []).append(end)
    if not ends:
        return []
    captures = repository.list_topics(topics={name for name, _ in ends}, on_damage=lambda *_: None)
    found = [
        UnwatchedTopic(
            topic=capture.topic,
            topic_id=capture.topic_id,
            noticed_at_ms=capture.captured_at_ms,
            partitions=tuple(ends[capture.topic, capture.topic_id]),
        )
        for capture in captures
        if capture.deleted and capture.unwatched and (capture.topic, capture.topic_id) in ends
    ]
    return sorted(found, key=lambda one: -one.noticed_at_ms)
