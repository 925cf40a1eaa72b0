"""What a comparison says where the target goes on with another offset than the repository."""

import pytest

from mirror.core.records import RawRecord
from mirror.kafka.cluster import LogOffsets
from mirror.service.restore.equality import _Comparison


def _record(offset: int, text: str) -> RawRecord:
    return RawRecord(offset=offset, timestamp_ms=1000, attributes=0, tail=memoryview(text.encode()))


@pytest.mark.parametrize(
    ("stored", "found", "says"),
    [
        ([(0, "a"), (1, "b"), (2, "c")], (2, "c"), "offsets [0, 2) are missing on the target"),
        ([(0, "a"), (1, "a"), (2, "a")], (2, "a"), "offsets [0, 2) are missing on the target"),
        ([(0, "a"), (1, "b"), (2, "c")], (2, "a"), "offset 2 holds the record of offset 0"),
        ([(0, "a")], (1, "a"), "offset 1 holds the record of offset 0"),
        ([(4, "a")], (3, "a"), "offset 3 holds the record of offset 4"),
        ([(4, "a")], (3, "x"), "offset 3 holds a record that this restore did not bring"),
        (
            [(0, "a"), (2, "c")],
            (1, "x"),
            "offsets [0, 1) are missing on the target, and offset 1 holds a record that this restore did not bring",
        ),
    ],
)
def test_the_first_difference_says_what_is_known(
    stored: list[tuple[int, str]], found: tuple[int, str], says: str
) -> None:
    """Missing, moved, or of somebody else: moved only where it is that record, and not the one of its own offset."""
    comparison = _Comparison(iter([_record(*one) for one in stored]), LogOffsets(0, 9, 9), keeps_offsets=True)
    comparison._compare(_record(*found))
    assert comparison.difference == says
