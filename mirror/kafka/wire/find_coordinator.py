"""FindCoordinator v4: the broker that keeps a group's or a transactional id's state."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = [
    "GROUP",
    "TRANSACTION",
    "Coordinator",
    "decode_find_coordinator",
    "encode_find_coordinator",
    "find_coordinator",
]

API: Final = Api("FindCoordinator", 10, 4, since="3.0")

GROUP: Final = 0
TRANSACTION: Final = 1

_KINDS: Final = {GROUP: "group", TRANSACTION: "transactional id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinator:
    """The answer for one key; ``node_id`` is -1 with an error."""

    key: str
    node_id: int
    host: str
    port: int
    error_code: int
    error_message: str | None


def encode_find_coordinator(kind: int, keys: Sequence[str]) -> bytes:
    """The body of a request; ``kind`` is `GROUP` or `TRANSACTION`."""
    return Writer().i8(kind).array(keys, Writer.string).no_tags().finish()


def _coordinator(reader: Reader) -> Coordinator:
    coordinator = Coordinator(
        key=reader.string(),
        node_id=reader.i32(),
        host=reader.string(),
        port=reader.i32(),
        error_code=reader.i16(),
        error_message=reader.nullable_string(),
    )
    reader.tags()
    return coordinator


def decode_find_coordinator(reader: Reader) -> list[Coordinator]:
    """Parse an answer; MalformedError if it is not one."""
    reader.i32()  # throttle time
    coordinators = reader.array(_coordinator, least_item_bytes=14)
    reader.tags()
    return coordinators


async def find_coordinator(client: Sender, node_id: int, kind: int, key: str) -> int:
    """The broker that coordinates a group or transactional id; any broker may be asked.

    Raises:
        AccessError: DESCRIBE on the group or transactional id is missing.
        ClusterBusyError: none is available now; the first question ever creates the internal topic and is answered so.
        UnreachableError, ClusterError: see `ask`.
    """
    answer = decode_find_coordinator(await ask(client, node_id, API, encode_find_coordinator(kind, [key])))
    what = f"coordinator of {_KINDS[kind]} {key}"
    if len(answer) != 1:
        raise kafka_error_to_ours(-1, what, f"{len(answer)} answers")
    if answer[0].error_code:
        raise kafka_error_to_ours(answer[0].error_code, what, answer[0].error_message or "")
    return answer[0].node_id
