"""Snapshots in a repository: names, what is stored of them, and the commands that need no cluster."""

import json
from pathlib import Path

import msgspec
import pytest

from mirror.cli.__main__ import main
from mirror.core.coverage import build_coverage
from mirror.core.keys import SnapshotKey, format_snapshot_key, parse_snapshot_key
from mirror.core.positions import TopicPartition
from mirror.core.segment.index import FORMAT_VERSION, GapEntry, encode_checked
from mirror.core.snapshot import (
    ShortPartition,
    Snapshot,
    SnapshotGroup,
    SnapshotPartition,
    SnapshotPosition,
    SnapshotTopic,
    find_shortfall,
    shown_name,
)
from mirror.errors import AccessError, DamageError, NoMatchError, RefusedError, UsageError
from mirror.service.snapshots import (
    check_snapshot_name,
    delete_snapshot,
    find_snapshot,
    list_snapshots,
    put_snapshot,
    read_snapshot,
    snapshot_point,
)
from mirror.service.verify import verify_repository
from mirror.storage.folder import FolderStore
from mirror.storage.memory import MemoryStore
from mirror.storage.repository import Repository
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_batch, a_slice


def a_snapshot(
    builder: RepositoryBuilder, name: str = "", *, at_ms: int = T0_MS, ends: tuple[int, ...] = (4, 0)
) -> Snapshot:
    """Of topic "orders"; group "bill" has read beyond the end of partition 0."""
    identity = builder.repository.identity
    return Snapshot(
        format_version=FORMAT_VERSION,
        repository_id=identity.repository_id,
        cluster_id=identity.cluster_id,
        name=name,
        taken_at_ms=at_ms,
        skew_ms=12,
        topics=[
            SnapshotTopic(
                topic="orders",
                topic_id=TOPIC_ID,
                replication_factor=1,
                partitions=[
                    SnapshotPartition(partition=number, log_start_offset=0, last_stable_offset=end)
                    for number, end in enumerate(ends)
                ],
            )
        ],
        groups=[
            SnapshotGroup(
                group="bill",
                positions=[SnapshotPosition(topic="orders", partition=0, offset=ends[0] + 7, metadata="m")],
            )
        ],
    )


def shortfall(builder: RepositoryBuilder, snapshot: Snapshot) -> list[ShortPartition]:
    """Against all that is stored."""
    loaded = builder.repository.load_indexes()
    return find_shortfall(snapshot, build_coverage((entry.key, entry.index) for entry in loaded))


def test_names_carry_their_time() -> None:
    """As shown, and as keys that read back."""
    named, bare = SnapshotKey(T0_MS + 999, "before-deploy"), SnapshotKey(T0_MS, "")
    assert shown_name(named) == "before-deploy@2026-09-21T14:13:20Z"
    assert shown_name(bare) == "2026-09-21T14:13:20Z"
    for key in (named, bare, SnapshotKey(0, "1.json")):
        assert parse_snapshot_key(format_snapshot_key(key)) == key


@pytest.mark.parametrize("name", ["a b", "a/b", "-a", ".a", "x" * 65, "ä", "a@b", "a\n"])
def test_what_cannot_be_a_name(name: str) -> None:
    """Refused before anything is asked, and no key is made of it."""
    with pytest.raises(UsageError, match="cannot be the name"):
        check_snapshot_name(name)
    with pytest.raises(ValueError, match="no object can be named"):
        format_snapshot_key(SnapshotKey(T0_MS, name))


@pytest.mark.parametrize("key", ["snapshots/1.json", "snapshots/1790000000000-.json", "snapshots/x/1790000000000.json"])
def test_foreign_keys_are_refused(key: str) -> None:
    """A name that mirror never wrote is no snapshot."""
    with pytest.raises(DamageError):
        parse_snapshot_key(key)


def test_one_is_found_by_any_of_its_names() -> None:
    """By the shown name, to the millisecond, by the first part alone; several are refused with each of them to copy."""
    builder = RepositoryBuilder()
    for name, at_ms in (("a", T0_MS), ("a", T0_MS + 60_000), ("b", T0_MS), ("", T0_MS)):
        put_snapshot(builder.repository, a_snapshot(builder, name, at_ms=at_ms))
    repository = builder.repository
    for text, name, at_ms in (
        ("b", "b", T0_MS),
        ("a@2026-09-21T14:14:20Z", "a", T0_MS + 60_000),
        ("a@2026-09-21T14:13:20.000Z", "a", T0_MS),
        ("2026-09-21T14:13:20Z", "", T0_MS),
    ):
        assert find_snapshot(repository, text) == SnapshotKey(at_ms, name)
    with pytest.raises(RefusedError) as several:
        find_snapshot(repository, "a")
    assert several.value.hint == "copy one: a@2026-09-21T14:13:20Z, a@2026-09-21T14:14:20Z"
    with pytest.raises(NoMatchError, match="there is no snapshot c"):
        find_snapshot(repository, "c")


