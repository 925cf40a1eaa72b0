"""From indexes and tables to one table."""

from collections.abc import Sequence

import numpy as np

from mirror.core.keys import SegmentKey
from mirror.core.run_samples import EdgeSamples
from mirror.core.run_table import OBJECT_COLUMNS, RUN_COLUMNS, Int64s, RunTable, run_numbers
from mirror.core.segment.index import SegmentIndex
from mirror.core.table_arena import TableArena

__all__ = ["TableBuilder"]


class TableBuilder:
    """Makes one table of indexes and of tables; each object once."""

    def __init__(self) -> None:
        self._writers: dict[str, int] = {}
        self._partitions: dict[tuple[str, str, int], int] = {}
        self._tables: list[RunTable] = []
        self._objects: list[tuple[int, ...]] = []
        self._runs: list[tuple[int, ...]] = []
        self._loose = RunTable({}, {}, [], [])

    def add(
        self, key: SegmentKey, size_bytes: int, index: SegmentIndex, samples: Sequence[EdgeSamples | None] = ()
    ) -> None:
        """One object by its index; ``samples`` of each run, or empty."""
        row = len(self._objects)
        writer = self._writers.setdefault(key.writer, len(self._writers))
        numbers = (key.sealed_at_ms, writer, key.sequence, size_bytes, index.sealed_at_ms, index.durable_sequence)
        self._objects.append((*numbers, index.level))
        for number, run in enumerate(index.runs):
            known = samples[number] if samples else None
            if known is not None:
                self._loose.samples.loose[len(self._runs)] = known
            place = (run.topic, run.topic_id, run.partition)
            self._loose.entries[len(self._runs)] = run
            self._runs.append((row, self._partitions.setdefault(place, len(self._partitions)), *run_numbers(run)))
        self._loose.starts += index.starts
        self._loose.gaps += index.gaps
        self._loose.forks += index.forks
        self._loose.gone += index.gone

    def add_table(self, table: RunTable) -> None:
        """All objects of a table."""
        self._tables.append(table)

    def build(self) -> RunTable:
        """The whole; the builder is empty afterwards."""
        loose = self._loose
        loose.objects = _columns(OBJECT_COLUMNS, self._objects)
        loose.runs = _columns(RUN_COLUMNS, self._runs)
        loose.writers, loose.partitions = list(self._writers), list(self._partitions)
        tables = [loose, *self._tables] if loose.object_count or not self._tables else self._tables
        self._objects, self._runs, self._tables = [], [], []
        return tables[0] if len(tables) == 1 else self._joined(tables)

    def _joined(self, tables: Sequence[RunTable]) -> RunTable:
        arena = TableArena(sum(table.object_count for table in tables), sum(table.run_count for table in tables))
        for table in tables:
            arena.add(table)
        return arena.joined(self._writers, self._partitions)


def _columns(names: Sequence[str], rows: list[tuple[int, ...]]) -> dict[str, Int64s]:
    whole = np.array(rows, dtype=np.int64).reshape(len(rows), len(names))
    return {name: np.ascontiguousarray(whole[:, number]) for number, name in enumerate(names)}
