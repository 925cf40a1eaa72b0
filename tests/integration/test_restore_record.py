"""A restore has an id and a record: it is listed, shown, gone on with and proved by that."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirror.cli.__main__ import main
from mirror.core.keys import RESTORES_PREFIX
from mirror.service.restore.records import read_history, read_mapping
from mirror.storage.folder import FolderStore
from mirror.storage.repository import open_repository
from tests.fault.restore_lab import transactions, watermarks
from tests.restore_cli import RestoreCli, topic_names
from tests.restoring import consume_all

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]


@pytest.fixture
def cli(kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> RestoreCli:
    """A repository with one topic and one group."""
    lab = RestoreCli(kafka.bootstrap, tmp_path, topic(2), f"g-{time.time_ns()}", capsys)
    lab.prepare()
    return lab


def test_a_killed_restore_goes_on_by_its_id(cli: RestoreCli) -> None:
    """kill -9 leaves a run without an end; resume completes it; the record tells who, why, and how it ended, and the proof is kept."""
    cli.kill_in_the_middle("k-", "--reason", "the drill")
    (found,) = cli.json("restore", "list")["restores"]
    assert (found["state"], found["reason"], found["target"]) == ("no end", "the drill", "dst")
    name = found["restore_id"]
    status = cli.json("restore", "status", name, code=3)
    assert [one["standing"] for one in status["topics"]] == ["unfinished"]
    assert 0 < status["topics"][0]["there_offsets"] <= 600
    assert "restore resume" in cli.says("restore", "status", name, code=3)
    assert "no such file" in cli.says("restore", "status", "/nowhere/plan.json", code=2)
    said = cli.says("verify", "restore", name, code=4)
    assert f"restore {name} is not finished: k-{cli.topic}" in said
    assert f"mirror restore resume {name}" in said
    again = cli.json("restore", "resume", name, *cli.consent)
    assert again["restore_id"] == name
    assert consume_all(cli.bootstrap, f"k-{cli.topic}") == consume_all(cli.bootstrap, cli.topic)
    assert cli.stands(f"k-{cli.group}", f"k-{cli.topic}") == [100, 120]
    proof = cli.json("verify", "restore", name[:7])
    assert proof["proved"]
    assert "PROVED" in cli.says("verify", "restore", name, "--kept")
    (after,) = cli.json("restore", "list")["restores"]
    assert after["state"] == "done"
    assert [(run["verb"], run["outcome"]) for run in after["runs"]] == [("restore", None), ("restore", "done")]
    assert all(one["user"] and one["host"] and one["version"] for one in after["runs"])
    assert after["runs"][0]["command"][-2:] == ["--limit-rate", "60kB/s"]
    assert [one["proved"] for one in after["proofs"]] == [True]
    assert cli.json("restore", "status", name)["complete"]


def test_an_aborted_restore_that_is_resumed_says_so(cli: RestoreCli) -> None:
    """All of it is loaded again, which nobody may want who took one id for another."""
    name = cli.json(*cli.asked("a-"), *cli.consent)["restore_id"]
    cli.says("restore", "abort", name, "--complete", *cli.consent)
    assert f"{name} was aborted at 20" in cli.says("restore", "resume", name, *cli.consent)
    assert consume_all(cli.bootstrap, f"a-{cli.topic}") == consume_all(cli.bootstrap, cli.topic)


def test_the_same_command_is_the_same_restore(cli: RestoreCli) -> None:
    """Given as options again, and by a plan's file: one record, and its plan only once; other options are another restore."""
    plan = str(cli.folder / "plan.json")
    words = cli.asked("s-", "-o", plan, "--reason", "because")[1:]
    cli.says("plan", *words)
    planned = json.loads(Path(plan).read_text())
    assert planned["reason"] == "because"
    name = cli.json("restore", "--plan", plan, *cli.consent)["restore_id"]
    assert cli.json("restore", "--plan", plan, *cli.consent)["restore_id"] == name
    assert cli.json("restore", "status", plan)["record"]["reason"] == "because"
    other = cli.restore("o-")
    assert {one["restore_id"] for one in cli.json("restore", "list")["restores"]} == {name, other}
    repository = open_repository(FolderStore(str(cli.folder / "repo")))
    history = read_history(repository, name)
    assert (len(history.plans), len(history.starts), len(history.ends)) == (1, 2, 2)
    assert cli.run("verify", "--quick") == 0


def test_an_interrupted_restore_names_the_command_that_goes_on(cli: RestoreCli) -> None:
    """SIGTERM, as a service manager sends it: exit 130, the record says interrupted."""
    ended, said = cli.end_in_the_middle("i-", signal.SIGTERM)
    (found,) = cli.json("restore", "list")["restores"]
    assert ended == 130, said
    assert f"restore resume {found['restore_id']}`" in said
    assert found["state"] == "interrupted"
    run = found["runs"][0]
    assert (run["outcome"], run["exit_code"]) == ("interrupted", 130)
    assert cli.run("restore", "resume", found["restore_id"], *cli.consent) == 0
    assert cli.json("restore", "list")["restores"][0]["state"] == "done"


def test_a_run_that_names_groups_otherwise_says_so(cli: RestoreCli) -> None:
    """The same command without --rename-group goes on with the restore, but puts the group under its own name: plan and restore note it."""
    cli.kill_in_the_middle("r-")
    as_before, as_itself = cli.asked("r-")[1:], cli.asked("r-")[1:-2]
    renamed = f"{cli.group}=r-{cli.group}"
    assert as_before[-2:] == ["--rename-group", renamed]
    assert "an earlier run" not in cli.says("plan", *as_before)
    note = f"an earlier run of this restore was to put {cli.group} as r-{cli.group}, this one puts it as {cli.group}"
    for words in (["plan"], ["restore", "--dry-run"]):
        found = cli.json(*words, *as_itself)
        assert found["restore_id"] == cli.json("restore", "list")["restores"][0]["restore_id"]
        (said,) = [one for one in found["plan"]["group_notes"] if one.startswith(note)]
        assert said.endswith(f"if that is not meant: with --rename-group {renamed}")
    assert f"consumer groups: {note}"[:60] in cli.says("restore", "--dry-run", *as_itself)
    cli.restore("r-")
    assert cli.stands(f"r-{cli.group}", f"r-{cli.topic}") == [100, 120]


