"""Polled consumer groups: the same records as Kafka's, sessions, and which of several logs answers for a moment."""

import asyncio
import random
from collections.abc import Collection, Mapping
from typing import Any

import pytest

from agents.ledger import fold_event
from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.events import sealed_event
from mirror.core.group_log import (
    GROUP_LOG_TOPIC,
    OWN_COMMIT_METADATA,
    CommitKey,
    decode_commit_key,
    decode_commit_value,
)
from mirror.core.keys import SegmentKey, format_segment_key
from mirror.core.polled_groups import (
    changed_records,
    encode_commit_key,
    encode_commit_value,
    is_polled,
    session_id,
    without_mirrors,
)
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.segment.index import FORMAT_VERSION, RunEntry, SegmentIndex
from mirror.core.segment.layout import HEADER_BYTES, encode_object
from mirror.core.segment.runs import encode_run
from mirror.errors import AccessError, UnreachableError
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.group_admin import GroupPosition
from mirror.kafka.group_positions import AllPositions
from mirror.service import group_poller
from mirror.service.backup.collector import FlushBatch
from mirror.service.group_poller import GroupPoller, PollSession
from mirror.service.groups import GroupView, choose_group_log, read_groups
from mirror.service.inspect import list_stored_topics
from mirror.service.verify import verify_repository
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_slice

ORDERS = TopicPartition("orders", 0)


def put(builder: RepositoryBuilder, batch: FlushBatch) -> SegmentIndex:
    """As the flusher does, at the batch's time."""
    builder.sequence += 1
    builder.now_ms = max(builder.now_ms, batch.first_buffered_at_ms)
    runs: list[RunEntry] = []
    body: list[bytes | memoryview] = []
    position = HEADER_BYTES
    for draft in batch.drafts:
        run, parts = encode_run(draft, position=position, mode="auto", zstd_level=1)
        runs.append(run)
        body += parts
        position += run.stored_bytes
    index = SegmentIndex(
        format_version=FORMAT_VERSION,
        repository_id=builder.repository.identity.repository_id,
        cluster_id=builder.cluster_id,
        writer=builder.writer,
        sequence=builder.sequence,
        sealed_at_ms=builder.now_ms,
        runs=runs,
        starts=batch.starts,
    )
    builder.store.put(
        format_segment_key(SegmentKey(builder.now_ms, builder.writer, builder.sequence)), encode_object(body, index)
    )
    return index


def a_session(builder: RepositoryBuilder) -> PollSession:
    """Whose batches are stored at once."""

    async def submit(batch: FlushBatch) -> None:
        put(builder, batch)

    return PollSession(submit)


def tell(session: PollSession, at_s: int, **groups: int) -> int:
    """A poll, so many seconds after the beginning, found these groups in one partition."""
    found = {CommitKey(group, *ORDERS): (offset, "m") for group, offset in groups.items()}
    return asyncio.run(session.tell(found, T0_MS + at_s * 1000))


def coverages(builder: RepositoryBuilder) -> dict[PartitionId, PartitionCoverage]:
    """All that is stored."""
    return build_coverage((entry.key, entry.index) for entry in builder.repository.load_indexes())


def groups_at(builder: RepositoryBuilder, at_s: int | None) -> tuple[dict[str, int], bool]:
    """Where groups stood, and whether that was polled."""
    at_ms = None if at_s is None else T0_MS + at_s * 1000
    view: GroupView = read_groups(builder.repository, coverages(builder), at_ms=at_ms)
    assert view.problems == ()
    return {name: next(iter(found.values())).offset for name, found in view.groups.items()}, view.is_polled


def test_records_are_those_of_kafka() -> None:
    """What is written is what its own coordinator would write, but for the leader epoch and the topic's id."""
    key = CommitKey("a group", "orders", 3)
    assert encode_commit_key(key) == a_commit_key("a group", "orders", 3)
    assert decode_commit_key(encode_commit_key(key)) == key
    for metadata in ("", "text", "ü" * 300):
        value = encode_commit_value(7, metadata, T0_MS)
        assert value == a_commit_value(7, metadata=metadata, commit_timestamp_ms=T0_MS)
        assert (decode_commit_value(value).metadata, decode_commit_value(value).commit_timestamp_ms) == (
            metadata,
            T0_MS,
        )


def test_only_what_changed_is_written() -> None:
    """In the order of the keys; what is gone is deleted; mirrors' groups are nobody's business."""
    before = {CommitKey("a", *ORDERS): (1, ""), CommitKey("b", *ORDERS): (2, ""), CommitKey("c", *ORDERS): (3, "")}
    now = {CommitKey("b", *ORDERS): (2, ""), CommitKey("c", *ORDERS): (3, "x"), CommitKey("d", *ORDERS): (4, "")}
    records = changed_records(before, now, T0_MS)
    assert [(decode_commit_key(key), value is None) for key, value in records] == [
        (CommitKey("a", *ORDERS), True),
        (CommitKey("c", *ORDERS), False),
        (CommitKey("d", *ORDERS), False),
    ]
    mirrors = {CommitKey("m", "orders", 1): (5, OWN_COMMIT_METADATA), CommitKey("m", *ORDERS): (5, "")}
    assert without_mirrors(now | mirrors) == now


