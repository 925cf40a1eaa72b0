"""The servers of the stack do what the other tests rely on."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from minio.error import S3Error

from tests.servers import stack
from tests.servers.__main__ import main
from tests.servers.errors import StackError
from tests.servers.guard import start_ticks
from tests.servers.kafka import KafkaCluster, kafka_tool
from tests.servers.minio import MinioServer
from tests.servers.process import ServerProcess


def _produce(bootstrap: str, topic: str, value: bytes) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all"})
    errors: list[object] = []
    producer.produce(topic, value, partition=0, on_delivery=lambda error, _: errors.append(error))
    assert producer.flush(20) == 0
    assert errors == [None]


def _consume(bootstrap: str, topic: str, count: int) -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "t", "auto.offset.reset": "earliest"})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        return [message.value() for message in consumer.consume(count, timeout=20)]
    finally:
        consumer.close()


def test_a_record_comes_back(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """What was produced to the shared broker is consumed from it."""
    name = topic(partitions=2, retention_ms="-1")
    _produce(kafka.bootstrap, name, b"one")
    assert _consume(kafka.bootstrap, name, 1) == [b"one"]


def test_kafkas_own_tools_run(kafka: KafkaCluster, topic: Callable[..., str]) -> None:
    """Classes of kafka-tools can be run against the broker."""
    name = topic()
    args = ["--topic", name, "--num-records", "1000", "--record-size", "80", "--throughput", "-1"]
    printed = kafka_tool(
        "org.apache.kafka.tools.ProducerPerformance", *args, "--producer-props", f"bootstrap.servers={kafka.bootstrap}"
    )
    assert "1000 records sent" in printed


def test_killed_kafka_keeps_its_data(new_kafka: Callable[..., KafkaCluster]) -> None:
    """kill -9 and start again: same address, same records."""
    cluster = new_kafka()
    _produce(cluster.bootstrap, "t", b"kept")
    before = cluster.bootstrap
    cluster.kill()
    cluster.start()
    assert cluster.bootstrap == before
    assert _consume(cluster.bootstrap, "t", 1) == [b"kept"]


def test_three_brokers_survive_one(new_kafka: Callable[..., KafkaCluster]) -> None:
    """With one of three brokers dead, acks=all still succeeds; the dead one comes back."""
    cluster = new_kafka(3)
    _produce(cluster.bootstrap, "t", b"three")
    cluster.brokers[0].kill()
    _produce(cluster.bootstrap, "t", b"two")
    cluster.brokers[0].start()
    assert _consume(cluster.bootstrap, "t", 2) == [b"three", b"two"]


def test_killed_minio_keeps_its_objects(new_minio: Callable[..., MinioServer]) -> None:
    """kill -9 and start again: same endpoint, same objects."""
    server = new_minio()
    server.make_bucket("kept")
    server.client().put_object("kept", "name", io.BytesIO(b"bytes"), 5)
    server.kill()
    server.start()
    assert server.client().get_object("kept", "name").read() == b"bytes"


def test_a_user_has_only_the_rights_of_its_policy(minio: MinioServer, bucket: str) -> None:
    """A user allowed to put cannot delete."""
    statement = {"Effect": "Allow", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]}
    secret_key = minio.create_user("putter", {"Version": "2012-10-17", "Statement": [statement]})
    client = minio.client_of("putter", secret_key)
    client.put_object(bucket, "name", io.BytesIO(b"x"), 1)
    with pytest.raises(S3Error) as refused:
        client.remove_object(bucket, "name")
    assert refused.value.code == "AccessDenied"


def _sleeper(folder: Path) -> ServerProcess:
    return ServerProcess("sleeper", ["sleep", "300"], log_path=folder / "log")


def test_a_paused_process_can_be_stopped(tmp_path: Path) -> None:
    """TERM reaches a frozen server too."""
    server = _sleeper(tmp_path)
    server.start()
    pid = server.pid
    server.pause()
    server.stop()
    assert start_ticks(pid) is None
    assert not server.is_running


def test_a_server_that_ends_is_an_error_with_its_log(tmp_path: Path) -> None:
    """The end of the log is in the message."""
    server = ServerProcess("short", ["/bin/sh", "-c", "echo no room; exit 3"], log_path=tmp_path / "log")
    server.start()
    with pytest.raises(StackError, match=r"ended with 3(.|\n)*no room"):
        _until_error(server)


def _until_error(server: ServerProcess) -> None:
    for _ in range(200):
        server.require_alive()
        time.sleep(0.02)


@pytest.mark.parametrize("thread", [False, True], ids=["main-thread", "other-thread"])
def test_no_server_outlives_its_python(tmp_path: Path, thread: bool) -> None:
    """kill -9 of the process that started a server ends that server, and the end of a *thread* does not."""
    script = f"""
import sys, threading, time, pathlib
from tests.servers.process import ServerProcess
server = ServerProcess("sleeper", ["sleep", "300"], log_path=pathlib.Path({str(tmp_path / "log")!r}))
if {thread}:
    starter = threading.Thread(target=server.start); starter.start(); starter.join()
else:
    server.start()
time.sleep(0.3)
print(server.pid, flush=True)
time.sleep(300)
"""
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    assert start_ticks(pid) is not None
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()
    for _ in range(200):
        if start_ticks(pid) is None:
            return
        time.sleep(0.02)
    pytest.fail(f"process {pid} outlived its parent")


@pytest.mark.usefixtures("_servers")
def test_a_stack_runs_until_it_is_taken_down(tmp_path: Path) -> None:
    """`up` leaves the servers running and tells where they are; `down` ends exactly them."""
    env_path = stack.up(tmp_path)
    started = stack.servers(tmp_path)
    try:
        variables = stack.read_env(tmp_path)
        _produce(variables["STACK_KAFKA_BOOTSTRAP"], "t", b"one")
        assert env_path.stat().st_mode & 0o077 == 0, "others could read the secret key"
        assert {server.name: server.is_running for server in started} == {"kafka-1": True, "minio": True}
        assert stack.up(tmp_path) == env_path
        assert stack.servers(tmp_path) == started, "a second up must leave the first one alone"
    finally:
        stack.down(tmp_path)
    assert not any(server.is_running for server in started)
    assert stack.servers(tmp_path) == []


@pytest.mark.usefixtures("_servers")
def test_a_named_stack_is_another_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies in a folder of its own, below the other's, which is not started for it; `down` without a name ends it too."""
    monkeypatch.setattr(stack, "DEFAULT_FOLDER", tmp_path)
    folder = tmp_path / "standby"
    try:
        assert main(["up", "--name", "standby"]) == 0
        assert stack.read_env(folder)["STACK_KAFKA_BOOTSTRAP"]
        assert (main(["status", "--name", "standby"]), main(["status"])) == (0, 1)
        started = stack.servers(folder)
        assert main(["down"]) == 0
    finally:
        stack.down(folder)
    assert started
    assert not any(server.is_running for server in started)


def test_the_stack_has_a_help_page(capsys: pytest.CaptureFixture[str]) -> None:
    """A line on what each command does, and its options; a name that would be taken for another folder is refused."""
    for command, said in (
        ("fetch", "get Kafka"),
        ("up", "--name NAME"),
        ("down", "every stack"),
        ("status", "exit code 1"),
    ):
        assert main([command, "--help"]) == 0
        assert said in " ".join(capsys.readouterr().out.split())
    assert [main(wrong) for wrong in ([], ["run"], ["up", "--name", "minio"], ["up", "--name", "../x"])] == [2] * 4
