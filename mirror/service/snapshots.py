"""The snapshots of a repository: putting, listing, finding, deleting, and what a restore needs of one."""

from collections.abc import Mapping
from typing import NamedTuple

from mirror.config.nearest import did_you_mean
from mirror.core.group_log import CommittedOffset
from mirror.core.keys import SNAPSHOTS_PREFIX, SnapshotKey, format_snapshot_key, parse_snapshot_key
from mirror.core.moments import format_moment
from mirror.core.positions import TopicPartition
from mirror.core.segment.index import decode_checked, encode_checked
from mirror.core.snapshot import Snapshot, is_snapshot_name, names_of, shown_name
from mirror.errors import AccessError, DamageError, NoMatchError, ObjectExistsError, RefusedError, UsageError
from mirror.storage.repository import Repository

__all__ = [
    "SnapshotPoint",
    "check_snapshot_name",
    "delete_snapshot",
    "find_snapshot",
    "list_snapshots",
    "put_snapshot",
    "read_snapshot",
    "snapshot_point",
]


class SnapshotPoint(NamedTuple):
    """A snapshot as a recovery point.

    Attributes:
        offsets: per partition the offset after the last one that is wanted.
        groups: group → partition → position, as :func:`mirror.service.groups.read_groups` gives it; none beyond ``offsets``.
        topic_ids: topic → the incarnation that it had.
        snapshot: all of it.
    """

    offsets: dict[TopicPartition, int]
    groups: dict[str, Mapping[TopicPartition, CommittedOffset]]
    topic_ids: dict[str, str]
    snapshot: Snapshot


def check_snapshot_name(name: str) -> None:
    """Refuse what cannot be the name of a snapshot; empty is none.

    Raises:
        UsageError: says which names can be.
    """
    if name and not is_snapshot_name(name):
        raise UsageError(
            f"{name!r} cannot be the name of a snapshot",
            hint="1 to 64 letters, digits, '.', '_' and '-', a letter or digit first; its time is added by itself",
        )


def put_snapshot(repository: Repository, snapshot: Snapshot) -> None:
    """Store a snapshot.

    Raises:
        RefusedError: one with that name and time is there.
        AccessError, UnreachableError, StoreError: the store.
    """
    try:
        repository.store.put_new(format_snapshot_key(snapshot.key), encode_checked(snapshot))
    except ObjectExistsError:
        raise RefusedError(f"snapshot {shown_name(snapshot.key)} exists", hint="run it again") from None


def list_snapshots(repository: Repository) -> list[SnapshotKey]:
    """All snapshots, the oldest first; foreign objects are passed over (`mirror verify` names them).

    Raises:
        AccessError, UnreachableError, StoreError: the store.
    """
    found = []
    for info in repository.store.list(SNAPSHOTS_PREFIX):
        try:
            found.append(parse_snapshot_key(info.key))
        except DamageError:
            continue
    return sorted(found)


def find_snapshot(repository: Repository, name: str) -> SnapshotKey:
    """The one snapshot of that name: as ``mirror snapshot list`` shows it, or its first part where that is enough.

    Raises:
        NoMatchError: there is none.
        RefusedError: several have that name; the hint lists them.
        AccessError, UnreachableError, StoreError: the store.
    """
    known = list_snapshots(repository)
    matching = [key for key in known if name in names_of(key)]
    if not matching:
        raise NoMatchError(
            f"there is no snapshot {name}{did_you_mean(name, {shown_name(key) for key in known[-20:]})}",
            hint="`mirror snapshot list` lists them all",
        )
    if len(matching) > 1:
        exact = {f"{key.name}@" * bool(key.name) + format_moment(key.taken_at_ms) for key in matching}
        shown = {shown_name(key) for key in matching}
        choices = sorted(shown if len(shown) == len(matching) else exact)
        raise RefusedError(f"{len(matching)} snapshots are named {name}", hint=f"copy one: {', '.join(choices)}")
    return matching[0]


def read_snapshot(repository: Repository, key: SnapshotKey) -> Snapshot:
    """Read one.

    Raises:
        DamageError: it is not what was written.
        ObjectNotFoundError: it was deleted meanwhile.
        AccessError, UnreachableError, StoreError: the store.
    """
    name = format_snapshot_key(key)
    snapshot = decode_checked(Snapshot, repository.store.get(name), name)
    if snapshot.key != key or snapshot.repository_id != repository.identity.repository_id:
        raise DamageError(f"{name}: holds another snapshot, or one of another repository: objects were swapped")
    return snapshot


def delete_snapshot(repository: Repository, key: SnapshotKey) -> None:
    """Delete one; the data that it names stays.

    Raises:
        AccessError: the right to delete is missing; names it.
        UnreachableError, StoreError: the store.
    """
    name = format_snapshot_key(key)
    try:
        repository.store.delete(name)
    except AccessError as error:
        raise AccessError(
            f"snapshot {shown_name(key)} is not deleted: {error.message}",
            hint=f"it needs the right to delete objects below {SNAPSHOTS_PREFIX} (workers need none)",
        ) from error


def snapshot_point(repository: Repository, name: str) -> SnapshotPoint:
    """What a restore to a snapshot needs.

    Raises:
        NoMatchError, RefusedError: see :func:`find_snapshot`.
        DamageError, ObjectNotFoundError, AccessError, UnreachableError, StoreError: it cannot be read.
    """
    snapshot = read_snapshot(repository, find_snapshot(repository, name))
    offsets = {
        TopicPartition(topic.topic, one.partition): one.last_stable_offset
        for topic in snapshot.topics
        for one in topic.partitions
    }
    topic_ids = {topic.topic: topic.topic_id for topic in snapshot.topics}
    groups: dict[str, Mapping[TopicPartition, CommittedOffset]] = {}
    for group in snapshot.groups:
        positions: dict[TopicPartition, CommittedOffset] = {}
        for position in group.positions:
            tp = TopicPartition(position.topic, position.partition)
            if tp in offsets:
                positions[tp] = CommittedOffset(
                    offset=min(position.offset, offsets[tp]),
                    metadata=position.metadata,
                    commit_timestamp_ms=snapshot.taken_at_ms,
                    topic_id=topic_ids[tp.topic],
                )
        groups[group.group] = positions
    return SnapshotPoint(offsets, groups, topic_ids, snapshot)
