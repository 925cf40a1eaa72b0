"""AddPartitionsToTxn v3: a producer tells its coordinator which partitions a transaction will touch.

The last version meant for producers; later ones are for brokers among themselves.
"""

from collections.abc import Iterable
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer
from mirror.kafka.wire.init_producer_id import ProducerIdentity

__all__ = ["add_partitions_to_txn", "decode_add_partitions_to_txn", "encode_add_partitions_to_txn"]

API: Final = Api("AddPartitionsToTxn", 24, 3, since="2.8")


def encode_add_partitions_to_txn(
    transactional_id: str, identity: ProducerIdentity, tps: Iterable[TopicPartition]
) -> bytes:
    """The body of a request."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in tps:
        by_topic.setdefault(topic, []).append(partition)

    def write_topic(out: Writer, topic: tuple[str, list[int]]) -> None:
        out.string(topic[0]).array(topic[1], Writer.i32).no_tags()

    writer = Writer().string(transactional_id).i64(identity.producer_id).i16(identity.producer_epoch)
    return writer.array(by_topic.items(), write_topic).no_tags().finish()


def decode_add_partitions_to_txn(reader: Reader) -> dict[TopicPartition, int]:
    """Error codes by partition, 0 for none; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    codes: dict[TopicPartition, int] = {}

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            tp = TopicPartition(topic, part.i32())
            codes[tp] = part.i16()
            part.tags()

        source.array(read_partition, least_item_bytes=7)
        source.tags()

    reader.array(read_topic, least_item_bytes=3)
    reader.tags()
    return codes


async def add_partitions_to_txn(
    client: Sender, node_id: int, transactional_id: str, identity: ProducerIdentity, tps: Iterable[TopicPartition]
) -> dict[TopicPartition, int]:
    """Add partitions to the transaction, which begins with the first ones. Error codes by partition.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`.
    """
    body = encode_add_partitions_to_txn(transactional_id, identity, tps)
    return decode_add_partitions_to_txn(await ask(client, node_id, API, body))
