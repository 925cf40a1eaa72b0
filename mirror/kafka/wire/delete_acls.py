"""DeleteAcls v2: just the ACLs that are named. (confluent-kafka knows neither all resource types nor all operations.)"""

from collections.abc import Sequence
from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader
from mirror.kafka.wire.create_acls import encode_create_acls
from mirror.kafka.wire.describe_acls import AclEntry

__all__ = ["decode_delete_acls", "delete_acls", "encode_delete_acls"]

API: Final = Api("DeleteAcls", 31, 2, since="2.4")

_AT_ONCE: Final = 500


def encode_delete_acls(acls: Sequence[AclEntry]) -> bytes:
    """The body of a request; ValueError where a field is not one of Kafka's names.

    A filter has the fields of an ACL, in their order; one in which none is null or ANY matches that ACL and no other.
    """
    return encode_create_acls(acls)


def decode_delete_acls(reader: Reader) -> list[tuple[int, str | None]]:
    """Of each filter, in their order, the first error code and the broker's message; MalformedError if the answer is not one."""
    reader.i32()  # throttle time

    def read_match(source: Reader) -> tuple[int, str | None]:
        found = source.i16(), source.nullable_string()
        source.i8()
        source.string()
        source.i8()
        source.string()
        source.string()
        source.i8()
        source.i8()
        source.tags()
        return found

    def read_result(source: Reader) -> tuple[int, str | None]:
        answers = [(source.i16(), source.nullable_string()), *source.array(read_match, least_item_bytes=11)]
        source.tags()
        return next((answer for answer in answers if answer[0]), answers[0])

    results = reader.array(read_result, least_item_bytes=5)
    reader.tags()
    return results


async def delete_acls(client: Sender, node_id: int, acls: Sequence[AclEntry]) -> None:
    """Remove them, in requests of at most 500; one that is not there is no error.

    Raises:
        AccessError: ALTER on the cluster is missing.
        UnreachableError, ClusterError: see `ask`; or the cluster refuses one. Others may have been removed.
        ValueError: a field is not one of Kafka's names.
    """
    for first in range(0, len(acls), _AT_ONCE):
        some = acls[first : first + _AT_ONCE]
        results = decode_delete_acls(await ask(client, node_id, API, encode_delete_acls(some)))
        for acl, (error_code, message) in zip(some, results, strict=False):
            if error_code:
                what = f"removing the ACL of {acl.principal} on {acl.resource_type} {acl.resource_name}"
                raise kafka_error_to_ours(error_code, what, message or "")