def test_a_session_is_known_by_its_id() -> None:
    """As long as a topic's id, and none that a broker makes."""
    first, second = session_id(b"1234567"), session_id(b"7654321")
    assert (len(first), first != second) == (22, True)
    assert is_polled(first)
    assert not is_polled(TOPIC_ID)


def test_polls_answer_for_every_moment() -> None:
    """Moved, deleted and new groups, each from the poll on that saw it; a poll that saw nothing new stores nothing."""
    builder = RepositoryBuilder()
    session = a_session(builder)
    assert tell(session, 10, bill=1, jill=5) == 2
    assert tell(session, 20, bill=1, jill=5) == 0
    assert tell(session, 30, bill=2) == 2
    assert tell(session, 40, bill=2, will=7) == 1
    assert builder.sequence == 3
    assert groups_at(builder, 10) == ({"bill": 1, "jill": 5}, True)
    assert groups_at(builder, 29) == ({"bill": 1, "jill": 5}, True)
    assert groups_at(builder, 30) == ({"bill": 2}, True)
    assert groups_at(builder, None) == ({"bill": 2, "will": 7}, True)
    view = read_groups(builder.repository, coverages(builder))
    assert view.known_from_ms == T0_MS + 10_000
    report = verify_repository(builder.repository, level="deep")[0]
    assert (report.findings, report.notes) == ([], [])


def test_many_positions_are_several_batches() -> None:
    """All are there."""
    builder = RepositoryBuilder()
    assert tell(a_session(builder), 1, **{f"g{number}": number for number in range(5_001)}) == 5_001
    found, _ = groups_at(builder, None)
    assert (len(found), found["g5000"]) == (5_001, 5_000)


def test_the_next_session_takes_over() -> None:
    """From its first poll on; what one writes that does not know that it was replaced changes nothing."""
    builder = RepositoryBuilder()
    first, second = a_session(builder), a_session(builder)
    tell(first, 10, bill=1, jill=1)
    tell(second, 20, bill=2)
    tell(first, 30, bill=9, jill=9)
    assert groups_at(builder, 19) == ({"bill": 1, "jill": 1}, True)
    assert groups_at(builder, 20) == ({"bill": 2}, True)
    assert groups_at(builder, 35) == ({"bill": 2}, True)
    assert groups_at(builder, None) == ({"bill": 2}, True)
    (shown,) = list_stored_topics(builder.repository)
    assert (shown.topic, shown.topic_id) == (GROUP_LOG_TOPIC, second.topic_id)


def test_a_session_without_groups_says_so() -> None:
    """They are none, not unknown."""
    builder = RepositoryBuilder()
    tell(a_session(builder), 10, bill=1)
    tell(a_session(builder), 20)
    assert groups_at(builder, 25) == ({}, True)
    assert groups_at(builder, None) == ({}, True)


def of_kafka(builder: RepositoryBuilder, offset: int, at_s: int, **groups: int) -> None:
    """Kafka's own log, read at that time."""
    builder.now_ms = T0_MS + at_s * 1000 - 10_000
    records = [(a_commit_key(group), a_commit_value(position)) for group, position in groups.items()]
    batch = a_commit_batch(offset, *records, at_ms=T0_MS + at_s * 1000)
    builder.put([a_slice(GROUP_LOG_TOPIC, 0, offset, batch)])


def test_with_both_kinds_each_answers_for_its_time() -> None:
    """Polled, then read, then the right is taken away and given again: then the log knows more of that time than the polls."""
    builder = RepositoryBuilder()
    first = a_session(builder)
    tell(first, 10, bill=1)
    builder.now_ms = T0_MS + 90_000
    builder.start(GROUP_LOG_TOPIC, 0)
    of_kafka(builder, 0, 110, bill=2)
    assert groups_at(builder, 80) == ({"bill": 1}, True)
    assert groups_at(builder, 111) == ({"bill": 2}, False)
    assert groups_at(builder, None) == ({"bill": 2}, False)
    second = a_session(builder)
    tell(second, 200, bill=3)
    assert groups_at(builder, 105) == ({}, False)
    assert groups_at(builder, 110) == ({"bill": 2}, False)
    assert groups_at(builder, 201) == ({"bill": 3}, True)
    assert groups_at(builder, None) == ({"bill": 3}, True)
    of_kafka(builder, 1, 300, bill=4)
    assert groups_at(builder, 201) == ({"bill": 2}, False)
    assert groups_at(builder, None) == ({"bill": 4}, False)
    assert groups_at(builder, 80) == ({"bill": 1}, True)


