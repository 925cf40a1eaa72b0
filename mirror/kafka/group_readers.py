"""Consumer groups whose members read given topics now."""

from collections.abc import Collection
from typing import Final, NamedTuple

from mirror.errors import MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.wire.list_groups import list_groups

__all__ = ["GroupReader", "groups_reading"]

_IDLE: Final = frozenset({"Empty", "Dead", ""})


class GroupReader(NamedTuple):
    """A group: how many members it has, and which of the topics are assigned to them."""

    group: str
    members: int
    topics: tuple[str, ...]


async def groups_reading(
    client: MirrorClient, admin: Admin, topics: Collection[str], *, most: int
) -> tuple[list[GroupReader], int]:
    """The groups with members that any of the topics is assigned to, and how many more active groups were not looked at.

    Args:
        client, admin: of one cluster.
        topics: names.
        most: at most so many active groups are described.

    Raises:
        UnreachableError, ClusterError: a broker cannot be asked. Groups that we may not describe are left out.
    """
    active: set[str] = set()
    for broker in (await describe_cluster(client, [])).brokers:
        active |= {group.group for group in await list_groups(client, broker.node_id) if group.state not in _IDLE}
    chosen = sorted(active)[:most]
    found: list[GroupReader] = []
    for group, described in (await admin.describe_groups(chosen)).items():
        if isinstance(described, MirrorError):
            continue
        members = list(described.members)
        assigned = {
            partition.topic
            for member in members
            if member.assignment is not None
            for partition in member.assignment.topic_partitions
        }
        reading = sorted(assigned & set(topics))
        if reading:
            found.append(GroupReader(group, len(members), tuple(reading)))
    return found, len(active) - len(chosen)
