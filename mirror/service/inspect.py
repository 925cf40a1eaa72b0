"""`mirror inspect`: the coverage of partitions, and what one segment object holds."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from mirror.core.coverage import CoveredRun, PartitionCoverage, build_coverage
from mirror.core.keys import (
    RESTORES_PREFIX,
    SNAPSHOTS_PREFIX,
    STATE_PREFIX,
    TOPICS_PREFIX,
    parse_restore_key,
    parse_snapshot_key,
    parse_state_key,
    parse_topic_key,
)
from mirror.core.moments import format_moment
from mirror.core.polled_groups import is_polled
from mirror.core.record_batch import CODEC_NAMES
from mirror.core.restore_plan import is_exact
from mirror.core.segment.blocks import StoredBatch
from mirror.core.segment.index import RunEntry, SegmentIndex
from mirror.core.snapshot import shown_name
from mirror.errors import NoMatchError, UsageError
from mirror.service.reading import LoadedRun
from mirror.storage.repository import Repository

__all__ = [
    "BatchLine",
    "ObjectView",
    "StoredTopic",
    "inspect_object",
    "inspect_topic",
    "list_batches",
    "list_stored_topics",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectView:
    """A segment object: its footer, and its size."""

    key: str
    size_bytes: int
    index: SegmentIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTopic:
    """One incarnation of a topic, as far as it is stored.

    Attributes:
        partition_count: as captured; without a capture, those of which something is known.
        records: of the runs that are read; an upper bound unless ``records_are_exact``.
        lost_offsets: lost for a named reason.
        missing_offsets: not there for no named reason.
        min_timestamp_ms: of a record, as its batch says; None without records.
        ranges: ``(partition, start_offset, next_offset)`` of the coverage, ascending.
    """

    topic: str
    topic_id: str
    partition_count: int
    records: int
    records_are_exact: bool
    lost_offsets: int
    missing_offsets: int
    fetched_bytes: int
    stored_bytes: int
    min_timestamp_ms: int | None
    max_timestamp_ms: int | None
    ranges: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchLine:
    """One stored batch, header only; never a record."""

    base_offset: int
    next_offset: int
    record_count: int
    kind: str
    codec: str
    stored_as: str
    fetched_bytes: int
    base_timestamp_ms: int
    max_timestamp_ms: int
    leader_epoch: int
    producer_id: int


def list_stored_topics(
    repository: Repository, *, on_damage: Callable[[str, Exception], None] | None = None
) -> list[StoredTopic]:
    """Every stored incarnation of every topic, by name; also those of which only the capture is stored.

    Of the sessions of polling workers, which can be many, only the last.

    Raises:
        DamageError: an object cannot be read, and nobody takes the report.
    """
    loaded = repository.load_indexes(on_damage=on_damage)
    coverage = build_coverage((entry.key, entry.index) for entry in loaded)
    parts: dict[tuple[str, str], list[PartitionCoverage]] = {}
    for entry in coverage.values():
        parts.setdefault((entry.topic, entry.partition_id.topic_id), []).append(entry)
    sessions = [name for name in parts if is_polled(name[1])]
    for name in sorted(sessions, key=lambda name: _begun_ms(parts[name]))[:-1]:
        del parts[name]
    captured = {(c.topic, c.topic_id): c.partition_count for c in repository.list_topics(on_damage=on_damage)}
    return [_stored_topic(name, captured.get(name, 0), parts.get(name, [])) for name in sorted({*parts, *captured})]


def _begun_ms(parts: list[PartitionCoverage]) -> int:
    return max((entry.start.recorded_at_ms for entry in parts if entry.start is not None), default=0)


def _stored_topic(name: tuple[str, str], captured_count: int, parts: list[PartitionCoverage]) -> StoredTopic:
    pieces = [piece for entry in parts for piece in entry.runs]
    runs = list({id(piece.run): piece.run for piece in pieces}.values())
    reached: dict[int, int] = {id(following): piece.next_offset for e in parts for piece, following in pairwise(e.runs)}
    return StoredTopic(
        topic=name[0],
        topic_id=name[1],
        partition_count=max(captured_count, len(parts)),
        records=sum(run.record_count for run in runs),
        records_are_exact=all(
            is_exact(piece, is_first=piece.start_offset != reached.get(id(piece), -1)) for piece in pieces
        ),
        lost_offsets=sum(gap.next_offset - gap.start_offset for entry in parts for gap in entry.gaps),
        missing_offsets=sum(hole.length for entry in parts for hole in entry.missing),
        fetched_bytes=sum(entry.fetched_bytes for entry in parts),
        stored_bytes=sum(entry.stored_bytes for entry in parts),
        min_timestamp_ms=min(
            (r.min_base_timestamp_ms for r in runs if r.min_base_timestamp_ms is not None), default=None
        ),
        max_timestamp_ms=max((r.max_timestamp_ms for r in runs if r.max_timestamp_ms is not None), default=None),
        ranges=tuple(sorted((e.partition_id.partition, e.start_offset, e.next_offset) for e in parts)),
    )


def inspect_topic(
    repository: Repository,
    topic: str,
    partition: int | None = None,
    *,
    on_damage: Callable[[str, Exception], None] | None = None,
) -> list[PartitionCoverage]:
    """The coverage of every stored incarnation of a topic, or of one of its partitions.

    Raises:
        NoMatchError: nothing of it is stored.
        DamageError: an object cannot be read, and nobody takes the report.
    """
    loaded = repository.load_indexes(on_damage=on_damage)
    coverage = build_coverage((entry.key, entry.index) for entry in loaded)
    of_topic = [entry for entry in coverage.values() if entry.topic == topic]
    found = [entry for entry in of_topic if partition is None or entry.partition_id.partition == partition]
    if not found:
        what = topic if partition is None else f"{topic}:{partition}"
        known = sorted({entry.topic for entry in coverage.values()})
        some = ", ".join(known[:8]) + (" …" if len(known) > 8 else "")
        stored = f"stored topics: {some}" if known else "the repository is empty"
        if of_topic:
            numbers = _ranges({entry.partition_id.partition for entry in of_topic})
            stored = f"stored partitions of {topic}: {numbers}"
        raise NoMatchError(f"nothing is stored of {what}", hint=stored)
    return sorted(found, key=lambda entry: entry.partition_id)


def _ranges(numbers: set[int]) -> str:
    """``0–2, 4``."""
    firsts = sorted(number for number in numbers if number - 1 not in numbers)
    lasts = sorted(number for number in numbers if number + 1 not in numbers)
    return ", ".join(f"{a}–{b}" if a != b else str(a) for a, b in zip(firsts, lasts, strict=True))


def inspect_object(repository: Repository, key: str) -> ObjectView:
    """The footer of a segment object.

    Raises:
        UsageError: it is an object of another kind; the hint has the command that shows it.
        ObjectNotFoundError, DamageError.
    """
    if hint := _shown_by(key):
        raise UsageError(f"{key} is no segment object", hint=hint)
    index, size_bytes = repository.read_index(key)
    return ObjectView(key=key, size_bytes=size_bytes, index=index)


def _shown_by(key: str) -> str:
    """The command that shows an object which is no segment; empty for all others."""
    if key.startswith(SNAPSHOTS_PREFIX):
        return f"`mirror snapshot show {shown_name(parse_snapshot_key(key))}` shows it"
    if key.startswith(STATE_PREFIX):
        return f"`mirror state show --at {format_moment(parse_state_key(key))}` shows it"
    if key.startswith(RESTORES_PREFIX):
        return f"`mirror restore status {parse_restore_key(key).restore_id}` shows the restore"
    if key.startswith(TOPICS_PREFIX):
        return f"`mirror inspect {parse_topic_key(key).topic}` shows what is stored of the topic"
    return ""


def list_batches(repository: Repository, key: str, run: RunEntry) -> list[BatchLine]:
    """The headers of a run's batches, its checksum verified.

    Raises:
        DamageError: the run is not what was written.
    """
    stored = memoryview(repository.read_run(key, run))
    piece = CoveredRun(run.start_offset, run.next_offset, key, run)
    return [_line(clipped.batch) for clipped in LoadedRun(piece, run, stored).batches()]


def _line(batch: StoredBatch) -> BatchLine:
    header = batch.header
    kind = "marker" if header.is_control else "data"
    return BatchLine(
        base_offset=header.base_offset,
        next_offset=header.next_offset,
        record_count=header.record_count,
        kind=f"{kind}, append time" if header.has_append_time else kind,
        codec=CODEC_NAMES[header.codec] if header.codec < len(CODEC_NAMES) else str(header.codec),
        stored_as="unpacked" if batch.unpacked else "as fetched",
        fetched_bytes=header.batch_bytes,
        base_timestamp_ms=header.base_timestamp,
        max_timestamp_ms=header.max_timestamp,
        leader_epoch=header.leader_epoch,
        producer_id=header.producer_id,
    )
