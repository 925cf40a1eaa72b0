"""The coverage of every partition of a table of runs: what :func:`mirror.core.coverage.build_coverage` says, without a value for each.

Pieces that overlap nothing are taken by their rows. Only where copies overlap are runs made values, and chosen as there; partitions with
forks are covered there whole.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from mirror.core.coverage import PartitionCoverage, choose_pieces, cover_partition, coverage_of, free_ranges
from mirror.core.positions import OffsetRange, PartitionId
from mirror.core.run_pieces import RunPieces
from mirror.core.run_table import Int64s, RunTable
from mirror.core.segment.index import ForkEntry, GapEntry, RunEntry, StartEntry

__all__ = ["cover_table", "cover_without"]

_NARROW = 1 << 16


def cover_table(table: RunTable) -> dict[PartitionId, PartitionCoverage]:
    """The coverage of every partition incarnation."""
    starts: dict[tuple[str, int], list[StartEntry]] = defaultdict(list)
    gaps: dict[tuple[str, int], list[GapEntry]] = defaultdict(list)
    forks: dict[tuple[str, int], list[ForkEntry]] = defaultdict(list)
    names: dict[PartitionId, str] = {}
    for entry in table.starts:
        starts[entry.topic_id, entry.partition].append(entry)
    for gap in table.gaps:
        gaps[gap.topic_id, gap.partition].append(gap)
    for fork in table.forks:
        forks[fork.topic_id, fork.partition].append(fork)
    others: list[StartEntry | GapEntry | ForkEntry] = [*table.starts, *table.gaps, *table.forks]
    for one in others:
        names.setdefault(PartitionId(one.topic_id, one.partition), one.topic)
    rows_of = _rows_by_partition(table)
    for topic, topic_id, partition in table.partitions:
        if PartitionId(topic_id, partition) in rows_of:
            names[PartitionId(topic_id, partition)] = topic
    nothing = np.zeros(0, dtype=np.int64)
    return {
        pid: _cover(table, rows_of.get(pid, nothing), pid, name, starts[pid], gaps[pid], forks[pid])
        for pid, name in names.items()
    }


def cover_without(coverage: PartitionCoverage, unreadable: Collection[tuple[str, int]]) -> PartitionCoverage:
    """The coverage by all other runs: what no copy holds is missing. It reaches from where it did to where it did.

    Args:
        coverage: of :func:`cover_table`.
        unreadable: object key and ``start_offset`` of each run that cannot be read.
    """
    pieces = RunPieces.of(coverage.runs)
    table, pid = pieces.table, coverage.partition_id
    numbers = [n for n, (_, topic_id, number) in enumerate(table.partitions) if (topic_id, number) == pid]
    rows = np.flatnonzero(np.isin(table.runs["partition"], numbers))
    suspects = np.flatnonzero(np.isin(table.runs["start_offset"][rows], [start for _, start in unreadable]))
    starts = table.runs["start_offset"]
    lost = [i for i in suspects.tolist() if (table.key_of_run(int(rows[i])), int(starts[rows[i]])) in unreadable]
    lost_rows = rows[lost]
    rows = np.delete(rows, lost)
    rows = rows[np.argsort(starts[rows], kind="stable")]
    found = _cover(
        table,
        rows,
        pid,
        coverage.topic,
        [entry for entry in table.starts if (entry.topic_id, entry.partition) == pid],
        [entry for entry in table.gaps if (entry.topic_id, entry.partition) == pid],
        [entry for entry in table.forks if (entry.topic_id, entry.partition) == pid],
    )
    gone = pieces.chosen(np.isin(pieces.rows, lost_rows))
    bare = [free for piece in gone for free in free_ranges(found.runs, piece.start_offset, piece.next_offset)]
    bare = [free for part in bare for free in free_ranges(found.gaps, *part)]
    missing: list[OffsetRange] = []
    for start_offset, next_offset in sorted([*coverage.missing, *found.missing, *bare]):
        if missing and start_offset <= missing[-1].next_offset:
            missing[-1] = OffsetRange(missing[-1].start_offset, max(missing[-1].next_offset, next_offset))
        else:
            missing.append(OffsetRange(start_offset, next_offset))
    return replace(
        found,
        start_offset=coverage.start_offset,
        next_offset=coverage.next_offset,
        position=missing[0].start_offset if missing else coverage.next_offset,
        missing=missing,
    )


def _rows_by_partition(table: RunTable) -> dict[PartitionId, Int64s]:
    """The rows of each partition's runs, by their first offset."""
    if not table.run_count:
        return {}
    partitions = table.runs["partition"]
    if len(table.partitions) <= _NARROW:
        partitions = partitions.astype(np.uint16)  # numpy sorts these by radix
    order = np.argsort(partitions, kind="stable")
    ordered = table.runs["partition"][order]
    bounds = [0, *(np.flatnonzero(np.diff(ordered)) + 1).tolist(), len(order)]
    found: dict[PartitionId, Int64s] = {}
    for first, following in pairwise(bounds):
        rows = order[first:following]
        starts = table.runs["start_offset"][rows]
        if (starts[1:] < starts[:-1]).any():
            rows = rows[np.argsort(starts, kind="stable")]
        found[table.partition_id(int(ordered[first]))] = rows
    return found


