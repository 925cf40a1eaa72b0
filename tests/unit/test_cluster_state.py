"""Captures of a cluster's state in a repository: when they are stored, that of a moment, and what changed between two."""

import json
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from mirror.cli.__main__ import main
from mirror.core.cluster_state import ClusterState, StateAcl, StateBroker, StateQuota, StateTopic, StateUser
from mirror.core.keys import format_state_key, parse_state_key
from mirror.core.segment.index import FORMAT_VERSION, encode_checked
from mirror.errors import DamageError, NoMatchError, RefusedError
from mirror.kafka.wire.api_versions import decode_features
from mirror.kafka.wire.codec import Reader, Writer
from mirror.kafka.wire.describe_scram_users import decode_scram_users
from mirror.kafka.wire.list_groups import decode_list_groups
from mirror.service.cluster_states import list_states, put_state, read_state, state_at
from mirror.service.state_diff import diff_states
from mirror.service.state_recorder import StateRecorder
from mirror.service.verify import verify_repository
from mirror.storage.folder import FolderStore
from tests.observe_builders import T0_MS, RepositoryBuilder

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

ORDERS = StateTopic(
    topic="orders",
    topic_id="A" * 22,
    partition_count=3,
    replication_factor=2,
    configs={"retention.ms": "86400000"},
)
ACL = StateAcl(
    resource_type="TOPIC",
    resource_name="orders",
    pattern_type="LITERAL",
    principal="User:app",
    host="*",
    operation="READ",
    permission="ALLOW",
)
QUOTA = StateQuota(entity={"client-id": None, "user": "app"}, values={"producer_byte_rate": 1048576.0})
BROKER = StateBroker(node_id=1, host="kafka-1", port=9092, configs={"log.retention.hours": "72", "ssl.key": None})


def a_state(builder: RepositoryBuilder, at_ms: int = T0_MS, **changes: Any) -> ClusterState:
    """One topic, one broker, one ACL, one user."""
    state = ClusterState(
        format_version=FORMAT_VERSION,
        repository_id=builder.repository.identity.repository_id,
        cluster_id=builder.cluster_id,
        captured_at_ms=at_ms,
        topics=[ORDERS],
        brokers=[BROKER],
        features={"metadata.version": 21},
        acls=[ACL],
        users=[StateUser(user="app", mechanisms=["SCRAM-SHA-512"])],
        quotas=[QUOTA, StateQuota(entity={"ip": "10.0.0.1"}, values={"connection_creation_rate": 2.5})],
    )
    return msgspec.structs.replace(state, **changes)


def recorder(builder: RepositoryBuilder) -> StateRecorder:
    """One that is only given captures."""
    return StateRecorder(builder.repository, cast(Any, None))


def texts(before: ClusterState, after: ClusterState) -> list[str]:
    """The lines."""
    return [change.text for change in diff_states(before, after)]


def with_orders(state: ClusterState, **changes: Any) -> ClusterState:
    """The same, with another topic "orders"."""
    return msgspec.structs.replace(state, topics=[msgspec.structs.replace(ORDERS, **changes)])


def test_every_kind_of_change_is_a_line() -> None:
    """In the words that a person reads; what is equal says nothing."""
    old = a_state(RepositoryBuilder())
    assert texts(old, msgspec.structs.replace(old, captured_at_ms=1)) == []
    pay = msgspec.structs.replace(ORDERS, topic="pay", partition_count=1)
    new = msgspec.structs.replace(old, topics=[ORDERS, pay], acls=[], users=[], features={"metadata.version": 27})
    assert texts(old, new) == [
        "~ cluster: metadata.version 21 -> 27",
        "+ topic pay: 1 partition, replication factor 2",
        "- acl User:app ALLOW READ on TOPIC orders (LITERAL) from *",
        "- user app: SCRAM-SHA-512",
    ]
    assert [text[0] for text in texts(new, old)] == ["~", "-", "+", "+"]
    more = msgspec.structs.replace(QUOTA, values={"producer_byte_rate": 2e6, "request_percentage": 50.5})
    assert texts(old, msgspec.structs.replace(old, quotas=[more])) == [
        "~ quota ip 10.0.0.1: connection_creation_rate 2.5 -> (none)",
        "~ quota user app, client-id (default): producer_byte_rate 1048576 -> 2000000",
        "~ quota user app, client-id (default): request_percentage (none) -> 50.5",
    ]
    changed = with_orders(
        old, topic_id="B" * 22, partition_count=6, configs={"retention.ms": "3600000", "cleanup.policy": "compact"}
    )
    assert texts(old, changed) == [
        f"~ topic orders: deleted and created again, id {'A' * 22} -> {'B' * 22}",
        "~ topic orders: partitions 3 -> 6",
        "~ topic orders: cleanup.policy (default) -> compact",
        "~ topic orders: retention.ms 86400000 -> 3600000",
    ]
    users = [StateUser(user="app", mechanisms=["SCRAM-SHA-256", "SCRAM-SHA-512"])]
    moved = msgspec.structs.replace(BROKER, host="kafka-9", rack="b", configs={"ssl.key": None})
    other = msgspec.structs.replace(BROKER, node_id=2)
    assert texts(old, msgspec.structs.replace(old, users=users, brokers=[moved, other])) == [
        "~ user app: mechanisms SCRAM-SHA-512 -> SCRAM-SHA-256, SCRAM-SHA-512",
        "~ broker 1: address kafka-1:9092 -> kafka-9:9092 in rack b",
        "~ broker 1: log.retention.hours 72 -> (default)",
        "+ broker 2: kafka-1:9092",
    ]


