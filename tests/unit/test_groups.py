"""Positions of groups from a repository, and `mirror groups`."""

import json
from pathlib import Path

import pytest

from mirror.cli.__main__ import main
from mirror.core.coverage import PartitionCoverage, build_coverage
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.positions import PartitionId
from mirror.core.restore_selection import RestoreSelection, choose_incarnations
from mirror.core.segment.index import GapEntry
from mirror.core.slices import FetchSlice
from mirror.core.topic_filter import TopicFilter
from mirror.errors import NoMatchError
from mirror.service.groups import GroupView, choose_group_log, read_groups
from mirror.storage.folder import FolderStore
from tests.builders import a_marker
from tests.group_builders import a_commit_batch, a_commit_key, a_commit_value, a_group_key
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_slice
from tests.observe_builders import a_batch as a_data_batch

OTHER_ID = "BBBBBBBBBBBBBBBBBBBBBB"
MINUTE_MS = 60_000


def log_slice(partition: int, start_offset: int, *batches: bytes, topic_id: str = TOPIC_ID) -> FetchSlice:
    """A slice of the group log."""
    return a_slice(GROUP_LOG_TOPIC, partition, start_offset, b"".join(batches), topic_id=topic_id)


def commit(group: str, offset: int, topic: str = "orders") -> tuple[bytes, bytes]:
    """A record."""
    return a_commit_key(group, topic), a_commit_value(offset, metadata="m", commit_timestamp_ms=T0_MS)


def fill(builder: RepositoryBuilder) -> RepositoryBuilder:
    """Two partitions of a group log, in three objects: commits at 1, 2 and 3 minutes."""
    for partition in (0, 1):
        builder.start(GROUP_LOG_TOPIC, partition)
    first = a_commit_batch(0, commit("bill", 1), commit("mirror", 9), (a_group_key("bill"), b"x"), at_ms=at(1))
    other = a_commit_batch(0, commit("jill", 4), at_ms=at(1))
    builder.put([log_slice(0, 0, first), log_slice(1, 0, other)])
    deletion = a_commit_batch(1, (a_commit_key("jill"), None), at_ms=at(2))
    builder.put(
        [log_slice(0, 3, a_commit_batch(3, commit("bill", 2), at_ms=at(2))), log_slice(1, 1, deletion)],
        mode="zstd",
    )
    in_transaction = a_commit_batch(4, commit("bill", 3), at_ms=at(3), producer_id=7, transactional=True)
    builder.put([log_slice(0, 4, in_transaction, a_marker(5, 7, commit=True))])
    return builder


def at(minutes: int) -> int:
    """A time in the test's log."""
    return T0_MS + minutes * MINUTE_MS


def coverage_of(builder: RepositoryBuilder) -> dict[PartitionId, PartitionCoverage]:
    """All that is stored."""
    return build_coverage((entry.key, entry.index) for entry in builder.repository.load_indexes())


def offsets(view: GroupView) -> dict[str, int]:
    """Group → committed offset of its first partition."""
    return {group: next(iter(positions.values())).offset for group, positions in view.groups.items()}


def test_groups_at_any_time() -> None:
    """From objects of any codec; deleted groups are there before their deletion; own groups never."""
    builder = fill(RepositoryBuilder())
    coverages = coverage_of(builder)
    for minutes, expected in ((0, {}), (1, {"bill": 1, "jill": 4}), (2, {"bill": 2})):
        view = read_groups(builder.repository, coverages, at_ms=at(minutes), without_groups={"mirror"})
        assert (view.at_ms, offsets(view)) == (at(minutes), expected)
        assert view.problems == ()
    newest = read_groups(builder.repository, coverages, without_groups={"mirror"})
    assert offsets(newest) == {"bill": 3}


