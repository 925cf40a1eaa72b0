"""A consumer of the shop, with a group that remembers where it stands."""

import time

from confluent_kafka import Consumer, KafkaError, TopicPartition

from demo.failure import DemoError

__all__ = ["GROUP", "TOPIC", "positions", "read_all", "read_some"]

GROUP = "shop.billing"
TOPIC = "shop.orders"
_QUIET_S = 30.0


def read_some(bootstrap: str, count: int) -> int:
    """Read at least so many records as a new group and commit; how many were read."""
    return _read(bootstrap, count)


def read_all(bootstrap: str) -> int:
    """Go on where the group stands, to the end of every partition; how many records there were.

    Where it has no position it begins at the first record: a lost position would show as records read twice.
    """
    return _read(bootstrap, None)


def positions(bootstrap: str, partitions: int) -> dict[int, int]:
    """Where the group stands: partition → offset."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": GROUP, "log_level": 2})
    try:
        wanted = [TopicPartition(TOPIC, partition) for partition in range(partitions)]
        return {one.partition: one.offset for one in consumer.committed(wanted, timeout=10) if one.offset >= 0}
    finally:
        consumer.close()


def _read(bootstrap: str, count: int | None) -> int:
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": GROUP,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "isolation.level": "read_committed",
            "session.timeout.ms": 6000,
            "log_level": 2,
        }
    )
    consumer.subscribe([TOPIC])
    read, ended, heard_at = 0, set[int](), time.monotonic()
    try:
        while (count is None or read < count) and not (ended and len(ended) == len(consumer.assignment())):
            for message in consumer.consume(500, timeout=0.5):
                heard_at = time.monotonic()
                error = message.error()
                if error is None:
                    read += 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                else:
                    raise DemoError(f"{GROUP} cannot read {TOPIC}: {error}")
            if time.monotonic() - heard_at > _QUIET_S:
                raise DemoError(f"{GROUP} heard nothing for {_QUIET_S:.0f} s")
        consumer.commit(asynchronous=False)
    finally:
        consumer.close()
    return read
