"""Makes a topic of a plan ready to be loaded: created, or with its settings for loading."""

import asyncio
from collections.abc import Mapping

from mirror.core.restore_configs import without_new_names
from mirror.core.restore_plan import TopicPlan, TopicState
from mirror.errors import ClusterError, PartialError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.service.restore.replacing import delete_replaced

__all__ = ["prepare_topic"]

_CONFIGS_ARRIVE_S = 0.5
_EXISTS = "TOPIC_ALREADY_EXISTS"


async def prepare_topic(client: MirrorClient, admin: Admin, topic: TopicPlan) -> None:
    """Create it, after the one that it replaces is deleted; or put settings on the one that is there.

    Raises:
        PartialError: somebody made it since the plan was made.
        AccessError, UnreachableError, ClusterError: the target refused.
    """
    try:
        await _prepare(client, admin, topic, topic.load_configs)
    except ClusterError as error:
        # Brokers before 3.6 know one bound of timestamps, under another name.
        if "message.timestamp" not in error.message:
            raise
        await _prepare(client, admin, topic, without_new_names(topic.load_configs))
    if topic.state in (TopicState.EMPTY, TopicState.BEGINNING, TopicState.APPENDED):
        await asyncio.sleep(_CONFIGS_ARRIVE_S)  # brokers take over changed settings a moment after the answer


async def _prepare(client: MirrorClient, admin: Admin, topic: TopicPlan, configs: Mapping[str, str]) -> None:
    if topic.state is TopicState.REPLACED:
        await delete_replaced(client, admin, topic)
    if topic.state in (TopicState.ABSENT, TopicState.REPLACED):
        await _make(admin, topic, configs)
        return
    unwanted = [name for name in topic.present_configs if name not in configs]
    await admin.alter_topic_configs(topic.target_topic, set_values=configs, delete=unwanted)


async def _make(admin: Admin, topic: TopicPlan, configs: Mapping[str, str]) -> None:
    try:
        await admin.create_topic(
            topic.target_topic,
            partitions=len(topic.partitions),
            replication_factor=topic.replication_factor,
            configs=configs,
        )
    except ClusterError as error:
        if _EXISTS not in error.message:
            raise
        raise PartialError(
            f"topic {topic.target_topic} was created since the plan was made, by another run of this restore or by a stranger",
            hint="the same command looks at it, and goes on with it if it is of this restore",
        ) from error
