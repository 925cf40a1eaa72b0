"""The indexes of all segment objects as one table: what plans are made of, in a repository of any size."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
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
from mirror.core.rollup import decode_rollup_table
from mirror.core.run_table import RunTable, TableBuilder
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
    name: str
    table: RunTable
    is_whole: bool


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
    known = 0

    def note(more: int) -> None:
        nonlocal known
        known += more
        if on_progress:
            on_progress(known)

    spans: list[str] = []
    for name in repository.store.list_folders(LEVEL_0_PREFIX):
        try:
            day_start_ms(name)
        except DamageError as error:
            on_damage(f"{LEVEL_0_PREFIX}{name}/", error)
        else:
            spans.append(name)
    days: list[_Day] = []
    with ThreadPoolExecutor(_READERS, thread_name_prefix="rollups") as pool:
        for day in pool.map(lambda name: _rolled_up(repository, name, on_damage), spans):
            days.append(day)
            note(day.table.object_count)
        rolled = sum(day.table.object_count for day in days if day.is_whole)
        lists_all = rolled <= LISTED_OBJECTS_MAX
        builder = TableBuilder()
        listed = [day for day in days if lists_all or not day.is_whole]
        for day in days:
            if not lists_all and day.is_whole:
                builder.add_table(day.table)
        del days
        for present, more in pool.map(lambda day: _compared(repository, day, on_damage), listed):
            builder.add_table(present)
            builder.add_table(more)
            note(more.object_count)
    return LoadedTable(builder.build(), 0 if lists_all else rolled)


def _rolled_up(repository: Repository, day: str, on_damage: OnDamage) -> _Day:
    """What roll-ups say of a day; a finished day's own roll-up takes the place of those of its slots."""
    spans: list[tuple[str, RollupKey]] = []
    for info in repository.store.list(f"{ROLLUP_PREFIX}{day}/"):
        try:
            spans.append((info.key, parse_rollup_key(info.key)))
        except DamageError as error:
            on_damage(info.key, error)
    whole = [one for one in spans if one[1].length_ms == DAY_MS]
    builder, is_whole, sources = TableBuilder(), False, 0
    for key, span in whole or spans:
        try:
            table = _read(repository, key, span)
        except (DamageError, ObjectNotFoundError) as error:
            on_damage(key, error)  # a cache: the footers it stood for are read instead
            continue
        builder.add_table(table)
        sources += 1
        is_whole = is_whole or span.length_ms == DAY_MS
    table = builder.build()
    return _Day(day, _once(table) if sources > 1 else table, is_whole)


def _read(repository: Repository, key: str, span: RollupKey) -> RunTable:
    rollup, table = decode_rollup_table(repository.store.get(key), key)
    repository.require_rollup(rollup, key, span)
    return table


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
