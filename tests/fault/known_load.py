"""A known load to back up: the content of every record follows from its topic, partition and sequence."""

import threading
import time
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Producer

from mirror.core.positions import TopicPartition

_PATTERN = bytes(i * i % 251 ^ (i >> 8) for i in range(8192))


class KnownLoad:
    """A thread that produces records whose content follows from topic, partition and sequence, whatever is killed meanwhile.

    Idempotent, so that each is in the log once; sequences of a partition ascend. ``acked`` counts what the brokers confirmed.

    Args:
        topics: name → partitions.
        records_per_second: over all partitions.
        padding: bytes of each value, about.
        codec: of the producer.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Mapping[str, int],
        *,
        records_per_second: float = 2000.0,
        padding: int = 100,
        codec: str = "lz4",
        total: int | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self.topics = dict(topics)
        self.acked: dict[TopicPartition, int] = {TopicPartition(t, p): 0 for t, n in topics.items() for p in range(n)}
        self.failed: list[str] = []
        self._rate = records_per_second
        self._padding = padding
        self._total = total
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "enable.idempotence": True,
                "compression.type": codec,
                "linger.ms": 20,
                "message.timeout.ms": 600_000,
                "queue.buffering.max.messages": 1_000_000,
                "log_level": 0,
                **(options or {}),
            }
        )

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, flush: bool = True, timeout_s: float = 90.0) -> None:
        """End; with ``flush`` AssertionError unless every record was confirmed."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        if flush:
            self.finish(timeout_s)

    def finish(self, timeout_s: float = 90.0) -> None:
        """Wait until every record of a limited load is produced and confirmed."""
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        left = self._producer.flush(timeout_s)
        assert not left, f"{left} records were not confirmed"
        assert not self.failed, self.failed[:5]

    def _run(self) -> None:
        sequences = dict.fromkeys(self.acked, 0)
        order = list(sequences)
        begun, sent = time.monotonic(), 0
        while not self._stop.is_set() and (self._total is None or sent < self._total):
            allowed = int((time.monotonic() - begun) * self._rate) - sent
            for _ in range(min(allowed, 5000 if self._total is None else self._total - sent)):
                tp = order[sent % len(order)]
                self._send(tp, sequences[tp])
                sequences[tp] += 1
                sent += 1
            self._producer.poll(0.005)
        self._producer.poll(0)

    def _send(self, tp: TopicPartition, sequence: int) -> None:
        def confirmed(error: Any, _message: Any) -> None:
            if error is not None:
                self.failed.append(f"{tp} {sequence}: {error}")
            else:
                self.acked[tp] += 1

        while True:
            try:
                self._producer.produce(
                    tp.topic,
                    known_value(tp, sequence, self._padding),
                    key=str(sequence).encode(),
                    partition=tp.partition,
                    on_delivery=confirmed,
                )
            except BufferError:
                self._producer.poll(0.1)
            else:
                return


def known_value(tp: TopicPartition, sequence: int, padding: int = 100) -> bytes:
    """The value of a record of :class:`KnownLoad`."""
    head = f"{tp.topic}|{tp.partition}|{sequence}|".encode()
    begin = sequence * 7 % 251
    return head + _PATTERN[begin : begin + max(0, padding - len(head))]
