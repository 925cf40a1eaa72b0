"""`mirror check` on locked-down servers: every missing right is named with the command that grants it, and nothing is changed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import AclOperation, AdminClient, NewTopic, ResourceType

from mirror.cli.__main__ import main
from tests.integration.test_status_helpers import make_site

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaCluster
    from tests.servers.minio import MinioServer
    from tests.servers.secure import SecureKafka

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def secure(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SecureKafka]":
    """One broker with ACLs for this module; each test has its own user."""
    from tests.servers.secure import SecureKafka

    cluster = SecureKafka(tmp_path_factory.mktemp("secure"), users=("nobody", "half", "worker"))
    cluster.start()
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    admin.create_topics([NewTopic("orders", num_partitions=2, replication_factor=1)])["orders"].result(20)
    yield cluster
    cluster.kill()


def _check(
    folder: Path, secure: "SecureKafka", user: str, capsys: pytest.CaptureFixture[str]
) -> tuple[int, list[dict[str, Any]]]:
    """Run `mirror check --json` as that user, with a folder repository."""
    config_path = folder / "mirror.toml"
    password = folder / "password"
    password.write_text(secure.passwords[user])
    config_path.write_text(
        f'[worker]\nid = "w"\ntopics = ["orders"]\ndata_dir = "{folder}/data"\nweb_port = 18084\n'
        f'[clusters.prod]\nrole = "source"\nbootstrap_servers = ["{secure.bootstrap_of("SASL_SSL")}"]\n'
        f'security_protocol = "SASL_SSL"\n[clusters.prod.ssl]\nca_file = "{secure.authority.ca_path}"\n'
        f'[clusters.prod.sasl]\nmechanism = "SCRAM-SHA-512"\nusername = "{user}"\npassword = {{ file = "{password}" }}\n'
        f'[repositories.main]\nurl = "file://{folder}/repository"\n'
    )
    capsys.readouterr()
    code = main(["--config", str(config_path), "check", "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["exit_code"] == code
    return code, document["lines"]


def _failures(lines: list[dict[str, Any]], area: str) -> dict[str, list[str]]:
    return {line["message"]: line["commands"] for line in lines if line["level"] == "fail" and line["area"] == area}


def test_no_rights_are_named_with_their_commands(
    secure: "SecureKafka", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A user without any right: the group, its own topics, and that the topic is not visible."""
    code, lines = _check(tmp_path, secure, "nobody", capsys)
    assert code == 12
    commands = "\n".join(command for found in _failures(lines, "rights").values() for command in found)
    assert "--allow-principal User:nobody --operation Read --group w" in commands
    assert (
        "--operation Create --operation Describe --operation Read --operation Write --topic w- --resource-pattern-type prefixed"
        in commands
    )
    assert any("orders" in line["message"] and line["level"] == "warn" for line in lines)


