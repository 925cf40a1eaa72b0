"""`mirror inspect` on a folder: the list of topics, and names that begin with a dash."""

import json
from pathlib import Path

import pytest

from mirror.cli.__main__ import main
from mirror.core.segment.index import GapEntry
from mirror.errors import UsageError
from mirror.service.inspect import inspect_object
from mirror.storage.folder import FolderStore
from tests.observe_builders import T0_MS, TOPIC_ID, RepositoryBuilder, a_batch, a_slice

OTHER_ID = "BBBBBBBBBBBBBBBBBBBBBB"


@pytest.fixture
def builder(tmp_path: Path) -> RepositoryBuilder:
    """A repository in a folder, with nothing in it."""
    (tmp_path / "mirror.toml").write_text(f'[repositories.main]\nurl = "file://{tmp_path}/repository"\n')
    store = FolderStore(str(tmp_path / "repository"))
    store.create()
    return RepositoryBuilder(store=store)


def inspect(tmp_path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    capsys.readouterr()
    code = main(["--config", str(tmp_path / "mirror.toml"), "inspect", *args])
    return code, *capsys.readouterr()


def test_without_a_name_the_topics_are_listed(
    tmp_path: Path, builder: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each incarnation with partitions, records, times and bytes; also a topic of which nothing but its settings is stored."""
    builder.topic("orders", partitions=2)
    builder.topic("silent", partitions=3, topic_id=OTHER_ID)
    for partition in (0, 1):
        builder.start("orders", partition)
        builder.put([a_slice("orders", partition, 0, a_batch(0, 10))])
    builder.put(
        gaps=[
            GapEntry(
                topic="orders",
                topic_id=TOPIC_ID,
                partition=1,
                start_offset=10,
                next_offset=14,
                reason="retention",
                detected_at_ms=T0_MS,
            )
        ]
    )
    code, out, _ = inspect(tmp_path, capsys, "--json")
    assert code == 0
    orders, silent = json.loads(out)["topics"]
    assert (orders["topic"], orders["topic_id"], orders["partition_count"]) == ("orders", TOPIC_ID, 2)
    assert (orders["records"], orders["records_are_exact"], orders["lost_offsets"]) == (20, True, 4)
    assert (orders["min_timestamp_ms"], orders["max_timestamp_ms"]) == (T0_MS, T0_MS + 9)
    assert orders["stored_bytes"] > 0
    assert [(p["start_offset"], p["next_offset"]) for p in orders["partitions"]] == [(0, 10), (0, 14)]
    assert (silent["topic"], silent["partition_count"], silent["records"]) == ("silent", 3, 0)
    code, out, _ = inspect(tmp_path, capsys)
    assert code == 0
    (row,) = [line.split() for line in out.splitlines() if line.startswith("orders")]
    assert row[:5] == ["orders", TOPIC_ID, "2", "20", "4"]


def test_an_empty_repository_is_said_to_be_empty(
    tmp_path: Path, builder: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """In words, and as an empty list."""
    assert "is empty" in inspect(tmp_path, capsys)[1]
    assert json.loads(inspect(tmp_path, capsys, "--json")[1])["topics"] == []


def test_a_name_that_begins_with_a_dash(
    tmp_path: Path, builder: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error says how to give it, and that way works."""
    builder.start("-dash")
    builder.put([a_slice("-dash", 0, 0, a_batch(0, 3))])
    code, _, err = inspect(tmp_path, capsys, "-dash")
    assert code == 2
    assert "mirror inspect -- -dash" in err
    code, out, _ = inspect(tmp_path, capsys, "--", "-dash")
    assert code == 0
    assert out.startswith("-dash\n")
    assert "--help" in inspect(tmp_path, capsys, "--nope")[2]


@pytest.mark.parametrize(
    ("key", "command"),
    [
        ("snapshots/1790000000000-a.json", "mirror snapshot show a@2026-09-21T14:13:20Z"),
        ("state/1790000000000.json", "mirror state show --at 2026-09-21T14:13:20.000Z"),
        (f"topics/orders/{'A' * 22}/1790000000000.json", "mirror inspect orders"),
    ],
)
def test_other_objects_name_the_command_that_shows_them(key: str, command: str) -> None:
    """They are no damage, also where such an object does not exist."""
    with pytest.raises(UsageError, match="no segment object") as raised:
        inspect_object(RepositoryBuilder().repository, key)
    assert f"`{command}`" in str(raised.value.hint)


def test_what_is_read_in_part_and_what_is_lost_is_said(
    tmp_path: Path, builder: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a run that is read in part, at most so many records as it has offsets there; the gap stands beside the coverage."""
    builder.start("orders", 0)
    builder.put([a_slice("orders", 0, 0, a_batch(0, 10))])
    builder.put(
        gaps=[
            GapEntry(
                topic="orders",
                topic_id=TOPIC_ID,
                partition=0,
                start_offset=10,
                next_offset=14,
                reason="retention",
                detected_at_ms=T0_MS,
            )
        ]
    )
    builder.put([a_slice("orders", 0, 14, a_batch(14, 10))])
    builder.put([a_slice("orders", 0, 18, a_batch(18, 12))])
    code, out, _ = inspect(tmp_path, capsys, "orders:0")
    assert code == 0
    said = " ".join(out.split())
    assert "covers [0, 30) but for gap [10, 14), position 30" in said
    assert said.count("up to ") == 1
    assert "records of the run [" in said
    _, out, _ = inspect(tmp_path, capsys, "orders:0", "--json")
    for piece in json.loads(out)["partitions"][0]["runs"]:
        assert piece["run_start_offset"] <= piece["start_offset"] < piece["next_offset"] <= piece["run_next_offset"]
