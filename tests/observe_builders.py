"""Small repositories in memory for the tests of verify, status, inspect and roll-ups: real batches, real objects."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.positions import Watermarks
from mirror.core.records import RawRecord, encode_batch, write_varint
from mirror.core.segment.index import (
    FORMAT_VERSION,
    ForkEntry,
    GapEntry,
    RunEntry,
    SegmentIndex,
    StartEntry,
    TopicObject,
    WatermarkSample,
)
from mirror.core.segment.layout import HEADER_BYTES, encode_object
from mirror.core.segment.runs import BodyMode, RunDraft, encode_run
from mirror.core.slices import FetchSlice, read_slice
from mirror.storage.memory import MemoryStore
from mirror.storage.object_store import ObjectStore
from mirror.storage.repository import Repository, create_repository

T0_MS = 1_790_000_000_000  # 2026-09-21T14:13:20Z
TOPIC_ID = "AAAAAAAAAAAAAAAAAAAAAA"
CLUSTER_ID = "cluster-under-test"


def a_batch(base_offset: int, count: int, *, codec: int = 3, value_bytes: int = 40, timestamp_ms: int = T0_MS) -> bytes:
    """A batch of ``count`` records, one millisecond apart."""
    records = []
    for number in range(count):
        offset = base_offset + number
        key = f"k{offset}".encode()
        value = (f"value {offset} " * 20).encode()[:value_bytes]
        tail = write_varint(len(key)) + key + write_varint(len(value)) + value + write_varint(0)
        records.append(RawRecord(offset, timestamp_ms + number, 0, memoryview(tail)))
    return encode_batch(records, codec=codec)


def a_slice(
    topic: str,
    partition: int,
    start_offset: int,
    buffer: bytes,
    *,
    topic_id: str = TOPIC_ID,
    fetched_at_ms: int = T0_MS,
) -> FetchSlice:
    """The slice of a fetch at ``start_offset`` that was answered with ``buffer``."""
    body = read_slice(buffer, start_offset)
    marks = Watermarks(
        fetched_at_ms=fetched_at_ms,
        log_start_offset=0,
        high_watermark=body.next_offset,
        last_stable_offset=body.next_offset,
    )
    return FetchSlice(topic, topic_id, partition, 0, start_offset, body, marks)


@dataclass(slots=True)
class RepositoryBuilder:
    """Puts segment objects as a worker would."""

    store: ObjectStore = field(default_factory=MemoryStore)
    writer: str = "w1"
    sequence: int = 0
    now_ms: int = T0_MS
    cluster_id: str = CLUSTER_ID
    repository: Repository = field(init=False)

    def __post_init__(self) -> None:
        self.repository = create_repository(
            self.store, cluster_id=self.cluster_id, created_at_ms=self.now_ms, created_by="tests"
        )

    def topic(self, topic: str, *, partitions: int = 1, topic_id: str = TOPIC_ID, **configs: str) -> None:
        """Store a topic object."""
        self.repository.put_topic(
            TopicObject(
                format_version=FORMAT_VERSION,
                topic=topic,
                topic_id=topic_id,
                partition_count=partitions,
                replication_factor=1,
                configs=configs,
                captured_at_ms=self.now_ms,
            )
        )

    def start(self, topic: str, partition: int = 0, offset: int = 0, *, topic_id: str = TOPIC_ID) -> str:
        """Record where a partition begins."""
        entry = StartEntry(
            topic=topic,
            topic_id=topic_id,
            partition=partition,
            start_offset=offset,
            reason="earliest",
            recorded_at_ms=self.now_ms,
        )
        return self.put(starts=[entry])

    def put(
        self,
        slices: Sequence[FetchSlice] = (),
        *,
        mode: BodyMode = "passthrough",
        starts: Sequence[StartEntry] = (),
        gaps: Sequence[GapEntry] = (),
        forks: Sequence[ForkEntry] = (),
        samples: Sequence[WatermarkSample] = (),
    ) -> str:
        """One segment object of one run per slice, each with these samples; its key."""
        self.sequence += 1
        self.now_ms += 10_000
        runs: list[RunEntry] = []
        body: list[bytes | memoryview] = []
        position = HEADER_BYTES
        for piece in slices:
            draft = RunDraft(piece.topic, piece.topic_id, piece.partition, piece.start_offset, piece.start_offset)
            draft.append(piece)
            draft.watermarks += samples
            run, parts = encode_run(draft, position=position, mode=mode, zstd_level=1)
            runs.append(run)
            body += parts
            position += run.stored_bytes
        index = SegmentIndex(
            format_version=FORMAT_VERSION,
            repository_id=self.repository.identity.repository_id,
            cluster_id=self.cluster_id,
            writer=self.writer,
            sequence=self.sequence,
            sealed_at_ms=self.now_ms,
            runs=runs,
            starts=list(starts),
            gaps=list(gaps),
            forks=list(forks),
        )
        key = format_segment_key(SegmentKey(self.now_ms, self.writer, self.sequence))
        self.store.put(key, encode_object(body, index))
        return key


def a_repository(
    *, objects: int = 6, partitions: int = 2, mode: BodyMode = "passthrough"
) -> tuple[RepositoryBuilder, list[str]]:
    """A sound repository: one topic, in each object 20 offsets of each partition in two batches; the keys of those objects."""
    builder = RepositoryBuilder()
    builder.topic("orders", partitions=partitions)
    for partition in range(partitions):
        builder.start("orders", partition)
    keys = []
    for number in range(objects):
        slices = [
            a_slice(
                "orders",
                partition,
                number * 20,
                a_batch(number * 20, 10, codec=3 if number % 2 else 0) + a_batch(number * 20 + 10, 10, codec=4),
            )
            for partition in range(partitions)
        ]
        keys.append(builder.put(slices, mode=mode))
    return builder, keys
