"""What changed between two captures of a cluster's state, in lines that a person reads."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from mirror.core.cluster_state import ClusterState, StateAcl, StateBroker, StateQuota, StateTopic

__all__ = ["StateChange", "acl_text", "diff_states", "entity_text", "quota_text"]

_HIDDEN = "(secret)"
_DEFAULT = "(default)"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChange:
    """One difference.

    Attributes:
        sign: ``+`` came, ``-`` went, ``~`` changed, ``?`` cannot be compared.
        kind: ``topic``, ``acl``, ``user``, ``quota``, ``broker`` or ``cluster``.
        name: of what changed.
        what: the setting that changed, or what there is to say; may be empty.
        before: its value then, None where it had none.
        after: its value later.
    """

    sign: Literal["+", "-", "~", "?"]
    kind: str
    name: str = ""
    what: str = ""
    before: str | None = None
    after: str | None = None

    @property
    def text(self) -> str:
        """``~ topic orders: retention.ms 86400000 -> 3600000``."""
        head = f"{self.sign} {self.kind} {self.name}".rstrip()
        if self.before is None and self.after is None:
            return f"{head}: {self.what}" if self.what else head
        return f"{head}: {self.what} {self.before} -> {self.after}"


def diff_states(before: ClusterState, after: ClusterState) -> list[StateChange]:
    """All differences from one capture to another; empty: none. What one of them does not know is said, not guessed."""
    return [
        *_cluster(before, after),
        *_topics(before, after),
        *_acls(before, after),
        *_users(before, after),
        *_quotas(before, after),
        *_brokers(before, after),
    ]


def acl_text(acl: StateAcl) -> str:
    """``User:app ALLOW READ on TOPIC orders (LITERAL) from *``."""
    return (
        f"{acl.principal} {acl.permission} {acl.operation} on {acl.resource_type} {acl.resource_name} "
        f"({acl.pattern_type}) from {acl.host}"
    )


def entity_text(entity: Mapping[str, str | None]) -> str:
    """``user app, client-id (default)``."""
    return ", ".join(
        f"{kind} {_DEFAULT if name is None else name}" for kind, name in sorted(entity.items(), reverse=True)
    )


def quota_text(quota: StateQuota) -> str:
    """``user app: producer_byte_rate 1048576``."""
    return f"{entity_text(quota.entity)}: " + ", ".join(f"{key} {value:.15g}" for key, value in quota.values.items())


def _cluster(before: ClusterState, after: ClusterState) -> Iterator[StateChange]:
    if before.cluster_id != after.cluster_id:
        yield StateChange(sign="~", kind="cluster", what="id", before=before.cluster_id, after=after.cluster_id)
    if before.features is None or after.features is None:
        if before.features != after.features:
            yield StateChange(sign="?", kind="cluster", what="features are known in one of both only")
        return
    yield from _settings("cluster", "", _texts(before.features), _texts(after.features), missing="0")


def _texts(levels: Mapping[str, int]) -> dict[str, str | None]:
    return {name: str(level) for name, level in levels.items()}


def _topics(before: ClusterState, after: ClusterState) -> Iterator[StateChange]:
    old, new = ({topic.topic: topic for topic in state.topics} for state in (before, after))
    for name in sorted(old.keys() | new.keys()):
        if name not in old:
            yield StateChange(sign="+", kind="topic", name=name, what=_made_of(new[name]))
        elif name not in new:
            yield StateChange(sign="-", kind="topic", name=name, what=_made_of(old[name]))
        else:
            yield from _topic(old[name], new[name])


def _made_of(topic: StateTopic) -> str:
    partitions = "1 partition" if topic.partition_count == 1 else f"{topic.partition_count} partitions"
    return f"{partitions}, replication factor {topic.replication_factor}"


def _topic(old: StateTopic, new: StateTopic) -> Iterator[StateChange]:
    for what, before, after in (
        ("deleted and created again, id", old.topic_id, new.topic_id),
        ("partitions", str(old.partition_count), str(new.partition_count)),
        ("replication factor", str(old.replication_factor), str(new.replication_factor)),
    ):
        if before != after:
            yield StateChange(sign="~", kind="topic", name=new.topic, what=what, before=before, after=after)
    yield from _known_settings("topic", new.topic, old.configs, new.configs)


def _brokers(before: ClusterState, after: ClusterState) -> Iterator[StateChange]:
    old, new = ({broker.node_id: broker for broker in state.brokers} for state in (before, after))
    for node_id in sorted(old.keys() | new.keys()):
        name = str(node_id)
        if node_id not in old:
            yield StateChange(sign="+", kind="broker", name=name, what=_place(new[node_id]))
        elif node_id not in new:
            yield StateChange(sign="-", kind="broker", name=name, what=_place(old[node_id]))
        else:
            places = _place(old[node_id]), _place(new[node_id])
            if places[0] != places[1]:
                yield StateChange(sign="~", kind="broker", name=name, what="address", before=places[0], after=places[1])
            yield from _known_settings("broker", name, old[node_id].configs, new[node_id].configs)


def _place(broker: StateBroker) -> str:
    return f"{broker.host}:{broker.port}" + (f" in rack {broker.rack}" if broker.rack else "")


def _known_settings(
    kind: str, name: str, old: Mapping[str, str | None] | None, new: Mapping[str, str | None] | None
) -> Iterator[StateChange]:
    if old is None or new is None:
        if old is not new:
            yield StateChange(sign="?", kind=kind, name=name, what="settings are known in one of both only")
        return
    yield from _settings(kind, name, old, new, missing=_DEFAULT)


def _settings(
    kind: str, name: str, old: Mapping[str, str | None], new: Mapping[str, str | None], *, missing: str
) -> Iterator[StateChange]:
    for setting in sorted(old.keys() | new.keys()):
        before, after = (
            missing if setting not in values else _HIDDEN if (value := values[setting]) is None else value
            for values in (old, new)
        )
        if before != after:
            yield StateChange(sign="~", kind=kind, name=name, what=setting, before=before, after=after)


def _acls(before: ClusterState, after: ClusterState) -> Iterator[StateChange]:
    if before.acls is None or after.acls is None:
        if before.acls is not after.acls:
            yield StateChange(sign="?", kind="acl", what="ACLs are known in one of both only")
        return
    old, new = ({acl_text(acl) for acl in state} for state in (before.acls, after.acls))
    yield from (StateChange(sign="+", kind="acl", name=text) for text in sorted(new - old))
    yield from (StateChange(sign="-", kind="acl", name=text) for text in sorted(old - new))


def _users(before: ClusterState, after: ClusterState) -> Iterator[StateChange]:
    if before.users is None or after.users is None:
        if before.users is not after.users:
            yield StateChange(sign="?", kind="user", what="SCRAM users are known in one of both only")
        return
    old, new = ({one.user: ", ".join(one.mechanisms) for one in state} for state in (before.users, after.users))
    for user in sorted(old.keys() | new.keys()):
        if user not in old:
            yield StateChange(sign="+", kind="user", name=user, what=new[user])
        elif user not in new:
            yield StateChange(sign="-", kind="user", name=user, what=old[user])
        elif old[user] != new[user]:
            yield StateChange(sign="~", kind="user", name=user, what="mechanisms", before=old[user], after=new[user])


def _quotas(before: ClusterState, after: ClusterState) -> Iterator[StateChange]:
    if before.quotas is None or after.quotas is None:
        if before.quotas is not after.quotas:
            yield StateChange(sign="?", kind="quota", what="client quotas are known in one of both only")
        return
    old, new = (
        {entity_text(quota.entity): {key: f"{value:.15g}" for key, value in quota.values.items()} for quota in state}
        for state in (before.quotas, after.quotas)
    )
    for name in sorted(old.keys() | new.keys()):
        yield from _settings("quota", name, old.get(name, {}), new.get(name, {}), missing="(none)")
