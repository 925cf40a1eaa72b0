"""Mirrors' own commits go with the next flush, and are no reason for one."""

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.positions import TopicPartition
from mirror.core.segment.runs import encode_run
from mirror.core.slices import FetchSlice
from mirror.service.backup.collector import Collector, Verdict
from mirror.service.backup.group_intake import GroupIntake
from tests.builders import TOPIC_ID, a_slice
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value

TP = TopicPartition(GROUP_LOG_TOPIC, 0)


def commit_of(group: str, offset: int, *, topic: str = GROUP_LOG_TOPIC) -> FetchSlice:
    """A slice with one commit at that offset of the group log."""
    batch = a_commit_batch(offset, (a_commit_key(group), a_commit_value(1)))
    found = a_slice(batch, start_offset=offset, topic=topic)
    return dataclasses.replace(found, assignment_epoch=1, lease=object())


def a_collector() -> Collector:
    """One that expects the group log's first partition at 0."""
    collector = Collector()
    collector.expect(TP, TOPIC_ID, 0, -1, 1)
    return collector


def add(collector: Collector, piece: FetchSlice, intake: GroupIntake) -> None:
    """As the pipeline does."""
    taken, is_quiet = intake.take_in(piece)
    assert collector.add(taken, is_quiet=is_quiet) is Verdict.ACCEPTED


def test_own_commits_are_quiet_and_hold_no_memory() -> None:
    """Of other groups, and of other topics, everything is as it was."""
    intake = GroupIntake({"mirror"})
    quiet, is_quiet = intake.take_in(commit_of("mirror", 0))
    assert (is_quiet, quiet.size_bytes, quiet.lease, quiet.next_offset, quiet.leader_epoch) == (True, 0, None, 1, 0)
    loud = commit_of("bill", 0)
    assert intake.take_in(loud) == (loud, False)
    of_a_user = commit_of("mirror", 0, topic="__consumer_offsets_copy")
    assert intake.take_in(of_a_user)[0] is of_a_user
    intake.know({"mirror", "bill"})
    assert intake.take_in(loud)[1]


def test_quiet_slices_begin_no_flush_and_are_covered_by_the_next_one() -> None:
    """One run over all offsets, with the batches of others only."""
    collector, intake = a_collector(), GroupIntake({"mirror"})
    for offset in range(1000):
        add(collector, commit_of("mirror", offset), intake)
    buffer = collector.buffers[TP]
    assert (collector.first_buffered_at_ms, collector.size_bytes, bool(collector.take())) == (0, 0, False)
    assert (buffer.loud_offset, buffer.expected) == (0, 1000)
    assert buffer.draft is not None
    assert len(buffer.draft.slices) == 1
    add(collector, commit_of("bill", 1000), intake)
    add(collector, commit_of("mirror", 1001), intake)
    assert (buffer.loud_offset, buffer.expected, collector.first_buffered_at_ms > 0) == (1001, 1002, True)
    (draft,) = collector.take().drafts
    entry, _ = encode_run(draft, position=16, mode="auto", zstd_level=3)
    assert (entry.start_offset, entry.next_offset, entry.batch_count, entry.record_count) == (0, 1002, 1, 1)
    assert entry.leader_epochs == [(0, 0)]
    assert [sample.high_watermark for sample in entry.watermarks][-1] in (1000, 1001, 1002)


def test_a_run_of_nothing_but_own_commits_is_a_run() -> None:
    """It goes along with what others have to store, and covers its offsets without a byte."""
    collector, intake = a_collector(), GroupIntake({"mirror"})
    other = TopicPartition(GROUP_LOG_TOPIC, 1)
    collector.expect(other, TOPIC_ID, 0, -1, 1)
    add(collector, commit_of("mirror", 0), intake)
    add(collector, dataclasses.replace(commit_of("bill", 0), partition=1), intake)
    runs = [encode_run(draft, position=16, mode="auto", zstd_level=3)[0] for draft in collector.take().drafts]
    assert [(run.partition, run.start_offset, run.next_offset, run.stored_bytes > 0) for run in runs] == [
        (0, 0, 1, False),
        (1, 0, 1, True),
    ]


@given(st.lists(st.sampled_from(("own", "user", "flush")), max_size=40))
def test_whatever_comes_every_offset_is_covered_once_and_nothing_of_users_waits_unseen(fate: list[str]) -> None:
    """``loud_offset`` is the end of what a flush is owed for."""
    collector, intake = a_collector(), GroupIntake({"mirror"})
    covered, offset, last_user = 0, 0, 0
    for what in fate:
        if what == "flush":
            for draft in collector.take().drafts:
                assert draft.start_offset == covered
                covered = draft.next_offset
            assert covered >= last_user
            continue
        add(collector, commit_of("mirror" if what == "own" else "bill", offset), intake)
        offset += 1
        last_user = offset if what == "user" else last_user
        assert collector.buffers[TP].loud_offset == last_user
        assert (collector.first_buffered_at_ms > 0) == (last_user > covered)
