"""What the table of consumer groups is told, and what a worker answers from it."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from agents.group_table import SUMMARY_KEY, GroupTableWriter, group_key, groups_answer, is_about_groups
from mirror.core.events import SealedEvent, decode_event, encode_event, sealed_event
from mirror.core.group_log import GROUP_LOG_TOPIC, CommitKey
from mirror.errors import UnreachableError
from mirror.service.group_following import FollowedGroups, GroupFollower
from mirror.storage.memory import MemoryStore
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value
from tests.observe_builders import T0_MS, RepositoryBuilder, a_batch, a_slice


class Table(dict[str, dict[str, Any]]):
    """In place of Faust's; remembers what was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []

    def __setitem__(self, key: str, row: dict[str, Any]) -> None:
        self.written.append(key)
        super().__setitem__(key, row)

    def __delitem__(self, key: str) -> None:
        self.written.append(f"-{key}")
        super().__delitem__(key)


class Lab:
    """A repository, a table and its writer."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.builder = RepositoryBuilder(store=self.store)
        self.builder.start(GROUP_LOG_TOPIC, 0)
        self.repository_id = self.builder.repository.identity.repository_id
        self.table = Table()
        self.follower = GroupFollower(self.builder.repository)
        self.failing: UnreachableError | None = None
        self.writer = GroupTableWriter(self.table, self.repository_id, self.follow, self.follower.forget)
        self._offset = 0

    async def follow(self, events: Sequence[SealedEvent]) -> FollowedGroups | None:
        """Unless it is to fail."""
        if self.failing is not None:
            raise self.failing
        return self.follower.follow(events)

    def commit(self, group: str, offset: int | None) -> bytes:
        """The event of an object with one commit, or with a deletion."""
        pair = (a_commit_key(group), None if offset is None else a_commit_value(offset, commit_timestamp_ms=T0_MS))
        batch = a_commit_batch(self._offset, pair, at_ms=T0_MS + self._offset)
        return self.event(self.builder.put([a_slice(GROUP_LOG_TOPIC, 0, self._next(), batch)]))

    def event(self, key: str) -> bytes:
        """As its writer sends it."""
        index, size_bytes = self.builder.repository.read_index(key)
        return encode_event(sealed_event(key, size_bytes, index))

    def turn(self, *events: bytes) -> list[str]:
        """The keys that were written in a turn."""
        self.table.written.clear()
        assert 0 <= asyncio.run(self.writer.turn(events)) <= 60
        return self.table.written

    def _next(self) -> int:
        self._offset += 1
        return self._offset - 1


def key_of(group: str) -> str:
    """The key of the one position that groups have here."""
    return group_key(CommitKey(group, "orders", 0))


def test_a_turn_writes_what_changed_and_nothing_else() -> None:
    """New, moved and deleted positions; each change says in the summary how young the table is."""
    lab = Lab()
    assert sorted(lab.turn(lab.commit("bill", 3), lab.commit("ship", 5))) == sorted(
        [SUMMARY_KEY, key_of("bill"), key_of("ship")]
    )
    assert lab.turn() == []
    assert lab.turn(lab.commit("bill", 4)) == [key_of("bill"), SUMMARY_KEY]
    assert lab.turn(lab.commit("ship", None)) == [f"-{key_of('ship')}", SUMMARY_KEY]
    assert groups_answer(lab.table, lab.repository_id, None) == {
        "as_of_ms": T0_MS + 3,
        "is_polled": False,
        "groups": [
            {
                "group": "bill",
                "positions": [
                    {
                        "topic": "orders",
                        "partition": 0,
                        "offset": 4,
                        "leader_epoch": -1,
                        "metadata": "",
                        "committed_at_ms": T0_MS,
                    }
                ],
            }
        ],
    }
    assert groups_answer(lab.table, lab.repository_id, "ship")["groups"] == []


def test_what_another_worker_left_in_the_table_is_compared_once_and_set_right() -> None:
    """A row of a position that is gone, one that is wrong, one that is right."""
    lab = Lab()
    lab.turn(lab.commit("bill", 3), lab.commit("ship", 5))
    dict.__setitem__(lab.table, key_of("ghost"), dict(lab.table[key_of("bill")], group="ghost"))
    dict.__setitem__(lab.table, key_of("bill"), dict(lab.table[key_of("bill")], offset=99))
    lab.writer.forget()
    assert lab.writer.is_behind
    assert sorted(lab.turn()) == sorted([key_of("bill"), f"-{key_of('ghost')}"])
    assert not lab.writer.is_behind
    assert lab.table[key_of("bill")]["offset"] == 3


def test_a_store_that_is_gone_is_told_once_and_nothing_is_missed(caplog: pytest.LogCaptureFixture) -> None:
    """The events of the failing turns are not told again: what they stand for is found in the repository."""
    lab = Lab()
    lab.turn(lab.commit("bill", 3))
    lab.failing = UnreachableError("no store")
    with caplog.at_level(logging.WARNING):
        assert lab.turn(lab.commit("bill", 4)) == []
        assert lab.turn(lab.commit("ship", 1)) == []
    assert [record.message for record in caplog.records] == [
        "the table of consumer groups is not kept up (backup goes on, tried again): no store"
    ]
    assert lab.writer.is_behind
    lab.failing = None
    assert sorted(lab.turn()) == sorted([SUMMARY_KEY, key_of("bill"), key_of("ship")])


def test_rows_of_another_repository_are_not_answered() -> None:
    """The same worker id with a new repository: the old rows go at the first turn, and until then nobody sees them."""
    lab = Lab()
    lab.turn(lab.commit("bill", 3))
    assert groups_answer(lab.table, "another", None) == {"as_of_ms": None, "is_polled": None, "groups": []}


def test_events_without_the_group_log_are_told_apart_without_decoding() -> None:
    """Most events of a quiet cluster."""
    lab = Lab()
    assert is_about_groups(lab.commit("bill", 3))
    assert not is_about_groups(lab.event(lab.builder.put([a_slice("orders", 0, 0, a_batch(0, 3))])))


def test_a_message_that_is_no_event_changes_nothing() -> None:
    """Anybody may write to a topic."""
    lab = Lab()
    lab.turn(lab.commit("bill", 3))
    assert lab.turn(b"{", lab.commit("bill", 4)) == [key_of("bill"), SUMMARY_KEY]


def test_a_repair_makes_it_fold_anew() -> None:
    """Its events name no object."""
    lab = Lab()
    lab.turn(lab.commit("bill", 3))
    event = msgspec.structs.replace(decode_event(lab.commit("bill", 4)), key=None, repair=True)
    assert lab.turn(encode_event(event)) == [key_of("bill"), SUMMARY_KEY]