def test_a_restore_that_a_later_one_went_on_from_names_it(cli: RestoreCli) -> None:
    """It differs by what the later one loaded; that one is proved."""
    offsets = cli.folder / "offsets.json"
    offsets.write_text(json.dumps({cli.topic: {"0": 100, "1": 50}}))
    words = ["--target", "dst", "--topic", cli.topic, "--prefix", "g-", "--no-groups", *cli.consent]
    first = cli.json("restore", "--to-offsets", str(offsets), *words)["restore_id"]
    assert cli.json("verify", "restore", first)["later_restores"] == []
    later = cli.json("restore", "--latest", *words)["restore_id"]
    assert f"`mirror verify restore {later}`" in cli.says("verify", "restore", first, code=5)
    assert cli.json("verify", "restore", first, code=5)["later_restores"] == [later]
    assert cli.json("verify", "restore", later)["proved"]


def test_what_is_stored_later_is_no_difference(cli: RestoreCli) -> None:
    """A restore of all that was stored is proved by what it found, also when the repository has gone on; resumed, it goes on too."""
    name = cli.restore("l-")
    cli.store_more(7)
    assert cli.json("verify", "restore", name)["proved"]
    assert cli.restore("l-") == name
    assert watermarks(cli.bootstrap, f"l-{cli.topic}", 2) == [(0, 307), (0, 300)]
    assert cli.json("verify", "restore", name)["proved"]
    assert cli.json("restore", "status", name)["complete"]


def test_a_dry_run_and_a_plan_leave_no_record(cli: RestoreCli) -> None:
    """They change nothing, but tell the id that the restore will have."""
    said = cli.json(*cli.asked("d-", "--dry-run"))
    told = cli.json("plan", *cli.asked("d-")[1:])
    assert said["restore_id"] == told["restore_id"]
    assert cli.json("restore", "list") == {"restores": [], "problems": []}
    assert cli.run("restore", "status", said["restore_id"]) == 2
    assert cli.run("restore", "status", "r-nothing") == 2
    assert f"d-{cli.topic}" not in topic_names(cli.bootstrap)


def test_translated_offsets_are_kept(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The record says of every record of the source which offset it has on the target, and of every hole that it has none."""
    name = topic(2)
    transactions(kafka.bootstrap, name, [3, 2, 4, 1])
    cli = RestoreCli(kafka.bootstrap, tmp_path, name, f"g-{time.time_ns()}", capsys)
    cli.prepare()
    restore = cli.restore("t-", "--offsets", "translated")
    repository = open_repository(FolderStore(str(tmp_path / "repo")))
    mapping = read_mapping(repository, read_history(repository, restore))
    assert mapping is not None
    there = consume_all(kafka.bootstrap, f"t-{name}")
    here = consume_all(kafka.bootstrap, name)
    for partition in mapping.partitions:
        source = [record.offset for record in here if record.partition == partition.partition]
        target = [record.offset for record in there if record.partition == partition.partition]
        assert [partition.target_offset(offset) for offset in source] == target
        holes = set(range(max(source) + 1)) - set(source)
        assert all(partition.target_offset(offset) is None for offset in holes)
    assert len(mapping.partitions[0].ranges) > 1


def test_a_store_key_that_may_only_read(cli: RestoreCli, minio: Any, bucket: str) -> None:
    """The restore works, and says in one line that no record is kept and why; status and proof take the plan's file."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": ["arn:aws:s3:::*"],
            }
        ],
    }
    user = f"r{time.time_ns() % 10**9}"
    secret = minio.create_user(user, policy)
    folder = cli.folder / "repo"
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        minio.client().fput_object(bucket, f"x/{path.relative_to(folder)}", str(path))
    config = cli.folder / "mirror.toml"
    text = config.read_text().partition("[repositories.r]")[0]
    keys = f'access_key = "{user}"\nsecret_key = {{ file = "{cli.folder}/secret" }}\n'
    config.write_text(f'{text}[repositories.r]\nurl = "s3://{bucket}/x"\nendpoint = "{minio.url}"\n{keys}')
    (cli.folder / "secret").write_text(secret)
    plan = str(cli.folder / "plan.json")
    cli.says("plan", *cli.asked("m-", "-o", plan)[1:])
    said = cli.says("restore", "--plan", plan, *cli.consent)
    assert said.count("no record of this restore is kept: ") == 1
    assert secret not in said
    assert watermarks(cli.bootstrap, f"m-{cli.topic}", 2) == [(0, 300), (0, 300)]
    assert cli.json("restore", "list")["restores"] == []
    status = cli.json("restore", "status", plan)
    assert (status["complete"], status["record"]) == (True, None)
    assert cli.json("verify", "restore", plan)["proved"]
    assert not list(minio.client().list_objects(bucket, prefix=f"x/{RESTORES_PREFIX}"))


def test_options_of_a_restore_are_none_of_what_stands_below_it(tmp_path: Path) -> None:
    """`mirror restore --at T list` would do something else than it says."""
    assert main(["restore", "--latest", "list"]) == 2
    assert main(["verify", "--quick", "restore", "r-aaaaaaaaaa"]) == 2
