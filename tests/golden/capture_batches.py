"""Captures batches that real clients wrote to a real broker; again only for a new client version.

Run ``python -m tests.golden.capture_batches``. The broker's log file is what it stores: batches as producers sent them.
"""

import tempfile
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from tests.servers.kafka import KafkaCluster, kafka_tool

HERE = Path(__file__).resolve().parent
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
T0_MS = 1_795_000_000_000
JAVA_RECORDS = 500

RECORDS: list[tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]], int]] = [
    (b"key", b"value", [], T0_MS),
    (None, b"no key", [], T0_MS + 5),
    (b"tombstone", None, [], T0_MS - 5),
    (b"", b"", [("", b"")], T0_MS + 1),
    (None, None, [("a", b"1"), ("a", None), ("b", b"\x00\xff"), ("a", b"3")], T0_MS),
    *(
        (b"k%d" % number, b'{"number": %d, "text": "lorem ipsum dolor"}' % number, [], T0_MS + number)
        for number in range(200)
    ),
    (b"large", bytes(range(256)) * 600, [], T0_MS + 300),
]


def _produce(bootstrap: str, topic: str, codec: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, "linger.ms": 300, "acks": "all"})
    for key, value, headers, timestamp_ms in RECORDS:
        producer.produce(topic, value, key, partition=0, timestamp=timestamp_ms, headers=headers)
    assert producer.flush(30) == 0


def _produce_java(bootstrap: str, topic: str, codec: str, payload: Path) -> None:
    payload.write_text("".join(f'{{"id": {number}, "name": "customer {number % 7}"}}\n' for number in range(50)))
    kafka_tool(
        "org.apache.kafka.tools.ProducerPerformance",
        *("--topic", topic, "--num-records", str(JAVA_RECORDS), "--throughput", "-1", "--payload-file", str(payload)),
        *("--producer-props", f"bootstrap.servers={bootstrap}", f"compression.type={codec}", "linger.ms=300"),
    )


def _transactions(bootstrap: str, topic: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic, "compression.type": "lz4"})
    producer.init_transactions(30)
    for number in range(4):
        producer.begin_transaction()
        for record in range(5):
            producer.produce(topic, b"%d" % record, b"transaction %d" % number, partition=0, timestamp=T0_MS)
        producer.flush(30)
        if number % 2:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)


def main() -> None:
    """Write ``batches_*.bin`` next to this file."""
    with tempfile.TemporaryDirectory() as folder:
        cluster = KafkaCluster(Path(folder) / "kafka")
        cluster.start()
        try:
            admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
            names = [*CODECS, *(f"java_{codec}" for codec in CODECS), "transactions"]
            futures = admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1) for name in names])
            for future in futures.values():
                future.result(30)
            for codec in CODECS:
                _produce(cluster.bootstrap, codec, codec)
                _produce_java(cluster.bootstrap, f"java_{codec}", codec, Path(folder) / "payload")
            _transactions(cluster.bootstrap, "transactions")
            cluster.stop()
            for name in names:
                (log,) = Path(folder).rglob(f"{name}-0/00000000000000000000.log")
                (HERE / f"batches_{name}.bin").write_bytes(log.read_bytes())
        finally:
            cluster.kill()


if __name__ == "__main__":
    main()
