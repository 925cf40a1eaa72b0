"""CreateAcls v2: an ACL that is there already stays as it is."""

from collections.abc import Sequence
from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer
from mirror.kafka.wire.describe_acls import OPERATIONS, PATTERN_TYPES, PERMISSIONS, RESOURCE_TYPES, AclEntry

__all__ = ["create_acls", "decode_create_acls", "encode_create_acls"]

API: Final = Api("CreateAcls", 30, 2, since="2.4")

_AT_ONCE: Final = 500


def _number(names: dict[int, str], name: str) -> int:
    """Kafka's number; ValueError for a name that has none."""
    found = next((number for number, known in names.items() if known == name), None)
    if found is None:
        raise ValueError(f"{name!r} is none of {', '.join(names.values())}")
    return found


def _write(writer: Writer, acl: AclEntry) -> None:
    writer.i8(_number(RESOURCE_TYPES, acl.resource_type)).string(acl.resource_name)
    writer.i8(_number(PATTERN_TYPES, acl.pattern_type)).string(acl.principal).string(acl.host)
    writer.i8(_number(OPERATIONS, acl.operation)).i8(_number(PERMISSIONS, acl.permission)).no_tags()


def encode_create_acls(acls: Sequence[AclEntry]) -> bytes:
    """The body of a request; ValueError where a field is not one of Kafka's names."""
    return Writer().array(acls, _write).no_tags().finish()


def decode_create_acls(reader: Reader) -> list[tuple[int, str | None]]:
    """Error code and the broker's message of each ACL, in their order; MalformedError if the answer is not one."""
    reader.i32()  # throttle time

    def read_result(source: Reader) -> tuple[int, str | None]:
        found = source.i16(), source.nullable_string()
        source.tags()
        return found

    results = reader.array(read_result, least_item_bytes=4)
    reader.tags()
    return results


async def create_acls(client: Sender, node_id: int, acls: Sequence[AclEntry]) -> None:
    """Add them, in requests of at most 500.

    Raises:
        AccessError: ALTER on the cluster is missing.
        UnreachableError, ClusterError: see `ask`; or the cluster refuses one. Others may have been added.
        ValueError: a field is not one of Kafka's names.
    """
    for first in range(0, len(acls), _AT_ONCE):
        some = acls[first : first + _AT_ONCE]
        results = decode_create_acls(await ask(client, node_id, API, encode_create_acls(some)))
        for acl, (error_code, message) in zip(some, results, strict=False):
            if error_code:
                what = f"adding the ACL of {acl.principal} on {acl.resource_type} {acl.resource_name}"
                raise kafka_error_to_ours(error_code, what, message or "")