def test_what_is_not_known_is_no_change() -> None:
    """A right that was taken away never looks as if ACLs were deleted."""
    old = a_state(RepositoryBuilder())
    broker = msgspec.structs.replace(BROKER, configs=None)
    blind = msgspec.structs.replace(
        with_orders(old, configs=None), acls=None, users=None, quotas=None, features=None, brokers=[broker]
    )
    expected = [
        "? cluster: features are known in one of both only",
        "? topic orders: settings are known in one of both only",
        "? acl: ACLs are known in one of both only",
        "? user: SCRAM users are known in one of both only",
        "? quota: client quotas are known in one of both only",
        "? broker 1: settings are known in one of both only",
    ]
    assert texts(old, blind) == expected
    assert texts(blind, old) == expected
    assert texts(blind, blind) == []


def test_only_changes_are_stored() -> None:
    """Also by a worker that has just started; a broker that comes and goes only once an hour."""
    builder = RepositoryBuilder()
    first = recorder(builder)
    assert first.store(a_state(builder))
    assert not first.store(a_state(builder, T0_MS + MINUTE_MS))
    assert not recorder(builder).store(a_state(builder, T0_MS + 2 * MINUTE_MS))
    assert recorder(builder).store(a_state(builder, T0_MS + 3 * MINUTE_MS, acls=[]))
    assert not first.store(a_state(builder, T0_MS + 4 * MINUTE_MS, acls=[], brokers=[]))
    assert first.store(a_state(builder, T0_MS + 64 * MINUTE_MS, acls=[], brokers=[]))
    assert not first.store(a_state(builder, T0_MS + 20 * HOUR_MS, acls=[], brokers=[]))
    assert not recorder(builder).store(a_state(builder, T0_MS + 20 * HOUR_MS, acls=[], brokers=[]))
    assert list_states(builder.repository) == [T0_MS, T0_MS + 3 * MINUTE_MS, T0_MS + 64 * MINUTE_MS]


def test_a_restless_cluster_fills_no_bucket() -> None:
    """Twelve changes at once, then one an hour."""
    builder = RepositoryBuilder()
    one = recorder(builder)
    stored = [
        minute
        for minute in range(240)
        if one.store(with_orders(a_state(builder, T0_MS + minute * MINUTE_MS), partition_count=minute + 1))
    ]
    assert stored == [*range(12), 71, 131, 191]
    assert one.store(a_state(builder, T0_MS + 240 * MINUTE_MS), at_once=True)


def test_a_damaged_capture_is_replaced_by_a_new_one() -> None:
    """The worker goes on; verify names it."""
    builder = RepositoryBuilder()
    builder.store.put(format_state_key(T0_MS), encode_checked(a_state(builder))[:-3])
    assert recorder(builder).store(a_state(builder, T0_MS + 1))
    builder.store.put(format_state_key(T0_MS + 2), encode_checked(a_state(builder)))
    builder.store.put("state/readme", b"")
    with pytest.raises(DamageError, match="swapped"):
        read_state(builder.repository, T0_MS + 2)
    report, _ = verify_repository(builder.repository)
    assert sorted(finding.kind for finding in report.findings) == ["object_foreign", "state_damaged", "state_damaged"]
    assert report.counts.states == 1


def test_a_capture_holds_until_the_next() -> None:
    """And before the first nothing is known."""
    builder = RepositoryBuilder()
    with pytest.raises(NoMatchError):
        state_at(builder.repository)
    for at_ms in (T0_MS, T0_MS + HOUR_MS):
        put_state(builder.repository, a_state(builder, at_ms))
    for at_ms, captured_at_ms in ((None, T0_MS + HOUR_MS), (T0_MS + HOUR_MS - 1, T0_MS), (T0_MS, T0_MS)):
        assert state_at(builder.repository, at_ms).captured_at_ms == captured_at_ms
    with pytest.raises(RefusedError) as raised:
        state_at(builder.repository, T0_MS - 1)
    assert "--at 2026-09-21T14:13:20.000Z" in str(raised.value.hint)
    for key in ("state/1.json", "state/1790000000000-x.json", "state/179000000000٠.json"):
        with pytest.raises(DamageError):
            parse_state_key(key)


