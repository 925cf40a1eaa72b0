"""ACLs and client quotas of a moment, put back: diffed first, only added, compared, and refused where they cannot be."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from mirror.cli.__main__ import main
from mirror.core.cluster_state import ClusterState, StateQuota
from mirror.kafka.admin import Admin
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.wire.client_quotas import QuotaEntry, alter_client_quotas
from mirror.service.cluster_states import put_state
from mirror.service.state_capture import capture_state
from mirror.storage.folder import FolderStore
from tests.capture import capture
from tests.fault.worker_lab import wait_until
from tests.restoring import cluster_id, write_config
from tests.servers.kafka import KafkaCluster, kafka_tool
from tests.servers.secure import SecureKafka

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]

MAY = AclOperation


@dataclass
class Scene:
    """A captured topic of a cluster, its state, and a configuration with that cluster as target ``dst``."""

    kafka: KafkaCluster
    folder: Path
    capsys: pytest.CaptureFixture[str]
    topic: str = field(default_factory=lambda: f"state-{secrets.token_hex(4)}-orders")
    consent: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What is the test's own; a prefix of the topic's name."""
        return self.topic.removesuffix("-orders")

    @property
    def admin(self) -> AdminClient:
        """Of a user who may do everything."""
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap})

    def prepare(self, **changes: Any) -> ClusterState:
        """Capture topic and state; ``changes`` are made to what is stored of the state."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for number in range(20):
            producer.produce(self.topic, b"%d" % number)
        assert producer.flush(20) == 0
        write_config(self.folder, self.kafka.bootstrap)
        self.consent = ["--yes", "--target-cluster-id", cluster_id(self.kafka.bootstrap)]
        return asyncio.run(self._capture(changes))

    async def _capture(self, changes: dict[str, Any]) -> ClusterState:
        store = FolderStore(str(self.folder / "repo"))
        store.create()
        repository = (await capture(self.kafka.bootstrap, [self.topic], store)).repository
        connection = ClusterConnection(bootstrap_servers=(self.kafka.bootstrap,))
        async with await open_client(connection) as client:
            now_ms = time.time_ns() // 1_000_000
            state = await capture_state(client, Admin(connection, client), repository.identity, now_ms)
        state = msgspec.structs.replace(state, **changes)
        put_state(repository, state)
        return state

    def run(self, command: str, *args: str) -> tuple[int, dict[str, Any]]:
        """Exit code, and JSON or what was said on stderr as ``said``."""
        self.capsys.readouterr()
        code = main(["--config", str(self.folder / "mirror.toml"), command, *args, "--json"])
        out, said = self.capsys.readouterr()
        return code, {**(json.loads(out) if out.startswith("{") else {}), "said": out + said}

    def copying(self, *args: str) -> list[str]:
        """Options that restore the topic under another name."""
        return ["--target", "dst", "--latest", "--topic", self.topic, "--prefix", "copy-", "--no-groups", *args]

    def acls(self, name: str) -> set[tuple[str, str, str]]:
        """``(principal, operation, pattern)`` of the ACLs of just that name, by another client."""
        everything = AclBindingFilter(
            ResourceType.ANY, name, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        admin = self.admin
        found = admin.describe_acls(everything).result(20)
        return {(acl.principal, acl.operation.name, acl.resource_pattern_type.name) for acl in found}

    def bind(self, user: str, name: str, pattern: ResourcePatternType, operation: AclOperation) -> AclBinding:
        """An ACL on topics."""
        return AclBinding(ResourceType.TOPIC, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)

    def set_quota(self, entity: dict[str, str | None], **values: float) -> None:
        """Set limits of one entity."""

        async def put() -> None:
            async with await open_client(ClusterConnection(bootstrap_servers=(self.kafka.bootstrap,))) as client:
                await alter_client_quotas(client, await client.any_broker(), [QuotaEntry(entity=entity, values=values)])

        asyncio.run(put())

    def quotas(self, user: str) -> str:
        """What Kafka's own tool says of a user."""
        server = ["--bootstrap-server", self.kafka.bootstrap]
        return kafka_tool(
            "kafka.admin.ConfigCommand", *server, "--describe", "--entity-type", "users", "--entity-name", user
        )


