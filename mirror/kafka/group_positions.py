"""Where all groups of a cluster stand, as far as we may know."""

import asyncio
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from mirror.core.positions import TopicPartition
from mirror.errors import MirrorError
from mirror.kafka.client import MirrorClient
from mirror.kafka.group_admin import GroupPosition, committed_positions
from mirror.kafka.wire.list_groups import list_groups
from mirror.kafka.wire.metadata import metadata

__all__ = ["AllPositions", "all_positions", "group_names"]

_RETRY_FOR_S: Final = 20.0
_RETRY_EVERY_S: Final = 0.2
_AT_ONCE: Final = 16
_SHARE: Final = "share"  # keeps its positions elsewhere, and by record


class AllPositions(NamedTuple):
    """Positions by group, and by group the error that left it out."""

    positions: Mapping[str, Mapping[TopicPartition, GroupPosition]]
    errors: Mapping[str, MirrorError]


async def group_names(client: MirrorClient) -> list[str]:
    """The names of all groups that we may describe and that can have positions, sorted.

    Raises:
        AccessError, UnreachableError, ClusterError, ClusterBusyError: a broker does not tell.
    """
    loop = asyncio.get_running_loop()
    give_up_at_s = loop.time() + _RETRY_FOR_S
    while True:
        try:
            known = (await metadata(client, await client.any_broker(), names=[])).brokers
            await client.know_brokers(broker.node_id for broker in known)
            listed = await asyncio.gather(*(list_groups(client, broker.node_id) for broker in known))
        except MirrorError as error:
            if not error.transient or loop.time() > give_up_at_s:
                raise
            await asyncio.sleep(_RETRY_EVERY_S)
        else:
            return sorted({one.group for groups in listed for one in groups if one.protocol_type != _SHARE})


async def all_positions(
    client: MirrorClient, *, without_groups: Collection[str] = (), also: Collection[str] = ()
) -> AllPositions:
    """The positions of all groups; of each at a moment at which no transaction may still move it.

    Args:
        client: of the cluster.
        without_groups: left out.
        also: asked too where they are not listed: one that is gone has no positions, one that is only hidden is an error.

    Raises:
        AccessError, UnreachableError, ClusterError, ClusterBusyError: the groups cannot be listed.
    """
    names = sorted({*await group_names(client), *also} - set(without_groups))
    limit = asyncio.Semaphore(_AT_ONCE)

    async def one(group: str) -> Mapping[TopicPartition, GroupPosition] | MirrorError:
        async with limit:
            try:
                return await committed_positions(client, group)
            except MirrorError as error:
                return error

    found = dict(zip(names, await asyncio.gather(*map(one, names)), strict=True))
    return AllPositions(
        {name: positions for name, positions in found.items() if not isinstance(positions, MirrorError)},
        {name: error for name, error in found.items() if isinstance(error, MirrorError)},
    )
