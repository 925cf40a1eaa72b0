"""A stored body that is damaged: the restore stops there and says what is lost, and with --allow-missing brings all the rest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.segment.index import RunEntry
from tests.fault.restore_lab import watermarks
from tests.restore_cli import RestoreCli
from tests.restoring import Seen, consume_all

pytestmark = pytest.mark.servers


@pytest.fixture
def cli(kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> RestoreCli:
    """Two partitions of 300 records in several objects, and a group in the middle of them."""
    name = topic(2)
    one = RestoreCli(kafka.bootstrap, tmp_path, name, f"{name}-readers", capsys, object_bytes=150_000)
    one.prepare()
    return one


def _all_runs(cli: RestoreCli, topic: str) -> list[tuple[str, RunEntry]]:
    repository = cli.repository
    return [
        (info.key, run)
        for info in repository.list_segments()
        for run in repository.read_index(info.key)[0].runs
        if run.topic == topic
    ]


def _runs(cli: RestoreCli, partition: int) -> list[tuple[str, RunEntry]]:
    """The stored runs of a partition, in order of their offsets."""
    found = [one for one in _all_runs(cli, cli.topic) if one[1].partition == partition]
    assert len(found) > 2, "the test wants several objects"
    return sorted(found, key=lambda one: one[1].start_offset)


def _flip(cli: RestoreCli, key: str, run: RunEntry) -> None:
    """One bit in the body of a run."""
    store = cli.repository.store
    body = bytearray(store.get(key))
    body[run.position + run.stored_bytes // 2] ^= 4
    store.delete(key)
    store.put(key, bytes(body))


def _zero(cli: RestoreCli, key: str, run: RunEntry) -> None:
    """A run of which only the beginning was written."""
    store = cli.repository.store
    body = bytearray(store.get(key))
    body[run.position + 10 : run.position + run.stored_bytes] = bytes(run.stored_bytes - 10)
    store.delete(key)
    store.put(key, bytes(body))


def _without(cli: RestoreCli, *lost: RunEntry) -> list[Seen]:
    """What the source has, without the offsets of these runs."""

    def is_lost(record: Seen) -> bool:
        return any(
            run.partition == record.partition and run.start_offset <= record.offset < run.next_offset for run in lost
        )

    return [record for record in consume_all(cli.bootstrap, cli.topic) if not is_lost(record)]


def test_a_damaged_body_stops_a_restore_and_resume_brings_the_rest(cli: RestoreCli) -> None:
    """Exit 5 names object, offsets and the command; that brings all other records at their offsets, the group, and a true verdict."""
    key, run = _runs(cli, 1)[1]
    _flip(cli, key, run)
    said = cli.says(*cli.asked("d-"), *cli.consent, code=5)
    assert f"{key}: run of {cli.topic}-1 [{run.start_offset}, {run.next_offset}) does not match its checksum" in said
    assert f"all but offsets [{run.start_offset:,}, {run.next_offset:,}) of {cli.topic}-1" in said
    (restore_id,) = (one["restore_id"] for one in cli.json("restore", "list")["restores"])
    assert f"restore resume {restore_id} --allow-missing" in said
    assert cli.stands(f"d-{cli.group}", f"d-{cli.topic}") == [-1001, -1001]
    line = f"NOT RESTORED  {cli.topic}-1: offsets [{run.start_offset:,}, {run.next_offset:,}) cannot be read: {key}"
    assert line in cli.says("restore", "resume", restore_id, "--allow-missing", *cli.consent)
    assert consume_all(cli.bootstrap, f"d-{cli.topic}") == _without(cli, run)
    assert watermarks(cli.bootstrap, f"d-{cli.topic}", 2) == [(0, 300), (0, 300)]
    assert cli.stands(f"d-{cli.group}", f"d-{cli.topic}") == [100, 120]
    assert line in cli.says("restore", "status", restore_id)
    last = cli.json("restore", "status", restore_id)["record"]["runs"][-1]
    assert (last["outcome"], last["exit_code"]) == ("done", 0)
    assert last["unreadable"] == [
        {
            "topic": cli.topic,
            "partition": 1,
            "start_offset": run.start_offset,
            "next_offset": run.next_offset,
            "object_key": key,
        }
    ]
    report = cli.json("verify", "restore", restore_id, code=5)
    assert report["differences"] == []
    assert any(key in text for text in report["lacking"])
    assert "INCOMPLETE" in cli.says("verify", "restore", restore_id, code=5)


def test_offsets_of_a_deleted_object_are_named_to_the_end(cli: RestoreCli) -> None:
    """What is missing already when it is planned stands in the last lines, in the record, and in its status, which is not all green."""
    key, run = _runs(cli, 1)[1]
    lost = [one for number in (0, 1) for there, one in _runs(cli, number) if there == key]
    cli.repository.store.delete(key)
    done = cli.json(*cli.asked("g-"), "--allow-missing", "--no-groups", *cli.consent)
    assert done["plan"]["unreadable"] == []
    name = done["restore_id"]
    line = f"NOT RESTORED  {cli.topic}-1: offsets [{run.start_offset:,}, {run.next_offset:,}) are missing from the repository"
    said = cli.says("restore", "status", name)
    assert line in said
    assert "COMPLETE: 1 of 1 topics, but for what is named as not restored" in said
    recorded = cli.json("restore", "status", name)["record"]["runs"][-1]["unreadable"]
    assert [(one["partition"], one["start_offset"], one["next_offset"], one["object_key"]) for one in recorded] == [
        (one.partition, one.start_offset, one.next_offset, "") for one in lost
    ]
    said = cli.says("restore", "resume", name, "--allow-missing", *cli.consent)
    assert line in said
    assert f"verify restore {name}` compares all that came back" in said
    assert consume_all(cli.bootstrap, f"g-{cli.topic}") == _without(cli, *lost)


@pytest.mark.parametrize("offsets", ["exact", "translated"])
def test_it_is_resumed_behind_what_it_left_out(cli: RestoreCli, offsets: str) -> None:
    """The first and the last run of a partition are damaged; killed behind the first hole it goes on, without a note of the hole."""
    runs = _runs(cli, 0)
    for key, run in (runs[0], runs[-1]):
        _flip(cli, key, run)
    words = ["--allow-missing", "--offsets", offsets]
    cli.kill_in_the_middle("k-", *words)
    there = sum(end for _, end in watermarks(cli.bootstrap, f"k-{cli.topic}", 2))
    assert 0 < there < 600
    done = cli.json(*cli.asked("k-", *words), *cli.consent)
    assert [lost["object_key"] for lost in done["plan"]["unreadable"]] == [runs[0][0], runs[-1][0]]
    wanted = _without(cli, runs[0][1], runs[-1][1])
    found = consume_all(cli.bootstrap, f"k-{cli.topic}")
    assert done["result"]["topics"][0]["records"] == len(wanted) == len(found)
    if offsets == "exact":
        assert found == wanted
        assert watermarks(cli.bootstrap, f"k-{cli.topic}", 2) == [(0, 300), (0, 300)]
    else:
        assert [record.value for record in found] == [record.value for record in wanted]
        assert cli.stands(f"k-{cli.group}", f"k-{cli.topic}")[1] == 120
    report = cli.json("verify", "restore", done["restore_id"], code=5)
    assert report["differences"] == []
    assert len(report["lacking"]) >= 2


def test_a_plan_names_what_it_meets(cli: RestoreCli) -> None:
    """A run that a plan must open: exit 5 with the flag in its hint; with the flag the plan says what is missing, and runs."""
    key, run = _runs(cli, 0)[2]
    _zero(cli, key, run)
    cut = cli.folder / "offsets.json"
    cut.write_text(f'{{"{cli.topic}": {{"0": {run.start_offset + 1}, "1": 300}}}}')
    words = ["--target", "dst", "--to-offsets", str(cut), "--prefix", "p-", "--no-groups"]
    assert "--allow-missing" in cli.says("plan", *words, code=5)
    frozen = str(cli.folder / "plan.json")
    said = cli.says("plan", *words, "--allow-missing", "-o", frozen)
    assert f"offsets [{run.start_offset:,}, {run.start_offset + 1:,}) cannot be read: {key}" in said
    cli.says("restore", "--plan", frozen, *cli.consent)
    found = consume_all(cli.bootstrap, f"p-{cli.topic}")
    assert [r.offset for r in found if r.partition == 0] == list(range(run.start_offset))
    assert watermarks(cli.bootstrap, f"p-{cli.topic}", 2) == [(0, run.start_offset + 1), (0, 300)]


def test_many_damaged_objects(cli: RestoreCli) -> None:
    """Every second run of both partitions: all the others come back, in one run, and the flag may be given to a plan's file."""
    lost = [*_runs(cli, 0)[1::2], *_runs(cli, 1)[1::2]]
    for key, run in lost:
        _flip(cli, key, run)
    frozen = str(cli.folder / "plan.json")
    cli.says("plan", *cli.asked("m-")[1:], "-o", frozen)
    cli.says("restore", "--plan", frozen, *cli.consent, code=5)
    done = cli.json("restore", "--plan", frozen, "--allow-missing", *cli.consent)
    assert len(done["plan"]["unreadable"]) == len(lost)
    assert consume_all(cli.bootstrap, f"m-{cli.topic}") == _without(cli, *(run for _, run in lost))
    report = cli.json("prove", "--plan", frozen, "--allow-missing", code=5)
    assert report["differences"] == []


def test_a_damaged_group_log(cli: RestoreCli) -> None:
    """It stops a restore that puts groups; with the flag the records come, and that groups may be missing is said."""
    for key, run in _all_runs(cli, GROUP_LOG_TOPIC):
        if run.stored_bytes:
            _flip(cli, key, run)
    words = ["restore", "--target", "dst", "--latest", "--topic", cli.topic, "--prefix", "g-", *cli.consent]
    said = cli.says(*words, code=5)
    assert GROUP_LOG_TOPIC in said
    assert "--allow-missing" in said
    done = cli.json(*words, "--allow-missing")
    assert done["plan"]["groups"] == []
    assert any(note.startswith(GROUP_LOG_TOPIC) for note in done["plan"]["group_notes"]), done["plan"]["group_notes"]
    assert consume_all(cli.bootstrap, f"g-{cli.topic}") == consume_all(cli.bootstrap, cli.topic)
