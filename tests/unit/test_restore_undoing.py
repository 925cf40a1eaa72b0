"""What an abort does with each topic: only what the restore made or loaded into nothing, and more only on a person's word."""

import pytest

from mirror.core.positions import TopicPartition
from mirror.core.restore_record import RecordedTopic
from mirror.kafka.wire.codec import MalformedError, Reader
from mirror.kafka.wire.offset_delete import decode_offset_delete, encode_offset_delete
from mirror.service.restore.standing import Standing, TopicStanding
from mirror.service.restore.undoing import TopicUndo, Undo, plan_undo
from tests.builders import TOPIC_ID


def _undo(
    standing: Standing,
    before: str | None,
    *,
    there: int = 5,
    later: int = 0,
    with_complete: bool = False,
    with_foreign: bool = False,
) -> TopicUndo:
    topic = RecordedTopic(
        topic="orders",
        topic_id=TOPIC_ID,
        target_topic="orders",
        mark="1",
        before=before or "not known",
        log_ends=[9],
        replication_factor=1,
    )
    now = TopicStanding(topic=topic, standing=standing, there_offsets=there, later_offsets=later, partition_count=1)
    recorded = None if before is None else topic
    return plan_undo(now, recorded, with_complete=with_complete, with_foreign=with_foreign)


@pytest.mark.parametrize(
    ("standing", "before", "undo"),
    [
        (Standing.ABSENT, "absent", Undo.NOTHING),
        (Standing.UNFINISHED, "absent", Undo.DELETE),
        (Standing.EMPTY, "absent", Undo.DELETE),
        (Standing.COMPLETE, "absent", Undo.KEEP),
        (Standing.OTHER, "absent", Undo.KEEP),
        (Standing.OTHER_RESTORE, "absent", Undo.KEEP),
        (Standing.UNFINISHED, "empty", Undo.RECREATE),
        (Standing.UNFINISHED, "beginning", Undo.SETTINGS),
        (Standing.COMPLETE, "beginning", Undo.KEEP),
        (Standing.UNFINISHED, "appended", Undo.SETTINGS),
        (Standing.COMPLETE, "appended", Undo.KEEP),
        (Standing.UNFINISHED, "replaced", Undo.KEEP),
        (Standing.EMPTY, "empty", Undo.NOTHING),
        (Standing.UNFINISHED, "filled", Undo.KEEP),
        (Standing.COMPLETE, "complete", Undo.KEEP),
        (Standing.UNFINISHED, "something new", Undo.KEEP),
        (Standing.UNFINISHED, "unfinished", Undo.KEEP),
        (Standing.UNFINISHED, None, Undo.KEEP),
        (Standing.COMPLETE, None, Undo.KEEP),
    ],
)
def test_without_a_further_word(standing: Standing, before: str | None, undo: Undo) -> None:
    """What bears the mark and was nothing before goes; everything else is kept."""
    assert _undo(standing, before).undo is undo


def test_an_empty_topic_that_is_empty_still_gets_its_settings_back() -> None:
    """It was marked, and nothing came: it need not be deleted."""
    assert _undo(Standing.UNFINISHED, "empty", there=0).undo is Undo.SETTINGS


@pytest.mark.parametrize("before", ["filled", "complete", "beginning", None])
def test_no_word_deletes_what_was_there_before(before: str | None) -> None:
    """Nor what nobody knows to be of this restore."""
    for standing in (Standing.COMPLETE, Standing.OTHER, Standing.OTHER_RESTORE):
        assert _undo(standing, before, later=3, with_complete=True, with_foreign=True).undo is Undo.KEEP


def test_complete_and_foreign_need_a_word_each() -> None:
    """Complete: --complete; with records of others since: --foreign too, also where it is unfinished."""
    assert _undo(Standing.COMPLETE, "absent", with_complete=True).undo is Undo.DELETE
    assert _undo(Standing.COMPLETE, "absent", later=1, with_complete=True).undo is Undo.KEEP
    assert _undo(Standing.COMPLETE, "absent", later=1, with_foreign=True).undo is Undo.KEEP
    assert _undo(Standing.COMPLETE, "absent", later=1, with_complete=True, with_foreign=True).undo is Undo.DELETE
    assert _undo(Standing.UNFINISHED, "absent", later=1).undo is Undo.KEEP
    assert _undo(Standing.UNFINISHED, "absent", later=1, with_foreign=True).undo is Undo.DELETE


def test_the_mark_alone_needs_a_word() -> None:
    """Without a record nobody knows whether the topic held the records of an earlier restore."""
    for before in ("unfinished", None):
        assert _undo(Standing.UNFINISHED, before, with_complete=True).undo is Undo.DELETE


def test_what_stays_of_a_restore_is_told() -> None:
    """Kept, and loaded by it; what was there before is not its own."""
    assert _undo(Standing.COMPLETE, "absent").is_left
    assert _undo(Standing.UNFINISHED, "appended").is_left, "its settings go back, the records that it loaded stay"
    assert _undo(Standing.COMPLETE, "beginning").is_left
    assert _undo(Standing.UNFINISHED, "replaced").is_left
    assert not _undo(Standing.COMPLETE, "complete").is_left
    assert not _undo(Standing.OTHER, "absent").is_left
    assert not _undo(Standing.UNFINISHED, "absent").is_left


def test_what_a_word_would_delete_is_waited_for() -> None:
    """ACLs and quotas stay with it; what no word deletes holds up nothing."""
    assert _undo(Standing.COMPLETE, "absent").waits_for_word
    assert _undo(Standing.UNFINISHED, "empty", later=1).waits_for_word
    assert _undo(Standing.UNFINISHED, "unfinished").waits_for_word
    for before in ("appended", "beginning", "replaced", "complete"):
        assert not _undo(Standing.COMPLETE, before).waits_for_word
    assert not _undo(Standing.COMPLETE, "absent", with_complete=True).waits_for_word
    assert not _undo(Standing.OTHER, "absent").waits_for_word


def test_offset_delete_on_the_wire() -> None:
    """Fixed sizes, no tags: as Kafka's schema of version 0 says."""
    tps = [TopicPartition("ab", 1), TopicPartition("ab", 0), TopicPartition("c", 7)]
    assert encode_offset_delete("g", tps) == (
        b"\0\1g" + b"\0\0\0\2" + b"\0\2ab" + b"\0\0\0\2\0\0\0\0\0\0\0\1" + b"\0\1c" + b"\0\0\0\1\0\0\0\7"
    )
    answer = b"\0\0" + b"\0\0\0\0" + b"\0\0\0\1" + b"\0\2ab" + b"\0\0\0\2" + b"\0\0\0\0\0\0" + b"\0\0\0\1\0\x56"
    assert decode_offset_delete(Reader(memoryview(answer))) == (
        0,
        {TopicPartition("ab", 0): 0, TopicPartition("ab", 1): 86},
    )
    for end in range(len(answer)):
        with pytest.raises(MalformedError):
            decode_offset_delete(Reader(memoryview(answer[:end])))
    with pytest.raises(MalformedError):
        decode_offset_delete(Reader(memoryview(b"\0\0\0\0\0\0\x7f\xff\xff\xff")))
