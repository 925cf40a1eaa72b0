"""No transaction is split: producers write to several partitions and topics in tight loops while a worker backs them up."""

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from mirror.core.group_plan import GroupChoice
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.core.restore_plan import RestorePlan
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.service.restore.samples import SampleReader
from mirror.storage.repository import Repository
from tests.fault.restore_model import Place, read_from
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.restoring import consume_all, restore, selection_of
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

_SEED = int(os.environ.get("MIRROR_TEST_SEED", "20261123"))
_MOMENTS = int(os.environ.get("SOAK_RESTORE_MOMENTS", "25"))
_RUN_S = 6.0

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

Name = tuple[str, int]
"""A transaction: its producer and number."""


@pytest.fixture
def lab(kafka: KafkaCluster, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """A repository and workers of the test's own."""
    lab = WorkerLab(kafka, minio, tmp_path / "lab", {"topics": ["txs-*"]})
    yield lab
    lab.close()
    for topic in lab.topics():
        if "txs-" in topic:
            lab.delete_topic(topic)


@dataclass
class Loop:
    """One producer, and what it committed: each transaction writes somewhere, and moves its group in the topic ``txs-in`` to its number."""

    bootstrap: str
    name: str
    group: str
    places: list[Place]
    hold_s: float
    seed: int
    stopping: threading.Event
    committed: list[int] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def run(self) -> None:
        """Until it is stopped."""
        try:
            self._run()
        except BaseException as error:
            self.errors.append(error)

    def _run(self) -> None:
        choose = random.Random(self.seed)
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "transactional.id": f"{self.group}-{self.name}",
                "linger.ms": 0,
                "log_level": 0,
            }
        )
        producer.init_transactions(30)
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.group, "log_level": 0})
        member = consumer.consumer_group_metadata()
        number = 0
        while not self.stopping.is_set():
            producer.begin_transaction()
            for place in choose.sample(self.places, choose.randint(1, len(self.places))):
                for _ in range(choose.randint(1, 2)):
                    producer.produce(place[0], f"{self.name}:{number}".encode(), partition=place[1])
                if choose.random() < 0.3:
                    producer.flush(20)
                    time.sleep(choose.random() * self.hold_s)
            producer.send_offsets_to_transaction([TopicPartition("txs-in", 0, number + 1)], member, 20)
            if choose.random() < 0.15:
                producer.abort_transaction(20)
            else:
                producer.commit_transaction(20)
                self.committed.append(number)
            number += 1
        consumer.close()


def write_transactions(
    lab: WorkerLab, seed: int, during: "threading.Thread | None" = None
) -> tuple[dict[str, Loop], list[Place], float, float]:
    """Run loops for a while, back everything up; the loops by group, the places, and when it began and ended (s)."""
    lab.make_topic("txs-in")
    filler = Producer({"bootstrap.servers": lab.kafka.bootstrap, "log_level": 0})
    for number in range(20_000):
        filler.produce("txs-in", b"%d" % number)
        filler.poll(0)
    assert filler.flush(30) == 0
    lab.make_topic("txs-a", 2)
    lab.make_topic("txs-b")
    places: list[Place] = [("txs-a", 0), ("txs-a", 1), ("txs-b", 0)]
    lab.worker()
    lab.wait_durable({"txs-in": 1})
    stopping = threading.Event()
    loops: dict[str, Loop] = {}
    for number, hold_s in enumerate((0.0, 0.01, 0.25)):
        group = f"{lab.id}-g{number}"
        loops[group] = Loop(lab.kafka.bootstrap, f"p{number}", group, places, hold_s, seed + number, stopping)
    threads = [threading.Thread(target=loop.run) for loop in loops.values()]
    for thread in threads:
        thread.start()
    wait_until(
        lambda: all(len(loop.committed) > 3 or loop.errors for loop in loops.values()), "all producers are at work", 60
    )
    began_s = time.time()
    if during is not None:
        during.start()
    time.sleep(_RUN_S)
    if during is not None:
        during.join(60)
    ended_s = time.time()
    time.sleep(4.0)  # so that more is stored than the last moment that is asked for
    stopping.set()
    for thread in threads:
        thread.join(60)
    assert not any(loop.errors for loop in loops.values()), [loop.errors for loop in loops.values()]
    lab.wait_durable({"txs-a": 2, "txs-b": 1})
    return loops, places, began_s, ended_s


def wholes(bootstrap: str, places: list[Place]) -> dict[Name, dict[Place, list[int]]]:
    """All committed transactions, and the offsets that each has in each place."""
    found: dict[Name, dict[Place, list[int]]] = defaultdict(dict)
    for place, records in read_from(bootstrap, dict.fromkeys(places, 0)).items():
        for record in records:
            producer, _, number = (record.value or b"").decode().partition(":")
            found[producer, int(number)].setdefault(place, []).append(record.offset)
    return found


def cut_offsets(plan: RestorePlan) -> dict[Place, int]:
    """Where the plan cuts each partition."""
    return {(t.topic, p.partition): p.cut.next_offset for t in plan.topics for p in t.partitions if p.cut is not None}


def check_cuts(plan: RestorePlan, whole: dict[Name, dict[Place, list[int]]], what: str) -> set[Name]:
    """No transaction is split; returns those that come back."""
    ends = cut_offsets(plan)
    inside: set[Name] = set()
    for name, offsets in whole.items():
        states = {offset < ends.get(place, 0) for place, found in offsets.items() for offset in found}
        assert len(states) == 1, f"{what}: {name} is split by {ends}: {offsets}"
        if states == {True}:
            inside.add(name)
    return inside


