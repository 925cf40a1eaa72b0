"""A restore with the fewest rights: exactly those of docs/running.md, and without each of them in turn."""

import asyncio
import json
import re
import secrets
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, AdminClient, NewTopic, ResourcePatternType, ResourceType

from mirror.cli.__main__ import main
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.storage.opening import open_store
from tests.capture import as_if_configured, capture
from tests.fault.restore_lab import transactions, trim, watermarks
from tests.restoring import consume_all, without_offsets
from tests.servers.minio import MinioServer
from tests.servers.secure import SecureKafka

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

_USER = "mirror"
_DOCUMENT = Path(__file__).parents[2] / "docs/running.md"
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
    "cluster": ResourceType.BROKER,
}
_DAY_MS = 24 * 3600 * 1000

Grant = tuple[str, str, str, bool]
"""What kind of thing, its name, Kafka's name of the operation, and whether the name is a prefix."""


def _documented() -> list[Grant]:
    """What the commands of the document grant to whoever restores."""
    text = _DOCUMENT.read_text().partition("## Rights")[2].partition("\n## ")[0]
    found: list[Grant] = []
    for line in re.findall(r"^\$restorer (.*)$", text, re.MULTILINE):
        kind, name = re.search(r"--(topic|group|transactional-id|cluster)(?: +'?([^\s'#]+))?", line).groups()  # type: ignore[union-attr]
        for word in re.findall(r"--operation (\w+)", line):
            operation = re.sub(r"(?<!^)(?=[A-Z])", "_", word).upper()
            found.append((kind, name if kind != "cluster" else "kafka-cluster", operation, "prefixed" in line))
    return found


def _grant(server: SecureKafka, one: Grant) -> None:
    kind, name, operation, prefixed = one
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    server.allow(_USER, _KINDS[kind], name, AclOperation[operation], pattern=pattern)


def _revoke(server: SecureKafka, one: Grant) -> None:
    kind, name, operation, _ = one
    server.forbid(_USER, _KINDS[kind], name, AclOperation[operation])


