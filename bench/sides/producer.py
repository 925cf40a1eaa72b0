"""confluent-kafka's producer sending the records of a topic to another; they are read into memory first, which is not timed.

`python -m bench.sides.producer JSON`
"""

import gc
import json
import sys
import time
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition

from bench.sides.consumer import SETTINGS as CONSUMER_SETTINGS

__all__ = ["SETTINGS", "send_all"]

SETTINGS: dict[str, Any] = {
    "compression.type": "lz4",
    "linger.ms": 50,
    "batch.size": 1_000_000,
    "acks": "all",
    "queue.buffering.max.messages": 2_000_000,
    "queue.buffering.max.kbytes": 1 << 20,
}
_POLL_EVERY = 10_000

Record = tuple[bytes | None, bytes | None, int, int]  # key, value, partition, timestamp


def send_all(bootstrap: str, source: str, target: str, records: int, partitions: int) -> dict[str, float]:
    """Send with keys, values, partitions and timestamps as they were.

    `produce_batch` would be faster, but takes neither timestamps nor headers: what it sends are other records.
    """
    loaded = _load(bootstrap, source, records, partitions)
    failures: list[Any] = []

    def on_delivery(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    # Successes are not called back: the fastest way that still sees every failure.
    producer = Producer({"bootstrap.servers": bootstrap, "delivery.report.only.error": True, **SETTINGS})
    producer.list_topics(target, timeout=10)
    gc.freeze()
    begin_s = time.time()
    _send(producer, target, loaded, on_delivery)
    left = producer.flush(600)
    finish_s = time.time()
    if failures or left:
        raise RuntimeError(f"{len(failures)} records failed, {left} were not sent: {failures[:1]}")
    return {"begin_s": begin_s, "finish_s": finish_s, "records": len(loaded)}


def _send(producer: Producer, target: str, loaded: list[Record], on_delivery: Any) -> None:
    produce, poll = producer.produce, producer.poll
    for number, (key, value, partition, timestamp) in enumerate(loaded):
        while True:
            try:
                produce(target, value, key, partition, on_delivery, timestamp)
                break
            except BufferError:
                poll(0.01)
        if number % _POLL_EVERY == 0:
            poll(0)


def _load(bootstrap: str, source: str, records: int, partitions: int) -> list[Record]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-loader", **CONSUMER_SETTINGS})
    consumer.assign([TopicPartition(source, partition, OFFSET_BEGINNING) for partition in range(partitions)])
    loaded: list[Record] = []
    while len(loaded) < records:
        messages = consumer.consume(num_messages=10_000, timeout=0.5)
        loaded += [(m.key(), m.value(), m.partition(), m.timestamp()[1]) for m in messages]
    consumer.close()
    return loaded


if __name__ == "__main__":
    print(json.dumps(send_all(**json.loads(sys.argv[1]))))
