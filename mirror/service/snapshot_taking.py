"""Taking a snapshot: one sweep over the source's leaders, the groups before the logs."""

import time
from collections.abc import Mapping
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.core.segment.index import FORMAT_VERSION, RepositoryObject
from mirror.core.snapshot import Snapshot, SnapshotGroup, SnapshotPartition, SnapshotPosition, SnapshotTopic
from mirror.core.topic_filter import TopicFilter
from mirror.errors import (
    AccessError,
    ClusterBusyError,
    MirrorError,
    NoMatchError,
    TopicNotFoundError,
    WrongRepositoryError,
)
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import ClusterDescription, LogOffsets, TopicDescription, describe_cluster, log_offsets
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.group_positions import AllPositions, all_positions
from mirror.service.group_capture import own_groups

__all__ = ["take_snapshot"]

_SWEEPS: Final = 3
_NAMED: Final = 5


async def take_snapshot(
    connection: ClusterConnection,
    repository: RepositoryObject,
    rules: TopicFilter,
    worker_id: str,
    name: str,
) -> Snapshot:
    """Ask the source; stores nothing.

    Args:
        connection: to the source.
        repository: which one the snapshot is for.
        rules: which topics are backed up.
        worker_id: of the mirror, whose own group is left out.
        name: of the snapshot; may be empty.

    Raises:
        WrongRepositoryError: the repository is another cluster's.
        NoMatchError: no topic is backed up.
        ClusterBusyError: topics come and go, so that no sweep sees one cluster.
        UnreachableError, AccessError, ClusterError: a leader does not tell; then there is no snapshot.
    """
    async with await open_client(connection) as client:
        admin = Admin(connection, client)
        described = await describe_cluster(client)
        if described.cluster_id != repository.cluster_id:
            raise WrongRepositoryError(
                f"{connection.where} is cluster {described.cluster_id}, the repository is of {repository.cluster_id}"
            )
        for _ in range(_SWEEPS):
            topics = _selected(described, rules)
            began_ms = _now_ms()
            groups = await all_positions(client, without_groups=own_groups(worker_id, rules, list(described.topics)))
            try:
                logs = await _logs(client, topics)
            except TopicNotFoundError:
                logs = None
            taken_at_ms = _now_ms()
            described = await describe_cluster(client)
            if logs is not None and _made_of(_selected(described, rules)) == _made_of(topics):
                break
        else:
            raise ClusterBusyError("topics come and go while the snapshot is taken", hint="run it again")
        configs, notes = await _configs(admin, topics)
        notes += await _group_notes(admin, groups)
    return Snapshot(
        format_version=FORMAT_VERSION,
        repository_id=repository.repository_id,
        cluster_id=repository.cluster_id,
        name=name,
        taken_at_ms=taken_at_ms,
        skew_ms=max(0, taken_at_ms - began_ms),
        topics=[_topic(topic, logs, configs) for topic in topics.values()],
        groups=_groups(groups, topics),
        notes=notes,
    )


def _selected(described: ClusterDescription, rules: TopicFilter) -> dict[str, TopicDescription]:
    chosen = rules.among(described.topics)
    found = {name: topic for name, topic in sorted(described.topics.items()) if chosen.decide(name).selected}
    if not found:
        raise NoMatchError("no topic of the source matches the worker's rules", hint="`mirror check` lists them")
    return found


def _made_of(topics: Mapping[str, TopicDescription]) -> dict[str, tuple[str, int]]:
    return {name: (topic.topic_id, len(topic.partitions)) for name, topic in topics.items()}


async def _logs(client: MirrorClient, topics: Mapping[str, TopicDescription]) -> dict[TopicPartition, LogOffsets]:
    return await log_offsets(
        client,
        [TopicPartition(name, partition.partition) for name, topic in topics.items() for partition in topic.partitions],
    )


async def _configs(
    admin: Admin, topics: Mapping[str, TopicDescription]
) -> tuple[dict[str, dict[str, str]] | None, list[str]]:
    try:
        return {name: non_default(found) for name, found in (await admin.topic_configs(topics)).items()}, []
    except MirrorError as error:
        return None, [f"settings of topics are not in it: {error.message}"]


async def _group_notes(admin: Admin, groups: AllPositions) -> list[str]:
    forbidden = [name for name, error in groups.errors.items() if isinstance(error, AccessError)]
    notes = [
        f"group {name} is not in it: {error.message}" for name, error in groups.errors.items() if name not in forbidden
    ]
    if forbidden:
        named = ", ".join(forbidden[:_NAMED]) + " …" * (len(forbidden) > _NAMED)
        notes.append(f"{len(forbidden)} consumer groups are not in it, DESCRIBE on them is missing: {named}")
    try:
        if "DESCRIBE" not in await admin.cluster_operations():
            notes.append(
                "only consumer groups that this user may describe are in it: DESCRIBE on the cluster is missing"
            )
    except MirrorError as error:
        notes.append(f"whether all consumer groups are in it is not known: {error.message}")
    return notes


def _topic(
    topic: TopicDescription, logs: Mapping[TopicPartition, LogOffsets], configs: Mapping[str, dict[str, str]] | None
) -> SnapshotTopic:
    partitions = sorted(partition.partition for partition in topic.partitions)
    found = {number: logs[TopicPartition(topic.name, number)] for number in partitions}
    return SnapshotTopic(
        topic=topic.name,
        topic_id=topic.topic_id,
        replication_factor=max((len(partition.replicas) for partition in topic.partitions), default=1),
        partitions=[
            SnapshotPartition(
                partition=number, log_start_offset=log.log_start_offset, last_stable_offset=log.last_stable_offset
            )
            for number, log in found.items()
        ],
        configs=None if configs is None else configs.get(topic.name),
    )


def _groups(groups: AllPositions, topics: Mapping[str, TopicDescription]) -> list[SnapshotGroup]:
    """Groups with a position in one of the topics. A consumer that reads uncommitted records may stand behind the last stable offset;
    its position is kept as it is: a restore puts it at the end of what it restores."""
    found: list[SnapshotGroup] = []
    for name, positions in sorted(groups.positions.items()):
        inside = [
            SnapshotPosition(topic=tp.topic, partition=tp.partition, offset=one.offset, metadata=one.metadata)
            for tp, one in sorted(positions.items())
            if tp.topic in topics
        ]
        if inside:
            found.append(SnapshotGroup(group=name, positions=inside))
    return found


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
