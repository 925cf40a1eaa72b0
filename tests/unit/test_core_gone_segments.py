"""Objects that were there once are found by what the others say, and only those."""

from collections.abc import Sequence

from mirror.core.gone_segments import GoneSegment, gone_segments
from mirror.core.segment.index import GoneEntry, SegmentIndex


def _index(writer: str, sequence: int, durable: int, gone: Sequence[tuple[str, int]] = ()) -> SegmentIndex:
    return SegmentIndex(
        format_version=1,
        repository_id="r",
        cluster_id="c",
        writer=writer,
        sequence=sequence,
        sealed_at_ms=1000 * sequence,
        durable_sequence=durable,
        gone=[GoneEntry(writer=whose, sequence=which, accepted_at_ms=9) for whose, which in gone],
    )


def test_what_was_durable_and_is_not_there_is_gone() -> None:
    """With the earliest object that vouches for it; other writers are their own."""
    indexes = [_index("a", 1, 0), _index("a", 4, 3), _index("a", 5, 3), _index("b", 1, 0)]
    assert gone_segments(indexes) == [GoneSegment("a", 2, 4000), GoneSegment("a", 3, 4000)]


def test_a_number_that_nobody_vouches_for_proves_nothing() -> None:
    """A worker was killed while 2 was on its way and 3 and 4 were through."""
    assert gone_segments([_index("a", 1, 0), _index("a", 3, 1), _index("a", 4, 1)]) == []


def test_what_is_there_but_cannot_be_read_is_not_gone() -> None:
    """Damage is told elsewhere."""
    assert gone_segments([_index("a", 1, 0), _index("a", 3, 2)], present=[("a", 2)]) == []


def test_what_a_person_accepted_is_told_no_more() -> None:
    """Only what was accepted."""
    indexes = [_index("a", 3, 2), _index("p", 1, 0, gone=[("a", 1)])]
    assert gone_segments(indexes) == [GoneSegment("a", 2, 3000)]


def test_a_put_that_was_made_twice_is_one_number() -> None:
    """Its answer was lost, so it was put again under a later name."""
    assert gone_segments([_index("a", 1, 0), _index("a", 1, 0), _index("a", 2, 1)]) == []
