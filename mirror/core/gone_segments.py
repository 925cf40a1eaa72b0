"""Segment objects that somebody deleted, found by the numbers of those that are there.

Each object says up to which sequence all objects of its writer were durable when it was made. One of those that is not there now was
there once. (Other missing numbers prove nothing: the puts of a worker that is killed may end in any order.) The last objects of a
writer are named by none, so their deletion cannot be seen here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from mirror.core.segment.index import SegmentIndex

__all__ = ["GoneSegment", "gone_segments"]


class GoneSegment(NamedTuple):
    """An object that was durable before ``before_ms`` (milliseconds since the epoch, UTC). What it held is not known."""

    writer: str
    sequence: int
    before_ms: int


def gone_segments(indexes: Iterable[SegmentIndex], present: Iterable[tuple[str, int]] = ()) -> list[GoneSegment]:
    """What is gone, by writer and sequence; without what a person has accepted.

    Args:
        indexes: of all objects that can be read.
        present: writer and sequence of those that are there but cannot be read.
    """
    there: dict[str, set[int]] = {}
    proofs: dict[str, dict[int, int]] = {}  # durable sequence → when the first object that says so was made
    accepted: set[tuple[str, int]] = set()
    for writer, sequence in present:
        there.setdefault(writer, set()).add(sequence)
    for index in indexes:
        there.setdefault(index.writer, set()).add(index.sequence)
        if index.durable_sequence:
            known = proofs.setdefault(index.writer, {})
            sealed_at_ms = known.get(index.durable_sequence, index.sealed_at_ms)
            known[index.durable_sequence] = min(sealed_at_ms, index.sealed_at_ms)
        accepted |= {(entry.writer, entry.sequence) for entry in index.gone}
    found: list[GoneSegment] = []
    for writer in sorted(proofs):
        missing = set(range(1, max(proofs[writer]) + 1)) - there[writer]
        found += [
            GoneSegment(writer, sequence, min(at for durable, at in proofs[writer].items() if durable >= sequence))
            for sequence in sorted(missing)
            if (writer, sequence) not in accepted
        ]
    return found
