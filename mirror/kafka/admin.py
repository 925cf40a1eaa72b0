"""Changing and describing a cluster, by confluent-kafka's AdminClient.

Metadata is never asked of the AdminClient itself: its handle is a producer's, whose requests let a broker create the
topic that they name. `MirrorClient` asks instead.
"""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourceType,
)

from mirror.errors import ClusterBusyError, MirrorError, UnreachableError
from mirror.kafka.client import MirrorClient
from mirror.kafka.connection import ClusterConnection, confluent_options, security_stamp
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.metadata import TopicMetadata, metadata

__all__ = ["Admin", "ConfigValue", "non_default"]

T = TypeVar("T")

_REQUEST_TIMEOUT_S: Final = 30.0
_FIRST_TIMEOUT_S: Final = 10.0
_SETTLE_TIMEOUT_S: Final = 30.0
_SETTLE_POLL_S: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigValue:
    """One setting: ``value`` is None where it is sensitive; ``source`` is Kafka's, for example DYNAMIC_TOPIC_CONFIG."""

    value: str | None
    source: str
    is_sensitive: bool
    is_read_only: bool


def non_default(configs: Mapping[str, ConfigValue]) -> dict[str, str]:
    """The settings made on the topic itself: what a restore must set again."""
    return {
        name: one.value
        for name, one in sorted(configs.items())
        if one.source == "DYNAMIC_TOPIC_CONFIG" and one.value is not None
    }


