"""Asking a cluster for its state. What may not be asked is left out and noted: a missing right is no failure."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from mirror.core.cluster_state import ClusterState, StateAcl, StateBroker, StateQuota, StateTopic, StateUser
from mirror.core.segment.index import FORMAT_VERSION, RepositoryObject
from mirror.errors import AccessError, MirrorError, TopicNotFoundError, WrongRepositoryError
from mirror.kafka.admin import Admin, ConfigValue, non_default
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import TopicDescription, describe_cluster
from mirror.kafka.wire.api_versions import finalized_features
from mirror.kafka.wire.client_quotas import QuotaEntry, describe_client_quotas
from mirror.kafka.wire.describe_acls import AclEntry, describe_acls
from mirror.kafka.wire.describe_scram_users import describe_scram_users
from mirror.kafka.wire.metadata import BrokerMetadata

__all__ = ["capture_state", "stored_acl", "stored_quota"]

T = TypeVar("T")

_AT_ONCE: Final = 8
_DEFAULT: Final = "DEFAULT_CONFIG"


async def capture_state(
    client: MirrorClient, admin: Admin, repository: RepositoryObject, captured_at_ms: int
) -> ClusterState:
    """The state now.

    Args:
        client, admin: of the source.
        repository: which one it is for.
        captured_at_ms: the caller's clock.

    Raises:
        UnreachableError, ClusterBusyError: something does not answer now: better none than a half one.
        AccessError, ClusterError: not even topics are told.
        WrongRepositoryError: another cluster.
    """
    described = await describe_cluster(client)
    if described.cluster_id != repository.cluster_id:
        raise WrongRepositoryError(
            f"this is cluster {described.cluster_id}, the repository is of {repository.cluster_id}"
        )
    notes: list[str] = []
    node_id = await client.any_broker()
    features = await _or_note(lambda: finalized_features(client, node_id), "features of the cluster", _Right(), notes)
    topic_configs = await _topic_configs(admin, list(described.topics), notes)
    may = await admin.cluster_operations()
    broker_configs = await _or_note(
        lambda: admin.broker_configs(broker.node_id for broker in described.brokers),
        "settings of brokers",
        _right("DESCRIBE_CONFIGS", may),
        notes,
    )
    acls = await _acls(client, node_id, _right("DESCRIBE", may), notes)
    await client.know_brokers(broker.node_id for broker in described.brokers)
    controller = described.controller_id if described.controller_id >= 0 else node_id
    users = await _or_note(
        lambda: describe_scram_users(client, controller), "SCRAM users", _right("DESCRIBE", may), notes
    )
    quotas = await _or_note(
        lambda: describe_client_quotas(client, node_id), "client quotas", _right("DESCRIBE_CONFIGS", may), notes
    )
    return ClusterState(
        format_version=FORMAT_VERSION,
        repository_id=repository.repository_id,
        cluster_id=described.cluster_id,
        captured_at_ms=captured_at_ms,
        topics=[_topic(topic, topic_configs.get(name)) for name, topic in sorted(described.topics.items())],
        brokers=_brokers(described.brokers, broker_configs),
        features=None if features is None else dict(features),
        acls=acls,
        users=None if users is None else [StateUser(user=name, mechanisms=found) for name, found in users.items()],
        quotas=None if quotas is None else sorted(map(stored_quota, quotas), key=lambda quota: repr(quota.entity)),
        notes=notes,
    )


class _Right(NamedTuple):
    """What a question needs, and whether we know that it is missing."""

    name: str = "a right"
    is_missing: bool = False


def _right(operation: str, may: Collection[str]) -> _Right:
    return _Right(f"{operation} on the cluster", operation not in may)


async def _or_note(ask: Callable[[], Awaitable[T]], what: str, right: _Right, notes: list[str]) -> T | None:
    """The answer; where the cluster will not give it, a note that is always worded alike. What may pass is raised.

    Without the right nothing is asked: brokers would write an error with a stack trace into their logs, every time.
    """
    if right.is_missing:
        notes.append(f"{what} are not captured: {right.name} is missing")
        return None
    try:
        return await ask()
    except AccessError:
        notes.append(f"{what} are not captured: {right.name} is missing")
    except MirrorError as error:
        if error.transient:
            raise
        notes.append(f"{what} are not captured: the cluster does not tell")
    return None


async def _acls(client: MirrorClient, node_id: int, right: _Right, notes: list[str]) -> list[StateAcl] | None:
    before = len(notes)
    found = await _or_note(lambda: describe_acls(client, node_id), "ACLs", right, notes)
    if found is None:
        if len(notes) == before:
            notes.append("there are no ACLs: the cluster has no authorizer")
        return None
    return sorted(map(stored_acl, found), key=lambda acl: tuple(getattr(acl, name) for name in acl.__struct_fields__))


def stored_acl(entry: AclEntry) -> StateAcl:
    """An ACL as a capture has it."""
    return StateAcl(
        resource_type=entry.resource_type,
        resource_name=entry.resource_name,
        pattern_type=entry.pattern_type,
        principal=entry.principal,
        host=entry.host,
        operation=entry.operation,
        permission=entry.permission,
    )


def stored_quota(entry: QuotaEntry) -> StateQuota:
    """A client quota as a capture has it, in the order of its names."""
    return StateQuota(entity=dict(sorted(entry.entity.items())), values=dict(sorted(entry.values.items())))


async def _topic_configs(admin: Admin, topics: Sequence[str], notes: list[str]) -> dict[str, dict[str, str]]:
    """Of all at once; one by one where that fails, so that a topic that may not be read never hides the others."""
    try:
        return {name: non_default(found) for name, found in (await admin.topic_configs(topics)).items()}
    except MirrorError as error:
        if error.transient:
            raise
    limit = asyncio.Semaphore(_AT_ONCE)
    found: dict[str, dict[str, str]] = {}
    refused: list[str] = []

    async def one(name: str) -> None:
        async with limit:
            try:
                found[name] = non_default((await admin.topic_configs([name]))[name])
            except TopicNotFoundError:  # deleted a moment ago: the next look knows
                pass
            except MirrorError as error:
                if error.transient:
                    raise
                refused.append(name)

    await asyncio.gather(*map(one, topics))
    if refused:
        notes.append(f"settings of {len(refused)} topics are not captured: DESCRIBE_CONFIGS on them is missing")
    return found


def _topic(topic: TopicDescription, configs: dict[str, str] | None) -> StateTopic:
    return StateTopic(
        topic=topic.name,
        topic_id=topic.topic_id,
        partition_count=len(topic.partitions),
        replication_factor=max((len(partition.replicas) for partition in topic.partitions), default=1),
        configs=configs,
    )


def _brokers(
    brokers: Sequence[BrokerMetadata], configs: Mapping[int, Mapping[str, ConfigValue]] | None
) -> list[StateBroker]:
    found = []
    for broker in sorted(brokers, key=lambda one: one.node_id):
        own = (configs or {}).get(broker.node_id)
        values = {
            name: None if value.is_sensitive else value.value
            for name, value in sorted((own or {}).items())
            if value.source != _DEFAULT
        }
        found.append(
            StateBroker(
                node_id=broker.node_id,
                host=broker.host,
                port=broker.port,
                rack=broker.rack,
                configs=None if own is None else values,
            )
        )
    return found
