"""Which runs are fetched together, in which order: so that each partition's come in the order of its offsets.

Planned window by window: of a million objects only the next ones are values at any time. A window is a span of object names. A partition's
pieces come in the order of their offsets, and the slot of a piece (the newest name up to it) never goes back, so the windows of a partition
follow each other as its pieces do.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.positions import PartitionId
from mirror.core.run_pieces import RunPieces
from mirror.core.run_table import Int64s, RunTable

__all__ = ["ReadTask", "plan_reads", "plan_windows"]

_WINDOW_PIECES = 20_000


@dataclass(frozen=True, slots=True)
class ReadTask:
    """Runs that are fetched together from one object."""

    object_key: str
    pieces: tuple[CoveredRun, ...]

    @property
    def wanted_bytes(self) -> int:
        """Stored bytes of the runs (each once)."""
        return sum({piece.run.position: piece.run.stored_bytes for piece in self.pieces}.values())


def plan_reads(coverages: Iterable[PartitionCoverage]) -> list[ReadTask]:
    """Which runs to fetch together, in which order, so that each partition's come in the order of its offsets."""
    slots: dict[tuple[str, str], list[CoveredRun]] = {}
    for coverage in coverages:
        latest = ""
        for piece in coverage.runs:
            latest = max(latest, piece.object_key)
            # A piece of an older object than its predecessor's waits for that one's slot and is fetched there, alone.
            slots.setdefault((latest, "" if piece.object_key == latest else piece.object_key), []).append(piece)
    tasks = [
        ReadTask(other or slot, tuple(sorted(pieces, key=_in_object)))
        for (slot, other), pieces in sorted(slots.items(), key=lambda item: item[0])
    ]
    return _in_offset_order(tasks)


def _in_object(piece: CoveredRun) -> tuple[int, int]:
    return piece.run.position, piece.start_offset


def _in_offset_order(tasks: list[ReadTask]) -> list[ReadTask]:
    """Split what would come out of order for its partition: objects at the same slot, or one run twice around another."""
    reached: dict[PartitionId, int] = {}
    odd: set[PartitionId] = set()
    for task in tasks:
        for piece in task.pieces:
            if piece.start_offset < reached.get(piece.run.partition_id, 0):
                odd.add(piece.run.partition_id)
            reached[piece.run.partition_id] = piece.next_offset
    if not odd:
        return tasks
    # Rare (copies that overlap in several places): these partitions are read alone, piece by piece.
    alone = [piece for task in tasks for piece in task.pieces if piece.run.partition_id in odd]
    kept = [ReadTask(t.object_key, tuple(p for p in t.pieces if p.run.partition_id not in odd)) for t in tasks]
    singles = sorted(alone, key=lambda piece: (piece.run.partition_id, piece.start_offset))
    return [t for t in kept if t.pieces] + [ReadTask(piece.object_key, (piece,)) for piece in singles]


def plan_windows(coverages: Sequence[PartitionCoverage], *, window_pieces: int = _WINDOW_PIECES) -> Iterator[ReadTask]:
    """What :func:`plan_reads` says, in windows of about so many pieces.

    Args:
        coverages: of the partitions to read.
        window_pieces: as many pieces are planned at once, or somewhat more.
    """
    columns = [coverage.runs for coverage in coverages if isinstance(coverage.runs, RunPieces)]
    total = sum(len(coverage.runs) for coverage in coverages)
    are_columns = len(columns) == len(coverages) and all(pieces.knows_objects for pieces in columns)
    if total <= window_pieces or not are_columns or len({id(pieces.table) for pieces in columns}) > 1:
        yield from plan_reads(coverages)
        return
    table = columns[0].table
    rank = _ranks(table)
    slots = [np.maximum.accumulate(rank[table.runs["object"][pieces.rows]]) for pieces in columns]
    ordered = np.sort(np.concatenate(slots))
    lasts = np.unique(np.append(ordered[window_pieces - 1 :: window_pieces], ordered[-1]))
    begun = [0] * len(coverages)
    for last in lasts.tolist():
        window: list[PartitionCoverage] = []
        for number, (coverage, pieces, mine) in enumerate(zip(coverages, columns, slots, strict=True)):
            until = int(np.searchsorted(mine, last, side="right"))
            if until > begun[number]:
                window.append(replace(coverage, runs=pieces[begun[number] : until]))
                begun[number] = until
        yield from plan_reads(window)


def _ranks(table: RunTable) -> Int64s:
    """The place of each object in the order of their names."""
    of = table.objects
    by_name = np.argsort(np.argsort(np.array(table.writers)))
    order = np.lexsort((of["sequence"], by_name[of["writer"]], of["named_ms"]))
    rank = np.empty(table.object_count, dtype=np.int64)
    rank[order] = np.arange(table.object_count)
    return rank
