"""The columns of a roll-up: how the indexes of most objects stand in it. See docs/format.md for the layout.

An object whose index says more than columns can (starts, gaps, forks, several leader epochs in a run) stays with the JSON.
"""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import zstandard

from mirror.core.keys import SegmentKey, parse_segment_key
from mirror.core.run_samples import pack_samples
from mirror.core.run_table import OBJECT_COLUMNS, RUN_COLUMNS, Int64s, RunFlag, RunTable
from mirror.core.segment.index import FORMAT_VERSION, Count, RunEntry, SegmentIndex, WatermarkSample
from mirror.core.segment.layout import INDEX_LIMIT_BYTES, checksum_of
from mirror.core.table_arena import ArenaPart, TableArena
from mirror.core.table_building import TableBuilder
from mirror.errors import DamageError

if TYPE_CHECKING:
    from mirror.core.rollup import RolledObject

__all__ = ["COLUMNS_FEATURE", "RollupColumns", "decode_columns", "encode_columns", "indexes_of", "require_columns"]

COLUMNS_FEATURE = "columns"
_CHECKSUM = re.compile(r"[0-9a-f]{32}", re.ASCII)
_WIDTH = np.dtype("<i8")
_ALL_FLAGS = RunFlag.ZSTD | RunFlag.UNPACKED | RunFlag.HAS_MARKERS | RunFlag.HAS_EPOCH


