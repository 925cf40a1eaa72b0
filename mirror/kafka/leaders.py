"""Which broker leads a partition: kept until somebody learns better."""

from collections.abc import Iterable
from typing import NamedTuple

from mirror.core.positions import TopicPartition
from mirror.errors import MirrorError
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.metadata import metadata

__all__ = ["Leader", "Leaders"]


class Leader(NamedTuple):
    """The leader of a partition: broker and epoch; ``topic_id`` names the incarnation that was asked about."""

    node_id: int
    leader_epoch: int
    topic_id: str


class Leaders:
    """Leaders of the partitions that were asked for."""

    def __init__(self, client: MirrorClient) -> None:
        self._client = client
        self._leaders: dict[TopicPartition, Leader] = {}
        self._errors: dict[str, MirrorError] = {}

    def get(self, tp: TopicPartition) -> Leader | None:
        """What is known now; None if nothing is, or if there is no leader."""
        return self._leaders.get(tp)

    def error(self, tp: TopicPartition) -> MirrorError:
        """Why `get` answered None after a `refresh`."""
        return self._errors.get(tp.topic) or kafka_error_to_ours(
            5 if any(known.topic == tp.topic for known in self._leaders) else 3, f"partition {tp}"
        )

    async def refresh(self, topics: Iterable[str]) -> None:
        """Ask the cluster about these topics.

        Raises:
            UnreachableError, AccessError, ClusterError: no broker could be asked. What is wrong with a single topic
                is left for `error`.
        """
        names = sorted(set(topics))
        answer = await metadata(self._client, await self._client.any_broker(), names=names)
        for tp in [tp for tp in self._leaders if tp.topic in names]:
            del self._leaders[tp]
        for topic in answer.topics:
            name = topic.name or ""
            self._errors.pop(name, None)
            if topic.error_code:
                self._errors[name] = kafka_error_to_ours(topic.error_code, f"topic {name}")
                continue
            for partition in topic.partitions:
                if partition.leader >= 0:
                    self._leaders[TopicPartition(name, partition.partition)] = Leader(
                        partition.leader, partition.leader_epoch, topic.topic_id or ""
                    )
                elif name not in self._errors:
                    self._errors[name] = kafka_error_to_ours(
                        partition.error_code or 5, f"partition {name}-{partition.partition}"
                    )
        await self._client.know_brokers({broker.node_id for broker in answer.brokers})
