"""`mirror restore abort` leaves ACLs and client quotas as they were before the restore, and what others have changed since alone."""

import asyncio
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from mirror.cli.__main__ import main
from mirror.core.cluster_state import StateQuota
from mirror.kafka.client import open_client
from mirror.kafka.connection import ClusterConnection
from mirror.kafka.wire.client_quotas import describe_client_quotas
from tests.fault.worker_lab import wait_until
from tests.integration.test_restore_state import Scene
from tests.restore_cli import topic_names
from tests.restoring import write_config
from tests.servers.secure import SecureKafka

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

MAY = AclOperation
BEFORE = {"producer_byte_rate": 1000.0, "consumer_byte_rate": 5000.0}
CAPTURED = {"producer_byte_rate": 2000.0, "consumer_byte_rate": 5000.0, "request_percentage": 50.0}
_DYING = """
import importlib, os, signal, sys
from mirror.cli.__main__ import main
module, _, name = sys.argv[1].rpartition(".")
setattr(importlib.import_module(f"mirror.service.restore.{module}"), name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
main(sys.argv[2:])
"""


class Lab(Scene):
    """A topic with two ACLs, of which the target has one under the new name, and three quotas, of which it has one, and one otherwise."""

    @property
    def copy(self) -> str:
        """The topic on the target."""
        return f"copy-{self.topic}"

    @property
    def user(self) -> str:
        """Whose ACLs and quotas they are."""
        return f"{self.name}-app"

    def lay_out(self) -> None:
        """Before anything is restored."""
        literal = ResourcePatternType.LITERAL
        acls = [self.bind(self.user, self.topic, literal, operation) for operation in (MAY.READ, MAY.WRITE)]
        acls.append(self.bind(self.user, self.copy, literal, MAY.READ))
        admin = self.admin
        for future in admin.create_acls(acls).values():
            future.result(20)
        self.set_quota({"user": self.user}, **BEFORE)
        wait_until(lambda: self.limits() == BEFORE and len(self.all_acls()) == len(acls), "both arrive", 30)
        self.prepare(quotas=[StateQuota(entity={"user": self.user}, values=CAPTURED)])

    def all_acls(self) -> set[tuple[str, ...]]:
        """Every ACL of the cluster, by another client."""
        everything = AclBindingFilter(
            ResourceType.ANY, None, ResourcePatternType.ANY, None, None, MAY.ANY, AclPermissionType.ANY
        )
        admin = self.admin
        return {
            (
                acl.restype.name,
                acl.name,
                acl.resource_pattern_type.name,
                acl.principal,
                acl.host,
                acl.operation.name,
                acl.permission_type.name,
            )
            for acl in admin.describe_acls(everything).result(20)
        }

    def limits(self) -> dict[str, float]:
        """The quotas of the user."""

        async def ask() -> dict[str, float]:
            async with await open_client(ClusterConnection(bootstrap_servers=(self.kafka.bootstrap,))) as client:
                found = await describe_client_quotas(client, await client.any_broker())
            return next((dict(one.values) for one in found if one.entity == {"user": self.user}), {})

        return asyncio.run(ask())

    def restore(self, *words: str) -> str:
        """With ACLs and quotas; its id."""
        code, found = self.run("restore", *self.copying("--acls", "--quotas", *words), *self.consent)
        assert code == 0, found["said"]
        assert found["result"]["state"] == {"added_acls": 1, "set_quotas": 2}
        assert self.acls(self.copy) == {(f"User:{self.user}", name, "LITERAL") for name in ("READ", "WRITE")}
        assert self.limits() == CAPTURED
        return str(found["restore_id"])

    def killed_at(self, place: str, *words: str) -> None:
        """A command in a process of its own, killed where it calls that function."""
        argv = [sys.executable, "-c", _DYING, place, "--config", str(self.folder / "mirror.toml"), *words]
        ended = subprocess.run([*argv, *self.consent], capture_output=True, timeout=120)
        assert ended.returncode == -signal.SIGKILL, ended.stderr

    def says(self, *words: str) -> str:
        """What a person reads; it must succeed."""
        self.capsys.readouterr()
        code = main(["--config", str(self.folder / "mirror.toml"), *words])
        said = "".join(self.capsys.readouterr())
        assert code == 0, said
        return said

    def says_no_more(self, name: str, text: str) -> bool:
        """Whether a dry run of the abort passes without that text."""
        return text not in self.run("restore", "abort", name, "--complete", "--dry-run")[1]["said"]

    def abort(self, name: str, *words: str, code: int = 0) -> dict[str, Any]:
        """With consent; what is said as JSON."""
        ended, found = self.run("restore", "abort", name, *words, *self.consent)
        assert ended == code, found["said"]
        return found


