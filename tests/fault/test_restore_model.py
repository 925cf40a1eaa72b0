"""Random histories, random moments: what is restored equals a model, records and positions of groups.

SOAK_RESTORE_HISTORIES=300 makes it the long one.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient

from mirror.core.group_plan import GroupChoice
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint
from mirror.storage.folder import FolderStore
from mirror.storage.repository import create_repository
from tests.capture import Capture
from tests.fault.restore_model import History, Moment, PartitionModel, Place, log_bounds, read_from
from tests.restoring import Seen, cluster_id, restore, selection_of

_COUNT = int(os.environ.get("SOAK_RESTORE_HISTORIES", "8"))
_SEED = int(os.environ.get("MIRROR_TEST_SEED", "20261123"))

pytestmark = pytest.mark.servers


@pytest.mark.parametrize("seed", range(_SEED, _SEED + _COUNT))
async def test_what_is_restored_equals_the_model(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, seed: int
) -> None:
    """--at and --until, exact and translated, with trimmed logs, records out of order, groups, and transactions, of which none is split."""
    choose = random.Random(seed)
    store = FolderStore(str(tmp_path / "repo"))
    store.create()
    identity = cluster_id(kafka.bootstrap)
    now_ms = time.time_ns() // 1_000_000
    repository = create_repository(store, cluster_id=identity, created_at_ms=now_ms, created_by="tests")
    stamped = {"message_timestamp_type": "LogAppendTime"} if choose.random() < 0.25 else {}
    history = History(kafka.bootstrap, [topic(2), topic(2, **stamped)], seed, Capture(repository))
    try:
        for _ in range(choose.randint(2, 4)):
            await history.step()
        await history.step(is_last=True)
    finally:
        history.close()
    for number, kind in enumerate((PointKind.AT, PointKind.UNTIL)):
        moment = choose.choice(history.moments[:-1])
        since = choose.choice(history.moments[: history.moments.index(moment) + 1]) if choose.random() < 0.25 else None
        mode = choose.choices([OffsetMode.EXACT, OffsetMode.TRANSLATED], [4, 1])[0]
        if kind is PointKind.AT:
            moment = history.whole_at(moment)
        prefix = f"m{number}-"
        selection = selection_of(
            *history.topics,
            prefix=prefix,
            point=RecoveryPoint(kind=kind, time_ms=moment.time_ms, since_ms=since and since.time_ms),
            offsets=mode,
            groups=_groups_of(history, moment, prefix),
        )
        wanted = _wanted(history, moment, kind, since)
        said = f"seed {seed}, {kind.name} {moment.time_ms} since {since and since.time_ms} {mode.name}"
        what = "\n".join([said, *history.told])
        if not any(log.records for log in wanted.values()):
            continue  # may be refused
        plan, _ = await restore(repository, kafka.bootstrap, selection)
        assert {group.group for group in plan.groups} == {name for name, stood in moment.groups.items() if stood}, what
        _judge(kafka.bootstrap, prefix, wanted, moment, mode, what)
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for future in admin.delete_topics([f"{prefix}{name}" for name in history.topics]).values():
            future.result(20)


def _groups_of(history: History, moment: Moment, prefix: str) -> GroupChoice:
    renames = {name: f"{prefix}{name}" for name, stood in moment.groups.items() if stood}
    return GroupChoice(is_wanted=bool(renames), globs=tuple(history.groups), renames=renames)


def _wanted(history: History, moment: Moment, kind: PointKind, since: Moment | None) -> dict[Place, PartitionModel]:
    """With a low of -1 where a log may begin anywhere up to its first record."""
    wanted = {}
    if kind is PointKind.AT:
        for place, log in moment.logs.items():
            first = 0 if since is None else since.logs[place].next_offset
            kept = [record for record in log.records if record.offset >= first]
            wanted[place] = PartitionModel(log.low if since is None else -1, max(first, log.next_offset), kept)
        return wanted
    since_ms = -1 if since is None else since.time_ms
    for place, log in history.moments[-1].logs.items():
        kept = [record for record in log.records if since_ms <= record.timestamp_ms <= moment.time_ms]
        low = log.low if since is None else -1
        wanted[place] = PartitionModel(low, kept[-1].offset + 1 if kept else low, kept)
    return wanted


def _judge(
    bootstrap: str, prefix: str, wanted: dict[Place, PartitionModel], moment: Moment, mode: OffsetMode, what: str
) -> None:
    names = {place: (f"{prefix}{place[0]}", place[1]) for place in wanted}
    bounds = log_bounds(bootstrap, names.values())
    seen = read_from(bootstrap, {there: low for there, (low, _) in bounds.items()})
    for place, log in wanted.items():
        there = names[place]
        if mode is OffsetMode.TRANSLATED:
            log = _dense(log)
        low, log_end = bounds[there]
        assert seen[there] == log.records, f"{place}\n{what}"
        assert log_end == (low if log.next_offset < 0 else log.next_offset), f"{place}\n{what}"
        latest = log.records[0].offset if log.records else log_end
        assert low == log.low or (log.low < 0 and low <= latest), f"{place}\n{what}"
    for group, stood in moment.groups.items():
        if not stood:
            continue
        found = _committed(bootstrap, f"{prefix}{group}", list(names.values()))
        for place, offset in stood.items():
            log = wanted[place]
            position = offset
            if mode is OffsetMode.TRANSLATED:
                position = sum(record.offset < offset for record in log.records)
            low, log_end = bounds[names[place]]
            position = max(low, min(position, log_end))
            assert found[names[place]] == position, f"{group} in {place}, committed {offset}\n{what}"
        assert sum(offset >= 0 for offset in found.values()) == len(stood), f"{group}: {found}\n{what}"


def _dense(log: PartitionModel) -> PartitionModel:
    records = [Seen(record.partition, number, *record[2:]) for number, record in enumerate(log.records)]
    return PartitionModel(0, len(records), records)


def _committed(bootstrap: str, group: str, places: list[Place]) -> dict[Place, int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False})
    try:
        found = consumer.committed([TopicPartition(*place) for place in places], timeout=20)
        return {(one.topic, one.partition): one.offset for one in found}
    finally:
        consumer.close()