@pytest.fixture
def scene(secure_kafka: SecureKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Scene]:
    """On the locked-down cluster."""
    made = Scene(secure_kafka, tmp_path, capsys)
    yield made
    admin = made.admin
    for future in admin.delete_topics([made.topic, f"copy-{made.topic}"]).values():
        future.exception(20)


def test_acls_and_quotas_come_back(scene: Scene) -> None:
    """Diffed, frozen, put under the new name, read back; again changes nothing; what goes missing is found and put again."""
    user, copy = f"{scene.name}-app", f"copy-{scene.topic}"
    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    wanted = [
        scene.bind(user, scene.topic, literal, MAY.READ),
        scene.bind(user, f"{scene.name}-", prefixed, MAY.WRITE),
        scene.bind(user, f"other-{scene.name}", literal, MAY.WRITE),
    ]
    admin = scene.admin
    for future in admin.create_acls(wanted).values():
        future.result(20)
    scene.set_quota({"user": user}, producer_byte_rate=1000.0, consumer_byte_rate=5000.0)
    wait_until(lambda: len(scene.acls(f"{scene.name}-")) == 1, "the ACLs arrive", 30)
    limits = {"consumer_byte_rate": 5000.0, "producer_byte_rate": 2000.0, "request_percentage": 50.0}
    quota = StateQuota(entity={"user": user}, values=limits)
    scene.prepare(quotas=[quota])

    frozen = str(scene.folder / "plan.json")
    code, found = scene.run("plan", *scene.copying("--acls", "--quotas", "-o", frozen))
    assert code == 0, found["said"]
    state = found["plan"]["state"]
    assert {(one["sign"], one["operation"], one["resource_name"], one["pattern_type"]) for one in state["acls"]} == {
        ("+", "READ", copy, "LITERAL"),
        ("+", "WRITE", copy, "LITERAL"),
    }
    assert [(one["quota"], one["sign"]) for one in state["quotas"]] == [
        ("consumer_byte_rate", "="),
        ("producer_byte_rate", "~"),
        ("request_percentage", "+"),
    ]
    assert any("--all-acls" in note for note in state["notes"])
    assert scene.acls(copy) == set()

    code, found = scene.run("restore", "--plan", frozen, *scene.consent)
    assert code == 0, found["said"]
    assert found["result"]["state"] == {"added_acls": 2, "set_quotas": 2}
    assert scene.acls(copy) == {(f"User:{user}", "READ", "LITERAL"), (f"User:{user}", "WRITE", "LITERAL")}
    told = scene.quotas(user)
    assert all(f"{name}={value}" in told for name, value in limits.items()), told
    code, found = scene.run("restore", "--plan", frozen, *scene.consent)
    assert (code, found["result"]["state"]) == (0, {"added_acls": 0, "set_quotas": 0}), found["said"]
    code, found = scene.run("prove", "--plan", frozen)
    assert (code, found["differences"]) == (0, []), found["said"]

    gone = AclBindingFilter(
        ResourceType.TOPIC, copy, literal, f"User:{user}", "*", AclOperation.WRITE, AclPermissionType.ALLOW
    )
    for future in admin.delete_acls([gone]).values():
        future.result(20)
    scene.set_quota({"user": user}, producer_byte_rate=1.0)
    wait_until(
        lambda: len(scene.run("prove", "--plan", frozen)[1]["differences"]) == 2, "both arrive at the brokers", 30, 0.5
    )
    code, found = scene.run("prove", "--plan", frozen)
    assert code == 5
    assert found["differences"] == [
        f"ACL is missing: User:{user} ALLOW WRITE on TOPIC {copy} (LITERAL) from *",
        f"quota of user {user}: producer_byte_rate is 1 instead of 2000",
    ]
    code, found = scene.run("restore", "--plan", frozen, *scene.consent)
    assert (code, found["result"]["state"]) == (0, {"added_acls": 1, "set_quotas": 1}), found["said"]

    edited = json.loads(Path(frozen).read_text())
    edited["acls"][0]["principal"] = "User:stranger"
    Path(frozen).write_text(json.dumps(edited))
    code, found = scene.run("restore", "--plan", frozen, *scene.consent)
    assert code == 4
    assert "wants other ACLs or quotas" in found["said"]


