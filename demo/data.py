"""The shop: five topics with what real topics have. Deterministic but for its times.

==================  =====================================================================
shop.orders         keys, headers (repeated, null, odd bytes), lz4, times out of order, one large record
shop.payments       transactions, some of them aborted, zstd
shop.customers      compacted, with tombstones, snappy
shop.clicks         no keys, one part gzip and one uncompressed
shop.audit          the broker sets the times (LogAppendTime)
==================  =====================================================================
"""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Producer

from demo.failure import DemoError

TICKS = 60
BROKEN = "undefined"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """A topic to create; ``per_tick`` records are written at each tick."""

    name: str
    partitions: int
    per_tick: int
    about: str
    configs: dict[str, str] = field(default_factory=dict)


TOPICS = (
    TopicSpec(name="shop.orders", partitions=4, per_tick=900, about="headers, lz4"),
    TopicSpec(name="shop.clicks", partitions=4, per_tick=700, about="no keys, gzip and none"),
    TopicSpec(name="shop.payments", partitions=3, per_tick=300, about="transactions, zstd"),
    TopicSpec(
        name="shop.customers",
        partitions=2,
        per_tick=250,
        about="compacted, snappy",
        configs={"cleanup.policy": "compact"},
    ),
    TopicSpec(
        name="shop.audit",
        partitions=1,
        per_tick=50,
        about="LogAppendTime",
        configs={"message.timestamp.type": "LogAppendTime", "retention.ms": "1209600000"},
    ),
)
_CITIES = ("Zürich", "São Paulo", "東京", "Lagos", "Oslo", "Kraków")
_NOTE = "leave it with the neighbour, third floor, the bell does not work"


def records_of(spec: TopicSpec, ticks: int = TICKS) -> int:
    """How many records of that topic a reader of committed records must find after so many ticks."""
    aborted = sum(is_aborted(tick) for tick in range(ticks)) if spec.name == "shop.payments" else 0
    return spec.per_tick * (ticks - aborted)


def break_orders(bootstrap: str, count: int) -> int:
    """What a bad deployment writes; when it began, ms."""
    began_ms = time.time_ns() // 1_000_000
    producer = _producer(bootstrap, "lz4")
    for number in range(count):
        value = json.dumps({"order": None, "status": BROKEN, "number": number}).encode()
        producer.produce("shop.orders", key=b"%d" % number, value=value)
    if producer.flush(30):
        raise DemoError("the broken orders could not be written")
    return began_ms


def is_aborted(tick: int) -> bool:
    """Whether the transaction of that tick is aborted."""
    return tick % 5 == 3


class Shop:
    """Writes one tick after another. ``written`` counts records, those of aborted transactions included."""

    def __init__(self, bootstrap: str, *, size: int = 1) -> None:
        self.written = 0
        self.failures: list[str] = []
        self._random = random.Random(7)
        self._size = size
        self._lz4 = _producer(bootstrap, "lz4")
        self._gzip = _producer(bootstrap, "gzip")
        self._plain = _producer(bootstrap, "none")
        self._snappy = _producer(bootstrap, "snappy")
        self._transactional = _producer(bootstrap, "zstd", **{"transactional.id": "shop-payments"})
        self._transactional.init_transactions(30)
        self._order_number = 0

    def tick(self, number: int) -> None:
        """One tick: some records of every topic, and one transaction."""
        for spec in TOPICS:
            write: Callable[[int, int], None] = getattr(self, f"_{spec.name.removeprefix('shop.')}")
            write(number, max(1, spec.per_tick // self._size))
        for producer in (self._lz4, self._gzip, self._plain, self._snappy):
            producer.poll(0)

    def finish(self, timeout_s: float = 30.0) -> None:
        """Wait for the brokers' answers. Raises DemoError when a record was not delivered."""
        left = sum(producer.flush(timeout_s) for producer in (self._lz4, self._gzip, self._plain, self._snappy))
        if left or self.failures:
            raise DemoError(f"{left} records were not delivered; {'; '.join(self.failures)}")

    def _send(self, producer: Producer, topic: str, **record: Any) -> None:
        producer.produce(topic, on_delivery=self._delivered, **record)
        self.written += 1

    def _delivered(self, error: Any, message: Any) -> None:
        if error is not None and len(self.failures) < 10:
            self.failures.append(f"{message.topic()}: {error}")

    def _orders(self, tick: int, count: int) -> None:
        choose, now_ms = self._random, time.time_ns() // 1_000_000
        for i in range(count):
            self._order_number = number = self._order_number + 1
            value = {
                "order": number,
                "city": choose.choice(_CITIES),
                "cents": choose.randrange(100, 90_000),
                "items": [choose.randrange(10_000) for _ in range(choose.randrange(1, 6))],
                "note": "x" * 300_000 if number == 10_000 else "" if i % 7 else _NOTE,
            }
            headers: list[tuple[str, Any]] = [("type", b"order-placed"), ("trace", choose.randbytes(16))]
            if i % 10 == 0:
                headers += [("retry", b"1"), ("retry", b"2"), ("deadline", None), ("", b"\x00\xff")]
            late_ms = choose.randrange(5000) if i % 50 == 0 else 0
            self._send(
                self._lz4,
                "shop.orders",
                key=f"order-{number:08d}",
                value=json.dumps(value, ensure_ascii=False),
                headers=headers,
                timestamp=now_ms - late_ms,
            )

    def _clicks(self, tick: int, count: int) -> None:
        producer = self._gzip if tick % 2 else self._plain
        choose = self._random
        for i in range(count):
            value = b"" if i % 200 == 0 else b"/p/%d?ref=%d" % (choose.randrange(5000), choose.randrange(90))
            self._send(producer, "shop.clicks", value=value)

    def _payments(self, tick: int, count: int) -> None:
        producer, choose = self._transactional, self._random
        producer.begin_transaction()
        for i in range(count):
            value = {"payment": tick * count + i, "cents": choose.randrange(100, 90_000), "state": "captured"}
            self._send(producer, "shop.payments", key=f"pay-{choose.randrange(10**9)}", value=json.dumps(value))
        if is_aborted(tick):
            producer.flush(30)  # so that the aborted records are in the log, where a careless backup would find them
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)

    def _customers(self, tick: int, count: int) -> None:
        choose = self._random
        for _ in range(count):
            customer = choose.randrange(4000)
            gone = choose.random() < 0.05
            value = None if gone else json.dumps({"customer": customer, "city": choose.choice(_CITIES), "tick": tick})
            self._send(self._snappy, "shop.customers", key=f"customer-{customer}", value=value)

    def _audit(self, tick: int, count: int) -> None:
        for i in range(count):
            key = None if i % 3 else b""
            self._send(self._plain, "shop.audit", key=key, value=f"tick {tick} step {i}: allowed")


def _producer(bootstrap: str, codec: str, **more: Any) -> Producer:
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "compression.type": codec,
            "enable.idempotence": True,
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "log_level": 2,
            **more,
        }
    )
