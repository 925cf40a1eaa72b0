"""Captures topics of a real broker into a repository without a worker: the same fetch, slices, runs and objects, one after another."""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import msgspec

from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.positions import TopicPartition, Watermarks
from mirror.core.segment.index import (
    FORMAT_VERSION,
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
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import TopicDescription, describe_cluster, log_offsets
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.leaders import Leaders
from mirror.kafka.wire.fetch import READ_COMMITTED, FetchPartition, FetchRequest, fetch
from mirror.storage.object_store import ObjectStore
from mirror.storage.repository import Repository, create_repository

__all__ = ["Capture", "as_if_configured", "capture"]

_WRITER = "capture"


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Capture:
    """Where a capture stands; give it again to go on."""

    repository: Repository
    positions: dict[tuple[str, int], int] = field(default_factory=dict)
    sequence: int = 0


async def capture(
    bootstrap: str,
    topics: Iterable[str],
    store: ObjectStore,
    *,
    mode: BodyMode = "auto",
    slice_bytes: int = 1 << 20,
    object_bytes: int = 32 << 20,
    go_on: Capture | None = None,
) -> Capture:
    """Store everything committed of these topics until now.

    Args:
        bootstrap: the source.
        topics: names.
        store: an existing store; a repository is made in it.
        mode: body mode of the runs.
        slice_bytes: of one partition in one fetch (at least one batch comes).
        object_bytes: a segment object is closed when it has so many fetched bytes.
        go_on: an earlier capture, whose positions are continued.
    """
    connection = ClusterConnection(bootstrap_servers=tuple(bootstrap.split(",")))
    async with await open_client(connection) as client:
        cluster = await describe_cluster(client, topics)
        assert not cluster.missing, cluster.missing
        if go_on is None:
            repository = create_repository(
                store, cluster_id=cluster.cluster_id, created_at_ms=_now_ms(), created_by="tests"
            )
            go_on = Capture(repository)
        configs = await Admin(connection, client).topic_configs(cluster.topics)
        for topic in cluster.topics.values():
            go_on.repository.put_topic(
                TopicObject(
                    format_version=FORMAT_VERSION,
                    topic=topic.name,
                    topic_id=topic.topic_id,
                    partition_count=len(topic.partitions),
                    replication_factor=len(topic.partitions[0].replicas),
                    configs=non_default(configs[topic.name]),
                    captured_at_ms=_now_ms(),
                )
            )
        await _Pump(client, go_on, cluster.cluster_id, mode, slice_bytes, object_bytes).run(cluster.topics.values())
    return go_on


def as_if_configured(taken: Capture, topic: str, configs: Mapping[str, str]) -> None:
    """Let the repository say that the topic had these settings, which its broker does not have: it shall not act on them meanwhile."""
    found = max(
        (one for one in taken.repository.list_topics() if one.topic == topic), key=lambda one: one.captured_at_ms
    )
    taken.repository.put_topic(
        msgspec.structs.replace(found, configs=dict(configs), captured_at_ms=found.captured_at_ms + 1)
    )


class _Pump:
    def __init__(
        self,
        client: MirrorClient,
        state: Capture,
        cluster_id: str,
        mode: BodyMode,
        slice_bytes: int,
        object_bytes: int,
    ) -> None:
        self.client, self.state, self.cluster_id = client, state, cluster_id
        self.mode, self.slice_bytes, self.object_bytes = mode, slice_bytes, object_bytes
        self.drafts: dict[tuple[str, int], RunDraft] = {}
        self.starts: list[StartEntry] = []
        self.gaps: list[GapEntry] = []

    async def run(self, topics: Iterable[TopicDescription]) -> None:
        leaders = Leaders(self.client)
        wanted = {
            TopicPartition(topic.name, partition.partition): topic.topic_id
            for topic in topics
            for partition in topic.partitions
        }
        await leaders.refresh({tp.topic for tp in wanted})
        logs = await log_offsets(self.client, wanted)
        for tp, topic_id in wanted.items():
            key = topic_id, tp.partition
            start_offset = logs[tp].log_start_offset
            if key not in self.state.positions:
                self.state.positions[key] = start_offset
                self.starts.append(
                    StartEntry(
                        topic=tp.topic,
                        topic_id=topic_id,
                        partition=tp.partition,
                        start_offset=start_offset,
                        reason="earliest",
                        recorded_at_ms=_now_ms(),
                    )
                )
            elif self.state.positions[key] < start_offset:
                self.gaps.append(
                    GapEntry(
                        topic=tp.topic,
                        topic_id=topic_id,
                        partition=tp.partition,
                        start_offset=self.state.positions[key],
                        next_offset=start_offset,
                        reason="deleted_records",
                        detected_at_ms=_now_ms(),
                    )
                )
                self.state.positions[key] = start_offset
        open_tps = dict(wanted)
        while open_tps:
            # Round robin over all partitions, so that objects hold runs of many, as a worker's do.
            for tp, topic_id in list(open_tps.items()):
                leader = leaders.get(tp)
                assert leader is not None
                if self.state.positions[topic_id, tp.partition] >= logs[tp].last_stable_offset:
                    del open_tps[tp]
                else:
                    await self._fetch(tp, topic_id, leader.node_id)
        self._seal()

    async def _fetch(self, tp: TopicPartition, topic_id: str, node_id: int) -> None:
        key = topic_id, tp.partition
        position = self.state.positions[key]
        part = FetchPartition(
            topic_id=topic_id, partition=tp.partition, fetch_offset=position, max_bytes=self.slice_bytes
        )
        request = FetchRequest(
            partitions=(part,), max_wait_ms=200, max_bytes=self.slice_bytes, isolation_level=READ_COMMITTED
        )
        answer = (await fetch(self.client, node_id, request)).partitions[0]
        assert answer.error_code == 0, answer
        body = read_slice(bytes(answer.records), position, answer.aborted_transactions)
        marks = Watermarks(
            fetched_at_ms=_now_ms(),
            log_start_offset=answer.log_start_offset,
            high_watermark=answer.high_watermark,
            last_stable_offset=answer.last_stable_offset,
        )
        if body.next_offset == position:
            return
        piece = FetchSlice(tp.topic, topic_id, tp.partition, 1, position, body, marks)
        draft = self.drafts.setdefault(key, RunDraft(tp.topic, topic_id, tp.partition, position, position))
        draft.append(piece)
        draft.watermarks.append(
            WatermarkSample(marks.fetched_at_ms, marks.log_start_offset, marks.high_watermark, marks.last_stable_offset)
        )
        self.state.positions[key] = piece.next_offset
        if sum(one.size_bytes for one in self.drafts.values()) >= self.object_bytes:
            self._seal()

    def _seal(self) -> None:
        if not (self.drafts or self.starts or self.gaps):
            return
        runs: list[RunEntry] = []
        parts: list[bytes | memoryview] = []
        position = HEADER_BYTES
        for draft in self.drafts.values():
            run, stored = encode_run(draft, position=position, mode=self.mode, zstd_level=3)
            runs.append(run)
            parts += stored
            position += run.stored_bytes
        self.state.sequence += 1
        name = SegmentKey(_now_ms(), _WRITER, self.state.sequence)
        index = SegmentIndex(
            format_version=FORMAT_VERSION,
            repository_id=self.state.repository.identity.repository_id,
            cluster_id=self.cluster_id,
            writer=name.writer,
            sequence=name.sequence,
            sealed_at_ms=name.sealed_at_ms,
            runs=runs,
            starts=self.starts,
            gaps=self.gaps,
        )
        self.state.repository.store.put(format_segment_key(name), encode_object(parts, index))
        self.drafts, self.starts, self.gaps = {}, [], []