def test_the_ledger_does_not_keep_polls() -> None:
    """Nobody goes on from there: the table would only grow. The table of groups needs to hear of them."""
    builder = RepositoryBuilder()
    seen: list[SegmentIndex] = []

    async def submit(batch: FlushBatch) -> None:
        seen.append(put(builder, batch))

    tell(PollSession(submit), 10, bill=1)
    assert [run.record_count for run in seen[0].runs] == [1]
    event = sealed_event("key", 1, seen[0])
    assert [run.topic for run in event.runs] == [GROUP_LOG_TOPIC]
    ledger: dict[str, object] = {}
    fold_event(ledger, event)
    assert ledger == {}


class Answers:
    """What the brokers say, in place of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.positions: dict[str, int] = {}
        self.refused: set[str] = set()
        self.is_down = False
        self.asked: list[set[str]] = []
        monkeypatch.setattr(group_poller, "all_positions", self.all_positions)
        monkeypatch.setattr(group_poller, "open_client", self.open_client)

    async def open_client(self, _connection: ClusterConnection) -> "Answers":
        """Itself."""
        return self

    async def close(self) -> None:
        """Nothing."""

    async def all_positions(
        self, _client: Any, *, without_groups: Collection[str], also: Collection[str]
    ) -> AllPositions:
        """Of the groups that are not refused."""
        if self.is_down:
            raise UnreachableError("nobody is there")
        self.asked.append(set(also))
        found: dict[str, Mapping[TopicPartition, GroupPosition]] = {
            group: {ORDERS: GroupPosition(offset, "")}
            for group, offset in self.positions.items()
            if group not in without_groups and group not in self.refused
        }
        return AllPositions(found, {group: AccessError(f"DESCRIBE on group {group}") for group in self.refused})


async def poll(poller: GroupPoller, term: int | None) -> None:
    """One turn."""
    await poller._turn(lambda: term, {"own"})


def test_what_cannot_be_asked_keeps_its_position(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group that is refused, or a broker that is gone, deletes nothing; a new term begins a new session."""
    builder = RepositoryBuilder()
    answers = Answers(monkeypatch)

    async def submit(batch: FlushBatch) -> None:
        put(builder, batch)

    async def story() -> None:
        poller = GroupPoller(ClusterConnection(bootstrap_servers=("x:1",), client_id="c"), submit, 0.01)
        await poll(poller, None)
        answers.positions = {"bill": 1, "jill": 2, "own": 9}
        await poll(poller, 1)
        assert groups_at(builder, None) == ({"bill": 1, "jill": 2}, True)
        answers.refused, answers.positions["bill"] = {"jill"}, 5
        await poll(poller, 1)
        assert groups_at(builder, None) == ({"bill": 5, "jill": 2}, True)
        assert answers.asked[-1] == {"bill", "jill"}
        answers.is_down = True
        await poll(poller, 1)
        answers.is_down, answers.refused = False, set()
        del answers.positions["jill"]
        await poll(poller, 1)
        assert groups_at(builder, None) == ({"bill": 5}, True)
        assert len(coverages(builder)) == 1
        await poll(poller, 2)
        assert len(coverages(builder)) == 2
        assert groups_at(builder, None) == ({"bill": 5}, True)

    asyncio.run(story())


def test_a_session_is_not_begun_in_anothers_term(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll that began before a rebalance may end after another worker's first one: it would hide that."""
    answers = Answers(monkeypatch)
    told: list[FlushBatch] = []
    terms = iter([1, None])

    async def submit(batch: FlushBatch) -> None:
        told.append(batch)

    async def story() -> None:
        poller = GroupPoller(ClusterConnection(bootstrap_servers=("x:1",), client_id="c"), submit, 0.01)
        answers.positions = {"bill": 1}
        await poller._turn(lambda: next(terms), ())

    asyncio.run(story())
    assert told == []


def test_polls_of_random_changes_fold_to_the_last_look() -> None:
    """At the time of every poll: what that poll saw."""
    chance = random.Random(7)
    builder = RepositoryBuilder()
    session = a_session(builder)
    looks: dict[int, dict[str, int]] = {}
    for second in range(1, 16):
        looks[second] = {f"g{n}": chance.randrange(3) for n in range(4) if chance.random() < 0.7}
        tell(session, second, **looks[second])
    for second, seen in looks.items():
        assert groups_at(builder, second) == (dict(sorted(seen.items())), True)
    chosen = choose_group_log(coverages(builder))
    assert [is_polled(pid.topic_id) for pid in chosen] == [True]
