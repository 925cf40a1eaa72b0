"""What the scenarios with three brokers share: who leads, who is in sync, and everybody back at the end."""

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException
from confluent_kafka import TopicPartition as Tp
from confluent_kafka.admin import AdminClient

from tests.fault.worker_lab import wait_until
from tests.servers.kafka import KafkaCluster

_WHOLE_S = 120.0


def leaders_of(cluster: KafkaCluster, topic: str) -> list[int]:
    """The leader of each partition as the cluster says now; -1 for none; empty while nobody answers."""
    try:
        found = admin_of(cluster).list_topics(topic, timeout=5).topics[topic]
    except KafkaException:
        return []
    return [found.partitions[number].leader for number in sorted(found.partitions)]


def ends_of(cluster: KafkaCluster, topic: str, partitions: int) -> dict[int, int]:
    """The high watermark of each partition; empty while that cannot be told."""
    # librdkafka's admin client does not list offsets while a listed broker is dead; its consumer does.
    asker = Consumer({"bootstrap.servers": cluster.bootstrap, "group.id": "soak", "log_level": 0})
    try:
        return {n: asker.get_watermark_offsets(Tp(topic, n), timeout=5)[1] for n in range(partitions)}
    except KafkaException:
        return {}
    finally:
        asker.close()


def out_of_sync(cluster: KafkaCluster) -> list[str]:
    """Partitions, of all topics, of which not every replica is in sync."""
    try:
        topics = admin_of(cluster).list_topics(timeout=5).topics.values()
    except KafkaException:
        return ["nobody answers"]
    return [
        f"{topic.topic}-{number}"
        for topic in topics
        for number, partition in topic.partitions.items()
        if len(partition.isrs) < len(partition.replicas)
    ]


def make_whole(cluster: KafkaCluster) -> None:
    """Start and thaw every broker, and return when every replica is in sync."""
    for broker in cluster.brokers:
        broker.cont() if broker.is_running else broker.start(wait=False)
    for broker in cluster.brokers:
        broker.wait_ready(brokers=len(cluster.brokers))
    wait_until(lambda: not out_of_sync(cluster), lambda: f"out of sync: {out_of_sync(cluster)}", _WHOLE_S, 0.5)


def wait_led_without(cluster: KafkaCluster, topics: Iterable[str], node_id: int) -> None:
    """Return when other brokers lead all partitions of these topics."""

    def moved() -> bool:
        found = [leaders_of(cluster, topic) for topic in topics]
        return all(leaders and not {-1, node_id} & set(leaders) for leaders in found)

    wait_until(moved, f"others lead what broker {node_id} led", 60, 0.25)


def admin_of(cluster: KafkaCluster) -> AdminClient:
    """A new one: an old one may cling to a broker that is dead."""
    return AdminClient({"bootstrap.servers": cluster.bootstrap, "log_level": 0})
