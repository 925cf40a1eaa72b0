"""Deletes topics on the target that are to be replaced: just what was surveyed, and right before each is made anew.

A run that ends between the deletion and the creation leaves no topic: the same command creates it.
"""

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan, TopicPlan, TopicState
from mirror.errors import ClusterBusyError, PartialError, RefusedError, TopicNotFoundError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.log_ends import log_ends

__all__ = ["delete_replaced", "require_as_surveyed"]


async def require_as_surveyed(client: MirrorClient, plan: RestorePlan) -> None:
    """Before anything is changed: no topic that is to be destroyed got records since it was looked at.

    Raises:
        RefusedError: names the topic.
        AccessError, UnreachableError, ClusterError: the target cannot be asked.
    """
    for topic in plan.topics:
        if topic.state is TopicState.REPLACED and (name := await _moved(client, topic)) is not None:
            raise RefusedError(
                f"{name} on {plan.target_alias} got records since it was looked at: they are not among those to be destroyed",
                hint="stop its producers; the same command looks again",
            )


async def delete_replaced(client: MirrorClient, admin: Admin, topic: TopicPlan) -> None:
    """Delete the topic and wait until no broker knows it.

    Raises:
        PartialError: it got records since it was looked at, or is made again at once.
        AccessError: DELETE on the topic is missing.
        UnreachableError, ClusterError: as the target says.
    """
    try:
        name = await _moved(client, topic)
        if name is not None:
            raise PartialError(
                f"{name} got records while other topics were replaced, and is left alone",
                hint="stop its producers; the same command looks again",
            )
        await admin.delete_topic(topic.target_topic)
    except TopicNotFoundError:  # somebody deleted it
        return
    except ClusterBusyError as error:
        raise PartialError(
            f"{error.message}: a producer probably makes it again at once",
            hint="stop its producers; the same command goes on",
        ) from error


async def _moved(client: MirrorClient, topic: TopicPlan) -> TopicPartition | None:
    """The first partition that does not end where it was surveyed."""
    surveyed = {TopicPartition(topic.target_topic, log.partition): log.next_offset for log in topic.doomed}
    found = await log_ends(client, surveyed)
    return next((name for name, log_end in surveyed.items() if found[name] != log_end), None)
