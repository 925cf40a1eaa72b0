"""Roll-ups: the indexes of many segment objects in one, so that nothing ever reads all footers one by one.

A roll-up is a cache: it names the objects it holds, several may exist for one span, and readers take their union. It leaves out what is
only needed to open a run (blocks), and of the watermark samples all but the first and the last of each run; the object's own footer has
all. Most objects stand in it as columns.
"""

from dataclasses import dataclass

import msgspec

from mirror.core.keys import parse_segment_key
from mirror.core.rollup_columns import (
    COLUMNS_FEATURE,
    RollupColumns,
    decode_columns,
    encode_columns,
    indexes_of,
    require_columns,
)
from mirror.core.run_samples import edge_samples
from mirror.core.run_table import RunTable
from mirror.core.segment.index import (
    FORMAT_VERSION,
    Count,
    SegmentIndex,
    Timestamp,
    WatermarkSample,
    decode_json,
    require_features,
)
from mirror.core.segment.layout import HEADER_BYTES, check_header, decode_payload, decode_trailer, encode_rollup_frame
from mirror.core.table_arena import ArenaPart
from mirror.core.table_building import TableBuilder
from mirror.errors import DamageError

__all__ = [
    "OpenedRollup",
    "RolledObject",
    "Rollup",
    "decode_rollup",
    "decode_rollup_table",
    "encode_rollup",
    "open_rollup",
    "rolled_object",
    "shorten",
]


class RolledObject(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One segment object: its key, its size and its shortened index.

    ``samples`` are the edge samples of each run of the index, None for those that only the footer has; empty where it has all.
    """

    key: str
    size_bytes: Count
    index: SegmentIndex
    samples: list[list[WatermarkSample] | None] = []


class Rollup(msgspec.Struct, frozen=True, kw_only=True):
    """All level-0 objects whose names say that they were sealed in ``[start_ms, start_ms + length_ms)``.

    As it is stored, ``objects`` are only those that the columns do not hold.
    """

    format_version: Count = FORMAT_VERSION
    repository_id: str
    start_ms: Timestamp
    length_ms: Count
    created_at_ms: Timestamp
    objects: list[RolledObject]
    columns: RollupColumns | None = None
    required_features: list[str] = []


def shorten(index: SegmentIndex) -> SegmentIndex:
    """The index without blocks and watermark samples."""
    runs = [msgspec.structs.replace(run, blocks=None, watermarks=[]) for run in index.runs]
    return msgspec.structs.replace(index, runs=runs)


def rolled_object(key: str, size_bytes: int, index: SegmentIndex) -> RolledObject:
    """How a roll-up names an object whose footer was read."""
    samples = [edge_samples(run) for run in index.runs]
    return RolledObject(key=key, size_bytes=size_bytes, index=shorten(index), samples=samples if any(samples) else [])


def encode_rollup(rollup: Rollup) -> bytes:
    """The roll-up as an object; all that fits columns is put into columns."""
    body, columns, others = encode_columns(rollup.objects, rollup.repository_id)
    features = [*rollup.required_features, *([COLUMNS_FEATURE] if columns else [])]
    stored = msgspec.structs.replace(rollup, objects=others, columns=columns, required_features=features)
    return encode_rollup_frame(msgspec.json.encode(stored), body)


def decode_rollup(data: bytes, where: str, *, with_samples: bool = True) -> Rollup:
    """The inverse of :func:`encode_rollup`: all objects as values, in the order of their keys.

    Args:
        data: the object.
        where: its key, for messages.
        with_samples: also the watermark samples.

    Raises:
        DamageError: the object is not a sound roll-up; it can be deleted and is made again.
        UnsupportedFormatError: a newer version.
    """
    opened = open_rollup(data, where)
    stored, table = opened.stored, opened.in_columns()
    if not with_samples:
        stored = msgspec.structs.replace(stored, objects=[_without_samples(entry) for entry in stored.objects])
    if table is None or stored.columns is None:
        return stored
    found = indexes_of(table, stored.columns, stored.repository_id, with_samples=with_samples)
    rolled = [
        RolledObject(key=key, size_bytes=size, index=index, samples=samples) for key, size, index, samples in found
    ]
    objects = [*stored.objects, *rolled]
    features = [name for name in stored.required_features if name != COLUMNS_FEATURE]
    objects.sort(key=lambda entry: entry.key)
    return msgspec.structs.replace(stored, objects=objects, columns=None, required_features=features)


def decode_rollup_table(data: bytes, where: str) -> tuple[Rollup, RunTable]:
    """The same as a table; the roll-up as it is stored.

    Raises:
        DamageError, UnsupportedFormatError: as :func:`decode_rollup`.
    """
    opened = open_rollup(data, where)
    builder = TableBuilder()
    for table in opened.tables():
        builder.add_table(table)
    return opened.stored, builder.build()


@dataclass(frozen=True, slots=True)
class OpenedRollup:
    """A roll-up whose JSON is read: ``stored`` as it is there, ``body`` the columns as they are stored."""

    stored: Rollup
    body: memoryview
    where: str

    @property
    def column_sizes(self) -> tuple[int, int]:
        """Objects and runs that stand in columns."""
        columns = self.stored.columns
        return (columns.object_count, columns.run_count) if columns else (0, 0)

    def loose(self) -> RunTable:
        """What does not stand in columns."""
        builder = TableBuilder()
        for entry in self.stored.objects:
            builder.add(parse_segment_key(entry.key), entry.size_bytes, entry.index, entry.samples)
        return builder.build()

    def in_columns(self, into: ArenaPart | None = None) -> RunTable | None:
        """What stands in columns, checked; see :func:`mirror.core.rollup_columns.decode_columns`.

        Raises:
            DamageError: the columns are not what was written.
        """
        columns = self.stored.columns
        return None if columns is None else decode_columns(self.body, columns, self.where, into)

    def tables(self) -> list[RunTable]:
        """All of it.

        Raises:
            DamageError: the columns are not what was written.
        """
        table = self.in_columns()
        return [self.loose()] if table is None else [table, self.loose()]


def open_rollup(data: bytes, where: str) -> OpenedRollup:
    """The first step of reading a roll-up: all but the columns, of which only the checksum and the size are verified.

    Raises:
        DamageError, UnsupportedFormatError: as :func:`decode_rollup`.
    """
    check_header(data, where)
    trailer = decode_trailer(data, len(data), where)
    rollup = decode_json(Rollup, decode_payload(data, trailer, where), where)
    for entry in rollup.objects:
        require_features(entry.index.format_version, entry.index.required_features, entry.key)
        if entry.samples and not _fit(entry):
            raise DamageError(f"{where}: the watermark samples of {entry.key} are not those of its runs")
    columns = rollup.columns
    if trailer.index_position != HEADER_BYTES + (columns.stored_bytes if columns else 0):
        raise DamageError(f"{where}: is not a roll-up: something else stands before its JSON")
    body = memoryview(data)[HEADER_BYTES : trailer.index_position]
    if columns is not None:
        require_columns(body, columns, where)
    return OpenedRollup(rollup, body, where)


def _without_samples(entry: RolledObject) -> RolledObject:
    return msgspec.structs.replace(entry, samples=[]) if entry.samples else entry


def _fit(entry: RolledObject) -> bool:
    return len(entry.samples) == len(entry.index.runs) and all(
        one is None or 0 < len(one) <= 2 for one in entry.samples
    )