def test_two_of_one_second_are_told_apart() -> None:
    """By their milliseconds; and none is ever replaced."""
    builder = RepositoryBuilder()
    for at_ms in (T0_MS, T0_MS + 5):
        put_snapshot(builder.repository, a_snapshot(builder, "a", at_ms=at_ms))
    with pytest.raises(RefusedError) as several:
        find_snapshot(builder.repository, "a@2026-09-21T14:13:20Z")
    assert "a@2026-09-21T14:13:20.005Z" in str(several.value.hint)
    with pytest.raises(RefusedError, match="exists"):
        put_snapshot(builder.repository, a_snapshot(builder, "a", ends=(5, 5)))


def test_short_until_all_of_it_is_stored() -> None:
    """Nothing, a part, all; a partition without records needs nothing."""
    builder = RepositoryBuilder()
    snapshot = a_snapshot(builder, ends=(10, 0))
    (short,) = shortfall(builder, snapshot)
    assert (short.topic_partition, short.stored_to, short.missing_offsets) == (TopicPartition("orders", 0), None, 10)
    builder.start("orders", 0)
    builder.put([a_slice("orders", 0, 0, a_batch(0, 4))])
    (short,) = shortfall(builder, snapshot)
    assert (short.stored_to, short.missing_offsets, short.lost_offsets) == (4, 6, 0)
    builder.put([a_slice("orders", 0, 4, a_batch(4, 9))])
    assert shortfall(builder, snapshot) == []
    other = msgspec.structs.replace(snapshot.topics[0], topic_id="B" * 22)
    assert len(shortfall(builder, msgspec.structs.replace(snapshot, topics=[other]))) == 1


def test_what_retention_took_is_lost_for_the_snapshot() -> None:
    """A gap inside it never counts as stored; one before its log start, or after its end, is none of it."""
    builder = RepositoryBuilder()
    builder.start("orders", 0)

    def gap(first: int, following: int) -> GapEntry:
        return GapEntry(
            topic="orders",
            topic_id=TOPIC_ID,
            partition=0,
            start_offset=first,
            next_offset=following,
            reason="retention",
            detected_at_ms=T0_MS,
        )

    builder.put([a_slice("orders", 0, 2, a_batch(2, 2))], gaps=[gap(0, 2), gap(4, 8)])
    (short,) = shortfall(builder, a_snapshot(builder, ends=(6, 0)))
    assert (short.missing_offsets, short.lost_offsets) == (0, 4)
    later = SnapshotPartition(partition=0, log_start_offset=2, last_stable_offset=4)
    topic = msgspec.structs.replace(a_snapshot(builder).topics[0], partitions=[later])
    assert shortfall(builder, msgspec.structs.replace(a_snapshot(builder), topics=[topic])) == []


def test_a_restore_gets_offsets_and_groups_that_never_stand_ahead() -> None:
    """A group that read uncommitted records is put at the end of what the snapshot holds."""
    builder = RepositoryBuilder()
    put_snapshot(builder.repository, a_snapshot(builder, "a"))
    point = snapshot_point(builder.repository, "a")
    assert point.offsets == {TopicPartition("orders", 0): 4, TopicPartition("orders", 1): 0}
    position = point.groups["bill"][TopicPartition("orders", 0)]
    assert (position.offset, position.metadata, position.topic_id) == (4, "m", TOPIC_ID)
    assert (point.topic_ids, point.snapshot.name) == ({"orders": TOPIC_ID}, "a")


