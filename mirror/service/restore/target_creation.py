"""Whether the target would create the topics of a plan, asked without creating any: a policy of the brokers may forbid it."""

from collections.abc import Mapping
from dataclasses import replace

from confluent_kafka.admin import NewTopic

from mirror.core.restore_configs import without_new_names
from mirror.core.restore_plan import RestorePlan, TopicPlan, TopicState
from mirror.errors import AccessError, MirrorError, RefusedError
from mirror.kafka.admin import Admin

__all__ = ["refuse_uncreatable"]

_EXISTS = "TOPIC_ALREADY_EXISTS"
_NAMED = 5
_TRIAL = "-mirror-trial"
_LONGEST_NAME = 249 - len(_TRIAL)


async def refuse_uncreatable(admin: Admin, plan: RestorePlan) -> None:
    """Rights are not looked at here, see `rights.py`.

    Raises:
        RefusedError: the brokers would not create a topic, in their words.
        UnreachableError, ClusterError: they cannot be asked.
    """
    absent = [topic for topic in plan.topics if topic.state is TopicState.ABSENT]
    # One that is deleted first must not be missing afterwards: a topic like it is asked for, under a name that is free.
    absent += [
        replace(topic, target_topic=f"{topic.target_topic[:_LONGEST_NAME]}{_TRIAL}")
        for topic in plan.topics
        if topic.state is TopicState.REPLACED
    ]
    found = await admin.validate_topics([_new(topic, topic.load_configs) for topic in absent])
    # Brokers before 3.6 know one bound of timestamps, under another name.
    again = [topic for topic in absent if _is_about_times(found.get(topic.target_topic))]
    found |= await admin.validate_topics([_new(topic, without_new_names(topic.load_configs)) for topic in again])
    refused = [error.message for error in found.values() if error is not None and _is_final(error)]
    if refused:
        more = f"\n  … and {len(refused) - _NAMED} more" if len(refused) > _NAMED else ""
        raise RefusedError(
            f"{plan.target_alias} would not create {len(refused)} of the topics:"
            + "".join(f"\n  {message}" for message in refused[:_NAMED])
            + more,
            hint="create them yourself, empty, with as many partitions; or change what the brokers forbid",
        )


def _new(topic: TopicPlan, configs: Mapping[str, str]) -> NewTopic:
    return NewTopic(
        topic.target_topic,
        num_partitions=len(topic.partitions),
        replication_factor=topic.replication_factor,
        config=dict(configs),
    )


def _is_about_times(error: MirrorError | None) -> bool:
    return error is not None and "message.timestamp" in error.message


def _is_final(error: MirrorError) -> bool:
    """Whether it says something of the topic: another run may have made it just now, which is noticed when it is created."""
    return not (isinstance(error, AccessError) or error.transient or _EXISTS in error.message)
