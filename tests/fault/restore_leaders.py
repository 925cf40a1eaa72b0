"""Restores with exact offsets onto three brokers while leaders die and move; an independent consumer judges, and `mirror prove`."""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

from confluent_kafka import Consumer, ElectionType, TopicPartition
from confluent_kafka.admin import NewTopic

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.group_plan import GroupChoice
from mirror.core.recovery_point import LATEST
from mirror.errors import PartialError, RefusedError
from mirror.kafka.connection import ClusterConnection
from mirror.service.restore import fillers
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.storage.folder import FolderStore
from mirror.storage.repository import Repository
from tests.capture import capture
from tests.fault.restore_lab import produce, transactions, trim
from tests.fault.worker_lab import wait_until
from tests.restoring import Seen, consume_all, restore, selection_of
from tests.servers.kafka import KafkaBroker, KafkaCluster
from tests.soak.brokers import admin_of, ends_of, leaders_of, make_whole, wait_led_without

__all__ = ["LeaderLab"]

_PARTITIONS = 3
_MOST_RUNS = 5


class LeaderLab:
    """A topic that spreads over three brokers, captured with all that makes holes, and a group in its middle.

    Args:
        cluster: of three brokers.
        folder: for the repository.
        seed: of the moments.
        name: of the topic.
        bytes_per_second: while harms are to come.
        say: told of every step.
    """

    def __init__(
        self,
        cluster: KafkaCluster,
        folder: Path,
        seed: int,
        *,
        name: str = "spread",
        bytes_per_second: int,
        say: Callable[[str], None] = print,
    ) -> None:
        self.cluster = cluster
        self._folder = folder
        self._topic, self._group = name, f"{name}-readers"
        self._random = random.Random(seed)
        self._rate = bytes_per_second
        self._say = say
        self._originals: list[Seen] = []
        self._ends: dict[int, int] = {}
        self._positions: list[int] = []
        self._repository: Repository | None = None

    async def prepare(self, records: int) -> None:
        """Fill and capture; so many plain records in each partition, beside a trimmed log and transactions of which some abort."""
        bootstrap = self.cluster.bootstrap
        configs = {"retention.ms": "-1", "min.insync.replicas": "2"}
        new = NewTopic(self._topic, num_partitions=_PARTITIONS, replication_factor=3, config=configs)
        admin = admin_of(self.cluster)  # kept: its futures end with it
        admin.create_topics([new])[self._topic].result(30)
        for partition in range(_PARTITIONS):
            produce(bootstrap, self._topic, records // 2, partition=partition, size=60)
            transactions(bootstrap, self._topic, [5, 1, 40, 1, 1, 200], partition=partition)
            produce(bootstrap, self._topic, records // 2, partition=partition, size=60)
        trim(bootstrap, self._topic, 77)
        self._originals = consume_all(bootstrap, self._topic)
        self._ends = ends_of(self.cluster, self._topic, _PARTITIONS)
        self._positions = [self._ends[partition] // 2 for partition in range(_PARTITIONS)]
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": self._group, "enable.auto.commit": False})
        consumer.commit(
            offsets=[TopicPartition(self._topic, p, offset) for p, offset in enumerate(self._positions)],
            asynchronous=False,
        )
        consumer.close()
        self._folder.mkdir(parents=True, exist_ok=True)
        store = FolderStore(str(self._folder / "repo"))
        store.create()
        taken = await capture(bootstrap, [self._topic, GROUP_LOG_TOPIC], store, object_bytes=40_000, slice_bytes=6000)
        self._repository = taken.repository

    async def restore_through(self, prefix: str, harms: Sequence[str], *, takes_markers: bool = True) -> list[int]:
        """Restore, with those harms one after the other while it loads; the exit codes of all runs. AssertionError unless equal.

        ``kill``: a leader dies; ``return``: it comes back, and all are in sync; ``move``: leaders go back to where they were meant to be.
        Without ``takes_markers`` holes are filled by aborted transactions.
        """
        if takes_markers:
            return await self._restore_through(prefix, list(harms))

        async def may_not(_: object) -> bool:
            return False

        with mock.patch.object(fillers, "may_write_markers", may_not):
            return await self._restore_through(prefix, list(harms))

    async def _restore_through(self, prefix: str, harms: list[str]) -> list[int]:
        assert self._repository is not None
        selection = selection_of(
            self._topic,
            prefix=prefix,
            point=LATEST,
            groups=GroupChoice(globs=(self._group,), renames={self._group: f"{prefix}{self._group}"}),
        )
        codes: list[int] = []
        was_doubled = False
        copy = f"{prefix}{self._topic}"
        while not codes or codes[-1]:
            assert len(codes) < _MOST_RUNS, codes
            rate = self._rate if harms else None
            running = asyncio.create_task(
                restore(self._repository, self.cluster.bootstrap, selection, bytes_per_second=rate)
            )
            while harms and not running.done():
                await self._harm(harms.pop(0), copy, running)
            try:
                await running
            except RefusedError as error:
                # Aborted transactions only: Kafka wrote a marker twice for a leader that died. What the hint says is done.
                if not was_doubled:
                    raise
                codes.append(error.exit_code)
                await asyncio.to_thread(self._delete, copy)
            except PartialError as error:
                was_doubled = "written twice" in error.message
                self._say(f"… exit 3: {error.message.splitlines()[0][:200]}")
                codes.append(error.exit_code)
            else:
                codes.append(0)
        assert not harms, f"it ended before {harms}"
        await asyncio.to_thread(self._judge, copy, f"{prefix}{self._group}")
        connection = ClusterConnection(bootstrap_servers=tuple(self.cluster.bootstrap.split(",")))
        inventory = read_inventory(self._repository)
        async with RestoreSession(self._repository, inventory, connection, alias="target") as session:
            now_ms = time.time_ns() // 1_000_000
            _, proof = await session.prove(selection, now_ms=now_ms, on_progress=lambda _topic, _records: None)
        assert not proof.differences, proof.differences
        assert proof.groups == 1
        return codes

    async def _harm(self, harm: str, copy: str, running: "asyncio.Task[object]") -> None:
        there = sum((await asyncio.to_thread(self._arrived, copy)).values())
        wanted = there + self._random.randrange(150, 900)
        while there < wanted and not running.done():
            await asyncio.sleep(0.1)
            there = max(
                there, sum((await asyncio.to_thread(self._arrived, copy)).values())
            )  # none while nobody answers
        await asyncio.to_thread(getattr(self, f"_{harm}"), copy)
        self._say(f"leader-{harm} with {there:,} of {sum(self._ends.values()):,} offsets there")

    def _arrived(self, copy: str) -> dict[int, int]:
        found = admin_of(self.cluster).list_topics(timeout=5).topics
        return ends_of(self.cluster, copy, _PARTITIONS) if copy in found else {}

    def _leader(self, copy: str) -> KafkaBroker:
        return self.cluster.brokers[self._random.choice([n for n in leaders_of(self.cluster, copy) if n > 0]) - 1]

    def _kill(self, copy: str) -> None:
        broker = self._leader(copy)
        broker.kill()
        wait_led_without(self.cluster, [copy], broker.node_id)

    def _return(self, copy: str) -> None:
        """Whoever is dead comes back, and all are in sync."""
        make_whole(self.cluster)

    def _move(self, copy: str) -> None:
        """Leadership goes back to where it was meant to be, without a failure."""
        before = leaders_of(self.cluster, copy)
        partitions = [TopicPartition(copy, partition) for partition in range(_PARTITIONS)]
        admin = admin_of(self.cluster)
        moved = admin.elect_leaders(ElectionType.PREFERRED, partitions).result(30)
        failed = {tp: error for tp, error in moved.items() if error is not None and "not needed" not in str(error)}
        assert not failed, failed
        wait_until(lambda: leaders_of(self.cluster, copy) != before, "leaders move", 20, 0.1)

    def _delete(self, copy: str) -> None:
        admin = admin_of(self.cluster)
        admin.delete_topics([copy])[copy].result(30)
        wait_until(lambda: copy not in admin.list_topics(timeout=5).topics, "it is gone", 30)

    def _judge(self, copy: str, group: str) -> None:
        records = consume_all(self.cluster.bootstrap, copy, timeout_s=60)
        assert len(records) == len(self._originals)
        assert records == self._originals
        assert ends_of(self.cluster, copy, _PARTITIONS) == self._ends
        consumer = Consumer({"bootstrap.servers": self.cluster.bootstrap, "group.id": group})
        try:
            wanted = [TopicPartition(copy, partition) for partition in range(_PARTITIONS)]
            assert [one.offset for one in consumer.committed(wanted, timeout=30)] == self._positions
        finally:
            consumer.close()
