"""`mirror verify`: is what is stored what was written, and is all of it there? Works on the repository alone.

Three levels, each with everything of the one before: ``quick`` (all listings, roll-ups, footers, coverage), ``checksums`` (every byte of
every run, and the producers' CRCs of batches kept as fetched), ``deep`` (every body opened, every record decoded and counted).

It cannot see that a writer's last objects were deleted before a roll-up or a later object named them: only comparing with the source can.
"""

import time
from collections.abc import Iterable

from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.keys import parse_segment_key, segment_prefix
from mirror.core.positions import PartitionId
from mirror.core.rollup import RolledObject
from mirror.core.segment.layout import HEADER_BYTES, TRAILER_BYTES, check_header, decode_index, decode_trailer
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.gone import describe_gone, find_gone
from mirror.service.verify_bodies import check_run
from mirror.service.verify_coverage import check_coverage, check_topic_objects, fresh_holes
from mirror.service.verify_findings import Finding, Level, VerifyCounts, VerifyReport, findings_of_runs
from mirror.service.verify_footers import FooterChecker, OnProgress
from mirror.service.verify_listing import check_rollups, check_topics, list_objects
from mirror.service.verify_small import check_small_objects
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["OnProgress", "verify_repository"]

_WHOLE_OBJECT_BYTES = 96 << 20
_HOUR_MS = 60 * 60 * 1000


def verify_repository(
    repository: Repository,
    *,
    level: Level = "checksums",
    topics: Iterable[str] | None = None,
    on_progress: OnProgress | None = None,
    settle_seconds: float = 10.0,
) -> tuple[VerifyReport, dict[PartitionId, PartitionCoverage]]:
    """Check a repository; its coverage comes along for a comparison with the source.

    Args:
        repository: what to check; nothing is changed.
        level: how far to look.
        topics: only these; None for all. Damage whose topic cannot be told is always reported.
        on_progress: called from this thread.
        settle_seconds: how long to wait for uploads that may be on their way, where an object of the last minutes lies behind a hole.

    Raises:
        AccessError, UnreachableError, StoreError: the store cannot be read: that is no verdict.
    """
    wanted = None if topics is None else frozenset(topics)
    report = VerifyReport(repository=repository.address, level=level)
    listing = list_objects(repository, report)
    named, hidden = check_rollups(repository, listing, report, wanted)
    topic_objects = check_topics(repository, listing, report)
    check_small_objects(repository, listing.small, report)
    footers = FooterChecker(repository, report, named, hidden, wanted)
    sound = footers.check({key: info.size_bytes for key, info in listing.segments.items()}, on_progress)
    sound += _what_came_since(repository, footers, sound, settle_seconds)
    if level != "quick":
        _check_bodies(repository, sound, report, wanted, on_progress)
    coverage = build_coverage((entry.key, entry.index) for entry in sound)
    report.findings += [
        Finding(kind="object_gone", message=f"{describe_gone(gone)}; `mirror repair gone` accepts that")
        for gone in find_gone(repository, sound)
    ]
    if wanted is not None:
        coverage = {pid: entry for pid, entry in coverage.items() if entry.topic in wanted}
    check_coverage(coverage.values(), report)
    check_topic_objects(coverage.values(), topic_objects, report)
    report.finish()
    return report, coverage


def _what_came_since(
    repository: Repository, footers: FooterChecker, sound: list[RolledObject], settle_seconds: float
) -> list[RolledObject]:
    """Workers put objects in parallel, so a younger one may be listed before an older one: look again while that may explain a hole."""
    found: list[RolledObject] = []
    deadline = time.monotonic() + settle_seconds
    while True:
        coverage = build_coverage((entry.key, entry.index) for entry in [*sound, *found])
        now_ms = time.time_ns() // 1_000_000
        if not any(fresh_holes(entry, now_ms) for entry in coverage.values()) or time.monotonic() > deadline:
            return found
        time.sleep(min(1.0, settle_seconds))
        hours = {segment_prefix(now_ms), segment_prefix(now_ms - _HOUR_MS)}
        listed = {info.key: info.size_bytes for hour in sorted(hours) for info in repository.list_segments(hour)}
        found += footers.check({key: size for key, size in listed.items() if _is_segment(key)})


def _is_segment(key: str) -> bool:
    try:
        parse_segment_key(key)
    except DamageError:
        return False
    return True


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
        _check_header(bytes(head), key)
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


def _check_header(head: bytes, key: str) -> None:
    try:
        check_header(head, key)
    except DamageError as error:
        raise DamageError(f"{error.message}: its footer is sound, its header is damaged") from error
    except UnsupportedFormatError as error:
        raise DamageError(f"{key}: header and footer name different format versions: its header is damaged") from error


def _index_position(whole: memoryview, key: str) -> int:
    return decode_trailer(bytes(whole[-TRAILER_BYTES:]), len(whole), key).index_position
