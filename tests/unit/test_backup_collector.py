"""Buffers take only the slice that begins where they end; what Faust drops, repeats or delays makes no hole."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mirror.core.positions import TopicPartition
from mirror.core.slices import FetchSlice
from mirror.service.backup.collector import Collector, Verdict
from tests.builders import T0_MS, TOPIC_ID, a_batch, a_slice

TP = TopicPartition("orders", 0)
OTHER_ID = "AAAAAAAAAAAAAAAAAAAAAA"


def piece(start: int, n: int = 3, *, epoch: int = 1, topic_id: str = TOPIC_ID) -> FetchSlice:
    """A slice of n records of the assignment ``epoch``."""
    return dataclasses.replace(
        a_slice(a_batch(start, n), start_offset=start, topic_id=topic_id), assignment_epoch=epoch
    )


def a_collector(offset: int = 0) -> Collector:
    """One that expects partition 0 at ``offset`` in assignment 1."""
    collector = Collector()
    collector.expect(TP, TOPIC_ID, offset, -1, 1)
    return collector


@given(st.lists(st.sampled_from(["deliver", "drop", "repeat", "delay", "stale", "flush"]), max_size=60))
def test_a_collector_never_accepts_a_hole(fate: list[str]) -> None:
    """Whatever becomes of slices on their way: what is taken is contiguous, whole, and each offset comes once."""
    collector = a_collector()
    taken: list[tuple[int, int]] = []
    delayed: list[FetchSlice] = []
    position = 0
    for what in fate:
        found = piece(position)
        if what == "flush":
            taken += [(draft.start_offset, draft.next_offset) for draft in collector.take().drafts]
            for late in delayed:
                collector.add(late)
            delayed.clear()
            continue
        if what == "delay":
            delayed.append(found)
        elif what == "stale":
            assert collector.add(dataclasses.replace(found, assignment_epoch=0)) is Verdict.STALE
        elif what != "drop":
            collector.add(found)
            if what == "repeat":
                assert collector.add(found) in (Verdict.REPEATED, Verdict.HOLE)
        # The fetcher goes on, unless the collector asks for what it misses.
        expected = collector.buffers[TP].expected
        position = found.next_offset if len(delayed) < 3 and what != "drop" else expected
    taken += [(draft.start_offset, draft.next_offset) for draft in collector.take().drafts]
    at = 0
    for start, following in taken:
        assert start == at
        assert following > start
        at = following
    assert collector.buffers[TP].expected == at


def test_verdicts() -> None:
    """Accepted, repeated, a hole, and not ours."""
    collector = a_collector()
    assert collector.add(piece(0)) is Verdict.ACCEPTED
    assert collector.add(piece(0)) is Verdict.REPEATED
    assert collector.add(piece(6)) is Verdict.HOLE
    assert collector.add(piece(3, epoch=2)) is Verdict.STALE
    assert collector.add(piece(3, topic_id=OTHER_ID)) is Verdict.STALE
    assert collector.add(piece(3)) is Verdict.ACCEPTED
    assert collector.buffers[TP].expected == 6


def test_the_first_slice_does_not_say_where_a_partition_begins() -> None:
    """A slice that was lost before the first one is found out."""
    assert a_collector(0).add(piece(3)) is Verdict.HOLE


def test_a_buffer_survives_a_rebalance_only_where_nobody_got_further() -> None:
    """Bytes in memory are worth keeping; a position of the store beyond them is worth more."""
    collector = a_collector()
    collector.add(piece(0))
    assert collector.expect(TP, TOPIC_ID, 0, -1, 2).expected == 3
    assert collector.size_bytes > 0
    assert collector.expect(TP, TOPIC_ID, 9, -1, 3).expected == 9
    assert collector.size_bytes == 0
    assert not collector.take()


def test_another_incarnation_begins_anew_and_what_was_fetched_of_the_old_one_is_kept() -> None:
    """It is the only copy."""
    collector = a_collector()
    collector.add(piece(0))
    collector.expect(TP, OTHER_ID, 0, -1, 1)
    collector.add(piece(0, topic_id=OTHER_ID))
    drafts = collector.take().drafts
    assert [(draft.topic_id, draft.start_offset, draft.next_offset) for draft in drafts] == [
        (TOPIC_ID, 0, 3),
        (OTHER_ID, 0, 3),
    ]


def test_partitions_that_go_take_their_bytes_along_and_deleted_topics_do_not() -> None:
    """The next owner fetches again; of a deleted topic there is none."""
    collector = a_collector()
    collector.add(piece(0))
    assert collector.forget({TP}) > 0
    assert (collector.size_bytes, bool(collector.take())) == (0, False)
    collector.expect(TP, TOPIC_ID, 0, -1, 1)
    collector.add(piece(0))
    collector.retire({TP})
    assert [draft.next_offset for draft in collector.take().drafts] == [3]


def test_a_gap_begins_at_the_buffers_end_and_closes_the_run() -> None:
    """Nothing that is in the buffer is called lost."""
    collector = a_collector()
    collector.add(piece(0))
    assert collector.add_gap(TP, 2, "retention", T0_MS) is None
    gap = collector.add_gap(TP, 10, "retention", T0_MS)
    assert gap is not None
    assert (gap.start_offset, gap.next_offset) == (3, 10)
    assert collector.add(piece(10)) is Verdict.ACCEPTED
    batch = collector.take()
    assert [(draft.start_offset, draft.next_offset) for draft in batch.drafts] == [(0, 3), (10, 13)]
    assert batch.gaps == [gap]


def test_a_fork_inside_the_buffer_keeps_the_tail_as_a_run_of_its_own() -> None:
    """Fetching goes on at the fork's offset; a fork beyond the buffer's end is nothing."""
    collector = a_collector()
    collector.add(piece(0))
    collector.add(piece(3))
    assert collector.add_fork(TP, 7, 0, 1, T0_MS) is None
    fork = collector.add_fork(TP, 4, 0, 1, T0_MS)
    assert fork is not None
    assert collector.buffers[TP].expected == 4
    batch = collector.take()
    assert [(draft.start_offset, draft.next_offset) for draft in batch.drafts] == [(0, 6)]
    assert batch.forks == [fork]
