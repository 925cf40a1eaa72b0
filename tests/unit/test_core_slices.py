"""Fetch slices: what of a fetch answer is kept, and how far it goes."""

import pytest

from mirror.core.slices import read_slice
from mirror.errors import BatchDamageError
from tests.builders import a_batch, a_marker, a_slice


def _kept(*batches: bytes, start_offset: int = 0, aborted: tuple[tuple[int, int], ...] = ()) -> list[int]:
    body = read_slice(b"".join(batches), start_offset, aborted)
    return [int(offset) for offset in body.columns.column("base_offset")]


def test_answer_without_batches_stays_at_its_position() -> None:
    """Nothing fetched: nothing kept, the position does not move."""
    body = read_slice(b"", 42)
    assert (body.parts, body.next_offset, body.size_bytes, body.leader_epochs) == ((), 42, 0, ())


def test_whole_answer_is_one_untouched_part() -> None:
    """Plain batches are one view of the answer's own bytes; a cut last batch is left out."""
    whole = a_batch(0, 3) + a_batch(3, 2, codec=3)
    body = read_slice(whole + a_batch(5, 9)[:70], 0)
    assert [bytes(part) for part in body.parts] == [whole]
    assert body.next_offset == 5
    assert not body.has_markers


def test_position_inside_a_batch_keeps_the_batch() -> None:
    """A log trimmed inside a batch still sends it whole; the slice begins at the fetch position, not at the batch."""
    piece = a_slice(a_batch(100, 50), start_offset=130)
    assert (piece.start_offset, piece.next_offset) == (130, 150)
    assert piece.body.columns.column("base_offset").tolist() == [100]


def test_batches_below_the_position_are_dropped() -> None:
    """What ends at or before the position was stored already."""
    assert _kept(a_batch(0, 3), a_batch(3, 2), start_offset=3) == [3]
    assert read_slice(a_batch(0, 3), 7).next_offset == 7


def test_position_moves_past_compacted_offsets() -> None:
    """A batch whose last records were compacted away, even all of them, moves the position to its end."""
    assert read_slice(a_batch(10, 5, holes=(3, 4)), 10).next_offset == 15
    assert read_slice(a_batch(10, 5, holes=range(5)), 10).next_offset == 15


def test_aborted_transaction_is_dropped_and_its_marker_kept() -> None:
    """Data of an aborted transaction never becomes part of a slice; the marker stays, so that the offsets are accounted for."""
    batches = (
        a_batch(0, 2, producer_id=7, transactional=True),
        a_batch(2, 2),
        a_marker(4, 7, commit=False),
        a_batch(5, 1, producer_id=7, transactional=True),
        a_marker(6, 7, commit=True),
    )
    assert _kept(*batches, aborted=((7, 0),)) == [2, 4, 5, 6]
    assert read_slice(b"".join(batches), 0, ((7, 0),)).has_markers


def test_other_producers_are_not_touched_by_an_abort() -> None:
    """An abort belongs to one producer; its non-transactional batches and other producers' transactions stay."""
    batches = (
        a_batch(0, 1, producer_id=7, transactional=True),
        a_batch(1, 1, producer_id=8, transactional=True),
        a_batch(2, 1, producer_id=7),
        a_marker(3, 7, commit=False),
        a_marker(4, 8, commit=True),
    )
    assert _kept(*batches, aborted=((7, 0),)) == [1, 2, 3, 4]


def test_transaction_that_began_before_the_answer_is_dropped() -> None:
    """The broker lists aborted transactions that began before the fetch position."""
    batches = (a_batch(50, 1, producer_id=7, transactional=True), a_marker(51, 7, commit=False))
    assert _kept(*batches, start_offset=50, aborted=((7, 10),)) == [51]


def test_second_abort_of_a_producer_begins_at_its_own_offset() -> None:
    """A committed transaction between two aborted ones of the same producer is kept."""
    batches = (
        a_batch(0, 1, producer_id=7, transactional=True),
        a_marker(1, 7, commit=False),
        a_batch(2, 1, producer_id=7, transactional=True),
        a_marker(3, 7, commit=True),
        a_batch(4, 1, producer_id=7, transactional=True),
        a_marker(5, 7, commit=False),
    )
    assert _kept(*batches, aborted=((7, 0), (7, 4))) == [1, 2, 3, 5]


def test_slice_of_aborted_data_only_still_moves_and_knows_its_epoch() -> None:
    """All batches dropped: the position is past them, and the leader epoch that they had is known."""
    body = read_slice(a_batch(0, 4, producer_id=7, transactional=True, leader_epoch=5), 0, ((7, 0),))
    assert (body.parts, body.next_offset, len(body.columns)) == ((), 4, 0)
    assert body.leader_epochs == ((5, 0),)


def test_dropped_batch_cuts_the_bytes_into_parts() -> None:
    """The kept bytes are views left and right of what was dropped, and together the kept batches."""
    first, gone, last = a_batch(0, 2), a_batch(2, 1, producer_id=7, transactional=True), a_batch(3, 2)
    body = read_slice(first + gone + last, 0, ((7, 2),))
    assert [bytes(part) for part in body.parts] == [first, last]
    assert body.size_bytes == len(first) + len(last)


def test_leader_epochs_are_listed_where_they_change() -> None:
    """Each epoch is named once, with the first base offset under it."""
    piece = a_slice(*(a_batch(offset, 1, leader_epoch=epoch) for offset, epoch in enumerate((3, 3, 4, 4, 6))))
    assert piece.body.leader_epochs == ((3, 0), (4, 2), (6, 4))
    assert piece.leader_epoch == 6
    assert a_slice(start_offset=5).leader_epoch == -1


def test_damaged_batch_is_named() -> None:
    """A batch that violates its CRC stops the slice; unchecked it passes."""
    wrong = bytearray(a_batch(9, 1))
    wrong[-1] ^= 1
    with pytest.raises(BatchDamageError, match="offset 9"):
        read_slice(bytes(wrong), 9)
    assert read_slice(bytes(wrong), 9, check_crc=False).next_offset == 10
