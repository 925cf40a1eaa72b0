"""DescribeUserScramCredentials v0: who may log in by SCRAM.

Not by confluent-kafka 2.16: where the right is missing, the process ends ("munmap_chunk(): invalid pointer"). All users are asked for by an
empty array, not by null: a broker (Kafka 4.3.1) that must refuse null fails inside, and never answers on that connection again.
"""

from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = ["decode_scram_users", "describe_scram_users"]

API: Final = Api("DescribeUserScramCredentials", 50, 0, since="2.7")

_MECHANISMS: Final = {1: "SCRAM-SHA-256", 2: "SCRAM-SHA-512"}


def decode_scram_users(reader: Reader) -> tuple[int, str | None, dict[str, list[str]]]:
    """Error code, the broker's message, and the mechanisms of each user; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    error_code, message = reader.i16(), reader.nullable_string()

    def read_mechanism(source: Reader) -> str:
        number = source.i8()
        source.i32()  # iterations
        source.tags()
        return _MECHANISMS.get(number, f"UNKNOWN_{number}")

    def read_user(source: Reader) -> tuple[str, list[str]]:
        user = source.string()
        source.i16()  # of the user alone: only where it was asked for by name
        source.nullable_string()
        mechanisms = source.array(read_mechanism, least_item_bytes=6)
        source.tags()
        return user, sorted(mechanisms)

    users = dict(sorted(reader.array(read_user, least_item_bytes=6)))
    reader.tags()
    return error_code, message, users


async def describe_scram_users(client: Sender, node_id: int) -> dict[str, list[str]]:
    """All users with their mechanisms, sorted; never a secret.

    Raises:
        AccessError: DESCRIBE on the cluster is missing.
        UnreachableError, ClusterError: see `ask`.
    """
    all_users: list[str] = []
    body = Writer().array(all_users, Writer.string).no_tags().finish()
    error_code, message, users = decode_scram_users(await ask(client, node_id, API, body))
    if error_code:
        raise kafka_error_to_ours(error_code, "listing SCRAM users", message or "")
    return users
