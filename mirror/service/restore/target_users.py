"""Who uses the topics of a restore on the target right now, as far as the brokers tell: producers that wrote lately, groups that read.

Producers without an id (neither idempotent nor transactional) leave no trace at the brokers.
"""

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan, TopicState
from mirror.core.topic_filter import TopicFilter
from mirror.errors import MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.group_readers import groups_reading
from mirror.kafka.producers import active_producers
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.restore.identity import is_of_a_restore

__all__ = ["describe_users"]

_LATELY_MS = 15 * 60_000
_MOST_GROUPS = 200
_NAMED = 5


async def describe_users(client: MirrorClient, admin: Admin, plan: RestorePlan, *, now_ms: int) -> tuple[str, ...]:
    """Sentences for the plan, each with what to do. What cannot be asked is a sentence too.

    Args:
        client, admin: of the target.
        plan: what will be done.
        now_ms: the caller's clock.
    """
    there = [topic for topic in plan.topics if topic.state is not TopicState.ABSENT]
    if not there:
        return ()
    said: list[str] = []
    written = [
        TopicPartition(topic.target_topic, partition.partition)
        for topic in there
        if topic.state is not TopicState.EMPTY
        for partition in topic.doomed or topic.partitions
    ]
    try:
        said += await _producers(client, written, now_ms) if written else []
    except MirrorError as error:
        said.append(f"live producers: not known, {error.message}")
    try:
        said += await _consumers(client, admin, plan, {topic.target_topic for topic in there})
    except MirrorError as error:
        said.append(f"live consumers: not known, {error.message}")
    return tuple(said)


async def _producers(client: MirrorClient, names: list[TopicPartition], now_ms: int) -> list[str]:
    latest_ms: dict[str, int] = {}
    ids: dict[str, set[int]] = {}
    for name, producers in (await active_producers(client, names)).items():
        for one in producers:
            is_filler = one.last_sequence < 0
            identity = ProducerIdentity(producer_id=one.producer_id, producer_epoch=one.producer_epoch)
            if is_filler or is_of_a_restore(identity) or one.last_timestamp_ms < now_ms - _LATELY_MS:
                continue
            ids.setdefault(name.topic, set()).add(one.producer_id)
            latest_ms[name.topic] = max(latest_ms.get(name.topic, 0), one.last_timestamp_ms)
    return [
        f"live producers: {len(found)} wrote to {topic} in the last {_LATELY_MS // 60_000} minutes: stop them before the restore"
        for topic, found in sorted(ids.items())
    ]


async def _consumers(client: MirrorClient, admin: Admin, plan: RestorePlan, topics: set[str]) -> list[str]:
    readers, others = await groups_reading(client, admin, topics, most=_MOST_GROUPS)
    planned = {group.target_group for group in plan.groups}  # active ones of these are refused
    # Workers that back up this cluster are to see the records: they are stored anew.
    mirrors = set(TopicFilter().among((await describe_cluster(client)).topics).others_topics.values())
    said = [
        f"live consumers: group {one.group} ({one.members} member{'s' if one.members != 1 else ''}) reads "
        f"{', '.join(one.topics[:_NAMED])}{' …' if len(one.topics) > _NAMED else ''} and will see records as they arrive: stop it first"
        for one in readers
        if one.group not in planned | mirrors
    ]
    if others:
        said.append(f"live consumers: {others} more active groups were not looked at")
    return said
