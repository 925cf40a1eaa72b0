"""`mirror restore abort` leaves the target as before; `mirror groups rollback` puts groups back, and refuses what is not theirs."""

import calendar
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, ResourceType

from tests.fault.restore_lab import produce, watermarks
from tests.restore_cli import RestoreCli, topic_names

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

_NOWHERE = -1001


@pytest.fixture
def cli(kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> RestoreCli:
    """A repository with one topic and one group."""
    lab = RestoreCli(kafka.bootstrap, tmp_path, topic(2), f"g-{time.time_ns()}", capsys)
    lab.prepare()
    return lab


def _settings(bootstrap: str, topic: str) -> dict[str, str]:
    """Those made on the topic itself."""
    resource = ConfigResource(ResourceType.TOPIC, topic)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    found = admin.describe_configs([resource])[resource].result(20)
    return {name: one.value for name, one in found.items() if one.source == 1}


def _create(bootstrap: str, topic: str, partitions: int, **configs: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, partitions, 1, config=configs)])[topic].result(30)


def test_abort_of_a_killed_restore_leaves_nothing(cli: RestoreCli) -> None:
    """The topic that it made is gone, after consent only; the record says so; the same restore can be begun anew."""
    copy = f"a-{cli.topic}"
    cli.kill_in_the_middle("a-")
    name = cli.json("restore", "list")["restores"][0]["restore_id"]
    shown = cli.json("restore", "abort", name, "--dry-run")
    assert [(one["target_topic"], one["undo"]) for one in shown["topics"]] == [(copy, "delete")]
    assert cli.run("restore", "abort", name) == 4
    assert cli.run("restore", "abort", name, "--yes", "--target-cluster-id", "another") == 4
    assert copy in topic_names(cli.bootstrap)
    assert cli.json("restore", "abort", name, *cli.consent, "--reason", "wrong moment")["done"]
    assert copy not in topic_names(cli.bootstrap)
    (listed,) = cli.json("restore", "list")["restores"]
    assert (listed["state"], listed["reason"]) == ("aborted", "wrong moment")
    assert cli.run("restore", "status", name) == 0
    assert "was aborted" in cli.says("verify", "restore", name, code=4)
    assert cli.restore("a-") == name
    assert watermarks(cli.bootstrap, copy, 2) == [(0, 300), (0, 300)]
    assert cli.json("restore", "list")["restores"][0]["state"] == "done"


@pytest.mark.parametrize("mode", ["exact", "translated"])
def test_records_of_others_in_an_unfinished_topic_go_only_with_a_word(cli: RestoreCli, mode: str) -> None:
    """They follow what a killed restore loaded: status shows them, and promises no resume, which is refused; abort keeps them."""
    copy = f"s-{cli.topic}"
    cli.kill_in_the_middle("s-", "--offsets", mode)
    name = cli.json("restore", "list")["restores"][0]["restore_id"]
    (topic,) = cli.json("restore", "status", name, code=3)["topics"]
    assert topic["later_offsets"] == 0
    there = topic["there_offsets"]
    assert "goes on" in cli.says("restore", "status", name, code=3)
    produce(cli.bootstrap, copy, 5, partition=1)
    (topic,) = cli.json("restore", "status", name, code=3)["topics"]
    assert (topic["standing"], topic["there_offsets"], topic["later_offsets"]) == ("unfinished", there, 5)
    said = cli.says("restore", "status", name, code=3)
    assert "is refused" in said
    assert "goes on" not in said
    before = watermarks(cli.bootstrap, copy, 2)
    assert cli.run("restore", "resume", name, *cli.consent) == 4
    said = cli.says("restore", "abort", name, *cli.consent, code=3)
    assert copy in said
    assert "5 offsets were written since" in said
    assert watermarks(cli.bootstrap, copy, 2) == before
    assert cli.json("restore", "abort", name, "--foreign", *cli.consent)["done"]
    assert copy not in topic_names(cli.bootstrap)


def test_abort_makes_an_empty_topic_empty_again(cli: RestoreCli) -> None:
    """It was there, empty, with settings of its own: so it is afterwards."""
    copy = f"e-{cli.topic}"
    _create(cli.bootstrap, copy, 2, **{"retention.ms": "7200000"})
    cli.kill_in_the_middle("e-")
    name = cli.json("restore", "list")["restores"][0]["restore_id"]
    cli.json("restore", "abort", name, *cli.consent)
    assert watermarks(cli.bootstrap, copy, 2) == [(0, 0), (0, 0)]
    assert _settings(cli.bootstrap, copy) == {"retention.ms": "7200000"}