class _Site:
    """A topic with everything that needs a right, captured into a bucket, and a configuration that may only read there."""

    def __init__(
        self, server: SecureKafka, minio: MinioServer, bucket: str, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.server, self.folder, self._capsys = server, folder, capsys
        self.topic = f"least-{secrets.token_hex(4)}"
        self.group = f"group-of-{self.topic}"
        self.said = ""
        self.secrets = [server.passwords[_USER], minio.secret_key]
        self._fill()
        store = open_store(
            f"s3://{bucket}/r", endpoint=minio.url, access_key=minio.access_key, secret_key=minio.secret_key
        )
        taken = asyncio.run(capture(server.bootstrap, [self.topic, GROUP_LOG_TOPIC], store))
        as_if_configured(taken, self.topic, {"retention.ms": str(7 * _DAY_MS)})
        self._configure(minio, bucket)

    def _fill(self) -> None:
        bootstrap = self.server.bootstrap
        new = NewTopic(self.topic, num_partitions=1, replication_factor=1, config={"retention.ms": "-1"})
        admin = AdminClient({"bootstrap.servers": bootstrap})
        admin.create_topics([new])[self.topic].result(30)
        producer = Producer({"bootstrap.servers": bootstrap})
        for number in range(40):
            producer.produce(self.topic, b"%d" % number, timestamp=int(time.time() * 1000) - 30 * _DAY_MS)
        assert producer.flush(30) == 0
        transactions(bootstrap, self.topic, [3, 3, 3])
        trim(bootstrap, self.topic, 10)
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": self.group, "enable.auto.commit": False})
        consumer.commit(offsets=[TopicPartition(self.topic, 0, 25)], asynchronous=False)
        consumer.close()
        self.records = consume_all(bootstrap, self.topic)

    def _configure(self, minio: MinioServer, bucket: str) -> None:
        bucket_arn = f"arn:aws:s3:::{bucket}"
        listing = {"Effect": "Allow", "Action": ["s3:ListBucket", "s3:GetBucketLocation"], "Resource": [bucket_arn]}
        getting = {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{bucket_arn}/*"]}
        reader = f"reader-{bucket}"
        self.secrets.append(minio.create_user(reader, {"Version": "2012-10-17", "Statement": [listing, getting]}))
        (self.folder / "password").write_text(self.secrets[0])
        (self.folder / "key").write_text(self.secrets[-1])
        (self.folder / "mirror.toml").write_text(
            f'[clusters.safe]\nrole = "target"\nbootstrap_servers = ["{self.server.bootstrap_of("SASL_SSL")}"]\n'
            f'security_protocol = "SASL_SSL"\n[clusters.safe.ssl]\nca_file = "{self.server.authority.ca_path}"\n'
            f'[clusters.safe.sasl]\nmechanism = "SCRAM-SHA-512"\nusername = "{_USER}"\n'
            f'password = {{ file = "{self.folder}/password" }}\n'
            f'[repositories.main]\nurl = "s3://{bucket}/r"\nendpoint = "{minio.url}"\naccess_key = "{reader}"\n'
            f'secret_key = {{ file = "{self.folder}/key" }}\n'
        )

    def run(self, *args: str) -> tuple[int, str]:
        """A command; what it says is kept."""
        self._capsys.readouterr()
        code = main(["--config", str(self.folder / "mirror.toml"), *args])
        out, err = self._capsys.readouterr()
        self.said += out + err
        return code, out + err

    def chosen(self, prefix: str, *more: str) -> list[str]:
        """The options of a restore under that prefix."""
        names = ["--topic", self.topic, "--group", self.group, "--rename-group", f"{self.group}={prefix}{self.group}"]
        return ["--target", "safe", "--latest", "--prefix", prefix, *names, *more]

    def restore(self, prefix: str, *more: str) -> tuple[int, str]:
        """`mirror restore` into the cluster that was captured, under a prefix."""
        consent = ["--yes", "--target-cluster-id", self.server.cluster_id]
        return self.run("restore", *self.chosen(prefix, *more), *consent)

    def check(self) -> list[str]:
        """What `mirror check --target` says that is missing."""
        code, out = self.run("check", "--target", "safe", "--topic", self.topic, "--json")
        lines = [line for line in json.loads(out)["lines"] if line["level"] == "fail"]
        assert code == (12 if lines else 0), lines
        assert all(line["commands"] for line in lines)
        return [line["message"] for line in lines]

    def exists(self, topic: str) -> bool:
        """Whether the cluster has it."""
        return topic in AdminClient({"bootstrap.servers": self.server.bootstrap}).list_topics(timeout=10).topics


def test_the_documented_rights_are_enough_and_each_is_needed(
    secure_kafka: SecureKafka, minio: MinioServer, bucket: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Plan, restore, prove and holds pass with them; without any one of them `check` and the restore name it, and nothing is changed."""
    site = _Site(secure_kafka, minio, bucket, tmp_path, capsys)
    documented = _documented()
    instead = [one for one in documented if one[0] == "transactional-id"]
    usual = [one for one in documented if one[0] != "transactional-id"]
    assert {(kind, operation) for kind, _, operation, _ in documented} == {
        *(("topic", right) for right in ("CREATE", "READ", "WRITE", "ALTER_CONFIGS", "DELETE")),
        ("group", "READ"),
        ("cluster", "CLUSTER_ACTION"),
        ("transactional-id", "WRITE"),
    }
    for one in usual:
        _grant(secure_kafka, one)
    for one in usual:
        _revoke(secure_kafka, one)
        kind, _, operation, _ = one
        (named,) = site.check()
        assert f"User:{_USER} lacks {operation} on {'the cluster' if kind == 'cluster' else kind}" in named
        code, said = site.restore("no-")
        assert code == 12, said
        assert f"{operation} on " in said
        assert not site.exists(f"no-{site.topic}")
        _grant(secure_kafka, one)
    assert site.check() == []

    plan = str(tmp_path / "plan.json")
    for prefix in ("exact-", "aborts-"):
        assert site.run("plan", *site.chosen(prefix), "-o", plan)[0] == 0
        consent = ["--yes", "--target-cluster-id", secure_kafka.cluster_id]
        assert site.run("restore", "--plan", plan, *consent)[0] == 0
        code, said = site.run("prove", "--plan", plan, "-o", str(tmp_path / f"{prefix}proof.json"))
        assert (code, "PROVED" in said) == (0, True), said
        copy = prefix + site.topic
        assert consume_all(secure_kafka.bootstrap, copy) == site.records
        assert watermarks(secure_kafka.bootstrap, copy, 1) == watermarks(secure_kafka.bootstrap, site.topic, 1)
        holds = ["--target", "safe", "--prefix", prefix, "--topic", site.topic]
        assert copy in site.run("holds", "list", *holds)[1]
        assert site.run("holds", "release", *holds, "--yes")[0] == 0
        assert "no topic is on hold" in site.run("holds", "list", *holds)[1]
        for one in [one for one in usual if one[0] == "cluster"]:
            _revoke(secure_kafka, one)
        for one in instead:
            _grant(secure_kafka, one)

    for one in [*instead, *(one for one in usual if one[2] == "DELETE")]:
        _revoke(secure_kafka, one)
    assert site.restore("dense-", "--offsets", "translated")[0] == 0, "neither holes nor a beginning to make"
    dense = consume_all(secure_kafka.bootstrap, f"dense-{site.topic}")
    assert without_offsets(dense) == without_offsets(site.records)

    stored = b"".join(site_store(minio, bucket))
    written = "".join(path.read_text() for path in tmp_path.glob("*.json"))
    for word in site.secrets:
        assert word not in site.said + written
        assert word.encode() not in stored


def site_store(minio: MinioServer, bucket: str) -> list[bytes]:
    """Every object of the repository."""
    store = open_store(f"s3://{bucket}/r", endpoint=minio.url, access_key=minio.access_key, secret_key=minio.secret_key)
    return [store.get(info.key) for info in store.list("")]
