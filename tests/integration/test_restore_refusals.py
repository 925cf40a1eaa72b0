"""Everything that a restore refuses, as a user types it: exit 2 or 4, and the target stays as it was."""

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from confluent_kafka import IsolationLevel, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from mirror.cli.__main__ import main
from mirror.core.moments import format_moment
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_mark import RestoreMark
from mirror.storage.folder import FolderStore
from tests.capture import capture
from tests.restoring import cluster_id, write_config

pytestmark = pytest.mark.servers


class Refusal(NamedTuple):
    """What is typed, and what comes of it; `{…}` are filled in from the scene."""

    args: str
    exit_code: int
    says: str


CONSENT = "--yes --target-cluster-id {cluster}"
REFUSED = {
    "no recovery point": Refusal("--target dst --topic {name} --prefix x-", 2, "exactly one recovery point"),
    "two recovery points": Refusal("--target dst --topic {name} --prefix x- --latest --at {after}", 2, "exactly one"),
    "a time without a zone": Refusal("--target dst --topic {name} --prefix x- --at 2026-11-23T10:00:00", 2, "zone"),
    "no time": Refusal("--target dst --topic {name} --prefix x- --until soon", 2, "soon"),
    "since after at": Refusal("--target dst --topic {name} --prefix x- --at {after} --since {future}", 2, "--since"),
    "the future, at": Refusal("--target dst --topic {name} --prefix x- --at {future}", 4, "in the future"),
    "the future, until": Refusal("--target dst --topic {name} --prefix x- --until {future}", 4, "in the future"),
    "before the backup": Refusal("--target dst --topic {name} --prefix x- --at {before}", 4, "nearest moment"),
    "before the first record": Refusal(
        "--target dst --topic {name} --prefix x- --until 1999-01-01T00:00:00Z", 4, "the oldest is"
    ),
    "after all that is stored": Refusal("--target dst --topic {name} --prefix x- --at {now}", 4, "--allow-short"),
    "short": Refusal("--target dst --topic {name} --prefix x- --to-offsets {offsets}", 4, "--allow-short"),
    "offsets of nothing": Refusal("--target dst --topic {taken} --prefix x- --to-offsets {offsets}", 2, "no topic"),
    "a file of no offsets": Refusal("--target dst --topic {name} --prefix x- --to-offsets {config}", 2, "--to-offsets"),
    "no target": Refusal("--latest --topic {name} --prefix x-", 2, "--target"),
    "no such target": Refusal("--latest --target other --topic {name} --prefix x-", 2, "other"),
    "no match": Refusal("--latest --target dst --topic nothing-*", 2, "no topic"),
    "a rename of nothing": Refusal("--latest --target dst --topic {name} --rename other=x", 2, "other"),
    "no name for a topic": Refusal("--latest --target dst --topic {name} --rename {name}=a/b", 2, "a/b"),
    "an internal topic": Refusal("--latest --target dst --topic {name} --rename {name}=__consumer_offsets", 2, "__con"),
    "not empty": Refusal("--latest --target dst --topic {name}", 4, "not empty"),
    "not empty, another topic": Refusal("--latest --target dst --topic {name} --rename {name}={taken}", 4, "not empty"),
    "replaced, not stored": Refusal(
        "--latest --target dst --topic {name} --rename {name}={taken} --if-not-empty replace", 4, "20 records"
    ),
    "replaced, no number": Refusal(
        "--latest --target dst --topic {name} --rename {name}={taken} --if-not-empty replace --discard-unstored",
        4,
        "--replace-topics 1",
    ),
    "replaced, another number": Refusal(
        "--latest --target dst --topic {name} --rename {name}={wide} --if-not-empty replace --replace-topics 0",
        4,
        "--replace-topics 1",
    ),
    "replaced by an internal one": Refusal(
        "--latest --target dst --topic {name} --rename {name}=__consumer_offsets --if-not-empty replace", 2, "__con"
    ),
    "discarded, not replaced": Refusal("--latest --target dst --topic {name} --discard-unstored", 2, "replace"),
    "appended at the same offsets": Refusal(
        "--latest --target dst --topic {name} --rename {name}={taken} --if-not-empty append", 2, "--offsets translated"
    ),
    "no such decision": Refusal("--latest --target dst --topic {name} --if-not-empty force", 2, "force"),
    "other partitions": Refusal("--latest --target dst --topic {name} --rename {name}={wide}", 4, "3 partitions"),
    "another restore's": Refusal("--latest --target dst --topic {name} --rename {name}={marked}", 4, "another restore"),
    "two under one name": Refusal(
        "--latest --target dst --topic {name} --topic {second} --rename {name}=x --rename {second}=x", 4, "both"
    ),
    "too many replicas": Refusal(
        "--latest --target dst --topic {name} --prefix x- --replication-factor 9", 2, "brokers"
    ),
    "no such incarnation": Refusal(
        "--latest --target dst --topic {name} --prefix x- --incarnation {name}=AAAAAAAAAAAAAAAAAAAAAA", 2, "stored"
    ),
    "no such group": Refusal("--latest --target dst --topic {name} --prefix x- --group nobody", 2, "group"),
    "too long to fill": Refusal(
        "--latest --target dst --topic {holed} --prefix x- --max-fill-time 0s", 4, "--max-fill-time"
    ),
    "no rate": Refusal("--latest --target dst --topic {name} --prefix x- --limit-rate fast", 2, "not a rate"),
    "only state and only data": Refusal(
        "--latest --target dst --topic {name} --prefix x- --only-state --only-data", 2, "two halves"
    ),
    "groups of only state": Refusal("--latest --target dst --topic {name} --only-state --group g", 2, "--group say"),
    "quotas of only data": Refusal("--latest --target dst --topic {name} --only-data --quotas", 2, "--quotas say"),
    "only data of no topic": Refusal(
        "--latest --target dst --topic {name} --prefix x- --only-data --dry-run", 4, "does not have x-"
    ),
    "only state over records": Refusal(
        "--latest --target dst --topic {name} --rename {name}={taken} --only-state", 4, "its settings are left alone"
    ),
    "only state while it is loaded": Refusal(
        "--latest --target dst --topic {name} --rename {name}={marked} --only-state", 4, "restore"
    ),
    "ACLs that were not captured": Refusal("--latest --target dst --topic {name} --prefix x- --acls", 2, "no state"),
    "one of several is not empty": Refusal(
        "--latest --target dst --topic {second} --topic {name} --rename {name}={taken} --prefix x-", 4, "not empty"
    ),
}
UNCONSENTED = {
    "the source cluster": Refusal("--latest --target dst --topic {name} --prefix x-", 4, "THIS IS THE SOURCE CLUSTER"),
    "yes alone": Refusal("--latest --target dst --topic {name} --prefix x- --yes", 4, "THIS IS THE SOURCE CLUSTER"),
    "another cluster": Refusal(
        "--latest --target dst --topic {name} --prefix x- --yes --target-cluster-id other", 4, "not other"
    ),
}