def test_a_transaction_counts_at_its_marker_and_limits_hold() -> None:
    """By offsets: what is not named is not read."""
    builder = RepositoryBuilder()
    builder.start(GROUP_LOG_TOPIC, 0)
    plain = a_commit_batch(0, commit("bill", 1), at_ms=T0_MS)
    in_transaction = a_commit_batch(1, commit("bill", 3), at_ms=T0_MS, producer_id=7, transactional=True)
    builder.put([log_slice(0, 0, plain, in_transaction, a_marker(2, 7, commit=True))])
    coverages = coverage_of(builder)
    for next_offset, expected in ((0, {}), (1, {"bill": 1}), (2, {"bill": 1}), (3, {"bill": 3})):
        limits = {PartitionId(TOPIC_ID, 0): next_offset}
        assert offsets(read_groups(builder.repository, coverages, next_offsets=limits)) == expected
    assert offsets(read_groups(builder.repository, coverages, next_offsets={})) == {}
    view = read_groups(builder.repository, coverages)
    assert (offsets(view), view.problems, view.known_from_ms) == ({"bill": 3}, (), T0_MS)
    assert view.topic_id == TOPIC_ID


def test_of_several_incarnations_one_is_read() -> None:
    """The newest, or the one that was there at the time."""
    builder = fill(RepositoryBuilder())
    builder.start(GROUP_LOG_TOPIC, 0, topic_id=OTHER_ID)
    begun_ms = builder.now_ms - 10_000
    batch = a_commit_batch(0, commit("anew", 1), at_ms=begun_ms)
    builder.put([log_slice(0, 0, batch, topic_id=OTHER_ID)])
    coverages = coverage_of(builder)
    assert {pid.topic_id for pid in choose_group_log(coverages)} == {OTHER_ID}
    assert {pid.topic_id for pid in choose_group_log(coverages, begun_ms - 1)} == {TOPIC_ID}
    assert offsets(read_groups(builder.repository, coverages)) == {"anew": 1}


def test_the_group_log_is_never_restored_as_a_topic() -> None:
    """Whatever is selected: not by ``*``, not by its name."""
    builder = fill(RepositoryBuilder())
    builder.topic(GROUP_LOG_TOPIC, partitions=2)
    builder.put([a_slice("orders", 0, 0, a_data_batch(0, 3), topic_id=OTHER_ID)])
    everything = coverage_of(builder), builder.repository.list_topics()
    chosen = choose_incarnations(RestoreSelection(topics=TopicFilter(include=("*",))), *everything)
    assert chosen == {"orders": OTHER_ID}
    with pytest.raises(NoMatchError, match="is the brokers' own"):
        choose_incarnations(RestoreSelection(topics=TopicFilter(include=(GROUP_LOG_TOPIC, "orders"))), *everything)


def test_partitions_that_were_added_later_hide_no_moment() -> None:
    """They began empty, when the others had long been captured."""
    builder = fill(RepositoryBuilder())
    begun_ms = read_groups(builder.repository, coverage_of(builder)).known_from_ms
    assert begun_ms == T0_MS + 10_000
    builder.now_ms += 90 * MINUTE_MS
    builder.start(GROUP_LOG_TOPIC, 2)
    assert read_groups(builder.repository, coverage_of(builder)).known_from_ms == begun_ms


def test_without_a_group_log_there_is_nothing_to_read() -> None:
    """And the setting is named."""
    builder = RepositoryBuilder()
    builder.put([a_slice("orders", 0, 0, a_data_batch(0, 3))])
    with pytest.raises(NoMatchError) as raised:
        read_groups(builder.repository, coverage_of(builder))
    assert "groups" in str(raised.value.hint)


def test_what_cannot_be_known_is_said() -> None:
    """A lost range of the log, a value of a newer version, a record without a key: the other groups are read."""
    builder = RepositoryBuilder()
    builder.start(GROUP_LOG_TOPIC, 0)
    newer = (a_commit_key("newer"), a_commit_value(1, version=7))
    builder.put([log_slice(0, 0, a_commit_batch(0, commit("bill", 1), newer, (None, b"v")))])
    gap = GapEntry(
        topic=GROUP_LOG_TOPIC,
        topic_id=TOPIC_ID,
        partition=0,
        start_offset=3,
        next_offset=5,
        reason="retention",
        detected_at_ms=T0_MS,
    )
    builder.put([log_slice(0, 5, a_commit_batch(5, commit("jill", 1)))], gaps=[gap])
    view = read_groups(builder.repository, coverage_of(builder))
    assert offsets(view) == {"bill": 1, "jill": 1}
    messages = [(problem.group, problem.message) for problem in view.problems]
    assert [group for group, _ in messages] == ["", "", "newer"]
    assert ["[3, 5)" in messages[0][1], "offset 2" in messages[1][1], "version 7" in messages[2][1]] == [True] * 3


