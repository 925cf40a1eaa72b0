"""A bare confluent-kafka consumer that only reads: no decoding, no storing. `python -m bench.sides.consumer JSON`."""

import json
import sys
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

__all__ = ["SETTINGS", "read_all"]

# Chosen for throughput by what each setting does: not searched for, and not compared with the defaults.
SETTINGS: dict[str, Any] = {
    "isolation.level": "read_committed",
    "enable.auto.commit": False,
    "enable.partition.eof": False,
    "check.crcs": False,
    "fetch.max.bytes": 64 << 20,
    "max.partition.fetch.bytes": 16 << 20,
    "fetch.wait.max.ms": 100,
    "queued.min.messages": 1_000_000,
    "queued.max.messages.kbytes": 1 << 20,
    "fetch.queue.backoff.ms": 5,
}
BATCH_MESSAGES = 10_000


def read_all(bootstrap: str, topic: str, records: int, partitions: int) -> dict[str, float]:
    """Read that many records; times are seconds since the epoch, of the first and of the last answer of `consume`."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-consumer", **SETTINGS})
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in range(partitions)])
    first_s = 0.0
    seen = 0
    while seen < records:
        messages = consumer.consume(num_messages=BATCH_MESSAGES, timeout=0.5)
        if messages and not first_s:
            first_s = time.time()
        seen += len(messages)
    last_s = time.time()
    errors = sum(message.error() is not None for message in messages)
    consumer.close()
    if errors:
        raise RuntimeError(f"{errors} errors in the last batch")
    return {"begin_s": first_s, "finish_s": last_s, "records": seen}


if __name__ == "__main__":
    print(json.dumps(read_all(**json.loads(sys.argv[1]))))
