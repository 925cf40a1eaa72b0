"""WriteTxnMarkers v1: transaction markers straight to the leaders of partitions. Here only those of aborted transactions.

The answer has one error code per producer id and partition, the last one's: of many markers with one producer id some may
have failed although it says 0. Only the log end tells how many were written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from mirror.core.positions import TopicPartition
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["MarkerStamp", "decode_write_txn_markers", "encode_abort_markers", "write_abort_markers"]

API: Final = Api("WriteTxnMarkers", 27, 1, since="2.8")


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkerStamp:
    """Whose markers they are: a leader refuses those with a lower epoch, of either kind, than it has seen."""

    producer_id: int
    producer_epoch: int
    coordinator_epoch: int


def encode_abort_markers(stamp: MarkerStamp, counts: Mapping[TopicPartition, int]) -> bytes:
    """The body of a request for so many markers on each partition; counts are at least 1.

    One marker covers every partition that still wants one, so equal counts cost no more than one.
    """
    markers: list[bytes] = []
    written = 0
    for count in sorted(set(counts.values())):
        marker = _marker(stamp, [tp for tp, wanted in counts.items() if wanted >= count])
        markers += [marker] * (count - written)
        written = count
    return Writer().uvarint(len(markers) + 1).finish() + b"".join(markers) + b"\x00"


def _marker(stamp: MarkerStamp, tps: list[TopicPartition]) -> bytes:
    by_topic: dict[str, list[int]] = {}
    for topic, partition in tps:
        by_topic.setdefault(topic, []).append(partition)

    def write_topic(out: Writer, topic: tuple[str, list[int]]) -> None:
        out.string(topic[0]).array(topic[1], Writer.i32).no_tags()

    writer = Writer().i64(stamp.producer_id).i16(stamp.producer_epoch).boolean(False)
    return writer.array(by_topic.items(), write_topic).i32(stamp.coordinator_epoch).no_tags().finish()


def decode_write_txn_markers(reader: Reader) -> dict[TopicPartition, int]:
    """Error codes by partition, 0 for none; MalformedError if the answer is not one."""
    codes: dict[TopicPartition, int] = {}

    def read_marker(marker: Reader) -> None:
        marker.i64()  # producer id
        marker.array(read_topic, least_item_bytes=3)
        marker.tags()

    def read_topic(source: Reader) -> None:
        topic = source.string()

        def read_partition(part: Reader) -> None:
            tp, error_code = TopicPartition(topic, part.i32()), part.i16()
            part.tags()
            codes[tp] = codes.get(tp, 0) or error_code

        source.array(read_partition, least_item_bytes=7)
        source.tags()

    reader.array(read_marker, least_item_bytes=10)
    reader.tags()
    return codes


async def write_abort_markers(
    client: Sender, node_id: int, stamp: MarkerStamp, counts: Mapping[TopicPartition, int], *, connection: object = 0
) -> dict[TopicPartition, int]:
    """Write so many markers on each of these partitions, all led by this broker; waits for all in-sync replicas.

    Returns:
        Error codes by partition; 0 does not prove that all of several markers were written.

    Raises:
        UnreachableError, AccessError, ClusterError: see `ask`. It is not known then whether markers were written.
    """
    body = encode_abort_markers(stamp, counts)
    return decode_write_txn_markers(await ask(client, node_id, API, body, connection=connection))
