"""Cuts that split no transaction, from a repository: what is moved, what is opened for it, and what is told where it cannot be."""

import struct
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from mirror.core.coverage import PartitionCoverage
from mirror.core.cuts import PartitionCut
from mirror.core.positions import PartitionId
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.core.restore_selection import RestoreSelection
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import SegmentIndex, StartEntry, WatermarkSample
from mirror.core.table_coverage import cover_table
from mirror.core.topic_filter import TopicFilter
from mirror.service.restore.cutting import find_cuts
from mirror.service.restore.samples import SampleReader
from mirror.service.restore.settling import Settlement, settle_transactions
from mirror.storage.memory import MemoryStore
from mirror.storage.repository import Repository, create_repository
from mirror.storage.table_loading import load_table
from tests.builders import CLUSTER_ID, T0_MS, TOPIC_ID, a_batch, a_run_draft, a_segment, a_slice, a_tail, with_crc

FLUSH_MS = 10_000
OFFSETS = 10
"""In each object, of each partition: a transaction of 9 records and its marker."""


class CountingStore(MemoryStore):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """As in memory."""
        self.reads.append(key)
        return super().get_range(key, start, length)


def a_transaction(number: int, marker_ms: int, *, producer_id: int = 4001) -> list[bytes]:
    """The batches of one: sequences go on from the one before, as those of a producer that keeps its epoch."""
    base_offset = OFFSETS * number
    data = bytearray(a_batch(base_offset, OFFSETS - 1, producer_id=producer_id, transactional=True))
    struct.pack_into(">i", data, 53, 1 + number * OFFSETS)
    marker = a_batch(
        base_offset + OFFSETS - 1,
        1,
        tails=[a_tail(struct.pack(">hh", 0, 1), struct.pack(">hi", 0, 0))],
        timestamps=[marker_ms],
        producer_id=producer_id,
        transactional=True,
        control=True,
    )
    return [with_crc(bytes(data)), marker]


def fail(key: str, error: Exception) -> None:
    """No object is damaged."""
    raise AssertionError(key) from error


def sealed_ms(number: int) -> int:
    """When an object was sealed; its transaction was committed five seconds earlier."""
    return T0_MS + FLUSH_MS * number


class Lab:
    """Partitions 0 and 1 are written by transactions, others plainly; partition 1 is always looked at a second before it gets its marker.

    Args:
        objects: how many.
        partitions: in all.
        held_back: objects in which partition 1 has nothing: a transaction is open, and the object after them has it all.
    """

    def __init__(self, objects: int, partitions: int = 4, *, held_back: range = range(0)) -> None:
        self.store = CountingStore()
        self.repository: Repository = create_repository(
            self.store, cluster_id=CLUSTER_ID, created_at_ms=T0_MS, created_by="tests"
        )
        for number in range(objects):
            key, data, _ = self._object(number, partitions, held_back)
            self.store.put(key, data)
        loaded = load_table(self.repository, on_damage=fail)
        self.coverages: dict[PartitionId, PartitionCoverage] = cover_table(loaded.table)
        self.sealed_at_ms = SealTimes(loaded.table)
        self.cuts: dict[PartitionId, PartitionCut] = {}

    def _object(self, number: int, partitions: int, held_back: range) -> tuple[str, bytes, SegmentIndex]:
        committed_ms = sealed_ms(number) - 5000
        end = OFFSETS * (number + 1)
        drafts = []
        for partition in range(partitions):
            first = number
            if partition == 1 and number in held_back:
                continue
            if partition == 1 and number == held_back.stop:
                first = held_back.start
            batches = [batch for one in range(first, number + 1) for batch in self._batches(one, partition)]
            draft = a_run_draft(a_slice(*batches, start_offset=OFFSETS * first, partition=partition))
            draft.watermarks = [WatermarkSample(committed_ms + 200, 0, end, end)]
            if partition == 1:
                draft.watermarks = [
                    WatermarkSample(sealed_ms(one) - 6000, 0, OFFSETS * one, OFFSETS * first)
                    for one in range(first, number + 1)
                ]
                draft.watermarks.append(WatermarkSample(committed_ms + 1000, 0, end, end))
            drafts.append(draft)
        starts = [
            StartEntry(
                topic="orders",
                topic_id=TOPIC_ID,
                partition=partition,
                start_offset=0,
                reason="earliest",
                recorded_at_ms=T0_MS - 20_000,
            )
            for partition in range(partitions * (not number))
        ]
        return a_segment(
            *drafts,
            sealed_at_ms=sealed_ms(number),
            sequence=number + 1,
            mode="passthrough",
            repository_id=self.repository.identity.repository_id,
            starts=starts,
        )

    def _batches(self, number: int, partition: int) -> list[bytes]:
        if partition > 1:
            return [a_batch(OFFSETS * number, OFFSETS)]
        return a_transaction(number, sealed_ms(number) - 5000 + partition)

    def settle(self, at_ms: int, *partitions: int) -> Settlement:
        """Cut at a moment, then settle; `cuts` are those before."""
        samples = SampleReader(self.repository)
        point = RecoveryPoint(kind=PointKind.AT, time_ms=at_ms)
        selection = RestoreSelection(topics=TopicFilter(include=("orders",)), point=point)
        chosen = {"orders": TOPIC_ID}
        found = find_cuts(samples, selection, chosen, self.coverages, [], self.sealed_at_ms, now_ms=at_ms + 10**9)
        self.cuts = {
            pid: cut for pid, cut in found.by_partition.items() if not partitions or pid.partition in partitions
        }
        self.store.reads.clear()
        return settle_transactions(self.repository, samples, point, self.cuts, self.coverages, self.sealed_at_ms)