def test_features_and_groups_as_brokers_answer() -> None:
    """Finalized features are the third tagged field; groups have a protocol and a state."""
    features = Writer().array([("metadata.version", 27), ("kraft.version", 1)], _write_feature).finish()
    answer = Writer().i16(0).array([18], _write_api).i32(0).uvarint(1).uvarint(2).uvarint(len(features)).finish()
    assert decode_features(Reader(memoryview(answer + features))) == (
        0,
        {"metadata.version": 27, "kraft.version": 1},
    )
    none = Writer().i16(0).array([18], _write_api).i32(0).no_tags().finish()
    assert decode_features(Reader(memoryview(none))) == (0, {})
    groups = Writer().i32(0).i16(0).array(["bill"], _write_group).no_tags().finish()
    assert decode_list_groups(Reader(memoryview(groups))) == (0, [("bill", "consumer", "Stable")])


def _write_feature(writer: Writer, feature: tuple[str, int]) -> None:
    writer.string(feature[0]).i16(feature[1]).i16(1).no_tags()


def _write_api(writer: Writer, key: int) -> None:
    writer.i16(key).i16(0).i16(4).no_tags()


def _write_group(writer: Writer, group: str) -> None:
    writer.string(group).string("consumer").string("Stable").no_tags()


@pytest.fixture
def stored(tmp_path: Path) -> RepositoryBuilder:
    """A folder with two captures, and its configuration."""
    (tmp_path / "mirror.toml").write_text(f'[repositories.main]\nurl = "file://{tmp_path}/repository"\n')
    store = FolderStore(str(tmp_path / "repository"))
    store.create()
    builder = RepositoryBuilder(store=store)
    put_state(builder.repository, a_state(builder))
    later = a_state(builder, T0_MS + HOUR_MS, acls=None, notes=["ACLs are not captured: a right is missing"])
    put_state(builder.repository, with_orders(later, configs={"retention.ms": "3600000"}))
    return builder


def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, stdout, stderr."""
    capsys.readouterr()
    code = main(["--config", str(tmp_path / "mirror.toml"), "state", *args])
    return code, *capsys.readouterr()


def test_state_is_shown(tmp_path: Path, stored: RepositoryBuilder, capsys: pytest.CaptureFixture[str]) -> None:
    """The newest, and that of a moment; for people and for programs."""
    code, out, _ = run(tmp_path, capsys, "show")
    assert code == 0
    assert "retention.ms=3600000" in out
    assert "note: ACLs are not captured" in out
    assert "topics: 1, brokers: 1, ACLs: ?, client quotas: 2, SCRAM users: 1" in out
    code, out, _ = run(tmp_path, capsys, "show", "--at", f"@{T0_MS + 1}")
    assert "retention.ms=86400000" in out
    assert "acl User:app ALLOW READ on TOPIC orders (LITERAL) from *" in out
    assert "quota user app, client-id (default): producer_byte_rate 1048576" in out
    found = json.loads(run(tmp_path, capsys, "show", "--json")[1])
    assert found["captured_ms"] == T0_MS + HOUR_MS
    assert found["state"]["brokers"][0]["configs"] == {"log.retention.hours": "72", "ssl.key": None}
    assert run(tmp_path, capsys, "show", "--at", f"@{T0_MS - 1}")[0] == 4
    assert run(tmp_path, capsys, "show", "--at", "2099-01-01T00:00:00Z")[0] == 4


def test_two_moments_are_compared(
    tmp_path: Path, stored: RepositoryBuilder, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the order in which they are given; with one, to the newest; none is exit 2."""
    times = ("--at", f"@{T0_MS}", "--at", f"@{T0_MS + HOUR_MS}")
    line = "~ topic orders: retention.ms 86400000 -> 3600000"
    for args in (times, times[:2]):
        code, out, _ = run(tmp_path, capsys, "diff", *args)
        assert code == 0
        assert line in out.splitlines()
        assert "? acl: ACLs are known in one of both only" in out.splitlines()
    assert "retention.ms 3600000 -> 86400000" in run(tmp_path, capsys, "diff", *times[2:], *times[:2])[1]
    found = json.loads(run(tmp_path, capsys, "diff", *times, "--json")[1])
    assert found["changes"][0] == {
        "sign": "~",
        "kind": "topic",
        "name": "orders",
        "what": "retention.ms",
        "before": "86400000",
        "after": "3600000",
    }
    assert "no difference" in run(tmp_path, capsys, "diff", *times[:2], *times[:2])[1]
    assert run(tmp_path, capsys, "diff")[0] == 2
    assert run(tmp_path, capsys, "diff", *times, *times)[0] == 2


def test_users_as_brokers_answer() -> None:
    """A mechanism without a name of ours has its number."""

    def write_mechanism(writer: Writer, number: int) -> None:
        writer.i8(number).i32(4096).no_tags()

    def write_user(writer: Writer, user: str) -> None:
        writer.string(user).i16(0).string(None).array([2, 1, 9], write_mechanism).no_tags()

    answer = Writer().i32(0).i16(0).string(None).array(["b", "a"], write_user).no_tags().finish()
    mechanisms = ["SCRAM-SHA-256", "SCRAM-SHA-512", "UNKNOWN_9"]
    assert decode_scram_users(Reader(memoryview(answer))) == (0, None, {"a": mechanisms, "b": mechanisms})
