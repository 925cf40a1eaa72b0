"""DescribeAcls v2: all ACLs of a cluster. (confluent-kafka answers an empty list where the broker refuses to say.)"""

from dataclasses import dataclass
from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.rights import OPERATION_NAMES
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = [
    "OPERATIONS",
    "PATTERN_TYPES",
    "PERMISSIONS",
    "RESOURCE_TYPES",
    "AclEntry",
    "decode_describe_acls",
    "describe_acls",
]

API: Final = Api("DescribeAcls", 29, 2, since="2.4")

_ANY: Final = 1
_SECURITY_DISABLED: Final = 54
RESOURCE_TYPES: Final = {
    2: "TOPIC",
    3: "GROUP",
    4: "CLUSTER",
    5: "TRANSACTIONAL_ID",
    6: "DELEGATION_TOKEN",
    7: "USER",
}
PATTERN_TYPES: Final = {3: "LITERAL", 4: "PREFIXED"}
OPERATIONS: Final = {2: "ALL", **OPERATION_NAMES}
PERMISSIONS: Final = {2: "DENY", 3: "ALLOW"}


@dataclass(frozen=True, slots=True, kw_only=True)
class AclEntry:
    """One ACL, every field in Kafka's spelling; a number that we have no name for as ``UNKNOWN_7``."""

    resource_type: str
    resource_name: str
    pattern_type: str
    principal: str
    host: str
    operation: str
    permission: str


def _name(names: dict[int, str], number: int) -> str:
    return names.get(number, f"UNKNOWN_{number}")


def decode_describe_acls(reader: Reader) -> tuple[int, str | None, list[AclEntry]]:
    """Error code, the broker's message, and the ACLs; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    error_code, message = reader.i16(), reader.nullable_string()
    entries: list[AclEntry] = []

    def read_resource(source: Reader) -> None:
        resource_type = _name(RESOURCE_TYPES, source.i8())
        resource_name = source.string()
        pattern_type = _name(PATTERN_TYPES, source.i8())

        def read_acl(acl: Reader) -> None:
            entries.append(
                AclEntry(
                    resource_type=resource_type,
                    resource_name=resource_name,
                    pattern_type=pattern_type,
                    principal=acl.string(),
                    host=acl.string(),
                    operation=_name(OPERATIONS, acl.i8()),
                    permission=_name(PERMISSIONS, acl.i8()),
                )
            )
            acl.tags()

        source.array(read_acl, least_item_bytes=5)
        source.tags()

    reader.array(read_resource, least_item_bytes=5)
    reader.tags()
    return error_code, message, entries


async def describe_acls(client: Sender, node_id: int) -> list[AclEntry] | None:
    """All ACLs, or None if the cluster has no authorizer.

    Raises:
        AccessError: DESCRIBE on the cluster is missing.
        UnreachableError, ClusterError: see `ask`.
    """
    writer = Writer().i8(_ANY).string(None).i8(_ANY).string(None).string(None).i8(_ANY).i8(_ANY).no_tags()
    error_code, message, entries = decode_describe_acls(await ask(client, node_id, API, writer.finish()))
    if error_code == _SECURITY_DISABLED:
        return None
    if error_code:
        raise kafka_error_to_ours(error_code, "listing ACLs", message or "")
    return entries