def test_a_part_of_the_log_that_is_gone_is_said_wherever_it_lay() -> None:
    """An object at the beginning, in the middle, right behind what a moment reads; not one of a later time."""

    def messages(gone: int, at_ms: int | None = None) -> list[str]:
        builder = RepositoryBuilder()
        builder.start(GROUP_LOG_TOPIC, 0)
        keys = [
            builder.put([log_slice(0, number, a_commit_batch(number, commit("bill", number), at_ms=at(number * 3600)))])
            for number in range(4)
        ]
        builder.store.delete(keys[gone])
        view = read_groups(builder.repository, coverage_of(builder), at_ms=at_ms)
        assert view.has_missing == bool(view.problems)
        return [problem.message.partition(":")[0] for problem in view.problems]

    assert [messages(gone) for gone in range(3)] == [[f"{GROUP_LOG_TOPIC}-0"]] * 3
    assert messages(2, at(3600)) == [f"{GROUP_LOG_TOPIC}-0"]
    assert messages(2, at(0)) == []


@pytest.fixture
def stored(tmp_path: Path) -> RepositoryBuilder:
    """A repository in a folder, and its configuration."""
    (tmp_path / "mirror.toml").write_text(f'[repositories.main]\nurl = "file://{tmp_path}/repository"\n')
    store = FolderStore(str(tmp_path / "repository"))
    store.create()
    builder = RepositoryBuilder(store=store)
    builder.start(GROUP_LOG_TOPIC, 0)
    batch = a_commit_batch(0, commit("bill", 2), commit("mirror", 9), commit("jill", 5), at_ms=at(1))
    builder.put([log_slice(0, 0, batch), a_slice("orders", 0, 0, a_data_batch(0, 4), topic_id=OTHER_ID)])
    return builder


def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    capsys.readouterr()
    code = main(["--config", str(tmp_path / "mirror.toml"), "groups", *args])
    return code, *capsys.readouterr()


def test_groups_are_listed_and_shown(
    tmp_path: Path, stored: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """For people and for programs, without the mirror's own."""
    code, out, _ = run(tmp_path, capsys, "list")
    assert code == 0
    assert "bill" in out
    assert "2 consumer groups" in out
    assert "mirror" not in out.replace("`mirror", "")
    code, out, _ = run(tmp_path, capsys, "list", "--json")
    assert [group["group"] for group in json.loads(out)["groups"]] == ["bill", "jill"]
    code, out, _ = run(tmp_path, capsys, "show", "bill", "--json")
    (position,) = json.loads(out)["groups"][0]["positions"]
    assert (position["topic"], position["partition"], position["offset"], position["metadata"]) == ("orders", 0, 2, "m")
    code, out, _ = run(tmp_path, capsys, "show", "bill")
    row = next(line.split() for line in out.splitlines() if line.startswith("orders"))
    assert row[:4] == ["orders", "0", "2", "4"]  # the offset, and to where the partition is stored


def test_moments_that_cannot_be(tmp_path: Path, stored: RepositoryBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    """The future and the time before the capture are refused, each with the nearest moment; a bare time is no moment."""
    assert run(tmp_path, capsys, "list", "--at", "2099-01-01T00:00:00Z")[0] == 4
    code, _, err = run(tmp_path, capsys, "list", "--at", f"@{T0_MS - 1}")
    assert code == 4
    assert f"--at {'2026-09-21T14:13:20.000Z'}" in err
    assert run(tmp_path, capsys, "list", "--at", "2026-09-21T14:13:20")[0] == 2
    assert run(tmp_path, capsys, "list", "--at", f"@{at(0)}")[1].startswith("0 consumer groups")


def test_a_group_that_is_not_there_names_its_nearest(
    tmp_path: Path, stored: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2, as for every name that matches nothing."""
    code, _, err = run(tmp_path, capsys, "show", "bil")
    assert code == 2
    assert "bill" in err
