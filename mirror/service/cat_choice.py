"""What of a repository `mirror cat` must look at: one incarnation, some partitions, and of these the runs that may hold a wanted record."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import msgspec

from mirror.core.coverage import CoveredRun, PartitionCoverage, build_coverage
from mirror.core.keys import ROLLUP_PREFIX, TOPICS_PREFIX
from mirror.core.moments import format_moment
from mirror.core.named_incarnation import named_incarnation
from mirror.core.record_filter import RecordFilter
from mirror.core.rollup import RolledObject
from mirror.core.segment.index import GapEntry, RunEntry, SegmentIndex, StartEntry
from mirror.errors import NoMatchError, RefusedError
from mirror.service.gone import describe_gone, find_gone
from mirror.storage.repository import Repository

__all__ = ["CatChoice", "CatSelection", "choose"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CatSelection:
    """What the user asked for.

    Attributes:
        topic: its name.
        partitions: their numbers; empty means all.
        incarnation: a topic id, or the first characters of one; None where only one is stored.
        from_offset: the first offset that is wanted, of each partition.
        filter: which records.
        limit: so many records, and no more; None: all.
    """

    topic: str
    partitions: frozenset[int] = frozenset()
    incarnation: str | None = None
    from_offset: int | None = None
    filter: RecordFilter = field(default_factory=RecordFilter)
    limit: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every record of the partitions is wanted."""
        return self.filter.is_empty and self.from_offset is None


@dataclass(frozen=True, slots=True, kw_only=True)
class CatChoice:
    """Where to look.

    Attributes:
        coverages: of the chosen partitions, whole.
        wanted: the same, with only those runs that may hold a wanted record.
        unreadable: objects that cannot be read or are gone: nobody knows what they held.
    """

    coverages: tuple[PartitionCoverage, ...]
    wanted: tuple[PartitionCoverage, ...]
    unreadable: tuple[str, ...]

    @property
    def object_count(self) -> int:
        """Objects that hold something of the chosen partitions."""
        return len({piece.object_key for coverage in self.coverages for piece in coverage.runs})

    @property
    def batch_count(self) -> int:
        """Batches in these objects, of the chosen partitions."""
        runs = {id(piece.run): piece.run.batch_count for coverage in self.coverages for piece in coverage.runs}
        return sum(runs.values())


def choose(repository: Repository, selection: CatSelection) -> CatChoice:
    """Read the indexes and say which runs may hold what is wanted.

    Raises:
        NoMatchError: nothing is stored of the topic, incarnation or a partition; names what is.
        RefusedError: several incarnations are stored and none is chosen, or it may be several; holds a table of them.
        UnreachableError, AccessError, StoreError: the store.
    """
    unreadable: list[str] = []

    def note(key: str, error: Exception) -> None:
        if not key.startswith(ROLLUP_PREFIX):  # a cache: the footers were read instead
            unreadable.append(str(error) if key in str(error) else f"{key}: {error}")

    objects = repository.load_indexes(on_damage=note)
    unreadable += [describe_gone(gone) for gone in find_gone(repository, objects)]
    mine = [(entry.key, only) for entry in objects if (only := _only(selection.topic, entry.index)) is not None]
    if not mine:
        raise _unknown(repository, selection.topic, objects)
    coverages = list(build_coverage(mine).values())
    topic_id = _incarnation(selection, coverages, mine)
    coverages = sorted(
        (entry for entry in coverages if entry.partition_id.topic_id == topic_id), key=lambda entry: entry.partition_id
    )
    stored = {entry.partition_id.partition for entry in coverages}
    if absent := sorted(selection.partitions - stored):
        raise NoMatchError(
            f"nothing is stored of {', '.join(f'{selection.topic}:{number}' for number in absent)}",
            hint=f"stored partitions: {', '.join(map(str, sorted(stored)))}",
        )
    chosen = [entry for entry in coverages if not selection.partitions or _number(entry) in selection.partitions]
    wanted = (replace(entry, runs=_wanted_runs(entry.runs, selection)) for entry in chosen)
    return CatChoice(coverages=tuple(chosen), wanted=tuple(wanted), unreadable=tuple(unreadable))


