"""confluent-kafka's admin client for the bench's own questions, without librdkafka's remarks on standard error."""

from confluent_kafka.admin import AdminClient

__all__ = ["kafka_admin"]


def kafka_admin(bootstrap: str) -> AdminClient:
    """An admin client that logs nothing: a broker that stops before it is no news."""
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
