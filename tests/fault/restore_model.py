"""Random histories on a real broker, captured step by step, with a model beside them of what stood where after each step.

What records there are is told by an independent read_committed consumer right after each step, positions of groups are kept as they were
committed. A log that was trimmed at the source keeps in the model what the backup had seen of it before.
"""

import os
import random
import time
from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from confluent_kafka import Consumer, IsolationLevel, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from tests.capture import Capture, capture
from tests.restoring import Seen

__all__ = ["History", "Moment", "PartitionModel", "Place", "log_bounds", "read_from"]

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
Place = tuple[str, int]


@dataclass
class PartitionModel:
    """One log: where what is known of it begins, its last stable offset, and the committed records."""

    low: int = 0
    next_offset: int = 0
    records: list[Seen] = field(default_factory=list)


@dataclass
class Moment:
    """After a step: a time at which nothing happened, and what stood then."""

    time_ms: int
    logs: dict[Place, PartitionModel]
    groups: dict[str, dict[Place, int]]


def log_bounds(bootstrap: str, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """``(log start, last stable offset)``."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = [TopicPartition(*place) for place in places]
    found: list[dict[Place, int]] = []
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        wanted = admin.list_offsets(dict.fromkeys(names, spec), isolation_level=IsolationLevel.READ_COMMITTED)
        found.append({(tp.topic, tp.partition): future.result(20).offset for tp, future in wanted.items()})
    return {place: (low, found[1][place]) for place, low in found[0].items()}


def read_from(bootstrap: str, starts: dict[Place, int]) -> dict[Place, list[Seen]]:
    """What a read_committed consumer gets from these offsets on."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"judge-{time.time_ns()}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 20,
            "check.crcs": True,
        }
    )
    seen: dict[Place, list[Seen]] = {place: [] for place in starts}
    ended: set[Place] = set()
    deadline = time.monotonic() + 30
    try:
        consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
        while len(ended) < len(starts):
            assert time.monotonic() < deadline, f"no end of {set(starts) - ended}"
            for message in consumer.consume(1000, timeout=0.1):
                place = message.topic(), message.partition()
                error = message.error()
                if error is not None:
                    assert error.code() == KafkaError._PARTITION_EOF, error
                    ended.add(place)
                    continue
                seen[place].append(
                    Seen(
                        place[1],
                        message.offset(),
                        message.key(),
                        message.value(),
                        tuple(message.headers() or ()),
                        message.timestamp()[1],
                    )
                )
    finally:
        consumer.close()
    return seen