class Admin:
    """Administration of one cluster. All errors are ours and name the topic or broker.

    Args:
        conn: how to reach the cluster.
        client: an open client of the same cluster.
    """

    def __init__(self, conn: ClusterConnection, client: MirrorClient) -> None:
        self._conn = conn
        self._client = client
        self._handle: AdminClient | None = None
        self._stamp: object = None

    async def topic_configs(self, topics: Iterable[str]) -> dict[str, dict[str, ConfigValue]]:
        """All effective settings of topics.

        Raises:
            TopicNotFoundError, AccessError (DESCRIBE_CONFIGS is missing), UnreachableError, ClusterError.
        """
        return await self._configs(ResourceType.TOPIC, topics)

    async def broker_configs(self, node_ids: Iterable[int]) -> dict[int, dict[str, ConfigValue]]:
        """All effective settings of brokers.

        Raises:
            AccessError (DESCRIBE_CONFIGS on the cluster is missing), UnreachableError, ClusterError.
        """
        found = await self._configs(ResourceType.BROKER, [str(node_id) for node_id in node_ids])
        return {int(name): configs for name, configs in found.items()}

    async def create_topic(
        self, name: str, *, partitions: int, replication_factor: int = -1, configs: Mapping[str, str] | None = None
    ) -> str:
        """Create a topic and wait until every broker knows it and every partition has a leader. Returns its topic id.

        Args:
            name: the topic.
            partitions: how many.
            replication_factor: -1 means the broker's default.
            configs: settings that differ from the broker's.

        Raises:
            AccessError, UnreachableError, ClusterError (it exists, or the broker's rules forbid a value).
        """
        new = NewTopic(
            name, num_partitions=partitions, replication_factor=replication_factor, config=dict(configs or {})
        )
        handle = await self._admin()
        made = handle.create_topics([new], operation_timeout=_REQUEST_TIMEOUT_S, request_timeout=_REQUEST_TIMEOUT_S)
        await self._result(made[name], f"creating topic {name}")

        def is_settled(topic: TopicMetadata) -> bool:
            led = [partition for partition in topic.partitions if partition.leader >= 0]
            return topic.error_code == 0 and len(led) == partitions

        seen = await self._settle(name, is_settled, f"topic {name} was created, but has no leaders")
        return seen.topic_id or ""

    async def delete_topic(self, name: str) -> None:
        """Delete a topic and wait until no broker knows it any more.

        Raises:
            TopicNotFoundError, AccessError, UnreachableError, ClusterError, ClusterBusyError (it is still there: with a
                live producer and auto-creation somebody makes it anew at once).
        """
        handle = await self._admin()
        gone = handle.delete_topics([name], operation_timeout=_REQUEST_TIMEOUT_S, request_timeout=_REQUEST_TIMEOUT_S)
        await self._result(gone[name], f"deleting topic {name}")
        await self._settle(name, lambda topic: topic.error_code == 3, f"topic {name} was deleted, but is there")

    async def alter_topic_configs(
        self, name: str, *, set_values: Mapping[str, str] | None = None, delete: Sequence[str] = ()
    ) -> None:
        """Set some settings of a topic, give others back to the broker's default, leave the rest alone.

        Raises:
            TopicNotFoundError, AccessError (ALTER_CONFIGS is missing), UnreachableError, ClusterError.
        """
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
            for key, value in (set_values or {}).items()
        ]
        entries += [ConfigEntry(key, "", incremental_operation=AlterConfigOpType.DELETE) for key in delete]
        if not entries:
            return
        resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=entries)
        handle = await self._admin()
        changed = handle.incremental_alter_configs([resource], request_timeout=_REQUEST_TIMEOUT_S)
        await self._result(changed[resource], f"changing configs of topic {name}")

    async def cluster_operations(self) -> frozenset[str]:
        """What we may do on the cluster as a whole: operation names, see `rights`."""
        handle = await self._admin()
        asked = handle.describe_cluster(include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S)
        found = await self._result(asked, "describing the cluster")
        return frozenset(operation.name for operation in found.authorized_operations or ())

    async def group_operations(self, group: str) -> frozenset[str]:
        """What we may do with a consumer group, which need not exist.

        Raises:
            AccessError: not even DESCRIBE.
            UnreachableError, ClusterError.
        """
        found = await self.describe_group(group)
        return frozenset(operation.name for operation in found.authorized_operations or ())

    async def describe_group(self, group: str) -> Any:
        """librdkafka's description of a consumer group: its members, and what we may do with it.

        Raises:
            AccessError, UnreachableError, ClusterError.
        """
        handle = await self._admin()
        asked = handle.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=_REQUEST_TIMEOUT_S
        )
        return await self._result(asked[group], f"describing group {group}")

    async def describe_groups(self, groups: Sequence[str]) -> dict[str, Any]:
        """librdkafka's description of each group, or our error."""
        if not groups:
            return {}
        handle = await self._admin()
        asked = handle.describe_consumer_groups(list(groups), request_timeout=_REQUEST_TIMEOUT_S)
        return {group: await self._outcome(future, f"describing group {group}") for group, future in asked.items()}

    async def validate_topics(self, topics: Sequence[NewTopic]) -> dict[str, MirrorError | None]:
        """Whether the cluster would create these topics, without doing so: by name None, or why not."""
        if not topics:
            return {}
        handle = await self._admin()
        asked = handle.create_topics(list(topics), validate_only=True, request_timeout=_REQUEST_TIMEOUT_S)
        found: dict[str, MirrorError | None] = {}
        for name, future in asked.items():
            outcome = await self._outcome(future, f"creating topic {name}")
            found[name] = outcome if isinstance(outcome, MirrorError) else None
        return found

    async def _outcome(self, future: "Future[Any]", what: str) -> Any:
        try:
            return await self._result(future, what)
        except MirrorError as error:
            return error

    async def _admin(self) -> AdminClient:
        """The handle; a new one if certificate files were replaced, since librdkafka reads them only once."""
        stamp = security_stamp(self._conn)
        if self._handle is None or stamp != self._stamp:
            options = confluent_options(self._conn)
            try:
                self._handle = await asyncio.to_thread(AdminClient, options)
            except KafkaException as error:
                raise kafka_error_to_ours(error, f"admin client for {self._conn.where}") from error
            self._stamp = stamp
        return self._handle

    async def _result(self, future: "Future[Any]", what: str) -> Any:
        try:
            # Shielded: librdkafka's thread must find its future uncancelled.
            return await asyncio.shield(asyncio.wrap_future(future))
        except KafkaException as error:
            raise kafka_error_to_ours(error, what) from error

    async def _configs(self, kind: ResourceType, names: Iterable[str]) -> dict[str, dict[str, ConfigValue]]:
        resources = [ConfigResource(kind, name) for name in sorted(set(names))]
        if not resources:
            return {}
        try:
            return await self._described(kind, resources, _FIRST_TIMEOUT_S)
        except UnreachableError:
            self._handle = None  # it may cling to a controller that died: a new one finds the next
            return await self._described(kind, resources, _REQUEST_TIMEOUT_S)

    async def _described(
        self, kind: ResourceType, resources: Sequence[ConfigResource], timeout_s: float
    ) -> dict[str, dict[str, ConfigValue]]:
        handle = await self._admin()
        asked = handle.describe_configs(resources, request_timeout=timeout_s)
        found: dict[str, dict[str, ConfigValue]] = {}
        for resource, future in asked.items():
            entries = await self._result(future, f"configs of {kind.name.lower()} {resource.name}")
            found[resource.name] = {
                name: ConfigValue(
                    value=None if entry.is_sensitive else entry.value,
                    source=ConfigSource(entry.source).name,
                    is_sensitive=bool(entry.is_sensitive),
                    is_read_only=bool(entry.is_read_only),
                )
                for name, entry in entries.items()
            }
        return found

    async def _settle(self, name: str, is_settled: Any, problem: str) -> TopicMetadata:
        """Wait until every broker that answers says the same; gives the last one's words."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + _SETTLE_TIMEOUT_S
        while True:
            node_ids = [broker.node_id for broker in await self._brokers()]
            seen: TopicMetadata | None = None
            settled = True
            for node_id in node_ids:
                try:
                    seen = (await metadata(self._client, node_id, names=[name])).topics[0]
                except UnreachableError:  # a dead broker must not hold up the others
                    continue
                settled = settled and is_settled(seen)
            if settled and seen is not None:
                return seen
            if loop.time() > give_up_at:
                raise ClusterBusyError(f"{problem} after {_SETTLE_TIMEOUT_S:.0f} s")
            await asyncio.sleep(_SETTLE_POLL_S)

    async def _brokers(self) -> Sequence[Any]:
        known = (await metadata(self._client, await self._client.any_broker(), names=[])).brokers
        await self._client.know_brokers(broker.node_id for broker in known)
        return known