@pytest.fixture
def lab(secure_kafka: SecureKafka, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Lab]:
    """On the locked-down cluster."""
    made = Lab(secure_kafka, tmp_path, capsys)
    made.lay_out()
    yield made
    admin = made.admin
    for future in admin.delete_topics([made.topic, made.copy]).values():
        future.exception(20)


def test_everything_is_as_before(lab: Lab) -> None:
    """What was there stays, what was otherwise goes back, what was added goes; not before the topic goes; again changes nothing."""
    acls = lab.all_acls()
    name = lab.restore()
    put = lab.all_acls()
    assert len(put - acls) == 1
    said = lab.abort(name, code=3)["said"]
    assert "--complete deletes it too" in said
    assert (lab.all_acls(), lab.limits()) == (put, CAPTURED), "its topic is kept, so are the rights on it"

    shown = lab.abort(name, "--complete", "--dry-run")["state"]
    assert [(one["operation"], one["resource_name"]) for one in shown["acls"]] == [("WRITE", lab.copy)]
    assert {(one["quota"], one["put"], one["before"], one["undo"]) for one in shown["quotas"]} == {
        ("producer_byte_rate", 2000.0, 1000.0, "put back"),
        ("request_percentage", 50.0, None, "remove"),
    }
    assert (lab.all_acls(), lab.limits()) == (put, CAPTURED)

    assert lab.abort(name, "--complete")["done"]
    assert lab.copy not in topic_names(lab.kafka.bootstrap)
    assert (lab.all_acls(), lab.limits()) == (acls, BEFORE)
    told = lab.quotas(lab.user)
    assert "producer_byte_rate=1000.0" in told
    assert "request_percentage" not in told

    assert lab.abort(name)["state"] == {"waits_for": [], "acls": [], "quotas": []}
    admin = lab.admin
    (granted,) = admin.create_acls(
        [lab.bind(lab.user, lab.copy, ResourcePatternType.LITERAL, MAY.WRITE)]
    ).values()  # by hand: no restore's any more
    granted.result(20)
    wait_until(lambda: lab.all_acls() == put, "it arrives", 30)
    lab.abort(name)
    assert lab.all_acls() == put


def test_what_somebody_changed_since_is_kept(lab: Lab) -> None:
    """Named, and neither put back nor counted as left; what is gone already is no trouble; --no-state leaves all."""
    acls = lab.all_acls()
    name = lab.restore("--only-state")
    lab.set_quota({"user": lab.user}, producer_byte_rate=1.0)
    gone = AclBindingFilter(
        ResourceType.TOPIC,
        lab.copy,
        ResourcePatternType.LITERAL,
        f"User:{lab.user}",
        "*",
        MAY.WRITE,
        AclPermissionType.ALLOW,
    )
    admin = lab.admin
    for future in admin.delete_acls([gone]).values():
        future.result(20)
    changed = {**CAPTURED, "producer_byte_rate": 1.0}
    wait_until(lambda: lab.limits() == changed and lab.all_acls() == acls, "both arrive", 30)
    assert lab.abort(name, "--complete", "--no-state", "--dry-run")["state"] is None
    said = lab.says("restore", "abort", name, "--complete", *lab.consent)
    assert "producer_byte_rate is 1, was put to 2000, was 1000 before: changed since, KEPT" in said
    assert "- quota" in said
    assert "but 1 quotas that were changed since" in said
    assert (lab.all_acls(), lab.limits()) == (acls, {**BEFORE, "producer_byte_rate": 1.0})
    said = lab.says("restore", "status", name)
    assert "changed since, KEPT" in said
    assert "everything was put back, but what is said above" in said


