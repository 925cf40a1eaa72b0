"""`make up` and `make down`: the same stack, a worker and light traffic, in the background."""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from confluent_kafka.admin import AdminClient
from rich.console import Console
from rich.text import Text

from demo.data import TOPICS
from demo.failure import DemoError
from demo.mirror_command import Mirror
from demo.place import CLUSTER, Addresses, write_config
from demo.procfile import ProcfileProcess
from demo.stage import create_topics, page, wait_for
from tests.servers import stack
from tests.servers.guard import kill_exactly
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

_FOLDER = stack.DEFAULT_FOLDER
_OURS = ("traffic", "worker")
_END_TIMEOUT_S = 32.0  # a worker drains for at most 25 s


def up(procfile: Path) -> None:
    """Start what does not run yet, and say where everything is.

    Raises:
        DemoError, StackError: something does not come up.
    """
    _forget_the_dead()
    is_fresh = not _FOLDER.joinpath("env").exists() or not all(server.is_running for server in stack.servers())
    stack.up()
    at = _addresses()
    config_path = write_config(_FOLDER, at, flush_interval="5s")
    if is_fresh:
        shutil.rmtree(_FOLDER / "worker", ignore_errors=True)
    _prepare(at, Mirror(config_path))
    running = {server.name for server in stack.servers()}
    if "worker" not in running:
        env = {"MIRROR_CONFIG": str(config_path)}
        worker = ProcfileProcess(
            procfile.absolute(), "worker", env=env, log_path=_FOLDER / "worker.log", pid_path=_FOLDER / "worker.pid"
        )
        worker.start()
    if "traffic" not in running:
        argv = [sys.executable, "-m", "demo", "traffic", at.bootstrap]
        ServerProcess("traffic", argv, log_path=_FOLDER / "traffic.log", pid_path=_FOLDER / "traffic.pid").start()
    wait_for(
        f"the worker is ready (its log: {_FOLDER / 'worker.log'})",
        lambda: page(at.web + "/readyz") is not None,
        timeout_s=60,
    )
    # What is suggested next reads the repository.
    mirror = Mirror(config_path)
    wait_for("the first orders are stored", lambda: _orders_are_stored(mirror), timeout_s=60, every_s=0.5)
    _tell(at, config_path)


def _orders_are_stored(mirror: Mirror) -> bool:
    _, found = mirror.ask("inspect")
    return any(topic["topic"] == "shop.orders" and topic["records"] for topic in found.get("topics", []))


def down() -> None:
    """Stop the worker and the traffic, then the servers; their data is thrown away, the logs stay. No error when nothing runs."""
    _end_ours()
    stack.down()
    shutil.rmtree(_FOLDER / "worker", ignore_errors=True)
    for name in ("mirror.toml", "web-port", "s3-access-key", "s3-secret-key"):
        (_FOLDER / name).unlink(missing_ok=True)
    print("down")


def _addresses() -> Addresses:
    variables = stack.read_env()
    port_path = _FOLDER / "web-port"
    if not port_path.exists():
        port_path.write_text(str(free_port()))
    return Addresses(
        bootstrap=variables["STACK_KAFKA_BOOTSTRAP"],
        endpoint=variables["STACK_S3_URL"],
        access_key=variables["STACK_S3_ACCESS_KEY"],
        secret_key=variables["STACK_S3_SECRET_KEY"],
        web_port=int(port_path.read_text()),
    )


def _prepare(at: Addresses, mirror: Mirror) -> None:
    admin = AdminClient({"bootstrap.servers": at.bootstrap, "log_level": 2})
    there = set(admin.list_topics(timeout=10).topics)
    if not there & {spec.name for spec in TOPICS}:
        create_topics(at.bootstrap)
    code, answer = mirror.ask("init")
    if code:
        raise DemoError(f"`mirror init` exited {code}: {answer}")


def _forget_the_dead() -> None:
    for server in stack.servers():
        if server.name in _OURS and not server.is_running:
            (_FOLDER / f"{server.name}.pid").unlink(missing_ok=True)


def _end_ours() -> None:
    ours = [server for server in stack.servers() if server.name in _OURS]
    for server in ours:
        if server.is_running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _END_TIMEOUT_S
    while any(server.is_running for server in ours) and time.monotonic() < deadline:
        time.sleep(0.05)
    for server in ours:
        kill_exactly(server.pid, server.ticks)
        (_FOLDER / f"{server.name}.pid").unlink(missing_ok=True)


def _tell(at: Addresses, config_path: Path) -> None:
    console = Console(highlight=False)
    path = os.path.relpath(config_path)
    mirror = f"{os.path.relpath(Path(sys.executable).parent / 'mirror')} --config {path}"
    for name, text in (
        ("Kafka", at.bootstrap),
        ("MinIO", f"{at.endpoint}  (keys: {os.path.relpath(_FOLDER / 'env')})"),
        ("worker", f"{at.web}/readyz  /healthz  /metrics  /v1/positions"),
        ("config", path),
        ("logs", f"{os.path.relpath(_FOLDER)}/worker.log, traffic.log"),
    ):
        console.print(Text(f"{name:8}{text}"), soft_wrap=True)
    console.print("\nThe mirror of a small shop is running. Try:", style="bold")
    for command in (
        "status --watch",
        "inspect shop.orders:0",
        f"plan --target {CLUSTER} --latest --topic shop.orders --prefix copy-",
    ):
        console.print(Text(f"  {mirror} {command}"), style="green", soft_wrap=True)
    console.print("\n`make down` stops all of it.")
