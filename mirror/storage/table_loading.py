"""The indexes of all segment objects as one table: what plans are made of, in a repository of any size."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from mirror.core.keys import (
    DAY_MS,
    LEVEL_0_PREFIX,
    ROLLUP_PREFIX,
    RollupKey,
    day_start_ms,
    parse_rollup_key,
    parse_segment_key,
)
from mirror.core.rollup import OpenedRollup, open_rollup
from mirror.core.run_table import RunTable
from mirror.core.table_arena import ArenaPart, TableArena
from mirror.core.table_building import TableBuilder
from mirror.errors import DamageError, ObjectNotFoundError
from mirror.storage.repository import Repository

__all__ = ["LISTED_OBJECTS_MAX", "LoadedTable", "load_table"]

LISTED_OBJECTS_MAX = 200_000
"""Up to so many objects of finished days are looked for before a restore; a listing has 1,000 names in a request."""

_READERS = 8
OnDamage = Callable[[str, Exception], None]


@dataclass(frozen=True, slots=True)
class LoadedTable:
    """The table, and how many of its objects nobody looked for: their day's roll-up names them, and that was believed."""

    table: RunTable
    unlisted_objects: int


@dataclass(frozen=True, slots=True)
class _Day:
    """What roll-ups say of a day: a table, or one roll-up of all of it that is not unpacked yet."""

    name: str
    table: RunTable
    packed: OpenedRollup | None
    is_whole: bool

    @property
    def object_count(self) -> int:
        packed = self.packed
        return self.table.object_count if packed is None else packed.column_sizes[0] + len(packed.stored.objects)


def load_table(
    repository: Repository, *, on_damage: OnDamage, on_progress: Callable[[int], None] | None = None
) -> LoadedTable:
    """The runs of all segment objects: by roll-ups where they exist, by footers for the rest.

    Args:
        repository: opened.
        on_damage: called with the key and the error of an object that cannot be read, or that a roll-up names and that is gone.
        on_progress: called with the number of objects known so far.

    Raises:
        UnreachableError, AccessError, StoreError: as the store says.
    """
    told: set[str] = set()

    def tell(key: str, error: Exception) -> None:
        if key not in told:
            told.add(key)
            on_damage(key, error)

    refused: set[str] = set()
    while True:
        found = _loaded(repository, refused, tell, on_progress or (lambda _: None))
        if isinstance(found, LoadedTable):
            return found
        refused |= found  # caches: the footers they stood for are read instead


def _loaded(
    repository: Repository, refused: set[str], on_damage: OnDamage, on_progress: Callable[[int], None]
) -> LoadedTable | set[str]:
    """The table without what some roll-ups say; or more roll-ups that contradict themselves."""
    spans: list[str] = []
    for name in repository.store.list_folders(LEVEL_0_PREFIX):
        try:
            day_start_ms(name)
        except DamageError as error:
            on_damage(f"{LEVEL_0_PREFIX}{name}/", error)
        else:
            spans.append(name)
    names: dict[str, list[str]] = {name: [] for name in spans}
    for info in repository.store.list(
        ROLLUP_PREFIX
    ):  # 1,000 names a request, of all days: a request for each day takes longer
        names.get(info.key[len(ROLLUP_PREFIX) :].partition("/")[0], []).append(info.key)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="rollups") as pool:
        known, days = 0, list[_Day]()
        for day in pool.map(lambda name: _rolled_up(repository, name, names[name], refused, on_damage), spans):
            days.append(day)
            on_progress(known := known + day.object_count)
        rolled = sum(day.object_count for day in days if day.is_whole)
        lists_all = rolled <= LISTED_OBJECTS_MAX
        believed = [] if lists_all else [day for day in days if day.is_whole]
        tables = [day.table for day in believed]
        listed = [day for day in days if lists_all or not day.is_whole]
        packed = [day.packed for day in believed if day.packed is not None]
        del days, believed
        for present, more in pool.map(lambda day: _compared(repository, _unpacked(day, on_damage), on_damage), listed):
            tables += [present, more]
            on_progress(known := known + more.object_count)
        del listed
        table = _joined(tables, packed, pool, on_damage)
    return table if isinstance(table, set) else LoadedTable(table, 0 if lists_all else rolled)


