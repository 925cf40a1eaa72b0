"""What the coverage says: holes are findings; named gaps, overlap and cut tails are notes."""

from collections.abc import Iterable

from mirror.core.coverage import PartitionCoverage
from mirror.core.keys import parse_segment_key
from mirror.core.polled_groups import is_polled
from mirror.core.positions import OffsetRange
from mirror.core.segment.index import TopicObject
from mirror.service.verify_findings import Finding, Note, VerifyReport

__all__ = ["check_coverage", "check_topic_objects", "fresh_holes"]

_FRESH_MS = 2 * 60 * 1000


def fresh_holes(coverage: PartitionCoverage, now_ms: int) -> list[OffsetRange]:
    """Holes that an upload on its way may still fill: what follows them was sealed within the last two minutes."""
    fresh = []
    for hole in coverage.missing:
        following = next((piece for piece in coverage.runs if piece.start_offset >= hole.next_offset), None)
        if following is not None and now_ms - parse_segment_key(following.object_key).sealed_at_ms < _FRESH_MS:
            fresh.append(hole)
    return fresh


def check_coverage(coverages: Iterable[PartitionCoverage], report: VerifyReport) -> None:
    """Add what the coverage of each partition shows."""
    for coverage in coverages:
        report.counts.partitions += 1
        report.findings += _holes(coverage)
        report.notes += _notes(coverage)


def check_topic_objects(
    coverages: Iterable[PartitionCoverage], topics: Iterable[TopicObject], report: VerifyReport
) -> None:
    """Every incarnation with stored data needs its topic object: a restore creates the topic from it."""
    known = {(topic.topic, topic.topic_id) for topic in topics}
    lacking = {
        (c.topic, c.partition_id.topic_id) for c in coverages if c.runs and not is_polled(c.partition_id.topic_id)
    }
    lacking -= known
    damaged = {(f.topic, f.topic_id) for f in report.findings if f.kind == "topic_damaged"}
    for topic, topic_id in sorted(lacking - damaged):
        # No finding: a worker that may not read a topic's configs stores its data all the same.
        message = (
            "there is no topic object: a restore would have to guess its partition count and configs (of a young topic a worker "
            "stores it within two discovery_intervals)"
        )
        report.notes.append(Note(kind="topic_missing", message=message, topic=topic, topic_id=topic_id))


def _holes(coverage: PartitionCoverage) -> list[Finding]:
    topic_id, partition = coverage.partition_id
    holes = [
        Finding(
            kind="offsets_missing",
            message=f"no object holds these offsets of {coverage.topic}-{partition}, and nothing says why",
            topic=coverage.topic,
            topic_id=topic_id,
            partition=partition,
            start_offset=hole.start_offset,
            next_offset=hole.next_offset,
        )
        for hole in coverage.missing
    ]
    if coverage.start is None and coverage.start_offset > 0:
        holes.append(
            Finding(
                kind="start_missing",
                message=f"nothing records where the backup of {coverage.topic}-{partition} began: "
                "whether offsets before its first run were stored is unknown",
                topic=coverage.topic,
                topic_id=topic_id,
                partition=partition,
                start_offset=0,
                next_offset=coverage.start_offset,
            )
        )
    return holes


def _notes(coverage: PartitionCoverage) -> list[Note]:
    topic, (topic_id, partition) = coverage.topic, coverage.partition_id

    def note(kind: str, message: str, start_offset: int | None = None, next_offset: int | None = None) -> Note:
        return Note(
            kind=kind,
            message=message,
            topic=topic,
            topic_id=topic_id,
            partition=partition,
            start_offset=start_offset,
            next_offset=next_offset,
        )

    notes = [note("gap", f"lost: {gap.reason}", gap.start_offset, gap.next_offset) for gap in coverage.gaps]
    notes += [
        note(
            "cut_tail",
            "removed from the log by an unclean election; kept, not restored",
            cut.start_offset,
            cut.next_offset,
        )
        for cut in coverage.cut_tails
    ]
    if coverage.overlap_offsets:
        notes.append(note("overlap", f"{coverage.overlap_offsets} offsets are stored more than once (harmless)"))
    return notes