def check_groups(positions: dict[str, int], loops: dict[str, Loop], inside: set[Name], what: str) -> None:
    """Each group stands where the transactions that come back without a gap have moved it: none is skipped, none is done again."""
    for group, loop in loops.items():
        wanted = 0
        for number in loop.committed:
            if (loop.name, number) not in inside:
                break
            wanted = number + 1
        assert positions.get(group, 0) == wanted, f"{what}: {group} of {loop.name}"


def planned_positions(plan: RestorePlan) -> dict[str, int]:
    """Of each group in ``txs-in``."""
    return {g.group: position.source_offset for g in plan.groups for position in g.positions}


async def plans_to(
    repository: Repository, bootstrap: str, groups: GroupChoice, points: list[RecoveryPoint]
) -> list[RestorePlan]:
    """A plan for each recovery point."""
    connection = ClusterConnection(bootstrap_servers=(bootstrap,))
    plans = []
    async with RestoreSession(repository, read_inventory(repository), connection, alias="target") as session:
        for point in points:
            selection = selection_of("txs-*", prefix="r-", point=point, groups=groups)
            plan, _ = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
            plans.append(plan)
    return plans


def test_at_any_moment_transactions_are_whole_or_absent(lab: WorkerLab) -> None:
    """Over partitions and topics, while others interleave; groups stand where the transactions left them; and once really restored."""
    choose = random.Random(_SEED)
    loops, places, began_s, ended_s = write_transactions(lab, _SEED)
    whole = wholes(lab.kafka.bootstrap, places)
    assert {number for producer, number in whole if producer == "p0"} == set(next(iter(loops.values())).committed)
    ended_s = min(ended_s, known_until_s(lab) - 2.1)
    repository = lab.reopened()
    renames = {group: f"r-{group}" for group in loops}
    groups = GroupChoice(globs=tuple(loops), renames=renames)
    moments = [int(1000 * choose.uniform(began_s, ended_s)) for _ in range(_MOMENTS)]
    points = [RecoveryPoint(kind=PointKind.AT, time_ms=at_ms) for at_ms in moments]
    plans = asyncio.run(plans_to(repository, lab.kafka.bootstrap, GroupChoice(), points))
    moved = 0
    for at_ms, plan in zip(moments, plans, strict=True):
        inside = check_cuts(plan, whole, f"--at {at_ms}")
        assert not plan.transaction_doubts
        check_groups(planned_positions(plan), loops, inside, f"--at {at_ms}")
        moved += any(p.cut.moved_from_offset is not None for t in plan.topics for p in t.partitions if p.cut)
    assert moved, "no moment fell into a transaction: the test shows nothing"

    plan, _ = asyncio.run(
        restore(repository, lab.kafka.bootstrap, selection_of("txs-*", prefix="r-", point=points[0], groups=groups))
    )
    assert cut_offsets(plan) == cut_offsets(plans[0])
    inside = check_cuts(plan, whole, "restored")
    assert came_back(lab) == inside
    stood = {group: _committed(lab.kafka.bootstrap, renames[group]) for group in loops}
    check_groups(stood, loops, inside, "restored")


def test_a_snapshot_that_is_taken_while_transactions_run_splits_none(
    lab: WorkerLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its sweep asks one partition after the other; what it names is moved back where that splits one, and groups with it."""
    names: list[str] = []

    def take() -> None:
        for number in range(3):
            name = f"s{number}"
            command = [sys.executable, "-m", "mirror.cli", "--config", str(lab.folder / "worker-0.toml")]
            ended = subprocess.run([*command, "snapshot", "create", name], env=lab.environment, timeout=60, check=False)
            if ended.returncode in (0, 6):  # not stored whole yet
                names.append(name)

    loops, places, _, _ = write_transactions(lab, _SEED + 100, threading.Thread(target=take))
    assert len(names) == 3
    whole = wholes(lab.kafka.bootstrap, places)
    repository = lab.reopened()
    for name in names:
        point = RecoveryPoint(kind=PointKind.SNAPSHOT, snapshot=name)
        (plan,) = asyncio.run(plans_to(repository, lab.kafka.bootstrap, GroupChoice(), [point]))
        inside = check_cuts(plan, whole, name)
        assert inside
        assert not plan.transaction_doubts
        for group, position in planned_positions(plan).items():
            loop = loops[group]
            skipped = [n for n in loop.committed if n < position and (loop.name, n) not in inside]
            assert not skipped, f"{name}: {group} stands at {position}"
    selection = selection_of(
        "txs-*",
        prefix="r-",
        point=RecoveryPoint(kind=PointKind.SNAPSHOT, snapshot=names[0]),
        groups=GroupChoice(is_wanted=False),
    )
    plan, _ = asyncio.run(restore(repository, lab.kafka.bootstrap, selection))
    assert came_back(lab) == check_cuts(plan, whole, names[0])


def came_back(lab: WorkerLab) -> set[Name]:
    """The transactions that a consumer of what was restored sees."""
    records = [record for topic in ("txs-a", "txs-b") for record in consume_all(lab.kafka.bootstrap, f"r-{topic}")]
    split = [(record.value or b"").decode().partition(":") for record in records]
    return {(producer, int(number)) for producer, _, number in split}


def known_until_s(lab: WorkerLab) -> float:
    """Up to when all partitions with transactions were looked at."""
    repository = lab.reopened()
    reader = SampleReader(repository)
    coverages = [one for one in read_inventory(repository).coverages.values() if one.topic in ("txs-a", "txs-b")]
    samples = [max(sample.fetched_at_ms for piece in one.runs for sample in reader.of(piece)) for one in coverages]
    assert len(samples) == 3
    return min(samples) / 1000


def _committed(bootstrap: str, group: str) -> int:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        (found,) = consumer.committed([TopicPartition("r-txs-in", 0)], timeout=20)
        return max(0, found.offset)
    finally:
        consumer.close()
