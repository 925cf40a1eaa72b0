"""What we may do with topics, groups and transactional ids that need not exist, without changing anything.

Of a topic that exists, the broker says it by itself. Of others it is told by requests that can have no effect: they name a partition
that no topic can have, or ask the broker only to validate. Brokers look at rights before anything else, so the answer "not authorized"
tells what is missing, and any other error that the right is there.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import Future
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from mirror.core.filler import filler_batch
from mirror.core.positions import TopicPartition
from mirror.errors import AccessError
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.connection import ClusterConnection, confluent_options
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.rights import operations_of
from mirror.kafka.wire.delete_records import delete_records
from mirror.kafka.wire.describe_producers import describe_producers
from mirror.kafka.wire.end_txn import end_txn
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.kafka.wire.offset_commit import offset_commit
from mirror.kafka.wire.produce import produce

__all__ = ["groups_without_read", "may_end_transactions", "topic_operations"]

_NO_TOPIC_RIGHT: Final = 29
_NO_GROUP_RIGHT: Final = 30
_NO_ID_RIGHT: Final = 53
_NOWHERE: Final = 2**31 - 1
"""A partition that no topic can have."""

_NO_TOPIC: Final = TopicPartition("no topic can have this name?", 0)
_NOBODY: Final = ProducerIdentity(producer_id=2**62, producer_epoch=0)
_TIMEOUT_S: Final = 15.0
_AT_ONCE: Final = 16


async def topic_operations(
    client: MirrorClient, conn: ClusterConnection, names: Iterable[str]
) -> dict[str, frozenset[str]]:
    """What we may do with topics, as far as a restore needs it: operation names, see `rights`. CREATE is told of absent topics only.

    Raises:
        UnreachableError, AccessError (the login is refused), ClusterError.
    """
    wanted = sorted(set(names))
    described = await describe_cluster(client, wanted, authorized_operations=True)
    found = {name: operations_of(topic.authorized_operations) for name, topic in described.topics.items()}
    absent = [name for name in wanted if name not in found]
    if absent:
        denied = await _denied_operations(client, conn, absent)
        everything = frozenset(denied)
        for name in absent:
            found[name] = everything - {operation for operation, refused in denied.items() if name in refused}
    return found


async def _denied_operations(
    client: MirrorClient, conn: ClusterConnection, names: Collection[str]
) -> dict[str, set[str]]:
    """Operation → the topics on which we may not do it."""
    node_id = await client.any_broker()
    nowhere = [TopicPartition(name, _NOWHERE) for name in names]
    refused: dict[str, set[str]] = {}
    answers = await describe_producers(client, node_id, nowhere)
    refused["READ"] = {one.topic for one in answers if one.error_code == _NO_TOPIC_RIGHT}
    batch = filler_batch(1, timestamp_ms=0)
    produced = await produce(client, node_id, dict.fromkeys(nowhere, batch))
    refused["WRITE"] = {one.topic for one in produced if one.error_code == _NO_TOPIC_RIGHT}
    deleted = await delete_records(client, node_id, dict.fromkeys(nowhere, 0), timeout_ms=1000)
    refused["DELETE"] = {one.topic for one in deleted if one.error_code == _NO_TOPIC_RIGHT}
    described = await describe_cluster(client, names)
    refused["DESCRIBE"] = {name for name, error in described.missing.items() if isinstance(error, AccessError)}
    refused |= await asyncio.to_thread(_validated, conn, names)
    return refused


def _validated(conn: ClusterConnection, names: Collection[str]) -> dict[str, set[str]]:
    """The same for what confluent-kafka's AdminClient asks; nothing is created or altered, only validated."""
    try:
        admin = AdminClient(confluent_options(conn))
        new = [NewTopic(name, num_partitions=1, replication_factor=-1) for name in names]
        entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
        altered = [ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry]) for name in names]
        plain = [ConfigResource(ResourceType.TOPIC, name) for name in names]
        asked: dict[str, Mapping[Any, Future[Any]]] = {
            "CREATE": admin.create_topics(new, validate_only=True, request_timeout=_TIMEOUT_S),
            "ALTER_CONFIGS": admin.incremental_alter_configs(altered, validate_only=True, request_timeout=_TIMEOUT_S),
            "DESCRIBE_CONFIGS": admin.describe_configs(plain, request_timeout=_TIMEOUT_S),
        }
    except KafkaException as error:
        raise kafka_error_to_ours(error, "asking for rights on topics") from error
    return {
        operation: {str(getattr(key, "name", key)) for key, future in answers.items() if _is_refused(future)}
        for operation, answers in asked.items()
    }


def _is_refused(future: "Future[Any]") -> bool:
    try:
        future.result(2 * _TIMEOUT_S)
    except TimeoutError as error:
        raise kafka_error_to_ours(error, "asking for rights on topics") from error
    except KafkaException as error:
        code = int(error.args[0].code())
        if code < -1:  # librdkafka's own: nobody answered
            raise kafka_error_to_ours(error, "asking for rights on topics") from error
        return code == _NO_TOPIC_RIGHT
    return False


async def groups_without_read(client: MirrorClient, groups: Iterable[str]) -> list[str]:
    """Those groups for which we may not commit; they need not exist, and no coordinator is made for them.

    Raises:
        UnreachableError, ClusterError.
    """
    node_id = await client.any_broker()
    limit = asyncio.Semaphore(_AT_ONCE)

    async def is_refused(group: str) -> bool:
        async with limit:
            codes = await offset_commit(client, node_id, group, {_NO_TOPIC: (0, "")})
        return codes.get(_NO_TOPIC) == _NO_GROUP_RIGHT

    wanted = sorted(set(groups))
    refused = await asyncio.gather(*(is_refused(group) for group in wanted))
    return [group for group, no in zip(wanted, refused, strict=True) if no]


async def may_end_transactions(client: MirrorClient, transactional_id: str) -> bool:
    """Whether we may write as this transactional id, which nobody must use: asks for the end of a transaction that never was.

    Raises:
        UnreachableError, ClusterError.
    """
    code = await end_txn(client, await client.any_broker(), transactional_id, _NOBODY, commit=False)
    return code != _NO_ID_RIGHT