class History:
    """What happens to two topics of two partitions and two groups; call `step` again and again.

    Args:
        bootstrap: of the broker.
        topics: empty, of two partitions each.
        seed: of everything.
        taken: a capture that knows nothing of them; every step ends with one more.
    """

    def __init__(self, bootstrap: str, topics: list[str], seed: int, taken: Capture) -> None:
        self._bootstrap = bootstrap
        self._random = random.Random(seed)
        self._taken = taken
        self.topics = topics
        self._places: list[Place] = [(topic, partition) for topic in topics for partition in range(2)]
        self._name = f"{topics[0]}-{seed}"
        self._producers: dict[str, Producer] = {}
        self._short: Producer | None = None
        self._open: Producer | None = None
        self._pending: dict[str, dict[Place, int]] = {}
        self._logs: dict[Place, PartitionModel] = {place: PartitionModel() for place in self._places}
        self._groups: dict[str, dict[Place, int]] = {f"g{number}-{self._name}": {} for number in range(2)}
        self._number = 0
        self.told: list[str] = []
        self.moments: list[Moment] = []

    @property
    def groups(self) -> list[str]:
        """Their names."""
        return list(self._groups)

    async def step(self, *, is_last: bool = False) -> None:
        """Some things happen, then all of it is captured and a moment is remembered; the last moment is none to restore with --at."""
        choose = self._random.choices(
            [self._produce, self._transaction, self._begin_or_end, self._trim, self._commit, self._forget_group],
            [6, 3, 3, 2, 4, 0.5],
            k=self._random.randint(1, 5),
        )
        if not self.moments or is_last:
            choose = [self._produce, self._commit, *choose]
        for happens in choose:
            happens()
        await self._capture()
        self._look()
        time.sleep(0.012)
        now_ms = time.time_ns() // 1_000_000
        time.sleep(0.012)
        self.moments.append(Moment(now_ms, deepcopy(self._logs), deepcopy(self._groups)))
        self.told.append(f"moment {len(self.moments) - 1} at {now_ms}")

    def close(self) -> None:
        """End what is open."""
        if self._open is not None:
            self._open.abort_transaction(20)

    # what happens

    def _place(self) -> Place:
        return self._random.choice(self._places)

    def _send(self, producer: Producer, place: Place, count: int) -> None:
        for _ in range(count):
            now_ms = time.time_ns() // 1_000_000
            away_ms = self._random.choice([0, 0, self._random.randint(-90_000, 90_000), self._random.randint(-5, 5)])
            producer.produce(
                place[0],
                key=self._random.choice([None, b"%d" % self._random.randrange(50)]),
                value=self._random.choice([None, b"", os.urandom(self._random.randrange(60)), b"v" * 300]),
                headers=[("h", os.urandom(2))] * self._random.randrange(3),
                partition=place[1],
                timestamp=now_ms + away_ms,
            )

    def _produce(self) -> None:
        codec, place = self._random.choice(CODECS), self._place()
        producer = self._producers.get(codec)
        if producer is None:
            producer = self._producers[codec] = Producer(
                {
                    "bootstrap.servers": self._bootstrap,
                    "linger.ms": 1,
                    "compression.type": codec,
                    "batch.num.messages": self._random.choice([1, 7, 100]),
                }
            )
        count = self._random.choice([1, 5, 40, 150])
        self._send(producer, place, count)
        assert producer.flush(20) == 0
        self.told.append(f"{count} records, {codec}, {place}")

    def _transactional(self, name: str) -> Producer:
        producer = Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "transactional.id": f"{name}-{self._name}",
                "linger.ms": 1,
                "compression.type": self._random.choice(CODECS),
            }
        )
        producer.init_transactions(20)
        return producer

    def _transaction(self) -> None:
        if self._short is None:
            self._short = self._transactional("short")
        self._short.begin_transaction()
        counts = {place: self._random.choice([1, 1, 12]) for place in {self._place(), self._place()}}
        for place, count in counts.items():
            self._send(self._short, place, count)
        self._short.flush(20)
        is_aborted = self._random.random() < 0.4
        (self._short.abort_transaction if is_aborted else self._short.commit_transaction)(20)
        self.told.append(f"transaction {counts} {'aborted' if is_aborted else 'committed'}")

    def _begin_or_end(self) -> None:
        """A transaction that stays open over steps, with a group's positions in it."""
        if self._open is None:
            self._open = self._transactional(f"open{self._number}")
            self._number += 1
            self._open.begin_transaction()
            place = self._place()
            self._send(self._open, place, 3)
            self._open.flush(20)
            group = self._random.choice(self.groups)
            if not self._pending and self._random.random() < 0.5:
                self._pending = {group: self._random_positions()}
                consumer = self._consumer(group)
                wanted = [TopicPartition(*at, offset) for at, offset in self._pending[group].items()]
                self._open.send_offsets_to_transaction(wanted, consumer.consumer_group_metadata(), 20)
                consumer.close()
            self.told.append(f"a transaction is opened on {place}, with positions {self._pending}")
            return
        is_aborted = self._random.random() < 0.3
        (self._open.abort_transaction if is_aborted else self._open.commit_transaction)(20)
        self.told.append(f"the open transaction is {'aborted' if is_aborted else 'committed'}")
        if not is_aborted:
            for group, positions in self._pending.items():
                self._groups[group] |= positions
        self._open, self._pending = None, {}

    def _trim(self) -> None:
        place = self._place()
        low, stable = log_bounds(self._bootstrap, [place])[place]
        before = self._random.randint(low, stable)
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        for future in admin.delete_records([TopicPartition(*place, before)]).values():
            future.result(20)
        self.told.append(f"{place} is trimmed to {before}")

    def _random_positions(self) -> dict[Place, int]:
        chosen = self._random.sample(self._places, self._random.randint(1, 4))
        bounds = log_bounds(self._bootstrap, chosen)
        return {place: self._random.randint(0, bounds[place][1]) for place in chosen}

    def _consumer(self, group: str) -> Consumer:
        return Consumer({"bootstrap.servers": self._bootstrap, "group.id": group, "enable.auto.commit": False})

    def _commit(self) -> None:
        group = self._random.choice(self.groups)
        if group in self._pending:  # a later commit would win over the transaction's; kept out of the model
            return
        positions = self._random_positions()
        consumer = self._consumer(group)
        try:
            wanted = [TopicPartition(*place, offset) for place, offset in positions.items()]
            consumer.commit(offsets=wanted, asynchronous=False)
        finally:
            consumer.close()
        self._groups[group] |= positions
        self.told.append(f"{group} commits {positions}")

    def _forget_group(self) -> None:
        group = self._random.choice(self.groups)
        if group in self._pending or not self._groups[group]:
            return
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        for future in admin.delete_consumer_groups([group]).values():
            future.result(20)
        self._groups[group] = {}
        self.told.append(f"{group} is deleted")

    # afterwards

    async def _capture(self) -> None:
        self._taken = await capture(
            self._bootstrap,
            [*self.topics, "__consumer_offsets"],
            self._taken.repository.store,
            mode=self._random.choice(["auto", "passthrough", "zstd"]),
            object_bytes=self._random.choice([3000, 1 << 20]),
            slice_bytes=self._random.choice([500, 1 << 20]),
            go_on=self._taken,
        )

    def _look(self) -> None:
        bounds = log_bounds(self._bootstrap, self._places)
        starts: dict[Place, int] = {}
        for place, (low, _) in bounds.items():
            log = self._logs[place]
            if log.low == log.next_offset:  # nothing seen yet: what is gone before is no part of it
                log.low = max(log.low, low)
            starts[place] = max(log.next_offset, low)
        for place, records in read_from(self._bootstrap, starts).items():
            self._logs[place].records += records
            self._logs[place].next_offset = bounds[place][1]