def _cover(
    table: RunTable,
    rows: Int64s,
    pid: PartitionId,
    topic: str,
    starts: Sequence[StartEntry],
    gaps: Sequence[GapEntry],
    forks: Sequence[ForkEntry],
) -> PartitionCoverage:
    if forks:
        group = sorted(rows.tolist())
        entries = {row: table.entry(row) for row in group}
        found = cover_partition(pid, topic, [_stored(table, row) for row in group], starts, gaps, forks)
        row_of = {id(entry): row for row, entry in entries.items()}
        chosen = [(row_of[id(piece.run)], piece.start_offset, piece.next_offset) for piece in found.runs]
        picked = np.array(chosen, dtype=np.int64).reshape(len(chosen), 3)
        return replace(found, runs=RunPieces(table, picked[:, 0], picked[:, 1], picked[:, 2]))
    first, following = table.runs["start_offset"][rows], table.runs["next_offset"][rows]
    overlap = 0
    if len(rows) and (first[1:] < following[:-1]).any():
        rows, first, following, overlap = _without_overlap(table, rows, first, following)
    return coverage_of(pid, topic, RunPieces(table, rows, first, following), starts, gaps, [], overlap)


def _without_overlap(
    table: RunTable, rows: Int64s, first: Int64s, following: Int64s
) -> tuple[Int64s, Int64s, Int64s, int]:
    """Each offset once: groups of runs that overlap each other are made values and chosen from."""
    reached = np.maximum.accumulate(following)
    begins = np.concatenate([np.array([True]), first[1:] >= reached[:-1]])
    bounds = [*np.flatnonzero(begins).tolist(), len(rows)]
    alone = np.zeros(len(rows), dtype=bool)
    chosen: list[tuple[int, int, int]] = []
    overlap = 0
    for start, end in pairwise(bounds):
        if end - start == 1:
            alone[start] = True
            continue
        group = sorted(rows[start:end].tolist())
        entries = {row: table.entry(row) for row in group}
        row_of = {id(entry): row for row, entry in entries.items()}
        pieces, stored_again = choose_pieces([_stored(table, row) for row in group])
        chosen += [(row_of[id(piece.run)], piece.start_offset, piece.next_offset) for piece in pieces]
        overlap += stored_again
    more = np.array(chosen, dtype=np.int64).reshape(len(chosen), 3)
    rows = np.concatenate([rows[alone], more[:, 0]])
    first = np.concatenate([first[alone], more[:, 1]])
    following = np.concatenate([following[alone], more[:, 2]])
    order = np.argsort(first)
    return rows[order], first[order], following[order], overlap


def _stored(table: RunTable, row: int) -> tuple[str, int, int, RunEntry]:
    at = int(table.runs["object"][row])
    return (
        table.object_key(at),
        int(table.objects["level"][at]),
        int(table.objects["sealed_at_ms"][at]),
        table.entry(row),
    )
