"""Following a worker from outside, by its SegmentSealed events: what is durable, and since when."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from bench.children import BenchError, Child
from bench.clients import kafka_admin
from mirror.core.events import SealedEvent, decode_event

__all__ = ["SealedReader", "ToldEvent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldEvent:
    """An event, and the time stamp that the worker gave it: after the store had taken the object."""

    told_at_s: float
    event: SealedEvent


class SealedReader:
    """Reads the sealed topic from its beginning, while `worker` runs."""

    def __init__(self, bootstrap: str, topic: str, worker: Child) -> None:
        self.told: list[ToldEvent] = []
        self._worker = worker
        self._topic = topic
        self._admin = kafka_admin(bootstrap)
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "bench", "enable.auto.commit": False, "log_level": 3}
        )

    def wait_for(self, topic: str, next_offsets: Mapping[int, int], timeout_s: float) -> ToldEvent:
        """The event that made the topic durable up to those offsets. Raises BenchError when the worker ends first."""
        missing = {partition for partition, next_offset in next_offsets.items() if next_offset > 0}
        deadline = time.monotonic() + timeout_s
        self._subscribe(deadline)
        while True:
            message = self._consumer.poll(0.1)
            if message is not None and message.error() is None:
                told = ToldEvent(told_at_s=message.timestamp()[1] / 1000, event=decode_event(message.value() or b""))
                self.told.append(told)
                for run in told.event.runs:
                    if run.topic == topic and run.next_offset >= next_offsets[run.partition]:
                        missing.discard(run.partition)
                if not missing:
                    return told
            self._worker.require_alive()
            if time.monotonic() > deadline:
                raise BenchError(f"{topic}: not durable after {timeout_s} s\n{self._worker.log_tail()}")

    def drain(self, seconds: float) -> None:
        """Take what comes in that time."""
        deadline = time.monotonic() + seconds
        self._subscribe(deadline + 60)
        while (left := deadline - time.monotonic()) > 0:
            message = self._consumer.poll(min(left, 0.2))
            if message is not None and message.error() is None:
                told_at_s = message.timestamp()[1] / 1000
                self.told.append(ToldEvent(told_at_s=told_at_s, event=decode_event(message.value() or b"")))

    def close(self) -> None:
        """Leave."""
        self._consumer.close()

    def _subscribe(self, deadline: float) -> None:
        if self._consumer.assignment():
            return
        while self._topic not in self._admin.list_topics(timeout=10).topics:
            self._worker.require_alive()
            if time.monotonic() > deadline:
                raise BenchError(f"{self._topic}: not created by the worker\n{self._worker.log_tail()}")
            time.sleep(0.05)
        self._consumer.assign([TopicPartition(self._topic, 0, OFFSET_BEGINNING)])
