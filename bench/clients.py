"""confluent-kafka's admin client for the bench's own questions, without librdkafka's remarks on standard error."""

from confluent_kafka.admin import AdminClient

__all__ = ["cluster_id", "kafka_admin"]


def kafka_admin(bootstrap: str) -> AdminClient:
    """An admin client that logs nothing: a broker that stops before it is no news."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def cluster_id(bootstrap: str) -> str:
    """Which cluster it is."""
    found = kafka_admin(bootstrap).list_topics(timeout=10).cluster_id
    assert isinstance(found, str)
    return found
