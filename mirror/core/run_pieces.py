"""Covered runs as rows of a table: a sequence that makes its values when they are asked for, and answers for all of them by numpy.

What a plan asks of every piece (counts, sizes, times, holes) is asked here, of any sequence of pieces: a plain one is turned into a
table first.
"""

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np
import numpy.typing as npt

from mirror.core.covered_run import CoveredRun
from mirror.core.run_samples import EdgeSamples
from mirror.core.run_table import NO_TIME_MS, OBJECT_COLUMNS, RUN_COLUMNS, Int64s, RunTable, run_numbers

__all__ = ["RunPieces", "are_exact"]

Bools = npt.NDArray[np.bool_]


class RunPieces(Sequence[CoveredRun]):
    """Disjoint pieces of runs, ascending.

    Args:
        table: of the runs.
        rows: the run of each piece.
        start_offsets, next_offsets: what is read of it.
        keys: the object of each piece, where the table does not know it.
    """

    __slots__ = ("_keys", "next_offsets", "rows", "start_offsets", "table")

    def __init__(
        self,
        table: RunTable,
        rows: Int64s,
        start_offsets: Int64s,
        next_offsets: Int64s,
        keys: Sequence[str] | None = None,
    ) -> None:
        self.table = table
        self.rows = rows
        self.start_offsets = start_offsets
        self.next_offsets = next_offsets
        self._keys = keys

    @classmethod
    def of(cls, pieces: Sequence[CoveredRun]) -> "RunPieces":
        """The same pieces; of a plain sequence without what a table says of objects."""
        if isinstance(pieces, cls):
            return pieces
        row_of: dict[int, int] = {}  # a run in several pieces is one row
        rows = [row_of.setdefault(id(piece.run), len(row_of)) for piece in pieces]
        entries = {row: piece.run for row, piece in zip(rows, pieces, strict=True)}
        numbers = np.array([run_numbers(entries[row]) for row in range(len(entries))], dtype=np.int64)
        numbers = numbers.reshape(len(entries), len(RUN_COLUMNS) - 2)
        runs = {name: numbers[:, number] for number, name in enumerate(RUN_COLUMNS[2:])}
        runs["object"] = runs["partition"] = np.zeros(len(entries), dtype=np.int64)
        table = RunTable({name: np.zeros(0, dtype=np.int64) for name in OBJECT_COLUMNS}, runs, [], [], entries)
        bounds = np.array([(p.start_offset, p.next_offset) for p in pieces], dtype=np.int64).reshape(len(pieces), 2)
        keys = [piece.object_key for piece in pieces]
        return cls(table, np.array(rows, dtype=np.int64), bounds[:, 0], bounds[:, 1], keys)

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> CoveredRun: ...
    @overload
    def __getitem__(self, index: slice) -> "RunPieces": ...
    def __getitem__(self, index: int | slice) -> "CoveredRun | RunPieces":
        if isinstance(index, slice):
            return self.chosen(index)
        row = int(self.rows[index])
        key = self.table.key_of_run(row) if self._keys is None else self._keys[index]
        return CoveredRun(int(self.start_offsets[index]), int(self.next_offsets[index]), key, self.table.entry(row))

    def __iter__(self) -> Iterator[CoveredRun]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"RunPieces({len(self)})"

    def chosen(self, index: slice | Int64s | Bools) -> "RunPieces":
        """Some of the pieces."""
        keys = self._keys
        if keys is not None:
            keys = [keys[row] for row in np.arange(len(self))[index]]
        return RunPieces(self.table, self.rows[index], self.start_offsets[index], self.next_offsets[index], keys)

    def clipped(self, start_offset: int, next_offset: int) -> "RunPieces":
        """What of the pieces lies in ``[start_offset, next_offset)``."""
        inside = self.chosen(
            slice(
                int(np.searchsorted(self.next_offsets, start_offset, side="right")),
                int(np.searchsorted(self.start_offsets, next_offset, side="left")),
            )
        )
        starts = np.maximum(inside.start_offsets, start_offset)
        nexts = np.minimum(inside.next_offsets, next_offset)
        if len(starts) and (starts >= nexts).any():
            inside = inside.chosen(starts < nexts)
            starts, nexts = np.maximum(inside.start_offsets, start_offset), np.minimum(inside.next_offsets, next_offset)
        return RunPieces(inside.table, inside.rows, starts, nexts, inside._keys)

    def column(self, name: str) -> Int64s:
        """A column of the pieces' runs, by a name of ``RUN_COLUMNS``."""
        return self.table.runs[name][self.rows]

    def total(self, name: str) -> int:
        """The sum of a column, a run in several pieces counting once for each."""
        return int(self.column(name).sum())

    def total_once(self, name: str) -> int:
        """The sum of a column, each run once."""
        rows = self.rows
        if len(rows) and (rows[1:] <= rows[:-1]).any():
            rows = np.sort(rows)
            rows = rows[np.diff(rows, prepend=-1) > 0]
        return int(self.table.runs[name][rows].sum())

    def oldest_ms(self, *names: str) -> int | None:
        """The least of some columns of times; None where none has one."""
        times = np.concatenate([self.column(name) for name in names])
        known = times[times != NO_TIME_MS]
        return int(known.min()) if len(known) else None

    def newest_ms(self) -> int | None:
        """The newest record's time; None where no run has records."""
        newest = int(self.column("max_timestamp_ms").max(initial=NO_TIME_MS))
        return None if newest == NO_TIME_MS else newest

    @property
    def are_whole(self) -> Bools:
        """Which pieces are their whole run."""
        starts, nexts = self.column("start_offset"), self.column("next_offset")
        same: Bools = (self.start_offsets == starts) & (self.next_offsets == nexts)
        return same

    @property
    def follow_directly(self) -> Bools:
        """Which pieces begin where the one before ends."""
        before = np.concatenate([np.array([-1], dtype=np.int64), self.next_offsets[:-1]])[: len(self)]
        follow: Bools = self.start_offsets == before
        return follow

    def leader_epochs(self, index: int) -> list[tuple[int, int]]:
        """Those of a piece's run."""
        return self.table.leader_epochs(int(self.rows[index]))

    def edge_samples(self, index: int) -> EdgeSamples | None:
        """The first and the last watermark sample of a piece's run; None where only its footer has them.

        Raises:
            DamageError: the roll-up that has them is not what was written.
        """
        return self.table.edge_samples(int(self.rows[index]))

    @property
    def knows_objects(self) -> bool:
        """Whether the table says what objects the pieces are of."""
        return self._keys is None

    def sealed_at_ms(self) -> Int64s | None:
        """When the object of each piece was sealed; None where the table does not know."""
        if self._keys is not None:
            return None
        return self.table.objects["sealed_at_ms"][self.table.runs["object"][self.rows]]


def are_exact(pieces: RunPieces) -> bool:
    """Whether the record count of each piece is that of its run; as :func:`mirror.core.restore_plan.is_exact` says of one."""
    unclear = ~pieces.follow_directly & (pieces.start_offsets != 0) & (pieces.column("record_count") != 0)
    return bool((pieces.are_whole & ~unclear).all())
