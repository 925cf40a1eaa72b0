"""The target cluster before a restore: which of the wanted topics it has, what they hold, what applies to topics that set nothing."""

from collections.abc import Iterable, Mapping

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import TargetCluster, TargetTopic
from mirror.errors import AccessError, TopicNotFoundError
from mirror.kafka.admin import Admin, ConfigValue, non_default
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster, log_offsets

__all__ = ["examine_target"]

_BROKER_NAMES = {
    "cleanup.policy": "log.cleanup.policy",
    "max.message.bytes": "message.max.bytes",
    "message.timestamp.after.max.ms": "log.message.timestamp.after.max.ms",
    "message.timestamp.before.max.ms": "log.message.timestamp.before.max.ms",
    "message.timestamp.difference.max.ms": "log.message.timestamp.difference.max.ms",
    "message.timestamp.type": "log.message.timestamp.type",
    "min.insync.replicas": "min.insync.replicas",
    "retention.bytes": "log.retention.bytes",
    "retention.ms": "log.retention.ms",
    "socket.request.max.bytes": "socket.request.max.bytes",
}


async def examine_target(
    client: MirrorClient, admin: Admin, names: Iterable[str], *, alias: str, bootstrap: str
) -> TargetCluster:
    """What a plan must know of the target; changes nothing.

    Raises:
        UnreachableError, AccessError, ClusterError: naming the topic or broker that could not be asked.
    """
    everything = await describe_cluster(client)
    cluster = await describe_cluster(client, names)
    for error in cluster.missing.values():
        if not isinstance(error, TopicNotFoundError):
            raise error
    counts = {name: len(topic.partitions) for name, topic in cluster.topics.items()}
    offsets = await log_offsets(
        client, [TopicPartition(name, partition) for name, count in counts.items() for partition in range(count)]
    )
    configs = await admin.topic_configs(counts)
    topics = {
        name: TargetTopic(
            partition_count=count,
            replication_factor=min(len(one.replicas) for one in cluster.topics[name].partitions),
            configs=non_default(configs[name]),
            logs=[
                (log.log_start_offset, log.high_watermark)
                for log in (offsets[TopicPartition(name, partition)] for partition in range(count))
            ],
        )
        for name, count in counts.items()
    }
    node_id = cluster.brokers[0].node_id
    try:
        defaults = _defaults((await admin.broker_configs([node_id]))[node_id])
    except AccessError:
        defaults = {}  # no right to ask: Kafka's own defaults are assumed
    return TargetCluster(
        alias=alias,
        cluster_id=cluster.cluster_id,
        bootstrap=bootstrap,
        broker_count=len(cluster.brokers),
        topics=topics,
        topic_names=frozenset(everything.topics),
        default_configs=defaults,
    )


def _defaults(broker: Mapping[str, ConfigValue]) -> dict[str, str]:
    """The broker's defaults by the names of topic configs; retention may be told in minutes or hours instead."""
    found = {name: broker[theirs].value for name, theirs in _BROKER_NAMES.items() if theirs in broker}
    if not found.get("retention.ms"):
        for theirs, unit_ms in (("log.retention.minutes", 60_000), ("log.retention.hours", 3_600_000)):
            value = broker[theirs].value if theirs in broker else None
            if value and not found.get("retention.ms"):
                found["retention.ms"] = str(int(value) * unit_ms) if int(value) >= 0 else "-1"
    return {name: value for name, value in found.items() if value}
