"""Which way a restore fills holes: by markers, or, where that right is missing, by aborted transactions."""

import zlib
from collections.abc import Collection

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan
from mirror.errors import AccessError
from mirror.kafka.abort_filler import AbortFiller
from mirror.kafka.client import MirrorClient
from mirror.kafka.hole_filler import HoleFiller
from mirror.kafka.marker_filler import MarkerFiller, may_write_markers
from mirror.kafka.producers import active_producers, next_marker_identity

__all__ = ["TRANSACTIONAL_ID_PREFIX", "choose_filler"]

TRANSACTIONAL_ID_PREFIX = "mirror-restore-"


async def choose_filler(client: MirrorClient, plan: RestorePlan, begun: Collection[TopicPartition]) -> HoleFiller:
    """The filler of a run, to be started before log ends are looked at; it fences the runs before it.

    Args:
        client: of the target.
        plan: what is restored: the same for all runs of one restore.
        begun: partitions in which an earlier run left something.

    Raises:
        UnreachableError, ClusterError: the target could not be asked.
    """
    if not await may_write_markers(client):
        text = " ".join(f"{topic.target_topic}={topic.mark.value}" for topic in plan.topics)
        return AbortFiller(client, transactional_id=f"{TRANSACTIONAL_ID_PREFIX}{zlib.crc32(text.encode()):08x}")
    identity = None
    if begun:
        try:
            identity = next_marker_identity(await active_producers(client, begun))
        except AccessError:  # no right to ask for producers: the checks of log ends are left
            identity = None
    return MarkerFiller(client, identity=identity)
