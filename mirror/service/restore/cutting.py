"""Where the recovery point cuts each partition, as far as the repository knows; see `mirror.core.cuts`.

Opens footers of objects around the moment, where the first and the last watermark sample of a run, which roll-ups have, leave it open.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.cuts import PartitionCut, cut_at, observe
from mirror.core.moments import format_moment
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.core.restore_selection import RestoreSelection, first_seen_ms
from mirror.core.run_pieces import RunPieces
from mirror.core.seal_times import SealTimes
from mirror.core.segment.index import TopicObject, WatermarkSample
from mirror.errors import NoMatchError, RefusedError
from mirror.service.reading import iterate_stored
from mirror.service.restore.samples import FooterNeededError, SampleReader, writer_of
from mirror.storage.repository import Repository

__all__ = ["Cuts", "find_cuts", "only_partitions"]

_READERS = 8
_MOST_LOOKED_AT_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Cuts:
    """``chosen`` topics that there are at the point, the cut of each of their partitions, and why others are ``left_out``."""

    chosen: dict[str, str]
    by_partition: dict[PartitionId, PartitionCut]
    left_out: list[str]


def find_cuts(
    samples: SampleReader,
    selection: RestoreSelection,
    chosen: Mapping[str, str],
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
    sealed_at_ms: SealTimes,
    *,
    now_ms: int,
) -> Cuts:
    """Cut every partition of the chosen topics.

    Args:
        samples: to read footers with.
        selection: its recovery point.
        chosen: topic → topic id.
        coverages: of every partition incarnation.
        topics: the newest capture of every incarnation.
        sealed_at_ms: of every object.
        now_ms: the caller's clock.

    Raises:
        RefusedError: the moment cannot be restored; names the nearest one that can.
        NoMatchError: an offset is named for a partition that is not stored.
        DamageError, UnreachableError, AccessError, StoreError: a footer cannot be read.
    """
    point = selection.point
    mine = {pid: c for pid, c in coverages.items() if chosen.get(c.topic) == pid.topic_id}
    newest_ms = sealed_at_ms.newest_ms
    if point.time_ms is not None and point.time_ms > now_ms:
        raise RefusedError(
            f"{format_moment(point.time_ms)} is in the future",
            hint=f"the newest moment that is stored is {format_moment(newest_ms)}",
        )
    if point.kind in (PointKind.OFFSETS, PointKind.SNAPSHOT):
        return _at_offsets(point, chosen, mine)
    if point.kind is not PointKind.AT:
        _refuse_too_early(samples.repository, point, mine)
        if point.offsets:  # a plan that was frozen
            return _at_offsets(point, chosen, mine)
        whole = {
            pid: PartitionCut(start_offset=c.start_offset, next_offset=c.next_offset, wanted_next_offset=c.next_offset)
            for pid, c in mine.items()
        }
        return Cuts(dict(chosen), whole, [])
    at_ms = point.time_ms or 0
    if at_ms > newest_ms and not selection.allow_short:
        raise RefusedError(
            f"the newest thing stored is of {format_moment(newest_ms)}: what was written from then to {format_moment(at_ms)} is not "
            "flushed yet, or nothing was, or the worker stood still",
            hint=f"--at {format_moment(newest_ms)}, or --allow-short to take what there is for all of it; if `mirror status` says "
            "restorable to a later moment than the one asked for, nothing was written since: --latest brings the same records, and "
            "within [worker] idle_interval (a minute) a worker that runs says so: then --at reaches it",
        )
    return _at_moment(samples, point, chosen, mine, topics, sealed_at_ms)


def only_partitions(cuts: Cuts, partitions: frozenset[int]) -> Cuts:
    """The cuts of these partitions alone.

    Raises:
        NoMatchError: no topic has one of them.
    """
    kept = {pid: cut for pid, cut in cuts.by_partition.items() if pid.partition in partitions}
    topic_ids = {pid.topic_id for pid in kept}
    chosen = {topic: topic_id for topic, topic_id in cuts.chosen.items() if topic_id in topic_ids}
    if not chosen:
        raise NoMatchError(
            f"none of the selected topics has partition {', '.join(map(str, sorted(partitions)))}",
            hint="`mirror inspect TOPIC` lists the partitions that are stored",
        )
    left_out = [f"{topic}: it has none of the selected partitions" for topic in cuts.chosen if topic not in chosen]
    return Cuts(chosen, kept, [*cuts.left_out, *left_out])


def _at_offsets(point: RecoveryPoint, chosen: Mapping[str, str], mine: Mapping[PartitionId, PartitionCoverage]) -> Cuts:
    cuts: dict[PartitionId, PartitionCut] = {}
    for (topic, partition), wanted in sorted(point.offsets.items()):
        if point.kind is PointKind.SNAPSHOT and topic not in chosen:
            continue
        pid = PartitionId(chosen.get(topic, ""), partition)
        coverage = mine.get(pid)
        if coverage is None:
            raise NoMatchError(
                f"{TopicPartition(topic, partition)} is named by the recovery point, but nothing of it is selected and stored",
                hint="`mirror inspect` lists what the repository holds",
            )
        cuts[pid] = PartitionCut(
            start_offset=coverage.start_offset,
            next_offset=max(coverage.start_offset, min(wanted, coverage.next_offset)),
            wanted_next_offset=wanted,
        )
    named = {pid.topic_id for pid in cuts}
    topics_named = {topic for topic, _ in point.offsets}
    left_out = [
        f"{c.topic}-{pid.partition}: the recovery point names no offset of it"
        for pid, c in sorted(mine.items(), key=lambda one: (one[1].topic, one[0].partition))
        if c.topic in topics_named and pid not in cuts
    ]
    left_out += [
        f"{topic}: the recovery point names no offset of it"
        for topic, topic_id in chosen.items()
        if topic_id not in named
    ]
    return Cuts({t: topic_id for t, topic_id in chosen.items() if topic_id in named}, cuts, left_out)


def _refuse_too_early(
    repository: Repository, point: RecoveryPoint, mine: Mapping[PartitionId, PartitionCoverage]
) -> None:
    """``--until`` before the first record would restore nothing.

    An index tells the time of the first record of each batch; a later one of the batch may be older. So where the index says that
    there is none, batches are opened until one is found, or a few seconds' worth of them was looked at.
    """
    oldest = (RunPieces.of(c.runs).oldest_ms("min_base_timestamp_ms") for c in mine.values())
    first = [oldest_ms for oldest_ms in oldest if oldest_ms is not None]
    if point.time_ms is None or not first or point.time_ms >= min(first):
        return
    seen_bytes, oldest_ms = 0, min(first)
    for coverage in mine.values():
        for clipped in iterate_stored(repository, coverage):
            if clipped.batch.header.is_control:
                continue
            oldest_ms = min([oldest_ms, *(record.timestamp_ms for record in clipped.records())])
            if oldest_ms <= point.time_ms:
                return
            seen_bytes += len(clipped.batch.body)
            if seen_bytes > _MOST_LOOKED_AT_BYTES:
                raise RefusedError(
                    f"no record of the selected topics is known to be as old as {format_moment(point.time_ms)}: none that begins a batch, "
                    f"and none in the {_MOST_LOOKED_AT_BYTES >> 20} MiB that were opened",
                    hint=f"the oldest of these is of {format_moment(oldest_ms)}; `mirror cat TOPIC --until` looks at all of them",
                )
    raise RefusedError(
        f"no record of the selected topics is as old as {format_moment(point.time_ms)}",
        hint=f"the oldest is of {format_moment(oldest_ms)}",
    )


def _at_moment(
    samples: SampleReader,
    point: RecoveryPoint,
    chosen: Mapping[str, str],
    mine: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
    sealed_at_ms: SealTimes,
) -> Cuts:
    at_ms = point.time_ms or 0
    looked_at_ms = sealed_at_ms.newest_by_writer()

    def cut(
        coverage: PartitionCoverage, samples_of: Callable[[CoveredRun], Sequence[WatermarkSample]]
    ) -> PartitionCut | None:
        seen = observe(coverage.runs, sealed_at_ms, at_ms, samples_of)
        writer = writer_of(coverage.runs[-1].object_key) if coverage.runs else ""
        found = cut_at(coverage, seen, at_ms, sealed_at_ms=sealed_at_ms, last_look_ms=looked_at_ms.get(writer, 0))
        if found is None or point.since_ms is None:
            return found
        earlier = observe(coverage.runs, sealed_at_ms, point.since_ms, samples_of)
        since = cut_at(coverage, earlier, point.since_ms, sealed_at_ms=sealed_at_ms)
        first = found.start_offset if since is None else min(since.next_offset, found.next_offset)
        return PartitionCut(
            start_offset=first,
            next_offset=found.next_offset,
            wanted_next_offset=found.wanted_next_offset,
            observed_at_ms=found.observed_at_ms,
            doubt=found.doubt,
            accuracy_ms=found.accuracy_ms,
        )

    found: dict[PartitionId, PartitionCut | None] = {}
    unknown: list[PartitionId] = []
    for pid, coverage in mine.items():  # threads would only wait for each other where no footer is read
        try:
            found[pid] = cut(coverage, samples.of_known)
        except FooterNeededError:
            found[pid] = None
            unknown.append(pid)
    with ThreadPoolExecutor(_READERS, thread_name_prefix="cutting") as pool:
        found.update(zip(unknown, pool.map(lambda pid: cut(mine[pid], samples.of), unknown), strict=True))
    cuts = {pid: cut for pid, cut in found.items() if cut is not None}
    gone = {t.topic_id for t in topics if t.deleted and t.captured_at_ms <= at_ms}
    known = {pid.topic_id for pid in cuts} - gone
    left_out: list[str] = []
    for topic, topic_id in chosen.items():
        if topic_id in gone:
            left_out.append(f"{topic}: deleted by then")
        elif topic_id not in known:
            seen_ms = first_seen_ms(topic_id, mine, topics)
            since = "never" if seen_ms is None else f"first at {format_moment(seen_ms)}"
            left_out.append(f"{topic}: not known to the backup by then ({since})")
    if not known:
        raise _before_the_backup(at_ms, chosen, mine, topics)
    return Cuts(
        {t: i for t, i in chosen.items() if i in known},
        {p: c for p, c in cuts.items() if p.topic_id in known},
        left_out,
    )


def _before_the_backup(
    at_ms: int,
    chosen: Mapping[str, str],
    mine: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
) -> RefusedError:
    seen = [ms for topic_id in chosen.values() if (ms := first_seen_ms(topic_id, mine, topics)) is not None]
    nearest = f"the nearest moment that can be restored is {format_moment(min(seen))}; " if seen else ""
    return RefusedError(
        f"none of the selected topics was known to the backup at {format_moment(at_ms)}",
        hint=f"{nearest}--until restores by the records' own times, also from before the backup began",
    )
