"""Which way a restore fills holes: by markers, or, where that right is missing, by aborted transactions."""

import zlib
from collections.abc import Mapping

from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan
from mirror.kafka.abort_filler import AbortFiller
from mirror.kafka.client import MirrorClient
from mirror.kafka.hole_filler import HoleFiller
from mirror.kafka.marker_filler import MarkerFiller, may_write_markers
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.restore.rest import PartitionRest

__all__ = ["TRANSACTIONAL_ID_PREFIX", "choose_filler"]

TRANSACTIONAL_ID_PREFIX = "mirror-restore-"


async def choose_filler(
    client: MirrorClient, plan: RestorePlan, rests: Mapping[TopicPartition, PartitionRest]
) -> HoleFiller:
    """The filler of a run, to be started before log ends are looked at; it fences the runs before, as far as they are known.

    Args:
        client: of the target.
        plan: what is restored: the same for all runs of one restore.
        rests: what earlier runs left.

    Raises:
        UnreachableError, ClusterError: the target could not be asked.
    """
    if not await may_write_markers(client):
        text = " ".join(f"{topic.target_topic}={topic.mark.value}" for topic in plan.topics)
        return AbortFiller(client, transactional_id=f"{TRANSACTIONAL_ID_PREFIX}{zlib.crc32(text.encode()):08x}")
    known = [rest.marker_identity for rest in rests.values() if rest.marker_identity is not None]
    if not known:
        return MarkerFiller(client)
    last = max(known, key=lambda one: (one.producer_id, one.producer_epoch))
    return MarkerFiller(
        client, identity=ProducerIdentity(producer_id=last.producer_id, producer_epoch=last.producer_epoch + 1)
    )
