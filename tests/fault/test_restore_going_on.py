"""A restore to one moment that is gone on with to a later one equals one restore to the later one, also if it is ended in between."""

import asyncio
import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from mirror.core.group_plan import GroupChoice
from mirror.core.moments import format_moment
from mirror.core.recovery_point import LATEST, OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_plan import TopicState
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import RefusedError
from mirror.storage.folder import FolderStore
from mirror.storage.repository import create_repository
from tests.capture import Capture, capture
from tests.fault.restore_lab import RestoreLab, committed, produce, transactions, trim, watermarks
from tests.fault.restore_model import History, Moment, log_bounds, read_from
from tests.restoring import cluster_id, consume_all, restore, selection_of

_COUNT = int(os.environ.get("SOAK_RESTORE_HISTORIES", "3"))
_SEED = int(os.environ.get("MIRROR_TEST_SEED", "20261123"))

pytestmark = pytest.mark.servers


def _choice(history: History, moment: Moment, prefix: str) -> GroupChoice:
    renames = {name: f"{prefix}{name}" for name, stood in moment.groups.items() if stood}
    return GroupChoice(is_wanted=bool(renames), globs=tuple(history.groups), renames=renames)


def _configs(bootstrap: str, topics: list[str]) -> list[dict[str, str]]:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    asked = admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in topics])
    found = {resource.name: future.result(20) for resource, future in asked.items()}
    return [{key: one.value for key, one in found[name].items() if one.source == 1} for name in topics]


def _seen(bootstrap: str, history: History, prefix: str, moment: Moment) -> tuple[Any, ...]:
    """Everything there is under a prefix, by the judge: log bounds, records, settings, positions of the moment's groups."""
    names = [f"{prefix}{name}" for name in history.topics]
    bounds = log_bounds(bootstrap, [(name, partition) for name in names for partition in range(2)])
    records = read_from(bootstrap, {place: low for place, (low, _) in bounds.items()})
    groups = {
        (group, name): committed(bootstrap, f"{prefix}{group}", f"{prefix}{name}", 2)
        for group, stood in moment.groups.items()
        for name in history.topics
        if len([place for place in stood if place[0] == name]) == 2
    }
    return list(bounds.values()), list(records.values()), _configs(bootstrap, names), groups


@pytest.mark.parametrize("seed", range(_SEED, _SEED + _COUNT))
async def test_two_restores_equal_one(kafka: Any, topic: Callable[..., str], tmp_path: Path, seed: int) -> None:
    """Records, offsets, watermarks, settings and groups; where what is there is no beginning of the later one, nothing changes."""
    choose = random.Random(seed)
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    now_ms = time.time_ns() // 1_000_000
    repository = create_repository(
        store, cluster_id=cluster_id(kafka.bootstrap), created_at_ms=now_ms, created_by="tests"
    )
    history = History(kafka.bootstrap, [topic(2), topic(2)], seed, Capture(repository))
    try:
        for _ in range(choose.randint(3, 5)):
            await history.step()
        await history.step(is_last=True)
    finally:
        history.close()
    first, second = sorted(choose.sample(history.moments[:-1], 2), key=lambda moment: moment.time_ms)
    kind = choose.choices([PointKind.AT, PointKind.LATEST, PointKind.UNTIL], [4, 1, 1])[0]
    mode = choose.choices([OffsetMode.EXACT, OffsetMode.TRANSLATED], [4, 1])[0]
    point = LATEST if kind is PointKind.LATEST else RecoveryPoint(kind=kind, time_ms=second.time_ms)
    if kind is PointKind.LATEST:
        second = history.moments[-1]
    what = "\n".join([f"seed {seed}: {first.time_ms}, then {point.option} {mode.name}", *history.told])

    def selection(prefix: str, moment: Moment, to: RecoveryPoint) -> RestoreSelection:
        groups = _choice(history, moment, prefix)
        return selection_of(*history.topics, prefix=prefix, point=to, offsets=mode, groups=groups)

    if not any(log.records for log in first.logs.values()):
        return  # may be refused
    await restore(
        repository,
        kafka.bootstrap,
        selection("two-", first, RecoveryPoint(kind=PointKind.AT, time_ms=first.time_ms)),
    )
    before = _seen(kafka.bootstrap, history, "two-", first)
    await restore(repository, kafka.bootstrap, selection("one-", second, point))
    refused = ""
    try:
        await _ended_somewhere(repository, kafka.bootstrap, selection("two-", second, point), choose)
        plan, _ = await restore(repository, kafka.bootstrap, selection("two-", second, point))
    except RefusedError as error:
        refused = error.message
    if refused:
        assert kind is PointKind.UNTIL, f"{refused}\n{what}"
        assert _seen(kafka.bootstrap, history, "two-", first) == before, what
    else:
        one, two = (_seen(kafka.bootstrap, history, prefix, second) for prefix in ("one-", "two-"))
        assert two[:3] == one[:3], what
        if any(topic.state is not TopicState.COMPLETE for topic in plan.topics):
            assert two[3] == one[3], what
    _forget(kafka.bootstrap, [f"{prefix}{name}" for prefix in ("one-", "two-") for name in history.topics])