def test_swapped_and_broken_ones_are_damage_and_verify_names_them() -> None:
    """Under another name, of another repository, cut, foreign: each is a finding; a sound one is counted."""
    builder = RepositoryBuilder()
    repository, store = builder.repository, builder.store
    put_snapshot(repository, a_snapshot(builder, "sound"))
    report, _ = verify_repository(repository)
    assert (report.findings, report.notes, report.counts.snapshots) == ([], [], 1)
    data = encode_checked(a_snapshot(builder, "a"))
    alien = msgspec.structs.replace(a_snapshot(builder, "c"), repository_id="another")
    for key, body in (
        (SnapshotKey(T0_MS, "b"), data),
        (SnapshotKey(T0_MS, "c"), encode_checked(alien)),
        (SnapshotKey(T0_MS, "a"), data[:-9]),
    ):
        store.put(format_snapshot_key(key), body)
        with pytest.raises(DamageError):
            read_snapshot(repository, key)
    store.put("snapshots/readme.txt", b"")
    report, _ = verify_repository(repository)
    assert sorted(finding.kind for finding in report.findings) == ["object_foreign", *["snapshot_damaged"] * 3]
    assert (report.counts.snapshots, len(list_snapshots(repository))) == (1, 4)


def test_deleting_needs_a_right_and_says_so() -> None:
    """A store that forbids it is named with the right that is missing."""

    class Forbidding(MemoryStore):
        def delete(self, key: str) -> None:
            raise AccessError(f"may not delete {key}")

    builder = RepositoryBuilder(store=Forbidding())
    put_snapshot(builder.repository, a_snapshot(builder, "a"))
    with pytest.raises(AccessError) as raised:
        delete_snapshot(builder.repository, find_snapshot(builder.repository, "a"))
    assert "delete objects below snapshots/" in str(raised.value.hint)


@pytest.fixture
def stored(tmp_path: Path) -> Repository:
    """A folder with one complete and one short snapshot, and its configuration."""
    (tmp_path / "mirror.toml").write_text(f'[repositories.main]\nurl = "file://{tmp_path}/repository"\n')
    store = FolderStore(str(tmp_path / "repository"))
    store.create()
    builder = RepositoryBuilder(store=store)
    builder.topic("orders", partitions=2)
    builder.start("orders", 0)
    builder.put([a_slice("orders", 0, 0, a_batch(0, 4))])
    put_snapshot(builder.repository, a_snapshot(builder, "whole"))
    put_snapshot(builder.repository, a_snapshot(builder, "late", at_ms=T0_MS + 60_000, ends=(1239, 0)))
    return builder.repository


def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    capsys.readouterr()
    code = main(["--config", str(tmp_path / "mirror.toml"), "snapshot", *args])
    return code, *capsys.readouterr()


def test_snapshots_are_listed_and_shown(tmp_path: Path, stored: Repository, capsys: pytest.CaptureFixture[str]) -> None:
    """With what is stored of each; for people and for programs."""
    code, out, _ = run(tmp_path, capsys, "list")
    assert code == 0
    rows = {line.split()[0]: line for line in out.splitlines() if "@" in line}
    assert rows["whole@2026-09-21T14:13:20Z"].split()[1:] == ["1", "2", "1", "complete"]
    assert "short: 1,235 offsets are not stored (orders-0)" in rows["late@2026-09-21T14:14:20Z"]
    found = json.loads(run(tmp_path, capsys, "list", "--json")[1])["snapshots"]
    assert [(one["name"], one["is_complete"]) for one in found] == [("whole", True), ("late", False)]
    code, out, _ = run(tmp_path, capsys, "show", "late")
    assert code == 0
    assert "stored to 4, 1,235 missing" in out
    assert "NOT ALL OF IT IS STORED" in out
    shown = json.loads(run(tmp_path, capsys, "show", "late", "--json")[1])
    assert shown["content"]["topics"][0]["partitions"][0]["last_stable_offset"] == 1239
    code, _, err = run(tmp_path, capsys, "show", "lat")
    assert code == 2
    assert "late@2026-09-21T14:14:20Z" in err


def test_a_snapshot_is_deleted_and_data_stays(
    tmp_path: Path, stored: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only the one that is named; a damaged one can be deleted too."""
    before = {info.key for info in stored.store.list("")}
    stored.store.put("snapshots/1790000000000-bad.json", b"{}")
    code, out, _ = run(tmp_path, capsys, "list")
    assert code == 5
    assert "DAMAGED" in out
    assert run(tmp_path, capsys, "delete", "bad")[0] == 0
    code, out, _ = run(tmp_path, capsys, "delete", "late")
    assert (code, out) == (0, "deleted snapshot late@2026-09-21T14:14:20Z; no data was deleted\n")
    assert before - {info.key for info in stored.store.list("")} == {"snapshots/1790000060000-late.json"}
    assert run(tmp_path, capsys, "delete", "late")[0] == 2