def _rolled_up(repository: Repository, day: str, keys: Sequence[str], refused: set[str], on_damage: OnDamage) -> _Day:
    """What roll-ups say of a day; a finished day's own roll-up takes the place of those of its slots."""
    spans: list[tuple[str, RollupKey]] = []
    for key in keys:
        try:
            spans.append((key, parse_rollup_key(key)))
        except DamageError as error:
            on_damage(key, error)
    whole = [one for one in spans if one[1].length_ms == DAY_MS]
    opened: list[OpenedRollup] = []
    for key, span in whole or spans:
        if key in refused:
            continue
        try:
            rollup = open_rollup(repository.store.get(key), key)
            repository.require_rollup(rollup.stored, key, span)
        except (DamageError, ObjectNotFoundError) as error:
            on_damage(key, error)  # a cache: the footers it stood for are read instead
        else:
            opened.append(rollup)
    if whole and len(opened) == 1:
        return _Day(day, TableBuilder().build(), opened[0], is_whole=True)
    builder, sources = TableBuilder(), 0
    for rollup in opened:
        try:
            tables = rollup.tables()
        except DamageError as error:
            on_damage(rollup.where, error)
            continue
        sources += 1
        for table in tables:
            builder.add_table(table)
    joined = builder.build()
    return _Day(day, _once(joined) if sources > 1 else joined, None, is_whole=bool(whole and sources))


def _unpacked(day: _Day, on_damage: OnDamage) -> _Day:
    """The same, unpacked; empty where the roll-up contradicts itself."""
    if day.packed is None:
        return day
    builder = TableBuilder()
    try:
        for table in day.packed.tables():
            builder.add_table(table)
    except DamageError as error:
        on_damage(day.packed.where, error)
        return _Day(day.name, TableBuilder().build(), None, is_whole=False)
    return _Day(day.name, builder.build(), None, day.is_whole)


def _joined(
    tables: Sequence[RunTable], packed: Sequence[OpenedRollup], pool: Executor, on_damage: OnDamage
) -> RunTable | set[str]:
    """One table of all, what is packed unpacked to where it stays; or the roll-ups that contradict themselves."""
    tables = [*tables, *(rollup.loose() for rollup in packed)]
    sizes = [(table.object_count, table.run_count) for table in tables] + [rollup.column_sizes for rollup in packed]
    arena = TableArena(sum(objects for objects, _ in sizes), sum(runs for _, runs in sizes))
    for table in tables:
        arena.add(table)
    parts = [arena.reserve(*rollup.column_sizes) for rollup in packed]

    def fill(rollup: OpenedRollup, part: ArenaPart) -> RunTable | None:
        try:
            return rollup.in_columns(part)
        except DamageError as error:
            on_damage(rollup.where, error)
            unsound.add(rollup.where)
            return None

    unsound: set[str] = set()
    for part, filled in zip(parts, pool.map(fill, packed, parts), strict=True):
        if filled is not None:
            arena.adopt(part, filled)
    return unsound or arena.joined({}, {})


def _once(table: RunTable) -> RunTable:
    """Each object once, whatever number of roll-ups name it."""
    names = np.stack([table.objects[name] for name in ("named_ms", "writer", "sequence")])
    _, first = np.unique(names, axis=1, return_index=True)
    again = np.ones(table.object_count, dtype=bool)
    again[first] = False
    return table.without(np.flatnonzero(again))


def _compared(repository: Repository, day: _Day, on_damage: OnDamage) -> tuple[RunTable, RunTable]:
    """Of a day: the part of its table that the listing has, and what no roll-up names."""
    row_of = {day.table.object_key(row): row for row in range(day.table.object_count)}
    missing, gone = repository.compare_with_listing(day.name, row_of, on_damage)
    builder = TableBuilder()
    for entry in repository.read_indexes(missing, on_damage):
        builder.add(parse_segment_key(entry.key), entry.size_bytes, entry.index, entry.samples)
    return day.table.without([row_of[key] for key in gone]), builder.build()
