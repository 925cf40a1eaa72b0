"""The cluster as last seen: topic ids, leaders and their epochs. Refreshed on a schedule and whenever an answer says that it is stale."""

import asyncio
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from mirror.core.positions import TopicPartition
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import ClusterDescription, TopicDescription, describe_cluster
from mirror.kafka.leaders import Leader

__all__ = ["ClusterView"]

log = logging.getLogger(__name__)

_LEAST_PAUSE_SECONDS = 0.25
_PATIENCE_SECONDS = 10.0
_IMPATIENT_ATTEMPTS = 2


@dataclass(slots=True)
class ClusterView:
    """Topics and leaders of one cluster; used from one event loop."""

    client: MirrorClient
    cluster_id: str = ""
    topics: dict[str, TopicDescription] = field(default_factory=dict)
    broker_count: int = 0
    _leaders: dict[TopicPartition, Leader] = field(default_factory=dict)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    _refreshed_at: float = 0.0

    def leader(self, tp: TopicPartition) -> Leader | None:
        """The leader of a partition, None while there is none."""
        return self._leaders.get(tp)

    def topic_id(self, topic: str) -> str | None:
        """The id of the incarnation that is there now."""
        found = self.topics.get(topic)
        return found.topic_id if found else None

    async def refresh(self, names: Iterable[str] | None = None) -> ClusterDescription | None:
        """Ask the cluster: about all topics, or soon after another refresh only once for all who ask about some.

        Returns:
            What was learned; None where somebody else refreshed within the last quarter of a second.

        Raises:
            UnreachableError, AccessError, ClusterError: no broker could be asked.
        """
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        async with self._lock:
            if names is not None and self._refreshed_at > asked_at - _LEAST_PAUSE_SECONDS:
                return None
            wanted = None if names is None else sorted(set(names))
            description = await self._describe(wanted)
            self._refreshed_at = loop.time()
            self._learn(description, wanted)
            await self.client.know_brokers(broker.node_id for broker in description.brokers)
            return description

    async def _describe(self, wanted: list[str] | None) -> ClusterDescription:
        for _ in range(_IMPATIENT_ATTEMPTS):
            try:
                return await asyncio.wait_for(describe_cluster(self.client, wanted), _PATIENCE_SECONDS)
            except TimeoutError:  # everybody waits for this: one broker that hangs must not hold them up
                log.warning("a broker does not answer for %.0f s: another one is asked", _PATIENCE_SECONDS)
        return await describe_cluster(self.client, wanted)

    def _learn(self, description: ClusterDescription, wanted: list[str] | None) -> None:
        self.cluster_id = description.cluster_id
        self.broker_count = len(description.brokers)
        if wanted is None:
            self.topics = dict(description.topics)
            self._leaders.clear()
        else:
            for name in wanted:
                self.topics.pop(name, None)
            self.topics.update(description.topics)
            gone = set(wanted)
            for tp in [tp for tp in self._leaders if tp.topic in gone]:
                del self._leaders[tp]
        for topic in description.topics.values():
            for partition in topic.partitions:
                if partition.leader >= 0:
                    tp = TopicPartition(topic.name, partition.partition)
                    self._leaders[tp] = Leader(partition.leader, partition.leader_epoch, topic.topic_id)