class RollupColumns(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed to read the columns, which stand before the JSON as one zstd frame."""

    cluster_id: str
    object_count: Count
    run_count: Count
    writers: list[str]
    partitions: list[tuple[str, str, Count]]
    stored_bytes: Count
    checksum: str
    samples: bytes | None = None


def encode_columns(
    objects: Sequence["RolledObject"], repository_id: str
) -> tuple[bytes, RollupColumns | None, list["RolledObject"]]:
    """The columns' bytes, how to read them (None where no object fits), and the objects that do not fit.

    Args:
        objects: of one repository; those of another do not fit.
        repository_id: of that repository.
    """
    builder, others = TableBuilder(), []
    cluster_id = objects[0].index.cluster_id if objects else ""
    for entry in objects:
        key = _plain_key(entry, repository_id, cluster_id)
        if key is None:
            others.append(entry)
        else:
            builder.add(key, entry.size_bytes, entry.index, entry.samples)
    table = builder.build()
    if not table.object_count:
        return b"", None, others
    columns = [_packed(name, table.objects) for name in OBJECT_COLUMNS] + [
        _packed(name, table.runs) for name in RUN_COLUMNS
    ]
    body = zstandard.ZstdCompressor(level=3, write_content_size=True, write_checksum=True).compress(b"".join(columns))
    found = RollupColumns(
        cluster_id=cluster_id,
        object_count=table.object_count,
        run_count=table.run_count,
        writers=table.writers,
        partitions=table.partitions,
        stored_bytes=len(body),
        checksum=checksum_of((body,)),
        samples=pack_samples(table.samples.loose, table.runs["next_offset"]),
    )
    return body, found, others


def _plain_key(entry: "RolledObject", repository_id: str, cluster_id: str) -> SegmentKey | None:
    """The name of an object of which columns can say everything."""
    index = entry.index
    try:
        key = parse_segment_key(entry.key)
    except DamageError:
        return None
    said = (index.format_version, index.repository_id, index.cluster_id, index.writer, index.sequence)
    says_more = index.starts or index.gaps or index.forks or index.gone or index.required_features
    if says_more or said != (FORMAT_VERSION, repository_id, cluster_id, key.writer, key.sequence):
        return None
    return key if all(map(_is_plain, index.runs)) else None


def _is_plain(run: RunEntry) -> bool:
    one_epoch = not run.leader_epochs or (len(run.leader_epochs) == 1 and run.leader_epochs[0][1] == run.start_offset)
    return one_epoch and not run.watermarks and run.blocks is None and _CHECKSUM.fullmatch(run.checksum) is not None


def _packed(name: str, columns: dict[str, Int64s]) -> bytes:
    values = columns["next_offset"] - columns["start_offset"] if name == "next_offset" else columns[name]
    return np.diff(values, prepend=np.int64(0)).astype(_WIDTH).tobytes()


def decode_columns(
    body: bytes | memoryview, columns: RollupColumns, where: str, into: ArenaPart | None = None
) -> RunTable:
    """The inverse of :func:`encode_columns`, its checksum verified.

    Args:
        body: the frame.
        columns: how to read it.
        where: the roll-up's key, for messages.
        into: columns to fill, of the sizes that ``columns`` says; None makes them.

    Raises:
        DamageError: the bytes are not what was written, or contradict themselves.
    """
    require_columns(body, columns, where)
    try:
        raw = zstandard.ZstdDecompressor().decompress(body)
    except zstandard.ZstdError as error:
        raise DamageError(f"{where}: the columns cannot be unpacked: {error}") from error
    if into is None:
        into = TableArena(columns.object_count, columns.run_count).reserve(columns.object_count, columns.run_count)
    objects, runs = into.objects, into.runs
    _unpack(raw, 0, objects)
    _unpack(raw, columns.object_count * len(OBJECT_COLUMNS) * _WIDTH.itemsize, runs)
    runs["next_offset"] += runs["start_offset"]
    table = RunTable(objects, runs, columns.writers, columns.partitions)
    _check(table, where)
    if columns.samples is not None:
        table.samples.add_packed(columns.samples, columns.run_count, where)
    return table


def require_columns(body: bytes | memoryview, columns: RollupColumns, where: str) -> None:
    """Check the frame before anything is allocated for what it says that it holds.

    Raises:
        DamageError: it is not the one that was written, or of another size than the JSON says.
    """
    raw_bytes = (columns.object_count * len(OBJECT_COLUMNS) + columns.run_count * len(RUN_COLUMNS)) * _WIDTH.itemsize
    if checksum_of((body,)) != columns.checksum or raw_bytes > INDEX_LIMIT_BYTES:
        raise DamageError(f"{where}: the columns do not match their checksum, or are too many")
    try:
        if zstandard.frame_content_size(body) != raw_bytes:
            raise DamageError(f"{where}: the columns are not of the size the JSON says")
    except zstandard.ZstdError as error:
        raise DamageError(f"{where}: the columns cannot be unpacked: {error}") from error


def _unpack(raw: bytes, at: int, into: dict[str, Int64s]) -> None:
    for column in into.values():
        np.cumsum(np.frombuffer(raw, dtype=_WIDTH, count=len(column), offset=at), dtype=np.int64, out=column)
        at += column.nbytes


def _check(table: RunTable, where: str) -> None:
    objects, runs = table.objects, table.runs
    signed = {
        "min_base_timestamp_ms",
        "max_timestamp_ms",
        "leader_epoch",
        "checksum_high",
        "checksum_low",
        "sealed_at_ms",
    }
    negative = [name for name, column in (objects | runs).items() if name not in signed and (column < 0).any()]
    limits = (
        (objects["writer"], len(table.writers)),
        (runs["object"], table.object_count),
        (runs["partition"], len(table.partitions)),
        (runs["flags"], _ALL_FLAGS + 1),
    )
    beyond = any((column >= limit).any() for column, limit in limits)
    if negative or beyond or (runs["start_offset"] >= runs["next_offset"]).any() or (np.diff(runs["object"]) < 0).any():
        raise DamageError(f"{where}: the columns contradict themselves")


def indexes_of(
    table: RunTable, columns: RollupColumns, repository_id: str, *, with_samples: bool
) -> list[tuple[str, int, SegmentIndex, list[list[WatermarkSample] | None]]]:
    """Key, size, index and what is known of the samples of its runs, of every object of a table."""
    runs = [table.entry(row) for row in range(table.run_count)]
    known = [table.edge_samples(row) for row in range(table.run_count)] if with_samples else []
    samples = [None if one is None else list(one) for one in known]
    bounds = np.searchsorted(table.runs["object"], np.arange(table.object_count + 1)).tolist()
    sizes, sealed = table.objects["size_bytes"].tolist(), table.objects["sealed_at_ms"].tolist()
    durable, levels = table.objects["durable_sequence"].tolist(), table.objects["level"].tolist()
    found: list[tuple[str, int, SegmentIndex, list[list[WatermarkSample] | None]]] = []
    for row in range(table.object_count):
        key = table.segment_key(row)
        index = SegmentIndex(
            format_version=FORMAT_VERSION,
            repository_id=repository_id,
            cluster_id=columns.cluster_id,
            writer=key.writer,
            sequence=key.sequence,
            sealed_at_ms=sealed[row],
            durable_sequence=durable[row],
            level=levels[row],
            runs=runs[bounds[row] : bounds[row + 1]],
        )
        own = samples[bounds[row] : bounds[row + 1]]
        found.append((table.object_key(row), sizes[row], index, own if any(own) else []))
    return found