def _wanted_runs(pieces: Iterable[CoveredRun], selection: CatSelection) -> list[CoveredRun]:
    """By offset, and by the largest timestamp, which is exact. (The smallest one that a run tells is a hint and excludes nothing.)"""
    first = selection.from_offset or 0
    return [
        CoveredRun(max(piece.start_offset, first), piece.next_offset, piece.object_key, piece.run)
        for piece in pieces
        if piece.next_offset > first
        and piece.run.record_count
        and selection.filter.wants_times_up_to(piece.run.max_timestamp_ms)
    ]


def _number(coverage: PartitionCoverage) -> int:
    return coverage.partition_id.partition


def _only(topic: str, index: SegmentIndex) -> SegmentIndex | None:
    """What an index says of one topic: of the others no coverage is built."""
    parts = {
        "runs": [entry for entry in index.runs if entry.topic == topic],
        "starts": [entry for entry in index.starts if entry.topic == topic],
        "gaps": [entry for entry in index.gaps if entry.topic == topic],
        "forks": [entry for entry in index.forks if entry.topic == topic],
    }
    return msgspec.structs.replace(index, **parts) if any(parts.values()) else None


def _unknown(repository: Repository, topic: str, objects: Iterable[RolledObject]) -> NoMatchError:
    captured = set(repository.store.list_folders(TOPICS_PREFIX))
    if topic in captured:
        return NoMatchError(f"of topic {topic} only the settings are stored, and no record", hint="`mirror status`")
    names = captured | {run.topic for entry in objects for run in entry.index.runs}
    near = difflib.get_close_matches(topic, sorted(names), n=5, cutoff=0.6)
    listed = f"`mirror inspect` lists the {len(names)} topics that are" if names else "the repository is empty"
    hint = f"the nearest names: {', '.join(near)}" if near else listed
    return NoMatchError(f"nothing is stored of topic {topic}", hint=hint)


def _incarnation(
    selection: CatSelection, coverages: Iterable[PartitionCoverage], objects: Iterable[tuple[str, SegmentIndex]]
) -> str:
    by_id: dict[str, list[PartitionCoverage]] = {}
    for entry in coverages:
        by_id.setdefault(entry.partition_id.topic_id, []).append(entry)
    if selection.incarnation is not None:
        return named_incarnation(selection.topic, selection.incarnation, by_id)
    if len(by_id) == 1:
        return next(iter(by_id))
    seen_ms: dict[str, int] = {}
    for _, index in objects:
        named: list[RunEntry | StartEntry | GapEntry] = [*index.runs, *index.starts, *index.gaps]
        for topic_id in {entry_of.topic_id for entry_of in named}:
            seen_ms[topic_id] = max(seen_ms.get(topic_id, 0), index.sealed_at_ms)
    newest_first = sorted(by_id, key=lambda topic_id: (-seen_ms.get(topic_id, 0), topic_id))
    table = "\n".join(_line(topic_id, by_id[topic_id], seen_ms.get(topic_id)) for topic_id in newest_first)
    raise RefusedError(
        f"topic {selection.topic} was deleted and created again; which incarnation is meant?\n{table}",
        hint=f"say which: mirror cat {selection.topic} --incarnation {newest_first[0]}",
    )


def _line(topic_id: str, parts: list[PartitionCoverage], seen_ms: int | None) -> str:
    runs = list({id(piece.run): piece.run for entry in parts for piece in entry.runs}.values())
    newest_ms = max((run.max_timestamp_ms for run in runs if run.max_timestamp_ms is not None), default=None)
    newest = "" if newest_ms is None else f", the newest of {format_moment(newest_ms)}"
    last = "" if seen_ms is None else f", last backed up {format_moment(seen_ms)}"
    records = sum(run.record_count for run in runs)
    counts = f"{len(parts)} partition{'s' * (len(parts) != 1)}, {records:,} record{'s' * (records != 1)}"
    return f"  {topic_id}  {counts}{newest}{last}"
