"""From the folds of the group log's partitions to where groups stand."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

from mirror.core.group_log import (
    OWN_COMMIT_METADATA,
    CommitKey,
    CommitRecord,
    CommittedOffset,
    GroupLogFold,
    decode_commit_key,
    decode_commit_value,
)
from mirror.core.positions import TopicPartition
from mirror.errors import DamageError, UnsupportedFormatError

__all__ = ["GroupPositions", "PositionCollector", "collect_positions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPositions:
    """Where groups stood.

    Attributes:
        groups: group → partition → position, both sorted.
        problems: ``(group, or "" where its name cannot be read, what is wrong)`` of positions that are left out, since they cannot be read.
    """

    groups: Mapping[str, Mapping[TopicPartition, CommittedOffset]]
    problems: tuple[tuple[str, str], ...] = ()


class PositionCollector:
    """Decodes what counts of the folds, and at the next call only what has changed since.

    Attributes:
        problems: as in :class:`GroupPositions`, by the key of the record.
    """

    def __init__(self) -> None:
        self._records: dict[bytes, CommitRecord] = {}
        self._decoded: dict[bytes, tuple[CommitKey, CommittedOffset]] = {}
        self.problems: dict[bytes, tuple[str, str]] = {}

    def collect(self, folds: Iterable[GroupLogFold]) -> dict[CommitKey, CommittedOffset]:
        """The positions of all groups but mirrors'. What is as it was is the same object as before.

        A group lives in one partition. Where partitions were added to the group log it may be in two: the younger record counts.
        """
        newest: dict[bytes, CommitRecord] = {}
        for fold in folds:
            for key, entry in fold.entries.items():
                known = newest.get(key)
                if known is None or known.timestamp_ms < entry.timestamp_ms:
                    newest[key] = entry
        for key in self._records.keys() - newest.keys():
            self._forget(key)
        for key, entry in newest.items():
            if self._records.get(key) is not entry:
                self._forget(key)
                self._decode(key, entry)
        self._records = newest
        mirrors = {key.group for key, position in self._decoded.values() if position.metadata == OWN_COMMIT_METADATA}
        return {key: position for key, position in self._decoded.values() if key.group not in mirrors}

    def _forget(self, key: bytes) -> None:
        self._decoded.pop(key, None)
        self.problems.pop(key, None)

    def _decode(self, key: bytes, entry: CommitRecord) -> None:
        group, where = "", f"record at offset {entry.offset}"
        try:
            found = decode_commit_key(key)
            if found is None:
                return
            group, where = found.group, str(TopicPartition(found.topic, found.partition))
            self._decoded[key] = found, decode_commit_value(entry.value)
        except (DamageError, UnsupportedFormatError) as error:
            self.problems[key] = group, f"{where}: {error.message}"


def collect_positions(folds: Iterable[GroupLogFold], *, without_groups: Collection[str] = ()) -> GroupPositions:
    """The positions of all groups but mirrors' and ``without_groups`` from the folds of all partitions."""
    collector = PositionCollector()
    groups: dict[str, dict[TopicPartition, CommittedOffset]] = {}
    for key, position in sorted(collector.collect(folds).items()):
        if key.group not in without_groups:
            groups.setdefault(key.group, {})[TopicPartition(key.topic, key.partition)] = position
    problems = (problem for problem in collector.problems.values() if problem[0] not in without_groups)
    return GroupPositions(groups=groups, problems=tuple(sorted(problems)))
