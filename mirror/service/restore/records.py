"""The records of restores in a repository: putting, listing, finding, reading. Objects are put once and never replaced."""

from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from mirror.core.keys import RESTORES_PREFIX, RestoreKey, format_restore_key, parse_restore_key
from mirror.core.restore_record import (
    MappedPartition,
    OffsetMapping,
    RestoreEnd,
    RestoreGroups,
    RestoreHistory,
    RestoreObject,
    RestorePlanned,
    RestoreProved,
    RestoreStart,
    RestoreState,
)
from mirror.core.segment.index import decode_checked, encode_checked
from mirror.errors import DamageError, NoMatchError, ObjectExistsError, RefusedError
from mirror.storage.repository import Repository

__all__ = ["find_restore", "list_restores", "put_record", "read_history", "read_mapping", "read_record"]

_T = TypeVar("_T", bound=msgspec.Struct)
_TRIES: Final = 100
_NAMED: Final = 5
_KINDS: Final[Mapping[str, type[RestoreObject]]] = {
    "plan": RestorePlanned,
    "start": RestoreStart,
    "end": RestoreEnd,
    "groups": RestoreGroups,
    "state": RestoreState,
    "mapping": OffsetMapping,
    "proof": RestoreProved,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def put_record(repository: Repository, value: RestoreObject) -> int:
    """Store one object of a record; its ``written_at_ms``, which is a later one where that name was taken.

    Raises:
        AccessError: the store's key may not put; names it.
        UnreachableError, StoreError: the store.
    """
    written_at_ms = value.written_at_ms
    for written_at_ms in range(value.written_at_ms, value.written_at_ms + _TRIES):
        dated = msgspec.structs.replace(value, written_at_ms=written_at_ms)
        key = format_restore_key(RestoreKey(value.restore_id, written_at_ms, _NAMES[type(value)]))
        try:
            repository.store.put_new(key, encode_checked(dated))
        except ObjectExistsError:
            continue
        return written_at_ms
    raise ObjectExistsError(f"the names of {_TRIES} milliseconds from {written_at_ms - _TRIES + 1} on are taken")


def read_record(repository: Repository, key: str) -> RestoreObject:
    """Read one object, whatever kind it is.

    Raises:
        DamageError: it is not what was written.
        ObjectNotFoundError, AccessError, UnreachableError, StoreError: the store.
    """
    parsed = parse_restore_key(key)
    value = decode_checked(_KINDS[parsed.kind], repository.store.get(key), key)
    assert isinstance(value, RestoreObject)
    if (value.restore_id, value.written_at_ms) != (parsed.restore_id, parsed.written_at_ms):
        raise DamageError(f"{key}: holds another record: objects were swapped")
    return value


def list_restores(repository: Repository) -> list[str]:
    """The ids of all restores with a record, those that began last at the end.

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    first_ms: dict[str, int] = {}
    for info in repository.store.list(RESTORES_PREFIX):
        try:
            key = parse_restore_key(info.key)
        except DamageError:  # foreign: `mirror verify` names it
            continue
        first_ms.setdefault(key.restore_id, key.written_at_ms)
    return sorted(first_ms, key=lambda restore_id: (first_ms[restore_id], restore_id))


def find_restore(repository: Repository, name: str) -> str:
    """The one restore of that id, or whose id begins so.

    Raises:
        NoMatchError: there is none.
        RefusedError: several begin so; the hint lists them.
        AccessError, UnreachableError, StoreError: the store.
    """
    known = list_restores(repository)
    matching = [one for one in known if one.startswith(name)] if name else []
    if name in matching:
        return name
    if not matching:
        newest = f"; the newest is {known[-1]}" if known else "; there is none"
        raise NoMatchError(
            f"there is no record of a restore {name}{newest}",
            hint="`mirror restore list` lists them; where the store's key may only read, none is kept: give the plan's file instead",
        )
    if len(matching) > 1:
        some = ", ".join(matching[: -_NAMED - 1 : -1])
        raise RefusedError(
            f"the ids of {len(matching)} restores begin with {name}",
            hint=f"say more of it; the newest: {some} (`mirror restore list` shows all)",
        )
    return matching[0]


def read_history(repository: Repository, restore_id: str) -> RestoreHistory:
    """All that is kept of one restore, but the offsets.

    Raises:
        DamageError: an object is not what was written, or the plan is gone.
        AccessError, UnreachableError, StoreError: the store.
    """
    read: dict[type[RestoreObject], list[RestoreObject]] = {kind: [] for kind in _NAMES}
    mappings: list[str] = []
    for info in repository.store.list(f"{RESTORES_PREFIX}{restore_id}/"):
        try:
            kind = parse_restore_key(info.key).kind
        except DamageError:
            continue
        if kind == "mapping":
            mappings.append(info.key)
        else:
            value = read_record(repository, info.key)
            read[type(value)].append(value)

    def of(kind: type[_T]) -> tuple[_T, ...]:
        return tuple(value for values in read.values() for value in values if isinstance(value, kind))

    if not of(RestorePlanned):
        raise DamageError(f"the record of restore {restore_id} has no plan: somebody deleted it")
    return RestoreHistory(
        restore_id=restore_id,
        plans=of(RestorePlanned),
        starts=of(RestoreStart),
        ends=of(RestoreEnd),
        groups=of(RestoreGroups),
        states=of(RestoreState),
        proofs=of(RestoreProved),
        mapping_keys=tuple(mappings),
    )


def read_mapping(repository: Repository, history: RestoreHistory) -> OffsetMapping | None:
    """The offsets of a restore that translated them, of all its objects together; None where none are kept.

    Raises:
        DamageError: they are not what was written.
        AccessError, UnreachableError, StoreError: the store.
    """
    if not history.mapping_keys:
        return None
    partitions: dict[tuple[str, int], MappedPartition] = {}
    values = [value for key in history.mapping_keys if isinstance(value := read_record(repository, key), OffsetMapping)]
    for value in values:
        partitions.update(((one.target_topic, one.partition), one) for one in value.partitions)
    return msgspec.structs.replace(values[-1], partitions=[partitions[name] for name in sorted(partitions)])