def ends(cuts: dict[PartitionId, PartitionCut]) -> list[int]:
    """Where each partition is cut."""
    return [cut.next_offset for _, cut in sorted(cuts.items())]


AT_MS = sealed_ms(20) - 4500  # the transaction of object 20 was committed; of partition 1 the last look is older


def test_a_partition_is_moved_back_to_where_another_was_looked_at() -> None:
    """By the transaction that one has and the other has not; the plan can say why."""
    lab = Lab(24)
    settled = lab.settle(AT_MS)
    assert ends(lab.cuts) == [210, 200, 210, 210]
    assert ends(settled.by_partition) == [200, 200, 210, 210]
    moved = settled.by_partition[PartitionId(TOPIC_ID, 0)]
    assert (moved.moved_from_offset, moved.wanted_next_offset, moved.is_short) == (210, 200, False)
    assert moved.moved_because == "the transaction of producer 4001 is not whole in orders-1"
    assert settled.doubts == ()
    assert settled.verdicts is not None
    committed_ms = sealed_ms(20) - 5000
    assert settled.verdicts(4001, 0, committed_ms) is False
    assert settled.verdicts(4001, 0, committed_ms - FLUSH_MS) is True


def test_only_selected_partitions_matter() -> None:
    """Where the other one is not restored, nothing is split."""
    lab = Lab(24)
    assert ends(lab.settle(AT_MS, 0, 2).by_partition) == [210, 210]


@pytest.mark.parametrize("objects", [24, 72])
def test_only_runs_at_the_cuts_are_opened(objects: int) -> None:
    """However many objects there are; partitions without transactions cost nothing."""
    lab = Lab(objects, partitions=6)
    lab.settle(AT_MS)
    assert len(lab.store.reads) <= 5, lab.store.reads
    plain = Lab(objects, partitions=6)
    assert plain.settle(AT_MS, *range(2, 6)).by_partition == plain.cuts
    assert plain.store.reads == []


def test_what_is_stored_later_changes_nothing() -> None:
    """A plan that is made again after days must be the same one."""
    early, late = Lab(22), Lab(60)
    moments: Sequence[int] = range(sealed_ms(18), sealed_ms(20), 250)
    assert [ends(early.settle(at).by_partition) for at in moments] == [
        ends(late.settle(at).by_partition) for at in moments
    ]


def test_a_partition_that_a_transaction_holds_back_is_told() -> None:
    """It keeps its cut and the others theirs: nobody goes back for minutes because of it."""
    lab = Lab(40, held_back=range(10, 35))
    settled = lab.settle(sealed_ms(30) - 4500)
    assert ends(lab.cuts)[:2] == ends(settled.by_partition)[:2] == [310, 100]
    assert len(settled.doubts) == 1
    assert settled.doubts[0].startswith("orders-1: transactions overlap there for more than 60 s")


def test_a_partition_that_is_held_back_for_less_takes_the_others_along() -> None:
    """What was committed behind an open transaction is left out everywhere."""
    settled = Lab(40, held_back=range(27, 35)).settle(sealed_ms(30) - 4500)
    assert ends(settled.by_partition)[:2] == [270, 270]
    assert settled.doubts == ()


def test_a_partition_that_is_not_stored_far_enough_is_told() -> None:
    """What lies there of a transaction that another partition has is not known yet."""
    lab = Lab(21)
    pid = PartitionId(TOPIC_ID, 1)
    *runs, last = lab.coverages[pid].runs[:20]
    seen = WatermarkSample(sealed_ms(20) - 6000, 0, 205, 200)  # five records that are not committed
    runs.append(replace(last, run=msgspec.structs.replace(last.run, watermarks=[seen])))
    lab.coverages[pid] = replace(lab.coverages[pid], runs=runs, next_offset=200, position=200)
    settled = lab.settle(AT_MS)
    assert ends(settled.by_partition)[:2] == [210, 200]
    assert len(settled.doubts) == 1
    assert settled.doubts[0].startswith("orders-1: not stored as far as the log stood at")
