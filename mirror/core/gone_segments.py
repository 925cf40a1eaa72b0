"""Segment objects that somebody deleted, found by the numbers of those that are there.

Each object says up to which sequence all objects of its writer were durable when it was made. One of those that is not there now was
there once. (Other missing numbers prove nothing: the puts of a worker that is killed may end in any order.) The last objects of a
writer are named by none, so their deletion cannot be seen here.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from mirror.core.run_table import RunTable
from mirror.core.segment.index import SegmentIndex

__all__ = ["GoneSegment", "gone_in_table", "gone_segments"]


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
    seen = [(i.writer, i.sequence, i.durable_sequence, i.sealed_at_ms, i.gone) for i in indexes]
    return _gone(
        [entry[:4] for entry in seen],
        {(entry.writer, entry.sequence) for *_, gone in seen for entry in gone},
        present,
    )


def gone_in_table(table: RunTable, present: Iterable[tuple[str, int]] = ()) -> list[GoneSegment]:
    """The same of a table's objects; looks closer only at writers of whom numbers are missing."""
    of = table.objects
    accepted = {(entry.writer, entry.sequence) for entry in table.gone}
    order = np.argsort(of["writer"], kind="stable")
    bounds = np.searchsorted(of["writer"][order], np.arange(len(table.writers) + 1)).tolist()
    seen: list[tuple[str, int, int, int]] = []
    for number, writer in enumerate(table.writers):
        rows = order[bounds[number] : bounds[number + 1]]
        durable = int(of["durable_sequence"][rows].max(initial=0))
        known = of["sequence"][rows]
        if (known[1:] < known[:-1]).any():
            known.sort()
        known = known[(known >= 1) & (known <= durable)]
        if np.count_nonzero(np.diff(known, prepend=0)) == durable:
            continue
        columns = (of[name][rows].tolist() for name in ("sequence", "durable_sequence", "sealed_at_ms"))
        seen += [(writer, *numbers) for numbers in zip(*columns, strict=True)]
    return _gone(seen, accepted, present)


def _gone(
    seen: Iterable[tuple[str, int, int, int]], accepted: set[tuple[str, int]], present: Iterable[tuple[str, int]]
) -> list[GoneSegment]:
    """Of ``(writer, sequence, durable sequence, sealed_at_ms)`` of objects."""
    there: dict[str, set[int]] = {}
    proofs: dict[str, dict[int, int]] = {}  # durable sequence → when the first object that says so was made
    for writer, sequence in present:
        there.setdefault(writer, set()).add(sequence)
    for writer, sequence, durable_sequence, sealed_at_ms in seen:
        there.setdefault(writer, set()).add(sequence)
        if durable_sequence:
            known = proofs.setdefault(writer, {})
            known[durable_sequence] = min(known.get(durable_sequence, sealed_at_ms), sealed_at_ms)
    found: list[GoneSegment] = []
    for writer in sorted(proofs):
        missing = set(range(1, max(proofs[writer]) + 1)) - there[writer]
        found += [
            GoneSegment(writer, sequence, min(at for durable, at in proofs[writer].items() if durable >= sequence))
            for sequence in sorted(missing)
            if (writer, sequence) not in accepted
        ]
    return found