@pytest.mark.parametrize("place", ["create_acls", "alter_client_quotas"])
def test_a_restore_that_was_killed_while_it_put_them(lab: Lab, place: str) -> None:
    """The record is there before the first change: whatever was put goes back, whatever was not is let be."""
    acls = lab.all_acls()
    lab.killed_at(f"state.{place}", "restore", *lab.copying("--acls", "--quotas", "--only-state"))
    put = 1 if place == "alter_client_quotas" else 0
    wait_until(lambda: len(lab.all_acls() - acls) == put, "what was put arrives", 30)
    _, listed = lab.run("restore", "list")
    (one,) = listed["restores"]
    found = lab.abort(one["restore_id"], "--complete")
    assert len(found["state"]["acls"]) == put
    assert {quota["undo"] for quota in found["state"]["quotas"]} == {"nothing to do"}
    assert (lab.all_acls(), lab.limits()) == (acls, BEFORE)


def test_an_abort_that_was_killed_goes_on(lab: Lab) -> None:
    """Topics are gone, quotas are back, ACLs are not: the same command does the rest."""
    acls = lab.all_acls()
    name = lab.restore("--only-state")
    assert "it added 1 ACLs and set 2 client quotas" in lab.says("restore", "status", name)
    lab.killed_at("state_undoing.delete_acls", "restore", "abort", name, "--complete")
    wait_until(lambda: lab.limits() == BEFORE, "the quotas arrive", 30)
    assert lab.copy not in topic_names(lab.kafka.bootstrap)
    assert len(lab.all_acls() - acls) == 1
    (gone,) = lab.abort(name)["state"]["acls"]
    assert gone["operation"] == "WRITE"
    assert (lab.all_acls(), lab.limits()) == (acls, BEFORE)


def test_without_a_record_they_stay(lab: Lab) -> None:
    """Nobody knows which they are; it is said."""
    plan = str(lab.folder / "plan.json")
    lab.says("plan", *lab.copying("--acls", "--quotas", "-o", plan))
    lab.says("restore", "--plan", plan, *lab.consent)
    put = lab.all_acls()
    shutil.rmtree(lab.folder / "repo" / "restores")
    said = lab.abort(plan, "--complete", code=3)["said"]  # nothing says that the restore made the topic
    assert "kept in 1 topics" in said
    said = lab.says("restore", "abort", plan, "--dry-run")
    assert "nobody knows which ACLs and quotas it put: they stay" in said
    assert (lab.all_acls(), lab.limits()) == (put, CAPTURED)


def test_a_missing_right_is_named_before_anything_is_changed(lab: Lab, secure_kafka: SecureKafka) -> None:
    """To look and to put back: exit 12 in turn, the topic is still there; --no-state needs none of them."""
    name = lab.restore("--only-state")
    user = f"{lab.name}-operator"
    secure_kafka.allow(
        user, ResourceType.TOPIC, lab.copy, MAY.DESCRIBE, MAY.READ, MAY.DELETE, MAY.DESCRIBE_CONFIGS, MAY.ALTER_CONFIGS
    )
    certificate = secure_kafka.authority.issue(user)
    config = write_config(lab.folder, secure_kafka.bootstrap_of("SSL"))
    login = f"""role = "target"
security_protocol = "SSL"
ssl.ca_file = "{secure_kafka.authority.ca_path}"
ssl.cert_file = "{certificate.chain_path}"
ssl.key_file = "{certificate.key_path}"
"""
    config.write_text(config.read_text().replace('role = "target"\n', login))
    for right in (MAY.DESCRIBE, MAY.DESCRIBE_CONFIGS, MAY.ALTER, MAY.ALTER_CONFIGS):
        said = lab.abort(name, "--complete", code=12)["said"]
        assert f"the right {right.name} on the cluster" in said
        assert "--no-state" in said
        assert lab.limits() == CAPTURED
        assert lab.copy in topic_names(lab.kafka.bootstrap)
        secure_kafka.allow(user, ResourceType.BROKER, "kafka-cluster", right)
        wait_until(partial(lab.says_no_more, name, f"the right {right.name} on"), right.name, 30)
    assert lab.abort(name, "--complete")["done"]
    assert lab.limits() == BEFORE
