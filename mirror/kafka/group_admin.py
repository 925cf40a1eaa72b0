"""Consumer groups of a cluster: who is active, where they stand, and putting them elsewhere.

Positions go by our own requests to the group's coordinator: the metadata that consumers keep with a position is any text, also such as
librdkafka cannot take. Members are told by confluent-kafka's AdminClient.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Final, NamedTuple, TypeVar

from mirror.core.positions import TopicPartition
from mirror.errors import ClusterError, MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.find_coordinator import GROUP, find_coordinator
from mirror.kafka.wire.offset_commit import offset_commit
from mirror.kafka.wire.offset_delete import offset_delete
from mirror.kafka.wire.offset_fetch import offset_fetch

__all__ = ["GroupPosition", "active_members", "commit_positions", "committed_positions", "delete_positions"]

T = TypeVar("T")

_RETRY_FOR_S: Final = 30.0
_RETRY_EVERY_S: Final = 0.2
_UNKNOWN_MEMBER: Final = frozenset({22, 25, 68})


class GroupPosition(NamedTuple):
    """Where a group reads next, and the text that its consumer kept with it."""

    offset: int
    metadata: str


async def active_members(admin: Admin, groups: Iterable[str]) -> dict[str, int]:
    """How many members each group has; 0 for those that are empty or do not exist.

    Raises:
        AccessError (DESCRIBE on a group is missing), UnreachableError, ClusterError.
    """
    found: dict[str, int] = {}
    for group in sorted(set(groups)):
        found[group] = await _members(admin, group)
    return found


async def _members(admin: Admin, group: str) -> int:
    async def once() -> int:
        try:
            return len((await admin.describe_group(group)).members)
        except MirrorError as error:
            if "GROUP_ID_NOT_FOUND" in error.message:  # what brokers from 4.0 on say of a group that never was
                return 0
            raise

    return await _patiently(once)


async def committed_positions(client: MirrorClient, group: str) -> dict[TopicPartition, GroupPosition]:
    """Everything that the group has committed.

    Raises:
        AccessError (DESCRIBE on the group is missing), UnreachableError, ClusterError.
    """

    async def once(coordinator: int) -> dict[TopicPartition, GroupPosition]:
        found = await offset_fetch(client, coordinator, group)
        for tp, one in found.items():
            if one.error_code:
                raise kafka_error_to_ours(one.error_code, f"position of group {group} in {tp}")
        return {tp: GroupPosition(one.offset, one.metadata) for tp, one in found.items() if one.offset >= 0}

    return await _at_coordinator(client, group, once)


async def commit_positions(client: MirrorClient, group: str, positions: Mapping[TopicPartition, GroupPosition]) -> None:
    """Commit for a group without members.

    Raises:
        AccessError: READ on the group or a topic is missing.
        UnreachableError, ClusterError: also if consumers of the group are active.
    """

    async def once(coordinator: int) -> None:
        codes = await offset_commit(client, coordinator, group, positions)
        for tp in positions:
            code = codes.get(tp, -1)
            what = f"committing for group {group} in {tp}"
            if code in _UNKNOWN_MEMBER:
                raise ClusterError(f"{what}: consumers of the group are active", hint="stop them, then run it again")
            if code:
                raise kafka_error_to_ours(code, what)

    await _at_coordinator(client, group, once)


async def delete_positions(client: MirrorClient, group: str, tps: Collection[TopicPartition]) -> None:
    """Forget positions of a group, as if it had never committed there.

    Raises:
        AccessError: DELETE on the group or READ on a topic is missing.
        UnreachableError, ClusterError: also if consumers of the group read these topics.
    """

    async def once(coordinator: int) -> None:
        codes = await offset_delete(client, coordinator, group, tps)
        for tp in tps:
            if code := codes.get(tp, -1):
                raise kafka_error_to_ours(code, f"forgetting the position of group {group} in {tp}")

    await _at_coordinator(client, group, once)


async def _at_coordinator(client: MirrorClient, group: str, once: Callable[[int], Awaitable[T]]) -> T:
    async def find_and_ask() -> T:
        coordinator = await find_coordinator(client, await client.any_broker(), GROUP, group)
        await client.know_brokers([coordinator])
        return await once(coordinator)

    return await _patiently(find_and_ask)


async def _patiently(once: Callable[[], Awaitable[T]]) -> T:
    """Ask again while the coordinator moves, or is only just being made."""
    loop = asyncio.get_running_loop()
    give_up_at_s = loop.time() + _RETRY_FOR_S
    while True:
        try:
            return await once()
        except MirrorError as error:
            if not error.transient or loop.time() > give_up_at_s:
                raise
        await asyncio.sleep(_RETRY_EVERY_S)
