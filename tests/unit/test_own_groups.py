"""Batches of the mirror's own groups are recognised, and nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.core.own_groups import OwnGroups
from mirror.core.records import decode_record, iterate_records
from mirror.core.segment.blocks import iterate_block
from mirror.core.slices import SliceBody, read_slice
from tests.builders import a_batch, a_marker
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value, a_group_key

OWN = OwnGroups({"mirror", "other-mirror"})


def commits(*groups: str) -> list[tuple[bytes | None, bytes | None]]:
    """A record of each."""
    return [(a_commit_key(group), a_commit_value(1)) for group in groups]


def kept(body: SliceBody) -> list[int]:
    """Base offsets of the batches that the parts hold, which are those of the columns."""
    found = [batch.header.base_offset for part in body.parts for batch in iterate_block(part, unpacked=False)]
    assert found == body.columns.column("base_offset").tolist()
    return found


@pytest.mark.parametrize("codec", range(5))
def test_batches_of_own_groups_are_left_out_and_their_offsets_stay_covered(codec: int) -> None:
    """Commits, deletions and metadata, compressed or not; a batch with anything else stays whole, and so do markers."""
    body = read_slice(
        a_commit_batch(0, *commits("mirror", "other-mirror"), codec=codec)
        + a_commit_batch(2, *commits("mirror", "bill"), codec=codec)
        + a_commit_batch(4, (a_group_key("mirror"), b"members"), (a_commit_key("mirror"), None), codec=codec)
        + a_commit_batch(6, *commits("bill", "mirror2", "mirro"), codec=codec)
        + a_commit_batch(9, *commits("jill"), codec=codec)
        + a_commit_batch(10, *commits("other-mirror"), codec=codec)
        + a_marker(11, 5, commit=True),
        0,
    )
    left = OWN.without(body)
    assert kept(left) == [2, 6, 9, 11]
    assert (left.next_offset, left.leader_epochs, left.has_markers) == (12, body.leader_epochs, True)


def test_without_any_there_is_nothing_to_do() -> None:
    """The very same body, without a copy."""
    body = read_slice(a_commit_batch(0, *commits("bill")) + a_marker(1, 5, commit=True), 0)
    assert OWN.without(body) is body
    assert OwnGroups().without(read_slice(a_commit_batch(0, *commits("mirror")), 0)).columns.scanned_bytes
    assert OWN.without(read_slice(b"", 7)).next_offset == 7


def test_only_own_batches_leave_a_body_without_bytes() -> None:
    """That still covers its offsets."""
    left = OWN.without(read_slice(a_commit_batch(3, *commits("mirror")), 0))
    assert (left.parts, len(left.columns), left.next_offset, left.size_bytes) == ((), 0, 4, 0)


def test_what_cannot_be_understood_is_kept() -> None:
    """Records without a key, keys that are none, a batch whose body is nonsense or names the group in a value."""
    body = read_slice(
        a_commit_batch(0, (None, b"\x00\x06mirror"))
        + a_commit_batch(1, (b"\x00\x06mirror", b"x"))
        + a_batch(2, 1, body=b"\x00\x06mirror")
        + a_commit_batch(3, (a_commit_key("bill"), a_commit_value(1, version=3, metadata="\x00\x06mirror"))),
        0,
    )
    assert OWN.without(body) is body


@given(st.lists(st.lists(st.sampled_from(("mirror", "bill", "other-mirror")), min_size=1, max_size=3), max_size=12))
def test_all_records_of_other_groups_stay(batches: list[list[str]]) -> None:
    """In their order, whatever lies between them, also where a slice is in several parts."""
    data, offset, aborted = b"", 0, []
    for number, groups in enumerate(batches):
        if number % 5 == 3:  # an aborted batch in between, so that the body comes in parts
            data += a_batch(offset, 1, producer_id=number, transactional=True)
            data += a_marker(offset + 1, number, commit=False)
            aborted.append((number, offset))
            offset += 2
        data += a_commit_batch(offset, *commits(*groups))
        offset += len(groups)
    body = read_slice(data, 0, aborted)
    left = OWN.without(body)

    def keys(of: SliceBody) -> list[bytes | None]:
        return [
            decode_record(raw).key
            for part in of.parts
            for batch in iterate_block(part, unpacked=False, check_crc=True)
            if not batch.header.is_control
            for raw in iterate_records(batch.header, batch.body)
        ]

    kept(left)
    assert left.next_offset == offset
    assert [key for key in keys(left) if not OWN.owns(key)] == [key for key in keys(body) if not OWN.owns(key)]
    mixed = sum(len(groups) for groups in batches if "bill" in groups)
    assert len(keys(left)) == mixed
