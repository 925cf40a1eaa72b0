"""Without the right to read `__consumer_offsets` groups are polled, where that is allowed, and everybody says what is missing."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AclOperation, ResourceType

from mirror.cli.__main__ import main
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.service.groups import choose_group_log, read_groups
from tests.fault.worker_lab import WorkerLab, wait_until
from tests.servers.minio import MinioServer
from tests.servers.secure import SecureKafka

pytestmark = [pytest.mark.servers, pytest.mark.timeout(180)]


@pytest.fixture
def lab(secure_kafka: SecureKafka, minio: MinioServer, tmp_path: Path) -> Iterator[WorkerLab]:
    """Workers that log in as a user who may do all that a worker needs, but nothing with the group log."""
    password = tmp_path / "password"
    password.write_text(secure_kafka.passwords["mirror"])
    cluster = {
        "bootstrap_servers": [secure_kafka.bootstrap_of("SASL_SSL")],
        "security_protocol": "SASL_SSL",
        "ssl.ca_file": str(secure_kafka.authority.ca_path),
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "mirror",
        "sasl.password.file": str(password),
    }
    lab = WorkerLab(secure_kafka, minio, tmp_path / "lab", {"topics": ["groups-*"]}, cluster)
    may = AclOperation
    secure_kafka.allow("mirror", ResourceType.GROUP, lab.id, may.READ)
    secure_kafka.allow("mirror", ResourceType.TOPIC, "groups-orders", may.READ, may.DESCRIBE, may.DESCRIBE_CONFIGS)
    for name in lab.own_topics.values():
        secure_kafka.allow("mirror", ResourceType.TOPIC, name, may.CREATE, may.DESCRIBE, may.READ, may.WRITE)
    yield lab
    lab.close()


def commit(kafka: SecureKafka, offset: int) -> None:
    """As the group ``reader``."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "reader", "enable.auto.commit": False})
    consumer.commit(offsets=[TopicPartition("groups-orders", 0, offset)], asynchronous=False)
    consumer.close()


def stored(lab: WorkerLab) -> tuple[int, bool] | None:
    """Where the group stands, and whether that was polled; None where it is not known."""
    coverages = lab.coverage()
    view = read_groups(lab.repository, coverages) if choose_group_log(coverages) else None
    if view is None or "reader" not in view.groups:
        return None
    (position,) = view.groups["reader"].values()
    return position.offset, view.is_polled


def test_a_missing_right_is_named_and_granting_it_is_enough(
    secure_kafka: SecureKafka, lab: WorkerLab, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the worker's log, by check (a failure only where groups are demanded) and by status; no restart is needed for more of them."""
    lab.make_topic("groups-orders")
    producer = Producer({"bootstrap.servers": secure_kafka.bootstrap, "log_level": 0})
    for number in range(10):
        producer.produce("groups-orders", b"%d" % number)
    assert producer.flush(20) == 0
    commit(secure_kafka, 6)
    worker = lab.worker()
    lab.wait_durable({"groups-orders": 1})
    log = worker.log_text()
    assert "consumer groups are polled, not read: DESCRIBE and READ on topic __consumer_offsets is missing" in log
    assert worker.get("/readyz")[0] == 200

    def run(*args: str, config: Path = worker.config_path) -> tuple[int, Any]:
        capsys.readouterr()
        code = main(["--config", str(config), *args, "--json"])
        return code, json.loads(capsys.readouterr().out)

    code, report = run("status")
    assert (code, report["verdict"]) == (0, "SAFE")
    assert "DESCRIBE and READ on topic __consumer_offsets" in report["groups"]["reason"]
    code, report = run("check")
    (line,) = [one for one in report["lines"] if GROUP_LOG_TOPIC in one["message"]]
    assert (code, line["level"]) == (0, "warn")
    assert "--operation Describe --operation Read --topic __consumer_offsets" in line["next_step"]
    (line,) = [one for one in report["lines"] if "DESCRIBE on consumer groups" in one["message"]]
    assert (line["level"], "--operation Describe --group '*'" in line["next_step"]) == ("warn", True)
    demanding = lab.worker(run=False, groups="topic")
    code, report = run("check", config=demanding.config_path)
    (line,) = [one for one in report["lines"] if GROUP_LOG_TOPIC in one["message"]]
    assert (code, line["level"]) == (12, "fail")
    assert "--operation Describe --operation Read --topic __consumer_offsets" in line["commands"][0]

    secure_kafka.allow("mirror", ResourceType.GROUP, "*", AclOperation.DESCRIBE)
    wait_until(lambda: stored(lab) == (6, True), worker.log_tail, 40, 0.5)
    commit(secure_kafka, 8)
    wait_until(lambda: stored(lab) == (8, True), worker.log_tail, 40, 0.5)
    code, report = run("check")
    (line,) = [one for one in report["lines"] if "DESCRIBE on all consumer groups" in one["message"]]
    assert line["level"] == "ok"
    code, report = run("status")
    assert (report["verdict"], report["groups"]["way"], report["groups"]["is_estimate"]) == ("SAFE", "poll", True)

    secure_kafka.allow("mirror", ResourceType.TOPIC, GROUP_LOG_TOPIC, AclOperation.READ, AclOperation.DESCRIBE)
    wait_until(lambda: stored(lab) == (8, False), worker.log_tail, 40, 0.5)
    code, report = run("check")
    assert [one["level"] for one in report["lines"] if GROUP_LOG_TOPIC in one["message"]] == ["ok"]
    wait_until(lambda: run("status")[1]["groups"]["captured_to_ms"], "status", 20)