def _produce(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5})
    for number in range(count):
        producer.produce(topic, value=b"%d" % number, partition=0)
    assert producer.flush(20) == 0


def _state(bootstrap: str, scene: dict[str, str]) -> dict[str, Any]:
    """Names of all topics and groups; settings and log ends of the scene's: retention may be at work in what other tests left."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    topics = {name: topic for name, topic in admin.list_topics(timeout=10).topics.items() if not name.startswith("__")}
    own = sorted(set(scene.values()) & topics.keys())
    names = [TopicPartition(name, partition) for name in own for partition in topics[name].partitions]
    ends: dict[str, int] = {}
    for spec in (OffsetSpec.earliest(), OffsetSpec.latest()):
        found = admin.list_offsets(dict.fromkeys(names, spec), isolation_level=IsolationLevel.READ_UNCOMMITTED)
        ends |= {f"{tp.topic}-{tp.partition} {spec}": future.result(20).offset for tp, future in found.items()}
    configs = {}
    for resource, future in admin.describe_configs([ConfigResource(ResourceType.TOPIC, name) for name in own]).items():
        configs[resource.name] = {key: one.value for key, one in future.result(20).items() if one.source == 1}
    groups = {group.group_id for group in admin.list_consumer_groups().result(20).valid}
    return {"topics": set(topics), "ends": ends, "configs": configs, "groups": groups}


def _changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """What is there that was not, or is otherwise; what other tests left may go meanwhile."""
    came = [f"{part}: {after[part] - before[part]}" for part in ("topics", "groups") if after[part] - before[part]]
    return came + [part for part in ("ends", "configs") if after[part] != before[part]]


def _scene(bootstrap: str, topic: Callable[..., str], folder: Path) -> dict[str, str]:
    """What the command lines are about."""
    before_ms = time.time_ns() // 1_000_000
    time.sleep(0.05)
    name, second, holed, taken, wide = topic(2), topic(1), topic(1), topic(2, retention_ms="88000000"), topic(3)
    for each in (name, second, holed, taken):
        _produce(bootstrap, each, 20)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.delete_records([TopicPartition(holed, 0, 7)]).values():
        future.result(20)
    store = FolderStore(str(folder / "repo"))
    store.create()
    asyncio.run(capture(bootstrap, [name, second, holed], store))
    _produce(bootstrap, name, 1)
    time.sleep(0.05)
    point = RecoveryPoint(kind=PointKind.UNTIL, time_ms=1_700_000_000_000)
    mark = RestoreMark.of(point, OffsetMode.EXACT, "A" * 22, name).value
    marked = f"marked-{name}"
    new = NewTopic(marked, 2, 1, config={"message.timestamp.before.max.ms": mark})
    admin.create_topics([new])[marked].result(20)
    _produce(bootstrap, marked, 3)
    (folder / "offsets.json").write_text(json.dumps({name: {"0": 21, "1": 0}}))
    config = write_config(folder, bootstrap)
    now_ms = time.time_ns() // 1_000_000
    return {
        "name": name,
        "second": second,
        "holed": holed,
        "taken": taken,
        "wide": wide,
        "marked": marked,
        "offsets": str(folder / "offsets.json"),
        "config": str(config),
        "cluster": cluster_id(bootstrap),
        "before": format_moment(before_ms),
        "after": format_moment(before_ms + 60),
        "now": format_moment(now_ms),
        "future": format_moment(now_ms + 3_600_000),
    }


def test_a_refused_restore_changes_nothing(
    kafka: Any, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 or 4 with the reason, for plans too; topics, settings, log ends and groups are as before."""
    scene = _scene(kafka.bootstrap, topic, tmp_path)
    before = _state(kafka.bootstrap, scene)
    wrong: list[str] = []
    cases = {what: (one, CONSENT) for what, one in REFUSED.items()} | {
        what: (one, "") for what, one in UNCONSENTED.items()
    }
    for what, (refusal, consent) in cases.items():
        args = f"{refusal.args} {consent}".format(**scene).split()
        exit_code = main(["--config", scene["config"], "restore", *args])
        said = capsys.readouterr().err
        if exit_code != refusal.exit_code or refusal.says.format(**scene) not in said:
            wrong.append(f"{what}: exit {exit_code}, not {refusal.exit_code} with {refusal.says!r}: {said}")
        after = _state(kafka.bootstrap, scene)
        if changed := _changed(before, after):
            wrong.append(f"{what}: changed {changed}: {said}")
            before = after
    assert not wrong, "\n".join(wrong)
