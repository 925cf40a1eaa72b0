"""The Faust app of a worker: agents over fetch slices and over the sealed stream, the tables, and the order of ending."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import faust
from faust.serializers.codecs import Codec, register
from mode.supervisors import CrashingSupervisor

from agents.assignor import MirrorAssignor
from agents.group_table import GroupTableWriter, is_about_groups
from agents.ledger import decode_sealed, fold_event
from mirror.config import Config
from mirror.core.positions import TopicPartition
from mirror.kafka.connection import ClusterConnection
from mirror.service.backup.pipeline import BackupPipeline
from mirror.service.wiring import internal_topics

__all__ = ["MirrorApp", "declare", "make_app"]

log = logging.getLogger(__name__)

_ROCKSDB = {"block_cache_size": 8 << 20, "write_buffer_size": 4 << 20, "max_write_buffer_number": 2}


class _AsItIs(Codec):
    """Slices are no bytes: nothing is to be decoded."""

    def _loads(self, s: Any) -> Any:
        return s

    def _dumps(self, s: Any) -> Any:
        return s


register("mirror-slice", _AsItIs())


class MirrorApp(faust.App):
    """Faust's app, with sources that it delivers but does not understand.

    The attributes are set by :func:`make_app`, ``pipeline`` by the worker once the loop runs.
    """

    connection: ClusterConnection
    own_topics: frozenset[str]
    pipeline: BackupPipeline | None = None
    source_topic: Any
    sealed_topic: Any
    ledger: Any
    groups: Any
    group_writer: GroupTableWriter | None = None
    on_end: Any = None
    crash_reason_seen: BaseException | None = None
    _crashing: Any = None

    def is_source(self, topic: str) -> bool:
        """Whether a topic is one that is backed up; every other one of our subscription is the mirror's own."""
        return topic not in self.own_topics

    def source_high_watermark(self, tp: Any) -> int:
        """For Faust's monitor."""
        if self.pipeline is None:
            return 0
        source = self.pipeline.fetcher.sources.get(TopicPartition(tp.topic, tp.partition))
        return source.watermarks.high_watermark if source is not None and source.watermarks is not None else 0

    # --- called in the main loop by the transport

    def sources_revoked(self) -> None:
        """A rebalance begins."""
        if self.pipeline is not None:
            self.pipeline.revoked()

    def sources_assigned(self, tps: set[TopicPartition]) -> None:
        """The source partitions that are ours now."""
        if self.pipeline is not None and not self.should_stop:
            self.pipeline.assigned(tps)

    def on_rebalance_end(self) -> None:
        """What is delivered from here on arrives."""
        super().on_rebalance_end()
        if self.group_writer is not None:
            self.group_writer.forget()
        if self.pipeline is not None:
            self.pipeline.release()

    def crash_soon(self, reason: BaseException) -> None:
        """End the process with an error, from any service."""
        if self.crash_reason_seen is None:
            self.crash_reason_seen = reason
            log.critical("the worker ends: %s", reason)
            self._crashing = asyncio.ensure_future(self.crash(reason))

    async def on_stop(self) -> None:
        """Drain first: partitions are still ours, heartbeats go on, agents run."""
        if self.on_end is not None:
            await self.on_end()
        await super().on_stop()

    def slices_are_delivered(self) -> bool:
        """Whether nothing is between the consumer and the agent."""
        return all(channel.queue.empty() for channel in self.source_channels())

    def source_channels(self) -> list[Any]:
        """The running channels of the source topics; a channel of several topics has no one name to ask for."""
        return [channel for channel in self.topics if self.own_topics.isdisjoint(channel.topics)]


def make_app(
    config: Config,
    connection: ClusterConnection,
    *,
    sources: list[str],
    replication_factor: int,
    table_store: str,
    table_path: Path,
) -> MirrorApp:
    """The app of one worker.

    Args:
        config: the configuration.
        connection: the source cluster.
        sources: the topics that match now (more are found while it runs).
        replication_factor: of the mirror's own topics.
        table_store: URL of Faust's store.
        table_path: where it may keep its files.
    """
    worker = config.worker
    topics = internal_topics(worker.id)
    url = ";".join(f"mirror+kafka://{server}" for server in connection.bootstrap_servers)
    app = MirrorApp(
        worker.id,
        broker=url,
        store=table_store,
        datadir=str(table_path),
        web_host=worker.web_host,
        web_bind=worker.web_host,
        web_port=worker.web_port,
        canonical_url=worker.advertised_url or f"http://{worker.web_host}:{worker.web_port}",
        web_cors_options=None,
        broker_client_id=connection.client_id,
        broker_session_timeout=10.0,
        broker_heartbeat_interval=2.0,
        broker_request_timeout=40.0,
        broker_commit_interval=2.0,
        consumer_auto_offset_reset="earliest",
        consumer_metadata_max_age_ms=10_000,
        producer_metadata_max_age_ms=10_000,
        producer_acks=-1,
        PartitionAssignor=MirrorAssignor,
        stream_wait_empty=False,
        table_standby_replicas=0,
        topic_replication_factor=replication_factor,
        topic_partitions=1,
        topic_allow_declare=False,
        # A changelog that somebody deleted while workers run ends before what the local table has read of it: no reason to stop a backup.
        recovery_consistency_check=False,
        worker_redirect_stdouts=False,
        logging_config=None,
    )
    app.connection = connection
    app.own_topics = frozenset(topics.values())
    declare(app, topics, sources)
    return app


def declare(app: MirrorApp, topics: dict[str, str], sources: list[str]) -> None:
    """Topics, tables and agents."""
    app.source_topic = app.topic(
        *(sources or ["mirror-no-topic-yet"]),
        key_serializer="mirror-slice",
        value_serializer="mirror-slice",
        acks=False,
    )
    app.source_topic.topics = list(sources)
    app.sealed_topic = app.topic(
        topics["sealed"], key_serializer="raw", value_serializer="raw", partitions=1, internal=True
    )
    app.ledger = app.GlobalTable("ledger", partitions=1, recovery_buffer_size=1, options=_ROCKSDB)
    app.groups = app.GlobalTable("groups", partitions=1, recovery_buffer_size=1, options=_ROCKSDB)

    @app.agent(app.source_topic, name="back_up", supervisor_strategy=CrashingSupervisor)
    async def back_up(stream: Any) -> None:
        async for parcel in stream:
            if app.pipeline is not None and (piece := parcel.take()) is not None:
                app.pipeline.add(piece)
            piece = None

    @app.agent(app.sealed_topic, name="keep_ledger", supervisor_strategy=CrashingSupervisor)
    async def keep_ledger(stream: Any) -> None:
        async for value in stream:
            sealed = decode_sealed(value)
            if sealed is None:
                continue
            try:
                fold_event(app.ledger, sealed)
            except Exception as error:  # noqa: BLE001 - a full disk, a broken file: the table is a hint, backup goes on
                log.error("the table could not be written (backup goes on; `mirror repair table` mends it): %r", error)

    @app.agent(app.sealed_topic, name="keep_groups", supervisor_strategy=CrashingSupervisor)
    async def keep_groups(stream: Any) -> None:
        waiting: list[bytes] = []
        async for value in stream:
            if is_about_groups(value):
                waiting.append(value)
            writer = app.group_writer
            # All that has come at once. What is taken here and never written, the next turn finds in the repository.
            if writer is None or not stream.channel.queue.empty() or not (waiting or writer.is_behind):
                continue
            taken, waiting = waiting, []
            await asyncio.sleep(await writer.turn(taken))
