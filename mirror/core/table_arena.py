"""One table that its parts are written into side by side, so that nothing is copied when all of them are there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mirror.core.run_samples import RunSamples
from mirror.core.run_table import OBJECT_COLUMNS, RUN_COLUMNS, Int64s, RunTable
from mirror.core.segment.index import RunEntry

__all__ = ["ArenaPart", "TableArena"]


@dataclass(frozen=True, slots=True)
class ArenaPart:
    """Rows of an arena: its columns there, by name, and where they begin."""

    objects: dict[str, Int64s]
    runs: dict[str, Int64s]
    first_object: int
    first_run: int


class TableArena:
    """The columns of a whole table, its rows given out in order.

    Args:
        object_count, run_count: of all parts together.
    """

    def __init__(self, object_count: int, run_count: int) -> None:
        self._objects = {name: np.empty(object_count, dtype=np.int64) for name in OBJECT_COLUMNS}
        self._runs = {name: np.empty(run_count, dtype=np.int64) for name in RUN_COLUMNS}
        self._objects_given = 0
        self._runs_given = 0
        self._tables: list[tuple[ArenaPart, RunTable]] = []

    def reserve(self, object_count: int, run_count: int) -> ArenaPart:
        """The next rows; whoever reserved them fills all of them."""
        first_object, first_run = self._objects_given, self._runs_given
        self._objects_given += object_count
        self._runs_given += run_count
        return ArenaPart(
            {name: column[first_object : self._objects_given] for name, column in self._objects.items()},
            {name: column[first_run : self._runs_given] for name, column in self._runs.items()},
            first_object,
            first_run,
        )

    def add(self, table: RunTable) -> None:
        """A table, copied; it is empty afterwards: twice the whole would be the peak of memory."""
        part = self.reserve(table.object_count, table.run_count)
        for source, into in ((table.objects, part.objects), (table.runs, part.runs)):
            for name, column in into.items():
                column[:] = source.pop(name)
        table.objects, table.runs = part.objects, part.runs
        self.adopt(part, table)

    def adopt(self, part: ArenaPart, table: RunTable) -> None:
        """A table whose columns are those of a part, in the order of the parts."""
        self._tables.append((part, table))

    def joined(self, writers: dict[str, int], partitions: dict[tuple[str, str, int], int]) -> RunTable:
        """The whole; all rows are given out and all parts adopted. The parts are not to be used any more.

        Args:
            writers, partitions: numbers by name; names that are new are added.
        """
        assert (self._objects_given, self._runs_given) == (len(self._objects["writer"]), len(self._runs["object"]))
        entries: dict[int, RunEntry] = {}
        samples = RunSamples()
        tables = [table for _, table in self._tables]
        places: list[tuple[str, str, int]] = []
        numbers: list[int] = []
        for part, table in self._tables:
            _renumber(part.objects["writer"], [writers.setdefault(name, len(writers)) for name in table.writers])
            if table.partitions != places:  # one day has those of the day before
                places = table.partitions
                numbers = [partitions.setdefault(place, len(partitions)) for place in places]
            _renumber(part.runs["partition"], numbers)
            part.runs["object"][:] += part.first_object
            entries.update((row + part.first_run, entry) for row, entry in table.entries.items())
            samples.add_all(table.samples, part.first_run)
        return RunTable(
            objects=self._objects,
            runs=self._runs,
            writers=list(writers),
            partitions=list(partitions),
            entries=entries,
            starts=[entry for table in tables for entry in table.starts],
            gaps=[entry for table in tables for entry in table.gaps],
            forks=[entry for table in tables for entry in table.forks],
            gone=[entry for table in tables for entry in table.gone],
            samples=samples,
        )


def _renumber(column: Int64s, numbers: Sequence[int]) -> None:
    if len(column) and numbers != list(range(len(numbers))):
        column[:] = np.array(numbers, dtype=np.int64)[column]
