"""Which identity a marker filler goes on with."""

from mirror.core.positions import TopicPartition
from mirror.kafka.producers import next_marker_identity
from mirror.kafka.wire.describe_producers import ActiveProducer
from mirror.kafka.wire.init_producer_id import ProducerIdentity

T0, T1 = TopicPartition("t", 0), TopicPartition("t", 1)


def _producer(
    producer_id: int, epoch: int, coordinator_epoch: int, *, last_sequence: int = -1, at_ms: int = 1
) -> ActiveProducer:
    return ActiveProducer(
        producer_id=producer_id,
        producer_epoch=epoch,
        last_sequence=last_sequence,
        last_timestamp_ms=at_ms,
        coordinator_epoch=coordinator_epoch,
        transaction_start_offset=-1,
    )


def test_the_largest_epoch_of_all_partitions_is_raised() -> None:
    """A run that filled holes of one partition only counts for all."""
    known = {T0: (_producer(7, 1, 65536, at_ms=5),), T1: (_producer(7, 3, 3 * 65536 + 2, at_ms=4),)}
    assert next_marker_identity(known) == ProducerIdentity(producer_id=7, producer_epoch=4)


def test_of_several_fillers_the_last_one_is_fenced() -> None:
    """Two earlier runs with ids of their own: the one that wrote last."""
    known = {T0: (_producer(7, 4, 4 * 65536, at_ms=5),), T1: (_producer(8, 1, 65536, at_ms=6),)}
    assert next_marker_identity(known) == ProducerIdentity(producer_id=8, producer_epoch=2)


def test_other_producers_are_no_fillers() -> None:
    """Producers of data, ordinary transactions with coordinators of small epochs, and an id whose epochs are used up."""
    others = (
        _producer(1, 1, -1, last_sequence=9),
        _producer(2, 0, 0),
        _producer(3, 1, 12),
        _producer(4, 1, 65536, last_sequence=0),
    )
    assert next_marker_identity({T0: others, T1: ()}) is None
    assert next_marker_identity({T0: (_producer(7, 32767, 32767 << 16),)}) is None
