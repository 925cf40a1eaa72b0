"""ListGroups v4: the groups that a broker coordinates. (librdkafka leaves out those whose protocol it does not know.)"""

from typing import Final, NamedTuple

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["ListedGroup", "decode_list_groups", "list_groups"]

API: Final = Api("ListGroups", 16, 4, since="2.6")


class ListedGroup(NamedTuple):
    """A group; ``protocol_type`` is ``consumer`` for most, empty where nobody ever joined, ``connect`` for Kafka Connect's workers."""

    group: str
    protocol_type: str
    state: str


def decode_list_groups(reader: Reader) -> tuple[int, list[ListedGroup]]:
    """Error code and groups; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    error_code = reader.i16()

    def read_group(source: Reader) -> ListedGroup:
        found = ListedGroup(source.string(), source.string(), source.string())
        source.tags()
        return found

    groups = reader.array(read_group, least_item_bytes=4)
    reader.tags()
    return error_code, groups


async def list_groups(client: Sender, node_id: int) -> list[ListedGroup]:
    """The groups of one broker that we may describe; those that we may not are silently left out by the broker.

    Raises:
        ClusterBusyError: the broker is loading them.
        UnreachableError, ClusterError: see `ask`.
    """
    every_state: list[str] = []
    body = Writer().array(every_state, Writer.string).no_tags().finish()
    error_code, groups = decode_list_groups(await ask(client, node_id, API, body))
    if error_code:
        raise kafka_error_to_ours(error_code, f"groups of broker {node_id}")
    return groups
