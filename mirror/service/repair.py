"""`mirror repair table`: tell the workers' table again what the repository holds.

One event per partition goes to the internal topic that the table is folded from, marked as a repair: it replaces what the table says of
that partition. The table is a hint, so losing it loses nothing; a repair only saves the workers from storing things twice.
"""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from confluent_kafka import KafkaException, Producer

from mirror.config import Config
from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.events import SealedEvent, SealedRun, encode_event
from mirror.core.polled_groups import is_polled
from mirror.core.segment.index import FORMAT_VERSION
from mirror.errors import PartialError, TopicNotFoundError
from mirror.kafka.client import open_client
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.connection import ClusterConnection, confluent_options
from mirror.kafka.errors import kafka_error_to_ours
from mirror.service.wiring import connection_for, internal_topics
from mirror.storage.repository import Repository

__all__ = ["RepairPlan", "plan_table_repair", "publish_repair"]

_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairPlan:
    """What would be told: one event per partition."""

    topic: str
    events: tuple[SealedEvent, ...]


def plan_table_repair(config: Config, repository: Repository, now_ms: int | None = None) -> RepairPlan:
    """The events, from roll-ups and footers; writes nothing.

    Raises:
        DamageError: an object cannot be read: `mirror verify` first, since the positions would be wrong.
    """
    loaded = repository.load_indexes()
    coverage = build_coverage((entry.key, entry.index) for entry in loaded)
    at_ms = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    return RepairPlan(
        topic=internal_topics(config.worker.id)["sealed"],
        events=tuple(_events(coverage.values(), repository, at_ms)),
    )


def _events(coverage: Iterable[PartitionCoverage], repository: Repository, now_ms: int) -> Iterable[SealedEvent]:
    ordered = sorted(coverage, key=lambda entry: (entry.topic, entry.partition_id))
    for number, entry in enumerate(ordered, start=1):
        if entry.position <= entry.start_offset or is_polled(entry.partition_id.topic_id):
            continue
        run = SealedRun(
            topic=entry.topic,
            topic_id=entry.partition_id.topic_id,
            partition=entry.partition_id.partition,
            start_offset=entry.start_offset,
            next_offset=entry.position,
            leader_epoch=entry.leader_epoch,
        )
        yield SealedEvent(
            format_version=FORMAT_VERSION,
            repository_id=repository.identity.repository_id,
            key=None,
            sealed_at_ms=now_ms,
            writer=f"repair-{version('mirror')}",
            sequence=number,
            size_bytes=0,
            runs=[run],
            repair=True,
        )


async def publish_repair(config: Config, repository: Repository, plan: RepairPlan) -> None:
    """Send the events and wait until the brokers have them all.

    Raises:
        WrongRepositoryError: the configured source is not the repository's cluster.
        TopicNotFoundError: no worker has made the internal topic yet: there is no table to repair.
        PartialError: some events were not taken; run it again.
        AccessError, UnreachableError, ClusterError: the cluster.
    """
    connection = connection_for(config.source_cluster)
    async with await open_client(connection) as client:
        description = await describe_cluster(client, [plan.topic])
        repository.require_cluster(description.cluster_id)
        if plan.topic not in description.topics:
            raise TopicNotFoundError(
                f"there is no topic {plan.topic} on the source cluster",
                hint="workers make it when they start, and read their positions from the repository then: nothing to repair",
            )
    await asyncio.to_thread(_produce, connection, plan)


def _produce(connection: ClusterConnection, plan: RepairPlan) -> None:
    refused: list[Any] = []
    try:
        producer = Producer({**confluent_options(connection), "enable.idempotence": True, "linger.ms": 5})
        for event in plan.events:
            while True:
                try:
                    producer.produce(
                        plan.topic,
                        value=encode_event(event),
                        key=f"repair-{event.sequence}".encode(),
                        on_delivery=lambda error, _: refused.append(error) if error is not None else None,
                    )
                    break
                except BufferError:
                    producer.poll(0.1)
        left = producer.flush(_TIMEOUT_S)
    except KafkaException as error:
        raise kafka_error_to_ours(error, f"producing to {plan.topic}") from error
    if refused:
        raise kafka_error_to_ours(refused[0], f"producing to {plan.topic}")
    if left:
        raise PartialError(f"{left} of {len(plan.events)} events were not taken by {plan.topic}", hint="run it again")
