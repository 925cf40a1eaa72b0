"""`mirror inspect`: the coverage of partitions, and what one segment object holds."""

from collections.abc import Callable
from dataclasses import dataclass

from mirror.core.coverage import CoveredRun, PartitionCoverage, build_coverage
from mirror.core.record_batch import CODEC_NAMES
from mirror.core.segment.blocks import StoredBatch
from mirror.core.segment.index import RunEntry, SegmentIndex
from mirror.errors import NoMatchError
from mirror.service.reading import LoadedRun
from mirror.storage.repository import Repository

__all__ = ["BatchLine", "ObjectView", "inspect_object", "inspect_topic", "list_batches"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectView:
    """A segment object: its footer, and its size."""

    key: str
    size_bytes: int
    index: SegmentIndex


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
        raise NoMatchError(f"nothing is stored of {what}", hint=stored)
    return sorted(found, key=lambda entry: entry.partition_id)


def inspect_object(repository: Repository, key: str) -> ObjectView:
    """The footer of an object.

    Raises:
        ObjectNotFoundError, DamageError.
    """
    index, size_bytes = repository.read_index(key)
    return ObjectView(key=key, size_bytes=size_bytes, index=index)


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