def test_half_of_the_rights(secure: "SecureKafka", tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """DESCRIBE alone: READ is named as missing on the topic."""
    secure.allow("half", ResourceType.TOPIC, "orders", AclOperation.DESCRIBE)
    secure.allow("half", ResourceType.GROUP, "w", AclOperation.READ)
    code, lines = _check(tmp_path, secure, "half", capsys)
    failures = _failures(lines, "rights")
    assert code == 12
    assert "User:half lacks READ on orders" in failures
    (command,) = failures["User:half lacks READ on orders"]
    assert "--operation DescribeConfigs --operation Read --topic orders" in command
    assert not any("on group w" in message for message in failures)


def test_granted_rights_are_found_sufficient(
    secure: "SecureKafka", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With what the commands grant, only the missing repository is left; the check itself created nothing."""
    secure.allow("worker", ResourceType.TOPIC, "orders", AclOperation.READ, AclOperation.DESCRIBE_CONFIGS)
    secure.allow("worker", ResourceType.GROUP, "w", AclOperation.READ)
    for name in ("w-sealed", "w-ledger-changelog", "w-groups-changelog", "w-__assignor-__leader"):
        secure.allow("worker", ResourceType.TOPIC, name, AclOperation.CREATE)
    code, lines = _check(tmp_path, secure, "worker", capsys)
    assert _failures(lines, "rights") == {}
    assert code == 10
    (missing,) = _failures(lines, "repository")
    assert "does not exist" in missing
    admin = AdminClient({"bootstrap.servers": secure.bootstrap})
    assert not any(name.startswith("w-") for name in admin.list_topics(timeout=10).topics)
    assert not (tmp_path / "repository").exists()
    assert not (tmp_path / "data").exists()


def test_wrong_password_is_exit_12_and_not_printed(
    secure: "SecureKafka", tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The login's failure is told, the password is not."""
    secure.passwords["nobody2"] = "wrong-password-7391"
    code, lines = _check(tmp_path, secure, "nobody2", capsys)
    assert code == 12
    assert "wrong-password-7391" not in json.dumps(lines)


def test_ready_site(
    kafka: "KafkaCluster", topic: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """After init everything is fine; short retention is a warning; puts are proven only with --write-probe."""
    name = topic(retention_ms="60000")
    site = make_site(tmp_path, kafka.bootstrap, capsys, topics=[name])
    assert site.run("init")[0] == 0
    before = [info.key for info in site.store.list("")]
    code, out = site.run("check")
    assert code == 0, out
    assert re.search(rf"warn\s+retention\s+retention.ms is below 2 h on {name}", out)
    assert "not proven, nothing was written" in out
    assert [info.key for info in site.store.list("")] == before
    code, report = site.run_json("check", "--write-probe")
    assert code == 0
    assert any(
        line["message"].startswith("put in the repository") and line["level"] == "ok" for line in report["lines"]
    )
    assert [info.key for info in site.store.list("")] == before


def test_unreachable_cluster_is_exit_13(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody answers; the other areas are looked at all the same."""
    site = make_site(tmp_path, "127.0.0.1:1", capsys)
    code, report = site.run_json("check")
    assert code == 13
    assert {line["area"] for line in report["lines"]} >= {"config", "disk", "source", "repository"}


def test_s3_rights(
    kafka: "KafkaCluster",
    topic: Callable[..., str],
    minio: "MinioServer",
    bucket: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With a key that may only read, the probe of a put names the right; the clocks agree."""
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Action": ["s3:ListBucket", "s3:GetBucketLocation"],
                "Resource": [f"arn:aws:s3:::{bucket}"],
            },
            {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]},
        ],
    }
    reader = f"reader-{bucket}"
    secret = minio.create_user(reader, policy)
    name = topic()
    config_path = tmp_path / "mirror.toml"
    for user, word in ((minio.access_key, minio.secret_key), (reader, secret)):
        (tmp_path / "secret").write_text(word)
        config_path.write_text(
            f'[worker]\nid = "w"\ntopics = ["{name}"]\ndata_dir = "{tmp_path}"\nweb_port = 18085\n'
            f'[clusters.prod]\nrole = "source"\nbootstrap_servers = ["{kafka.bootstrap}"]\n'
            f'[repositories.main]\nurl = "s3://{bucket}/r"\nendpoint = "{minio.url}"\naccess_key = "{user}"\n'
            f'secret_key = {{ file = "{tmp_path}/secret" }}\n'
        )
        assert main(["--config", str(config_path), "init"]) == 0
        capsys.readouterr()
        code = main(["--config", str(config_path), "check", "--write-probe", "--json"])
        lines = json.loads(capsys.readouterr().out)["lines"]
        assert any(line["area"] == "clock" and line["level"] == "ok" for line in lines)
        assert secret not in json.dumps(lines)
        if user == reader:
            assert code == 12
            assert any("put, get and list" in line["next_step"] for line in lines if line["level"] == "fail")
        else:
            assert code == 0
            assert any("may delete" in line["message"] for line in lines)
