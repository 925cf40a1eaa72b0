"""Retention holds: topics whose retention a restore left lifted, since it would have deleted what was just restored.

No list is kept of them: a topic of the repository whose retention is lifted on the target, but was not at the source, is on hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mirror.core.positions import TopicPartition
from mirror.core.segment.index import TopicObject
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster, list_offsets, log_offsets
from mirror.service.restore.target import examine_target

__all__ = ["Hold", "find_holds", "held_settings", "release_hold"]

_LIFTED = "-1"
_RETENTION = ("retention.ms", "retention.bytes")
_DEFAULT_RETENTION_MS = 7 * 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A setting that is lifted on a topic of the target.

    Attributes:
        topic: on the target.
        name: of the setting.
        wanted: the source's value; None where the target's default applied.
        doomed_offsets: about how many offsets go once it is put back; None where that is not known.
        all_offsets: how many there are.
    """

    topic: str
    name: str
    wanted: str | None
    doomed_offsets: int | None
    all_offsets: int


def held_settings(present: Mapping[str, str], source: Mapping[str, str]) -> dict[str, str | None]:
    """The settings that are lifted on a topic but were not at the source: each with the source's value, None for the default.

    Args:
        present: what is set on the topic now.
        source: what was captured of it.
    """
    return {
        name: source.get(name) for name in _RETENTION if present.get(name) == _LIFTED and source.get(name) != _LIFTED
    }


async def find_holds(
    client: MirrorClient, admin: Admin, captured: Mapping[str, TopicObject], *, alias: str, bootstrap: str, now_ms: int
) -> list[Hold]:
    """The holds of a cluster.

    Args:
        client, admin: of the target.
        captured: target topic → the capture of the topic that was restored as it.
        alias, bootstrap: of the target, for messages.
        now_ms: the caller's clock.

    Raises:
        UnreachableError, AccessError, ClusterError: the target cannot be asked.
    """
    there = (await describe_cluster(client)).topics.keys()
    target = await examine_target(client, admin, sorted(captured.keys() & there), alias=alias, bootstrap=bootstrap)
    holds: list[Hold] = []
    for name, topic in sorted(target.topics.items()):
        for setting, wanted in held_settings(topic.configs, captured[name].configs).items():
            effective = wanted or target.default_configs.get(setting)
            retention_ms = int(effective or _DEFAULT_RETENTION_MS) if setting == "retention.ms" else None
            doomed, total = await _doomed(client, name, topic.partition_count, retention_ms, now_ms)
            holds.append(Hold(topic=name, name=setting, wanted=wanted, doomed_offsets=doomed, all_offsets=total))
    return holds


async def _doomed(
    client: MirrorClient, topic: str, partitions: int, retention_ms: int | None, now_ms: int
) -> tuple[int | None, int]:
    """How many offsets are older than the retention, and how many there are."""
    names: Sequence[TopicPartition] = [TopicPartition(topic, partition) for partition in range(partitions)]
    logs = await log_offsets(client, names)
    total = sum(log.high_watermark - log.log_start_offset for log in logs.values())
    if retention_ms is None:
        return None, total
    if retention_ms < 0:
        return 0, total
    found = await list_offsets(client, dict.fromkeys(names, now_ms - retention_ms))
    doomed = 0
    for name in names:
        first_kept = found[name].offset if found[name].offset >= 0 else logs[name].high_watermark
        doomed += max(0, first_kept - logs[name].log_start_offset)
    return doomed, total


async def release_hold(admin: Admin, hold: Hold) -> None:
    """Put the source's value back: the broker deletes what is older at its next check.

    Raises:
        TopicNotFoundError, AccessError, UnreachableError, ClusterError.
    """
    if hold.wanted is None:
        await admin.alter_topic_configs(hold.topic, delete=[hold.name])
    else:
        await admin.alter_topic_configs(hold.topic, set_values={hold.name: hold.wanted})
