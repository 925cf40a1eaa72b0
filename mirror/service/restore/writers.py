"""Which of its computed producer ids a restore writes a topic as.

All runs of a restore have one id, so that what a run before still sends is a repetition to the leaders. A leader that remembers this id
further back, from a restore that went to the same point when less was stored and that another one went on behind, would take the next batch
for out of order. Then the next computed id is taken. Every run finds the same one: an id that is too far back stays so, since no leader
takes anything of it any more, and the one that is chosen is at the log's end, ahead of it or unknown wherever it is looked for.
"""

from collections.abc import Mapping, Sequence

from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import RestorePlan
from mirror.kafka.batch_rewrite import SEQUENCE_MODULUS
from mirror.kafka.client import MirrorClient
from mirror.kafka.producers import active_producers
from mirror.kafka.wire.describe_producers import ActiveProducer
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.restore.identity import restore_identity
from mirror.service.restore.rest import PartitionRest

__all__ = ["choose_writers"]


async def choose_writers(
    client: MirrorClient, repository_id: str, plan: RestorePlan, rests: Mapping[TopicPartition, PartitionRest]
) -> dict[str, ProducerIdentity]:
    """Target topic → who loads it.

    Args:
        client: of the target.
        repository_id: where from.
        plan: what is restored.
        rests: partitions that have something already.

    Raises:
        AccessError, UnreachableError, ClusterError: the leaders cannot be asked.
    """
    remembered = await active_producers(client, rests) if rests else {}
    writers: dict[str, ProducerIdentity] = {}
    appends = plan.if_not_empty is IfNotEmpty.APPEND
    for topic in plan.topics:
        mine = [(rest, remembered.get(tp, ())) for tp, rest in rests.items() if tp.topic == topic.target_topic]
        number = 0
        while True:
            writer = restore_identity(repository_id, plan.point, plan.offsets, number=number, appends=appends)
            if appends or not any(_is_behind(writer, rest, producers) for rest, producers in mine):
                break
            number += 1
        writers[topic.target_topic] = writer
    return writers


def _is_behind(writer: ProducerIdentity, rest: PartitionRest, producers: Sequence[ActiveProducer]) -> bool:
    """Whether the leader remembers this writer, and its last batch further back than the log's end."""
    for one in producers:
        if one.producer_id == writer.producer_id and one.last_sequence >= 0:
            missing = (rest.next_sequence - one.last_sequence - 1) % SEQUENCE_MODULUS
            return 0 < missing < SEQUENCE_MODULUS // 2
    return False
