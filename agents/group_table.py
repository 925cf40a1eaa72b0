"""The table of consumer groups: where each of them stands now, as far as it is stored.

One agent folds it from the sealed stream, so it has one writer: the worker that holds the stream's one partition. Like the ledger it is a
GlobalTable and a hint: every worker has all of it, and a restore never asks it.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from agents.ledger import decode_sealed
from mirror.core.events import SealedEvent
from mirror.core.group_log import GROUP_LOG_TOPIC, CommitKey, CommittedOffset
from mirror.errors import MirrorError
from mirror.service.group_following import FollowedGroups

__all__ = [
    "SUMMARY_KEY",
    "GroupRow",
    "GroupSummary",
    "GroupTableWriter",
    "group_key",
    "groups_answer",
    "is_about_groups",
]

log = logging.getLogger(__name__)

SUMMARY_KEY: Final = ""
_REST: Final = 9  # times as long as a turn took: it costs a worker a tenth of a core at most
_LONGEST_REST_SECONDS: Final = 60.0
_ROWS_A_TURN_OF_THE_LOOP: Final = 50
_NEEDLE: Final = GROUP_LOG_TOPIC.encode()

Follow = Callable[[Sequence[SealedEvent]], Awaitable[FollowedGroups | None]]


class GroupRow(msgspec.Struct, frozen=True):
    """A row, as JSON-able values: one position of one group."""

    group: str
    topic: str
    partition: int
    offset: int
    leader_epoch: int
    metadata: str
    committed_at_ms: int
    repository_id: str


class GroupSummary(msgspec.Struct, frozen=True):
    """The row under :data:`SUMMARY_KEY`: what the others were folded from, up to which time of the brokers' clock."""

    topic_id: str
    is_polled: bool
    newest_record_ms: int
    repository_id: str


def group_key(key: CommitKey) -> str:
    """The table's key."""
    return msgspec.json.encode(key).decode()


def is_about_groups(value: bytes) -> bool:
    """Whether an event may say something of the group log; most of a busy cluster's do."""
    return _NEEDLE in value


class GroupTableWriter:
    """Brings the table up to what is stored. Used from one agent.

    Args:
        table: Faust's.
        repository_id: of the repository it speaks of.
        follow: gives where groups stand after some events.
        forget: makes the next answer independent of the events before.

    Attributes:
        is_behind: a turn is due, with or without an event about groups.
    """

    def __init__(self, table: Any, repository_id: str, follow: Follow, forget: Callable[[], None]) -> None:
        self._table = table
        self._repository_id = repository_id
        self._follow = follow
        self._forget = forget
        self._told: Mapping[CommitKey, CommittedOffset] = {}
        self._is_failing = False
        self.is_behind = True

    def forget(self) -> None:
        """Another worker may have written meanwhile: everything is compared at the next turn."""
        self.is_behind = True
        self._forget()

    async def turn(self, values: Sequence[bytes]) -> float:
        """Take in encoded events and write what they changed; how many seconds to wait then.

        Never raises: the table is no reason to stop a backup.
        """
        begun = time.monotonic()
        events = [event for value in values if (event := decode_sealed(value)) is not None]
        compares_all, self.is_behind = self.is_behind, False
        try:
            found = await self._follow(events)
            if found is not None:
                await self._write(self._all_changes(found) if compares_all else self._changes(found))
                self._told = found.positions
        except Exception as error:  # noqa: BLE001 - a store that is gone, a full disk, a broken file
            told = str(error) if isinstance(error, MirrorError) else repr(error)
            level = logging.DEBUG if self._is_failing else logging.WARNING
            log.log(level, "the table of consumer groups is not kept up (backup goes on, tried again): %s", told)
            self._is_failing = True
            self.forget()
        else:
            self._is_failing = False
        return min((time.monotonic() - begun) * _REST, _LONGEST_REST_SECONDS)

    async def _write(self, changes: Mapping[str, dict[str, Any] | None]) -> None:
        for number, (key, row) in enumerate(changes.items()):
            if number % _ROWS_A_TURN_OF_THE_LOOP == 0:
                await asyncio.sleep(0)
            if row is None:
                del self._table[key]
            else:
                self._table[key] = row

    def _changes(self, found: FollowedGroups) -> dict[str, dict[str, Any] | None]:
        told = self._told
        changes: dict[str, dict[str, Any] | None] = {
            group_key(key): self._row(key, position)
            for key, position in found.positions.items()
            if (before := told.get(key)) is not position and before != position
        }
        changes.update(dict.fromkeys(map(group_key, told.keys() - found.positions.keys())))
        if changes:
            changes[SUMMARY_KEY] = self._summary(found)
        return changes

    def _all_changes(self, found: FollowedGroups) -> dict[str, dict[str, Any] | None]:
        wanted = {group_key(key): self._row(key, position) for key, position in found.positions.items()}
        wanted[SUMMARY_KEY] = self._summary(found)
        there = {key: dict(row) for key, row in self._table.items()}
        changes: dict[str, dict[str, Any] | None] = {key: row for key, row in wanted.items() if there.get(key) != row}
        changes.update(dict.fromkeys(there.keys() - wanted.keys()))
        return changes

    def _row(self, key: CommitKey, position: CommittedOffset) -> dict[str, Any]:
        row = GroupRow(
            group=key.group,
            topic=key.topic,
            partition=key.partition,
            offset=position.offset,
            leader_epoch=position.leader_epoch,
            metadata=position.metadata,
            committed_at_ms=position.commit_timestamp_ms,
            repository_id=self._repository_id,
        )
        return msgspec.structs.asdict(row)

    def _summary(self, found: FollowedGroups) -> dict[str, Any]:
        summary = GroupSummary(found.topic_id, found.is_polled, found.newest_record_ms, self._repository_id)
        return msgspec.structs.asdict(summary)


def groups_answer(table: Any, repository_id: str, group: str | None) -> dict[str, Any]:
    """What a worker answers of the table: all groups, or one; ``as_of_ms`` is null where nothing is known yet."""
    rows = {key: dict(row) for key, row in table.items() if dict(row).get("repository_id") == repository_id}
    summary = rows.pop(SUMMARY_KEY, None)
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(rows.values(), key=lambda row: (row["group"], row["topic"], row["partition"])):
        if group is None or row["group"] == group:
            position = {name: value for name, value in row.items() if name not in ("group", "repository_id")}
            groups.setdefault(row["group"], []).append(position)
    return {
        "as_of_ms": summary["newest_record_ms"] if summary else None,
        "is_polled": summary["is_polled"] if summary else None,
        "groups": [{"group": name, "positions": positions} for name, positions in groups.items()],
    }
