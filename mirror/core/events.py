"""SegmentSealed events: what every worker tells once an object is durable; docs/format.md specifies them."""

import msgspec

from mirror.core.segment.index import FORMAT_VERSION, ForkEntry, GapEntry, SegmentIndex, decode_json

__all__ = ["SealedEvent", "SealedRun", "decode_event", "encode_event", "sealed_event"]


class SealedRun(msgspec.Struct, frozen=True, kw_only=True):
    """One range that is durable, or (``lost``) missing for a named reason."""

    topic: str
    topic_id: str
    partition: int
    start_offset: int
    next_offset: int
    leader_epoch: int = -1
    record_count: int = 0


class SealedEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One durable object. ``repair`` events come from `mirror repair table`: their ranges replace what the table says."""

    format_version: int
    repository_id: str
    key: str | None
    sealed_at_ms: int
    writer: str
    sequence: int
    size_bytes: int
    runs: list[SealedRun]
    gaps: list[GapEntry] = []
    forks: list[ForkEntry] = []
    repair: bool = False


def sealed_event(key: str, size_bytes: int, index: SegmentIndex) -> SealedEvent:
    """The event of a durable object. Gaps count as ranges too: the table advances over them."""
    runs = [
        SealedRun(
            topic=run.topic,
            topic_id=run.topic_id,
            partition=run.partition,
            start_offset=run.start_offset,
            next_offset=run.next_offset,
            leader_epoch=run.leader_epochs[-1][0] if run.leader_epochs else -1,
            record_count=run.record_count,
        )
        for run in index.runs
    ]
    runs += [
        SealedRun(
            topic=gap.topic,
            topic_id=gap.topic_id,
            partition=gap.partition,
            start_offset=gap.start_offset,
            next_offset=gap.next_offset,
        )
        for gap in index.gaps
    ]
    return SealedEvent(
        format_version=FORMAT_VERSION,
        repository_id=index.repository_id,
        key=key,
        sealed_at_ms=index.sealed_at_ms,
        writer=index.writer,
        sequence=index.sequence,
        size_bytes=size_bytes,
        runs=sorted(runs, key=lambda run: (run.topic, run.partition, run.start_offset)),
        gaps=index.gaps,
        forks=index.forks,
    )


def encode_event(event: SealedEvent) -> bytes:
    """The event as JSON."""
    return msgspec.json.encode(event)


def decode_event(data: bytes) -> SealedEvent:
    """The inverse of :func:`encode_event`.

    Raises:
        DamageError: not an event.
        UnsupportedFormatError: a newer version.
    """
    return decode_json(SealedEvent, data, "SegmentSealed event")