def test_each_missing_right_is_named_before_anything_is_changed(scene: Scene, secure_kafka: SecureKafka) -> None:
    """To look (DESCRIBE, DESCRIBE_CONFIGS) and to put (ALTER, ALTER_CONFIGS): exit 12, one after the other."""
    user = scene.name  # of the test's own, by its certificate
    secure_kafka.allow(user, ResourceType.TOPIC, scene.topic, MAY.DELETE)
    secure_kafka.allow(
        user, ResourceType.TOPIC, f"copy-{scene.topic}", MAY.CREATE, MAY.READ, MAY.WRITE, MAY.ALTER_CONFIGS
    )
    secure_kafka.allow(user, ResourceType.BROKER, "kafka-cluster", MAY.CLUSTER_ACTION)
    scene.prepare(quotas=[StateQuota(entity={"user": user}, values={"producer_byte_rate": 7000.0})])
    certificate = secure_kafka.authority.issue(user)
    config = write_config(scene.folder, secure_kafka.bootstrap_of("SSL"))
    login = f"""role = "target"
security_protocol = "SSL"
ssl.ca_file = "{secure_kafka.authority.ca_path}"
ssl.cert_file = "{certificate.chain_path}"
ssl.key_file = "{certificate.key_path}"
"""
    config.write_text(config.read_text().replace('role = "target"\n', login))
    wait_until(
        lambda: scene.run("plan", *scene.copying())[0] == 0, lambda: scene.run("plan", *scene.copying())[1]["said"], 30
    )
    for option, operation, right in (
        ("--acls", MAY.DESCRIBE, "DESCRIBE"),
        ("--acls", MAY.ALTER, "ALTER"),
        ("--quotas", MAY.DESCRIBE_CONFIGS, "DESCRIBE_CONFIGS"),
        ("--quotas", MAY.ALTER_CONFIGS, "ALTER_CONFIGS"),
    ):
        code, found = scene.run("restore", *scene.copying(option), *scene.consent)
        assert (code, f"the right {right} on the cluster" in found["said"]) == (12, True), found["said"]
        secure_kafka.allow(user, ResourceType.BROKER, "kafka-cluster", operation)
        args = scene.copying(option)
        wait_until(lambda: f"the right {right} " not in scene.run("plan", *args)[1]["said"], right, 30)  # noqa: B023
    code, found = scene.run("plan", *scene.copying("--acls", "--quotas"))
    assert code == 0, found["said"]
    assert f"copy-{scene.topic}" not in scene.admin.list_topics(timeout=10).topics


def test_what_was_not_captured_is_refused(scene: Scene) -> None:
    """Exit 4 with the reason of the capture, and the flag to leave out."""
    note = "ACLs are not captured: DESCRIBE on the cluster is missing"
    scene.prepare(acls=None, notes=[note])
    code, found = scene.run("plan", *scene.copying("--acls"))
    assert code == 4
    assert note in found["said"]
    assert "leave out --acls" in found["said"]


def test_without_an_authorizer_acls_are_refused(
    kafka: KafkaCluster, topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 4, and the flag to leave out; quotas need none."""
    name = topic(1)
    scene = Scene(kafka, tmp_path, capsys, name)
    scene.prepare(acls=[])
    code, found = scene.run("restore", *scene.copying("--acls"), *scene.consent)
    assert code == 4
    assert "has no authorizer" in found["said"]
    assert "leave out --acls" in found["said"]
    assert f"copy-{name}" not in scene.admin.list_topics(timeout=10).topics
    code, found = scene.run("plan", *scene.copying("--quotas"))
    assert code == 0, found["said"]
