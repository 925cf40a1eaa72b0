"""Whether a broker speaks all that we need: asked of the broker itself, since Kafka has no "what version are you"."""

from typing import Final

from mirror.kafka.client import MirrorClient
from mirror.kafka.wire import fetch, init_producer_id, list_offsets, metadata, offset_for_leader_epoch, produce
from mirror.kafka.wire.api import Api

__all__ = ["NEEDED_APIS", "unsupported_apis"]

NEEDED_APIS: Final[tuple[Api, ...]] = (
    fetch.API,
    metadata.API,
    list_offsets.API,
    offset_for_leader_epoch.API,
    produce.API,
    init_producer_id.API,
)
"""Backup needs the first four, restore all of them."""


async def unsupported_apis(client: MirrorClient, node_id: int) -> list[str]:
    """What this broker lacks, as sentences; empty if nothing.

    Raises:
        UnreachableError: no connection to the broker.
    """
    spoken = await client.api_versions(node_id)
    lacking = []
    for api in NEEDED_APIS:
        least, most = spoken.get(api.key, (0, -1))
        if not least <= api.version <= most:
            said = f"v{least} to v{most}" if most >= 0 else "none"
            lacking.append(f"{api.name} v{api.version} (Kafka {api.since} or newer), the broker speaks {said}")
    return lacking
