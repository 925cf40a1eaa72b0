"""`mirror verify`: is what is stored what was written, and is all of it there? Works on the repository alone.

Three levels, each with everything of the one before: ``quick`` (all listings, roll-ups, footers, coverage), ``checksums`` (every byte of
every run, and the producers' CRCs of batches kept as fetched), ``deep`` (every body opened, every record decoded and counted).

It cannot see that the newest objects of an idle partition were deleted before a roll-up named them: only a comparison with the source can.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.keys import parse_segment_key
from mirror.core.positions import PartitionId
from mirror.core.rollup import RolledObject, shorten
from mirror.core.segment.index import SegmentIndex
from mirror.core.segment.layout import HEADER_BYTES, TRAILER_BYTES, check_header, decode_index, decode_trailer
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.verify_bodies import check_run
from mirror.service.verify_coverage import check_coverage, check_topic_objects
from mirror.service.verify_findings import Finding, Level, VerifyCounts, VerifyReport, findings_of_runs
from mirror.service.verify_listing import check_rollups, check_topics, list_objects
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["OnProgress", "verify_repository"]

OnProgress = Callable[[str, int, int], None]
"""``(what is done now, so much of it, of so much)``: footers in objects, bodies in bytes."""

_FOOTER_BYTES = 64 << 10
_WHOLE_OBJECT_BYTES = 96 << 20


@dataclass(frozen=True, slots=True)
class _Footer:
    key: str
    size_bytes: int
    index: SegmentIndex | None
    finding: tuple[str, str] | None  # kind, message


def verify_repository(
    repository: Repository,
    *,
    level: Level = "checksums",
    topics: Iterable[str] | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[VerifyReport, dict[PartitionId, PartitionCoverage]]:
    """Check a repository; its coverage comes along for a comparison with the source.

    Args:
        repository: what to check; nothing is changed.
        level: how far to look.
        topics: only these; None for all. Damage whose topic cannot be told is always reported.
        on_progress: called from this thread.

    Raises:
        AccessError, UnreachableError, StoreError: the store cannot be read: that is no verdict.
    """
    wanted = None if topics is None else frozenset(topics)
    report = VerifyReport(repository=repository.address, level=level)
    listing = list_objects(repository, report)
    named, hidden = check_rollups(repository, listing, report, wanted)
    topic_objects = check_topics(repository, listing, report)
    sizes = {key: info.size_bytes for key, info in listing.segments.items()}
    sound: list[RolledObject] = []
    for footer in _footers(repository, sizes, on_progress):
        _judge_footer(footer, named.get(footer.key), report, wanted)
        if footer.key in hidden and footer.index is not None:
            message = (
                f"{footer.key}: the roll-up of its day does not name it: readers do not see it; delete that roll-up"
            )
            report.findings += findings_of_runs("rollup_stale", footer.key, footer.index.runs, message, wanted)
        if footer.index is not None and footer.finding is None:
            sound.append(RolledObject(key=footer.key, size_bytes=footer.size_bytes, index=shorten(footer.index)))
    if level != "quick":
        _check_bodies(repository, sound, report, wanted, on_progress)
    coverage = build_coverage((entry.key, entry.index) for entry in sound)
    if wanted is not None:
        coverage = {pid: entry for pid, entry in coverage.items() if entry.topic in wanted}
    check_coverage(coverage.values(), report)
    check_topic_objects(coverage.values(), topic_objects, report)
    report.finish()
    return report, coverage


def _footers(repository: Repository, sizes: dict[str, int], on_progress: OnProgress | None) -> Iterator[_Footer]:
    def read(key: str) -> _Footer:
        return _read_footer(repository, key, sizes[key])

    for number, (_, footer) in enumerate(bounded_map(read, sizes), start=1):
        if on_progress:
            on_progress("reading footers", number, len(sizes))
        yield footer


def _read_footer(repository: Repository, key: str, listed_bytes: int) -> _Footer:
    """The footer of an object, kept also where the object stands under a wrong name, so that its offsets can be named."""
    try:
        tail, object_bytes = repository.store.get_suffix(key, _FOOTER_BYTES)
        needed = decode_trailer(tail, object_bytes, key).index_stored_bytes + TRAILER_BYTES
        if needed > len(tail):
            tail, object_bytes = repository.store.get_suffix(key, needed)
        index = decode_index(tail, object_bytes, key)
    except ObjectNotFoundError:
        return _Footer(key, listed_bytes, None, ("object_missing", f"{key}: was listed, then gone"))
    except (DamageError, UnsupportedFormatError) as error:
        return _Footer(key, listed_bytes, None, ("object_damaged", error.message))
    identity = repository.identity
    if (index.repository_id, index.cluster_id) != (identity.repository_id, identity.cluster_id):
        message = f"{key}: belongs to repository {index.repository_id} of cluster {index.cluster_id}"
        return _Footer(key, object_bytes, index, ("object_foreign", message))
    named = parse_segment_key(key)
    # The name is given when a put begins, so it may be later than the sealing, and a put whose answer was lost is made again.
    if (index.writer, index.sequence) != (named.writer, named.sequence) or index.sealed_at_ms > named.sealed_at_ms:
        said = f"segment {index.writer}-{index.sequence} of {index.sealed_at_ms}"
        return _Footer(key, object_bytes, index, ("object_renamed", f"{key}: holds {said}: swapped or copied"))
    return _Footer(key, object_bytes, index, None)


def _judge_footer(
    footer: _Footer, rolled: RolledObject | None, report: VerifyReport, topics: frozenset[str] | None
) -> None:
    report.counts.objects += 1
    if footer.finding is not None:
        kind, message = footer.finding
        index = footer.index or (rolled.index if rolled is not None else None)
        runs = index.runs if index is not None else []
        report.findings += findings_of_runs(kind, footer.key, runs, message, topics)  # type: ignore[arg-type]
        return
    if rolled is not None and footer.index is not None and shorten(footer.index) != rolled.index:
        message = f"{footer.key}: a roll-up says something else than its footer; delete the roll-ups of its day"
        report.findings += findings_of_runs("rollup_differs", footer.key, footer.index.runs, message, topics)


def _check_bodies(
    repository: Repository,
    objects: list[RolledObject],
    report: VerifyReport,
    topics: frozenset[str] | None,
    on_progress: OnProgress | None,
) -> None:
    wanted = [entry for entry in objects if topics is None or any(run.topic in topics for run in entry.index.runs)]
    total_bytes = sum(entry.size_bytes for entry in wanted)
    done_bytes = 0
    deep = report.level == "deep"

    def check(entry: RolledObject) -> tuple[list[Finding], VerifyCounts]:
        return _check_object(repository, entry, deep=deep, topics=topics)

    for entry, (findings, counts) in bounded_map(check, wanted, size_of=lambda entry: entry.size_bytes):
        report.findings += findings
        report.counts.add(counts)
        done_bytes += entry.size_bytes
        if on_progress:
            on_progress("checking objects", done_bytes, total_bytes)


def _check_object(
    repository: Repository, entry: RolledObject, *, deep: bool, topics: frozenset[str] | None
) -> tuple[list[Finding], VerifyCounts]:
    """Header and runs of one object, read once; a filter or a very large object is read run by run."""
    key, counts, findings = entry.key, VerifyCounts(), list[Finding]()
    try:
        if topics is None and entry.size_bytes <= _WHOLE_OBJECT_BYTES:
            whole: memoryview | None = memoryview(repository.store.get(key))
            assert whole is not None
            head = whole[:HEADER_BYTES]
            index = decode_index(bytes(whole[_index_position(whole, key) :]), len(whole), key)
        else:
            whole = None
            index, _ = repository.read_index(key)
            head = memoryview(repository.store.get_range(key, 0, HEADER_BYTES))
        counts.bytes_read += len(head) if whole is None else len(whole)
        check_header(bytes(head), key)
    except ObjectNotFoundError:
        return findings_of_runs(
            "object_missing", key, entry.index.runs, f"{key}: was listed, then gone", topics
        ), counts
    except (DamageError, UnsupportedFormatError) as error:
        return findings_of_runs("object_damaged", key, entry.index.runs, error.message, topics), counts
    for run in index.runs:
        if topics is not None and run.topic not in topics:
            continue
        if whole is not None:
            stored = whole[run.position : run.position + run.stored_bytes]
        else:
            body = repository.store.get_range(key, run.position, run.stored_bytes) if run.stored_bytes else b""
            stored = memoryview(body)
            counts.bytes_read += len(body)
        found, looked = check_run(key, run, stored, deep=deep)
        findings += found
        counts.add(looked)
    return findings, counts


def _index_position(whole: memoryview, key: str) -> int:
    return decode_trailer(bytes(whole[-TRAILER_BYTES:]), len(whole), key).index_position
