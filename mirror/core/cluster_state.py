"""The state of a cluster beside its records: topics, settings, rights, users; as it is stored."""

from collections.abc import Mapping

import msgspec

from mirror.core.segment.index import Count, Signed64, Timestamp

__all__ = [
    "ClusterState",
    "StateAcl",
    "StateBroker",
    "StateQuota",
    "StateTopic",
    "StateUser",
    "entity_key",
    "is_same_state",
]


class _Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Common options of all stored values."""


class StateTopic(_Stored, frozen=True):
    """A topic; ``configs`` are those that are not the cluster's default, null where they may not be read."""

    topic: str
    topic_id: str
    partition_count: Count
    replication_factor: Count
    configs: dict[str, str] | None = None


class StateBroker(_Stored, frozen=True):
    """A broker; ``configs`` are those that are not Kafka's default: null without the right to read them, a null value is a secret."""

    node_id: Signed64
    host: str
    port: Count
    rack: str | None = None
    configs: dict[str, str | None] | None = None


class StateAcl(_Stored, frozen=True):
    """One ACL, every field in Kafka's spelling."""

    resource_type: str
    resource_name: str
    pattern_type: str
    principal: str
    host: str
    operation: str
    permission: str


class StateUser(_Stored, frozen=True):
    """A SCRAM user and its mechanisms; never a secret."""

    user: str
    mechanisms: list[str]


class StateQuota(_Stored, frozen=True):
    """The quotas of one entity: kind (``user``, ``client-id``, ``ip``) → name, a null name is the default of its kind."""

    entity: dict[str, str | None]
    values: dict[str, float]


def entity_key(entity: Mapping[str, str | None]) -> frozenset[tuple[str, str | None]]:
    """The entity of quotas as a key: the order of its kinds says nothing."""
    return frozenset(entity.items())


class ClusterState(_Stored, frozen=True):
    """One capture. Null is not known, an empty array is none; ``notes`` say in words what is not known and why."""

    format_version: Count
    repository_id: str
    cluster_id: str
    captured_at_ms: Timestamp
    topics: list[StateTopic]
    brokers: list[StateBroker]
    features: dict[str, Signed64] | None = None
    acls: list[StateAcl] | None = None
    users: list[StateUser] | None = None
    quotas: list[StateQuota] | None = None
    notes: list[str] = []
    required_features: list[str] = []


def is_same_state(one: ClusterState, other: ClusterState, *, with_brokers: bool) -> bool:
    """Whether two captures say the same; without their brokers, which come and go in every rolling restart."""
    left, right = (
        msgspec.structs.replace(state, captured_at_ms=0, **({} if with_brokers else {"brokers": []}))
        for state in (one, other)
    )
    return left == right
