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
CHUNK = 10_000

Record = tuple[bytes | None, bytes | None, int, int]  # key, value, partition, timestamp


def send_all(bootstrap: str, source: str, target: str, records: int, partitions: int, api: str) -> dict[str, float]:
    """Send with `produce` or with `produce_batch`, with keys, values, partitions and timestamps as they were."""
    loaded = _load(bootstrap, source, records, partitions)
    failures: list[Any] = []

    def on_delivery(error: Any, _message: Any) -> None:
        if error is not None:
            failures.append(error)

    # Successes are not called back: the fastest way that still sees every failure.
    producer = Producer({"bootstrap.servers": bootstrap, "delivery.report.only.error": True, **SETTINGS})
    producer.list_topics(target, timeout=10)
    gc.freeze()
    send = _send_singly if api == "produce" else _send_batches
    prepared: Any = loaded if api == "produce" else _as_batches(loaded)
    begin_s = time.time()
    send(producer, target, prepared, on_delivery)
    left = producer.flush(600)
    finish_s = time.time()
    if failures or left:
        raise RuntimeError(f"{len(failures)} records failed, {left} were not sent: {failures[:1]}")
    return {"begin_s": begin_s, "finish_s": finish_s, "records": len(loaded)}


def _send_singly(producer: Producer, target: str, loaded: list[Record], on_delivery: Any) -> None:
    produce, poll = producer.produce, producer.poll
    for number, (key, value, partition, timestamp) in enumerate(loaded):
        while True:
            try:
                produce(target, value, key, partition, on_delivery, timestamp)
                break
            except BufferError:
                poll(0.01)
        if number % CHUNK == 0:
            poll(0)


def _as_batches(loaded: list[Record]) -> list[tuple[int, list[dict[str, Any]]]]:
    by_partition: dict[int, list[dict[str, Any]]] = {}
    for key, value, partition, timestamp in loaded:
        message = {"value": value, "timestamp": timestamp}
        by_partition.setdefault(partition, []).append(message if key is None else {**message, "key": key})
    chunks = [
        (start, partition, messages[start : start + CHUNK])
        for partition, messages in by_partition.items()
        for start in range(0, len(messages), CHUNK)
    ]
    return [(partition, chunk) for _, partition, chunk in sorted(chunks, key=lambda entry: entry[:2])]


def _send_batches(producer: Producer, target: str, batches: list[tuple[int, list[dict[str, Any]]]], on_delivery: Any) -> None:
    for partition, chunk in batches:
        while chunk:
            queued = producer.produce_batch(target, chunk, partition, on_delivery)
            chunk = [message for message in chunk if "_error" in message] if queued < len(chunk) else []
            for message in chunk:
                del message["_error"]
            producer.poll(0.01 if chunk else 0)


def _load(bootstrap: str, source: str, records: int, partitions: int) -> list[Record]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench-loader", **CONSUMER_SETTINGS})
    consumer.assign([TopicPartition(source, partition, OFFSET_BEGINNING) for partition in range(partitions)])
    loaded: list[Record] = []
    while len(loaded) < records:
        for message in consumer.consume(num_messages=10_000, timeout=0.5):
            loaded.append((message.key(), message.value(), message.partition(), message.timestamp()[1]))
    consumer.close()
    return loaded


if __name__ == "__main__":
    print(json.dumps(send_all(**json.loads(sys.argv[1]))))