async def _ended_somewhere(repository: Any, bootstrap: str, selection: RestoreSelection, choose: random.Random) -> None:
    """Every other time: begun, and dropped at a random moment."""
    if choose.random() < 0.5:
        return
    running = asyncio.create_task(restore(repository, bootstrap, selection, bytes_per_second=30_000))
    await asyncio.wait([running], timeout=choose.uniform(0.6, 2.5))
    running.cancel()
    (ended,) = await asyncio.gather(running, return_exceptions=True)
    if isinstance(ended, RefusedError):
        raise ended


def _forget(bootstrap: str, topics: list[str]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_topics(topics).values():
        future.exception(20)


async def test_killed_while_it_goes_on(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """kill -9 in the middle of the second restore, twice; the plan before says that it goes on; then all is as at the source."""
    name = topic(2, retention_ms="-1")
    produce(kafka.bootstrap, name, 400)
    trim(kafka.bootstrap, name, 100)
    transactions(kafka.bootstrap, name, [5, 3, 40])
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    taken = await capture(kafka.bootstrap, [name], store, object_bytes=20_000, slice_bytes=4000)
    time.sleep(0.05)
    at = format_moment(time.time_ns() // 1_000_000)
    time.sleep(0.05)
    transactions(kafka.bootstrap, name, [5, 3, 400, 2])
    produce(kafka.bootstrap, name, 1500)
    produce(kafka.bootstrap, name, 700, partition=1)
    await capture(kafka.bootstrap, [name], store, object_bytes=20_000, slice_bytes=4000, go_on=taken)
    lab = RestoreLab(kafka.bootstrap, tmp_path, {name: 2}, f"g-{name}")
    await lab.prepare(go_on=taken)
    try:
        assert lab.start("x-", "--at", at, "--no-groups").wait() == 0
        ends = watermarks(kafka.bootstrap, f"x-{name}", 2)
        shown = lab.start("x-", "--latest", "--dry-run")
        assert shown.wait() == 0, shown.said
        assert "goes on" in " ".join(shown.said.split()), shown.said
        for _ in range(2):
            run = lab.start("x-", "--latest", rate="40k")
            deadline = time.monotonic() + 40
            while run.is_running and watermarks(kafka.bootstrap, f"x-{name}", 2) == ends:
                assert time.monotonic() < deadline, run.said
                time.sleep(0.02)
            run.signal(signal.SIGKILL)
            assert run.wait() == -9, run.said
            ends = watermarks(kafka.bootstrap, f"x-{name}", 2)
        last = lab.start("x-", "--latest")
        assert last.wait() == 0, last.said
        assert lab.difference("x-") == ""
        assert _configs(kafka.bootstrap, [f"x-{name}"]) == [{"retention.ms": "-1"}]
    finally:
        lab.close()


async def test_the_same_options_again_after_others(kafka: Any, topic: Callable[..., str], tmp_path: Path) -> None:
    """--latest, later --at, later --latest: the leader remembers the first one's producer id, far back."""
    name = topic(1)
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    taken = None
    points: list[RecoveryPoint] = []
    for number in range(3):
        produce(kafka.bootstrap, name, 120)
        taken = await capture(kafka.bootstrap, [name], store, go_on=taken)
        time.sleep(0.02)
        points.append(LATEST if number != 1 else RecoveryPoint(kind=PointKind.AT, time_ms=time.time_ns() // 1_000_000))
        time.sleep(0.02)
        selection = selection_of(name, prefix="x-", point=points[-1], allow_short=True)
        plan, result = await restore(taken.repository, kafka.bootstrap, selection)
        assert result.loaded_records == 120
        assert plan.topics[0].state is (TopicState.BEGINNING if number else TopicState.ABSENT)
    assert consume_all(kafka.bootstrap, f"x-{name}") == consume_all(kafka.bootstrap, name)


@pytest.mark.parametrize("mode", list(OffsetMode))
async def test_what_is_no_beginning_is_refused(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, mode: OffsetMode
) -> None:
    """A stranger's record, a log that retention shortened, records that no restore loaded: refused, and nothing is changed."""
    name = topic(1)
    produce(kafka.bootstrap, name, 50)
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    taken = await capture(kafka.bootstrap, [name], store)
    selections = {what: selection_of(name, prefix=f"{what}-", offsets=mode) for what in ("strange", "short")}
    for selection in selections.values():
        await restore(taken.repository, kafka.bootstrap, selection)
    produce(kafka.bootstrap, f"strange-{name}", 1)
    trim(kafka.bootstrap, f"short-{name}", 7)
    copied = topic(1)
    selections["copied"] = selection_of(name, renames={name: copied}, offsets=mode)
    _copy(kafka.bootstrap, name, copied)
    produce(kafka.bootstrap, name, 50)
    taken = await capture(kafka.bootstrap, [name], store, go_on=taken)
    says = {"strange": "offset 50", "short": "begins at offset [07]", "copied": "last batch is not number"}
    for what, selection in selections.items():
        names = [f"{what}-{name}" if what != "copied" else copied]
        before = (watermarks(kafka.bootstrap, names[0], 1), _configs(kafka.bootstrap, names))
        with pytest.raises(RefusedError, match=says[what]):
            await restore(taken.repository, kafka.bootstrap, selection)
        assert (watermarks(kafka.bootstrap, names[0], 1), _configs(kafka.bootstrap, names)) == before


def _copy(bootstrap: str, topic: str, copy: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    for seen in consume_all(bootstrap, topic):
        producer.produce(
            copy, key=seen.key, value=seen.value, headers=list(seen.headers), timestamp=seen.timestamp_ms, partition=0
        )
    assert producer.flush(20) == 0
