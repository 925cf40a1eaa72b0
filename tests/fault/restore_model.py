"""Random histories on a real broker, captured step by step, with a model beside them of what stood where after each step.

What records there are is told by an independent read_committed consumer right after each step, positions of groups are kept as they were
committed. A log that was trimmed at the source keeps in the model what the backup had seen of it before. Records of a transaction carry its
number, so that the model can tell which ones a prefix would split.
"""

import os
import random
import time
from collections.abc import Container, Iterable
from copy import deepcopy
from dataclasses import dataclass, field

from confluent_kafka import Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicPartition
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
    commits: int = 0


@dataclass
class Commit:
    """Positions of a group, None where it was deleted; by a transaction or not."""

    group: str
    positions: dict[Place, int] | None
    transaction: int | None = None


@dataclass
class OpenOne:
    """A transaction that stays open over steps, maybe with positions of a group in it."""

    producer: Producer
    number: int
    pending: Commit | None = None


def log_bounds(bootstrap: str, places: Iterable[Place]) -> dict[Place, tuple[int, int]]:
    """``(log start, last stable offset)``; a topic that was just made may have no leader yet."""
    wanted = list(places)
    deadline = time.monotonic() + 30
    while True:
        try:
            return _log_bounds(bootstrap, wanted)
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def _log_bounds(bootstrap: str, places: list[Place]) -> dict[Place, tuple[int, int]]:
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
        self._short_ended_s = 0.0
        self._open: list[OpenOne] = []
        self._commits: list[Commit] = []
        self._logs: dict[Place, PartitionModel] = {place: PartitionModel() for place in self._places}
        self._names = [f"g{number}-{self._name}" for number in range(2)]
        self._number = 0
        self.told: list[str] = []
        self.moments: list[Moment] = []

    @property
    def groups(self) -> list[str]:
        """Their names."""
        return list(self._names)

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
        self.moments.append(Moment(now_ms, deepcopy(self._logs), self._groups_after(self._commits), len(self._commits)))
        self.told.append(f"moment {len(self.moments) - 1} at {now_ms}")

    def close(self) -> None:
        """End what is open."""
        for one in self._open:
            one.producer.abort_transaction(20)

    def whole_at(self, moment: Moment) -> Moment:
        """The same without the transactions that it would split; call it after the last step."""
        pieces: dict[int, dict[Place, list[int]]] = {}
        for place, log in self.moments[-1].logs.items():
            for record in log.records:
                for name, number in record.headers:
                    if name == "transaction":
                        pieces.setdefault(int(number or b""), {}).setdefault(place, []).append(record.offset)
        ends = {place: log.next_offset for place, log in moment.logs.items()}
        before = None
        while before != ends:
            before = dict(ends)
            for found in pieces.values():
                if any(offset >= ends[place] for place, offsets in found.items() for offset in offsets):
                    for place, offsets in found.items():
                        ends[place] = min(ends[place], offsets[0])
        outside = {
            number
            for number, found in pieces.items()
            if any(offsets[-1] >= ends[place] for place, offsets in found.items())
        }
        logs = {
            place: PartitionModel(log.low, ends[place], [one for one in log.records if one.offset < ends[place]])
            for place, log in moment.logs.items()
        }
        groups = self._groups_after(self._commits[: moment.commits], outside)
        return Moment(moment.time_ms, logs, groups, moment.commits)

    def _groups_after(self, commits: list[Commit], outside: Container[int] = ()) -> dict[str, dict[Place, int]]:
        """Where groups stand; a position that a transaction outside has committed stays where it was, whatever follows."""
        found: dict[str, dict[Place, int]] = {group: {} for group in self._names}
        stay: set[tuple[str, Place]] = set()
        for commit in commits:
            if commit.positions is None:
                found[commit.group] = {}
                continue
            if commit.transaction is not None and commit.transaction in outside:
                stay |= {(commit.group, place) for place in commit.positions}
            found[commit.group] |= {
                place: offset for place, offset in commit.positions.items() if (commit.group, place) not in stay
            }
        return found

    # what happens

    def _place(self) -> Place:
        return self._random.choice(self._places)

    def _send(self, producer: Producer, place: Place, count: int, transaction: int | None = None) -> None:
        named = [] if transaction is None else [("transaction", b"%d" % transaction)]
        for _ in range(count):
            now_ms = time.time_ns() // 1_000_000
            away_ms = self._random.choice([0, 0, self._random.randint(-90_000, 90_000), self._random.randint(-5, 5)])
            producer.produce(
                place[0],
                key=self._random.choice([None, b"%d" % self._random.randrange(50)]),
                value=self._random.choice([None, b"", os.urandom(self._random.randrange(60)), b"v" * 300]),
                headers=named + [("h", os.urandom(2))] * self._random.randrange(3),
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
        if self._short is None or time.monotonic() - self._short_ended_s < 1.5:
            # Transactions that one producer ends within a second could be taken for one; here all shall be exact.
            self._short = self._transactional(f"short{self._number}")
        self._number += 1
        self._short.begin_transaction()
        counts = {place: self._random.choice([1, 1, 12]) for place in {self._place(), self._place(), self._place()}}
        for place, count in counts.items():
            self._send(self._short, place, count, self._number)
        self._short.flush(20)
        is_aborted = self._random.random() < 0.4
        (self._short.abort_transaction if is_aborted else self._short.commit_transaction)(20)
        self._short_ended_s = time.monotonic()
        self.told.append(f"transaction {self._number} {counts} {'aborted' if is_aborted else 'committed'}")

    def _begin_or_end(self) -> None:
        """Transactions that stay open over steps, up to two at once, with a group's positions in them."""
        if not self._open or (len(self._open) < 2 and self._random.random() < 0.5):
            self._number += 1
            one = OpenOne(self._transactional(f"open{self._number}"), self._number)
            self._open.append(one)
            one.producer.begin_transaction()
            places = {self._place(), self._place()}
            for place in places:
                self._send(one.producer, place, 3, one.number)
            one.producer.flush(20)
            group = self._random.choice(self.groups)
            if group not in self._pending_groups() and self._random.random() < 0.5:
                one.pending = Commit(group, self._random_positions(), one.number)
                consumer = self._consumer(group)
                wanted = [TopicPartition(*at, offset) for at, offset in (one.pending.positions or {}).items()]
                one.producer.send_offsets_to_transaction(wanted, consumer.consumer_group_metadata(), 20)
                consumer.close()
            self.told.append(f"transaction {one.number} is opened on {places}, with positions {one.pending}")
            return
        one = self._open.pop(self._random.randrange(len(self._open)))
        if self._random.random() < 0.5:
            place = self._place()
            self._send(one.producer, place, 2, one.number)
            self.told.append(f"transaction {one.number} goes on on {place}")
        is_aborted = self._random.random() < 0.3
        (one.producer.abort_transaction if is_aborted else one.producer.commit_transaction)(20)
        self.told.append(f"transaction {one.number} is {'aborted' if is_aborted else 'committed'}")
        if one.pending and not is_aborted:
            self._commits.append(one.pending)

    def _pending_groups(self) -> set[str]:
        return {one.pending.group for one in self._open if one.pending}

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
        if group in self._pending_groups():  # a later commit would win over the transaction's; kept out of the model
            return
        positions = self._random_positions()
        consumer = self._consumer(group)
        try:
            wanted = [TopicPartition(*place, offset) for place, offset in positions.items()]
            consumer.commit(offsets=wanted, asynchronous=False)
        finally:
            consumer.close()
        self._commits.append(Commit(group, positions))
        self.told.append(f"{group} commits {positions}")

    def _forget_group(self) -> None:
        group = self._random.choice(self.groups)
        if group in self._pending_groups() or not self._groups_after(self._commits)[group]:
            return
        admin = AdminClient({"bootstrap.servers": self._bootstrap})
        for future in admin.delete_consumer_groups([group]).values():
            future.result(20)
        self._commits.append(Commit(group, None))
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
