"""What is left to load of a partition."""

from collections.abc import Sequence
from dataclasses import dataclass

from mirror.core.coverage import CoveredRun
from mirror.core.positions import TopicPartition
from mirror.core.restore_plan import PartitionPlan
from mirror.kafka.wire.init_producer_id import ProducerIdentity

__all__ = ["PartitionRest", "Rests", "rest_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionRest:
    """What is left to load of one partition.

    Attributes:
        pieces: to be read; the first ``skip_records`` records of them are on the target already.
        done_records: on the target already.
        total_records: of the whole partition, where it was counted.
        identity: of the producer that wrote what is there; None where nothing is, or it is not known. It sends ``next_sequence`` next.
        position: the log's end; it begins at ``log_start_offset``.
        is_blank: nothing but filler is there.
    """

    pieces: Sequence[CoveredRun]
    skip_records: int = 0
    done_records: int = 0
    total_records: int | None = None
    identity: ProducerIdentity | None = None
    next_sequence: int = 0
    position: int = 0
    log_start_offset: int = 0
    is_blank: bool = True


Rests = dict[TopicPartition, PartitionRest]


def rest_of(partition: PartitionPlan) -> PartitionRest:
    """All of a partition of which nothing is on the target."""
    return PartitionRest(pieces=partition.coverage.runs if partition.coverage else ())
