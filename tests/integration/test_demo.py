"""The demonstration's own tools, and the commands that documents and Procfile tell people to run."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner
from confluent_kafka import Producer

from demo.failure import DemoError
from demo.procfile import read_procfile, with_path
from demo.witness import take_fingerprints
from mirror.cli.app import app

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaCluster

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "docs/running.md", "docs/restore-under-stress.md", "CONTRIBUTING.md", "config/alerts.yml")


def _mirror_lines() -> Iterator[tuple[str, str]]:
    """Every command line of `mirror` in the documents: blocks of shell, and what stands in backquotes or in a `next`."""
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        shell = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.DOTALL))
        lines = re.findall(r"^mirror .*", shell, re.MULTILINE)
        lines += re.findall(r"`(mirror [^`…]*)`", text.replace("\\|", "|"))
        lines += re.findall(r"\b(mirror [a-z][^;:\"]*)", "\n".join(re.findall(r"next: \"(.*)\"", text)))
        for line in lines:
            yield name, line.partition("#")[0].strip()


@pytest.fixture(scope="module")
def help_of() -> Callable[[tuple[str, ...]], str]:
    """The help text of a command, asked once."""
    known: dict[tuple[str, ...], str] = {}

    def ask(command: tuple[str, ...]) -> str:
        if command not in known:
            done = CliRunner().invoke(app, [*command, "--help"])
            assert done.exit_code == 0, done.output
            known[command] = done.output
        return known[command]

    return ask


def test_commands_in_documents_exist(help_of: Callable[[tuple[str, ...]], str]) -> None:
    """Every `mirror` command that a document prints is there, with all the options it is given."""
    checked = 0
    for document, line in _mirror_lines():
        words = [word for word in re.split(r"[\s\[\]|]+", line)[1:] if word]
        command = (
            tuple(words[:2])
            if len(words) > 1
            and words[0] in ("config", "repair", "groups", "state", "snapshot", "holds", "restore", "verify")
            and re.fullmatch("[a-z]+", words[1])
            else tuple(words[:1])
        )
        if not command or command[0].startswith("-") or not re.fullmatch(r"[a-z]+", command[0]):
            continue
        text = help_of(command)
        for option in re.findall(r"--[a-z-]+", line):
            assert re.search(rf"{option}\b", text), f"{document}: {line}: no {option}"
        checked += 1
    assert checked > 30


def test_the_procfile_starts_a_worker() -> None:
    """The `worker` line of the Procfile is a command line that exists."""
    command = read_procfile(ROOT / "Procfile")["worker"]
    env = {**os.environ, **with_path({}), "MIRROR_CONFIG": "config/mirror.toml"}
    done = subprocess.run(
        ["/bin/sh", "-c", f"exec {command} --help"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_procfile_that_is_none_is_refused(tmp_path: Path) -> None:
    """A line that is not `name: command` is named, not skipped."""
    path = tmp_path / "Procfile"
    path.write_text("# comment\nworker: run it\n\nthis is none\n")
    with pytest.raises(DemoError, match="this is none"):
        read_procfile(path)
    path.write_text("worker: run it\n")
    assert read_procfile(path) == {"worker": "run it"}


_BASE: dict[str, Any] = {
    "key": "k",
    "value": b"v",
    "headers": [("a", b"1"), ("a", None)],
    "timestamp": 1_700_000_000_000,
}


@pytest.mark.parametrize(
    "change",
    [
        {"key": "other"},
        {"key": None},
        {"value": b""},
        {"value": None},
        {"timestamp": 1_700_000_000_001},
        {"headers": [("a", None), ("a", b"1")]},
        {"headers": [("a", b"1"), ("a", b"")]},
        {"headers": []},
    ],
    ids=str,
)
def test_the_witness_sees_every_difference(
    kafka: "KafkaCluster", topic: Callable[..., str], change: dict[str, Any]
) -> None:
    """Two topics have the same fingerprint only if key, value, headers and time are the same, null and empty apart."""
    same, also, other = topic(), topic(), topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for name, record in ((same, _BASE), (also, _BASE), (other, {**_BASE, **change})):
        producer.produce(name, **record)
    producer.flush(10)
    found = take_fingerprints(kafka.bootstrap, [same, also, other])
    assert found[same] == found[also]
    assert found[same].records == found[other].records == 1
    assert found[same].digest != found[other].digest


def test_the_witness_sees_order_and_loss(kafka: "KafkaCluster", topic: Callable[..., str]) -> None:
    """Swapped and missing records change the fingerprint."""
    names = {order: topic() for order in ("abc", "acb", "ab")}
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for order, name in names.items():
        for letter in order:
            producer.produce(name, value=letter, timestamp=1_700_000_000_000)
    producer.flush(10)
    found = take_fingerprints(kafka.bootstrap, list(names.values()))
    assert len({found[name].digest for name in names.values()}) == 3


def test_the_witness_wants_its_topics(kafka: "KafkaCluster") -> None:
    """A topic that is not there is an error, and is not created by looking for it."""
    with pytest.raises(DemoError, match="no topic nowhere-to-be-seen"):
        take_fingerprints(kafka.bootstrap, ["nowhere-to-be-seen"])
    with pytest.raises(DemoError, match="no topic nowhere-to-be-seen"):
        take_fingerprints(kafka.bootstrap, ["nowhere-to-be-seen"])


@pytest.mark.usefixtures("_servers")
def test_a_failed_demonstration_says_why_and_keeps_its_folder(tmp_path: Path) -> None:
    """A worker that ends at once: exit 1, the end of its log is shown, its folder stays and is named, no process does."""
    procfile = tmp_path / "Procfile"
    procfile.write_text("worker: echo 'the reason [of it]' >&2; false\n")
    argv = [sys.executable, "-m", "demo", "--procfile", str(procfile)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "the reason [of it]" in done.stdout
    assert f"kept in {tmp_path}/.demo" in done.stdout
    assert "the reason" in (tmp_path / ".demo" / "worker.log").read_text()
    assert not _processes_in(tmp_path)


@pytest.mark.usefixtures("_servers")
def test_an_interrupted_demonstration_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C while the servers run: exit 130, no process and no file is left."""
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "demo", "--procfile", str(ROOT / "Procfile")]
    demo = subprocess.Popen(argv, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / ".demo" / "mirror.toml").exists() and time.monotonic() < deadline:
            assert demo.poll() is None, demo.stdout.read() if demo.stdout else ""
            time.sleep(0.05)
        assert _processes_in(tmp_path)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 130
    finally:
        demo.kill()
        demo.wait()
    assert list(tmp_path.iterdir()) == []
    assert not _processes_in(tmp_path)


def _processes_in(folder: Path) -> list[str]:
    """Command lines of processes that name the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if str(folder) in line:
            found.append(line)
    return found
