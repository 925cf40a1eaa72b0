"""DescribeClientQuotas v1 and AlterClientQuotas v1: what a client may use of a cluster.

librdkafka has neither, aiokafka has v0 only, which does not say what it refuses.
"""

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.api import Api, Sender, ask
from mirror.kafka.wire.codec import Reader, Writer

__all__ = [
    "QuotaChange",
    "QuotaEntry",
    "alter_client_quotas",
    "decode_alter_client_quotas",
    "decode_client_quotas",
    "describe_client_quotas",
    "encode_alter_client_quotas",
    "quota_changes",
]

DESCRIBE: Final = Api("DescribeClientQuotas", 48, 1, since="2.8")
ALTER: Final = Api("AlterClientQuotas", 49, 1, since="2.8")

_F64: Final = struct.Struct(">d")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaEntry:
    """The quotas of one entity.

    Attributes:
        entity: kind (``user``, ``client-id``, ``ip``) → name; a name of None is the default of its kind.
        values: quota → limit, such as ``producer_byte_rate`` → 1048576.0.
    """

    entity: Mapping[str, str | None]
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaChange:
    """What is set of one entity; a limit of None is removed."""

    entity: Mapping[str, str | None]
    values: Mapping[str, float | None]


def quota_changes(limits: Iterable[tuple[Mapping[str, str | None], str, float | None]]) -> list[QuotaChange]:
    """Of ``(entity, quota, limit)`` one change for each entity: a request may name it once."""
    values: dict[frozenset[tuple[str, str | None]], dict[str, float | None]] = {}
    for entity, name, limit in limits:
        values.setdefault(frozenset(entity.items()), {})[name] = limit
    return [QuotaChange(entity=dict(entity), values=found) for entity, found in values.items()]


def _entity(source: Reader) -> dict[str, str | None]:
    def read_part(part: Reader) -> tuple[str, str | None]:
        kind, name = part.string(), part.nullable_string()
        part.tags()
        return kind, name

    return dict(source.array(read_part, least_item_bytes=3))


def decode_client_quotas(reader: Reader) -> tuple[int, str | None, list[QuotaEntry]]:
    """Error code, the broker's message, and the quotas; MalformedError if the answer is not one."""
    reader.i32()  # throttle time
    error_code, message = reader.i16(), reader.nullable_string()

    def read_value(source: Reader) -> tuple[str, float]:
        key, (value,) = source.string(), source.fields(_F64)
        source.tags()
        return key, float(value)

    def read_entry(source: Reader) -> QuotaEntry:
        entity = _entity(source)
        values = dict(source.array(read_value, least_item_bytes=10))
        source.tags()
        return QuotaEntry(entity=entity, values=values)

    entries = reader.array(read_entry, least_item_bytes=3)
    reader.tags()
    return error_code, message, entries


async def describe_client_quotas(client: Sender, node_id: int) -> list[QuotaEntry]:
    """All quotas of all users, client ids and addresses, in the broker's order.

    Raises:
        AccessError: DESCRIBE_CONFIGS on the cluster is missing.
        UnreachableError, ClusterError: see `ask`.
    """
    body = Writer().uvarint(1).boolean(False).no_tags().finish()  # no filter: everything
    error_code, message, entries = decode_client_quotas(await ask(client, node_id, DESCRIBE, body))
    if error_code:
        raise kafka_error_to_ours(error_code, "listing client quotas", message or "")
    return entries


def _write_part(writer: Writer, part: tuple[str, str | None]) -> None:
    writer.string(part[0]).string(part[1]).no_tags()


def _write_value(writer: Writer, value: tuple[str, float | None]) -> None:
    name, limit = value
    writer.string(name).raw(_F64.pack(limit or 0.0)).boolean(limit is None).no_tags()  # true: remove


def _write_entry(writer: Writer, entry: QuotaEntry | QuotaChange) -> None:
    writer.array(entry.entity.items(), _write_part).array(entry.values.items(), _write_value).no_tags()


def decode_alter_client_quotas(reader: Reader) -> list[tuple[int, str | None, dict[str, str | None]]]:
    """Of each entity the error code, the broker's message and its name; MalformedError if the answer is not one."""
    reader.i32()  # throttle time

    def read_entry(source: Reader) -> tuple[int, str | None, dict[str, str | None]]:
        found = source.i16(), source.nullable_string(), _entity(source)
        source.tags()
        return found

    answers = reader.array(read_entry, least_item_bytes=5)
    reader.tags()
    return answers


def encode_alter_client_quotas(entries: Iterable[QuotaEntry | QuotaChange]) -> bytes:
    """The body of a request."""
    return Writer().array(entries, _write_entry).boolean(False).no_tags().finish()  # false: do it


async def alter_client_quotas(client: Sender, node_id: int, entries: Iterable[QuotaEntry | QuotaChange]) -> None:
    """Set these quotas, remove those whose limit is None; those that are not named stay as they are.

    Raises:
        AccessError: ALTER_CONFIGS on the cluster is missing.
        UnreachableError, ClusterError: see `ask`; or the cluster refuses a value.
    """
    body = encode_alter_client_quotas(entries)
    for error_code, message, entity in decode_alter_client_quotas(await ask(client, node_id, ALTER, body)):
        if error_code:
            named = ", ".join(f"{kind} {name or '(default)'}" for kind, name in entity.items())
            raise kafka_error_to_ours(error_code, f"setting quotas of {named}", message or "")