def test_what_is_complete_or_not_of_the_restore_stays(cli: RestoreCli) -> None:
    """A complete topic, one with records of others, and one that held records before: each needs its own word, the last has none."""
    copy = f"c-{cli.topic}"
    name = cli.restore("c-")
    said = cli.says("restore", "abort", name, *cli.consent, code=3)
    assert "--complete deletes it too" in said
    put_back = f"`mirror groups rollback {name}` puts them back"
    assert f"1 consumer groups do not stand as before (c-{cli.group}: {put_back})" in " ".join(said.split())
    assert "other topics are as they were" in " ".join(said.split())
    assert watermarks(cli.bootstrap, copy, 2) == [(0, 300), (0, 300)]
    assert cli.stands(f"c-{cli.group}", copy) == [100, 120]
    produce(cli.bootstrap, copy, 3)
    said = cli.says("restore", "abort", name, "--complete", *cli.consent, code=3)
    assert "3 offsets were written since, by others or a later restore" in said
    cli.json("restore", "abort", name, "--complete", "--foreign", *cli.consent)
    assert copy not in topic_names(cli.bootstrap)
    # Restored into where all of it was already: nothing of that is the restore's.
    again = cli.restore("")
    said = cli.says("restore", "abort", again, "--complete", "--foreign", "--no-groups", *cli.consent)
    assert "it was there before this restore" in said
    assert watermarks(cli.bootstrap, cli.topic, 2) == [(0, 300), (0, 300)]


def test_after_going_on_the_first_restore_is_aborted(cli: RestoreCli) -> None:
    """The later one found the topic there, so it keeps it; the one that made it deletes it, with all that came since."""
    copy = f"l-{cli.topic}"
    words = ("--target", "dst", "--topic", cli.topic, "--prefix", "l-", *cli.consent)
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    while time.time() < calendar.timegm(time.strptime(until, "%Y-%m-%dT%H:%M:%SZ")) + 1:  # no moment of the future
        time.sleep(0.1)
    first = cli.json("restore", "--until", until, *words)["restore_id"]
    cli.store_more(20)
    later = cli.json("restore", "--latest", *words)["restore_id"]
    assert later != first
    assert watermarks(cli.bootstrap, copy, 2) == [(0, 320), (0, 300)]
    all_of_it = ("--complete", "--foreign", *cli.consent)
    assert "it was there before this restore" in cli.says("restore", "abort", later, *all_of_it, code=3)
    assert watermarks(cli.bootstrap, copy, 2) == [(0, 320), (0, 300)]
    assert cli.json("restore", "abort", first, *all_of_it)["done"]
    assert copy not in topic_names(cli.bootstrap)


def test_rollback_of_groups(cli: RestoreCli) -> None:
    """A position goes back to where it was, one that was not there is forgotten; again is nothing to do."""
    copy, group = f"b-{cli.topic}", f"b-{cli.group}"
    _create(cli.bootstrap, copy, 2)
    cli.commit(group, copy, {0: 0})
    name = cli.restore("b-")
    assert cli.stands(group, copy) == [100, 120]
    assert cli.run("groups", "rollback", name) == 4
    done = cli.json("groups", "rollback", name, *cli.consent)["groups"]
    assert [(one["group"], len(one["put_back"]), len(one["forget"])) for one in done] == [(group, 1, 1)]
    assert cli.stands(group, copy) == [0, _NOWHERE]
    assert cli.json("restore", "list")["restores"][0]["state"] == "groups rolled back"
    assert cli.json("groups", "rollback", name, *cli.consent)["groups"] == []


def test_a_group_that_moved_or_is_active_is_not_rolled_back(cli: RestoreCli) -> None:
    """Exit 4, and it stands where it stood."""
    copy, group = f"m-{cli.topic}", f"m-{cli.group}"
    name = cli.restore("m-")
    consumer = Consumer({"bootstrap.servers": cli.bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        consumer.subscribe([copy])
        deadline_s = time.monotonic() + 60
        while not consumer.assignment():
            assert time.monotonic() < deadline_s, "nothing is assigned"
            consumer.poll(0.2)
        assert "active on dst" in cli.says("groups", "rollback", name, *cli.consent, code=4)
    finally:
        consumer.close()
    cli.commit(group, copy, {0: 150})
    said = cli.says("groups", "rollback", name, *cli.consent, code=4)
    assert f"{group} in {copy}-0: at 150, was put to 100" in said
    assert cli.stands(group, copy) == [150, 120]


def test_abort_by_the_file_of_the_plan(cli: RestoreCli) -> None:
    """Without a record the mark on the topics tells what is of the restore; a word is needed, and no record is begun by it."""
    plan, copy = str(cli.folder / "plan.json"), f"f-{cli.topic}"
    cli.says("plan", *cli.asked("f-", "-o", plan)[1:])
    cli.kill_in_the_middle("", command=["restore", "--plan", plan], copy=copy)
    shutil.rmtree(cli.folder / "repo" / "restores")
    assert "no record says" in cli.says("restore", "abort", plan, *cli.consent, code=3)
    assert [one["standing"] for one in cli.json("restore", "status", plan, code=3)["topics"]] == ["unfinished"]
    assert cli.run("groups", "rollback", plan, *cli.consent) == 2
    assert cli.json("restore", "abort", plan, "--complete", *cli.consent)["done"]
    assert copy not in topic_names(cli.bootstrap)
    assert cli.json("restore", "list") == {"restores": [], "problems": []}


def test_what_another_restore_loads_is_kept(cli: RestoreCli) -> None:
    """Its mark says another recovery point."""
    plan, copy = str(cli.folder / "plan.json"), f"x-{cli.topic}"
    cli.says("plan", *cli.asked("x-", "-o", plan)[1:])
    cli.kill_in_the_middle("x-")  # --latest as it was asked: another mark than that of the frozen plan
    assert "another restore loads it" in cli.says("restore", "abort", plan, "--complete", *cli.consent)
    assert copy in topic_names(cli.bootstrap)
