"""The story, step by step. Every claim is a check; the exit code is their conjunction."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.billing import GROUP, TOPIC, positions, read_all, read_some
from demo.data import BROKEN, TICKS, TOPICS, Shop, break_orders, records_of
from demo.failure import DemoError
from demo.place import CLUSTER, keep_folder, own_folder
from demo.procfile import read_procfile
from demo.show import Show
from demo.stage import Stage, create_topics, delete_topics, page, wait_for
from demo.witness import Fingerprint, cluster_id, live_topics, take_fingerprints, topic_configs
from mirror.core.moments import format_moment

FOLDER = Path(".demo")
_NAMES = [spec.name for spec in TOPICS]
_TICK_S = 0.17
_KILL_AT = 0.25
_FLUSH_INTERVAL = "1s"
_DRAIN_TIMEOUT_S = 40.0  # as TimeoutStopSec of the unit file: drain_timeout and what comes after it
_LOG_LINES = 40
_BROKEN = 400


class Checks:
    """What was claimed, and whether it held."""

    def __init__(self) -> None:
        self.all: list[tuple[bool, str]] = []

    def claim(self, held: bool, text: str) -> bool:
        """Note a claim and whether it held."""
        self.all.append((held, text))
        return held

    @property
    def held(self) -> bool:
        """Whether there are claims and all held."""
        return bool(self.all) and all(held for held, _ in self.all)


def tell(*, keep: bool, procfile: Path) -> bool:
    """Run the whole story; whether all of it held. Raises DemoError, StackError when it cannot go on."""
    show, checks = Show(), Checks()
    read_procfile(procfile)
    with own_folder(FOLDER.absolute(), keep=keep) as folder:
        show.step("A real Apache Kafka and a real MinIO")
        stage = Stage(folder, procfile.absolute(), flush_interval=_FLUSH_INTERVAL)
        try:
            _play(show, checks, stage)
        except Exception:
            _explain(show, stage)
            raise
        finally:
            stage.end()
        checks.claim(not stage.running(), "nothing is left running")
        if not checks.held:
            _explain(show, stage)
        _judge(show, checks, keep=keep or not checks.held)
    return checks.held


def _explain(show: Show, stage: Stage) -> None:
    """A failure whose reason is lost is worth nothing: the end of the worker's log, and the folder stays."""
    keep_folder(stage.folder)
    worker = stage.worker
    if worker is not None:
        show.line(f"the end of {worker.log_path}:\n{worker.log_tail(_LOG_LINES)}", style="red", markup=False)
    show.line(f"logs and data are kept in {stage.folder}", style="red")


def _play(show: Show, checks: Checks, stage: Stage) -> None:
    at = stage.addresses
    show.line(f"Kafka {at.bootstrap} · MinIO {at.endpoint} · configuration {stage.config_path.name}")
    create_topics(at.bootstrap)
    rows = [[s.name, str(s.partitions), s.about, f"{records_of(s):,}"] for s in TOPICS]
    show.table(["topic", "partitions", "with", "committed records to come"], rows, right=("committed records to come",))

    show.step("A repository, and the worker of the Procfile")
    show.command("mirror init")
    if not checks.claim(stage.mirror.run("init") == 0, "`mirror init` made the repository"):
        raise DemoError("`mirror init` failed: see above")
    worker = stage.start_worker()
    show.command(worker.command)
    wait_for("the worker is ready", stage.worker_is_ready, timeout_s=60)
    show.line(f"ready: pid {worker.pid}, {at.web}/readyz answers 200")

    show.step("Producers write; the worker backs up; it is killed with -9 in the middle")
    _write_and_kill(show, checks, stage)

    show.step("Is everything safe?")
    show.command("mirror status")
    checks.claim(stage.mirror.run("status") == 0, "`mirror status` says SAFE and exits 0")

    show.step("An independent reader (librdkafka, read_committed) takes the fingerprint of every topic")
    before = _fingerprints(show, at.bootstrap)
    configs = topic_configs(at.bootstrap, _NAMES)
    for spec in TOPICS:
        found, wanted = before[spec.name].records, records_of(spec)
        if found != wanted:
            checks.claim(False, f"{spec.name}: {wanted:,} records were committed, {found:,} are in the topic")

    show.step("A consumer reads half of shop.orders; then a bad deployment writes broken orders")
    half = read_some(at.bootstrap, before[TOPIC].records // 2)
    stood = positions(at.bootstrap, _partition_counts()[TOPIC])
    wait_for("the group's position is stored", lambda: _stored_positions(stage) == stood, timeout_s=30, every_s=0.3)
    show.line(f"group {GROUP} has read {half:,} records and stands at {stood}")
    time.sleep(2.2)
    bad_ms = break_orders(at.bootstrap, _BROKEN)
    moment = format_moment((bad_ms - 1000) // 1000 * 1000).replace(".000Z", "Z")
    show.line(f"{_BROKEN} broken orders from {format_moment(bad_ms)} on", style="red")
    wait_for("the broken orders are stored too", lambda: _nothing_lags(stage), timeout_s=30, every_s=0.3)

    show.step("The disaster: somebody deletes all topics, to make it good")
    delete_topics(at.bootstrap)
    wait_for("the topics are gone", lambda: not live_topics(at.bootstrap), timeout_s=20)
    show.line(f"gone: {', '.join(_NAMES)}", style="red")

    show.step("Which was the first broken one? Straight from the repository")
    time.sleep(1.0)
    checks.claim(not live_topics(at.bootstrap), "the running worker did not bring a deleted topic back")
    cat = ("cat", TOPIC, "--grep", BROKEN, "--limit", "3")
    show.command("mirror " + " ".join(cat))
    checks.claim(stage.mirror.run(*cat) == 0, "`mirror cat` found the broken orders")

    show.step("The plan: everything as it stood the second before")
    plan = ("plan", "--target", CLUSTER, "--at", moment, "-o", str(stage.folder / "plan.json"))
    show.command("mirror " + " ".join((*plan[:-1], "plan.json")))
    if not checks.claim(stage.mirror.run(*plan) == 0, "`mirror plan` wrote the plan"):
        raise DemoError("`mirror plan` failed: see above")

    show.step("The restore")
    consent = ("--yes", "--target-cluster-id", cluster_id(at.bootstrap))
    restore = ("restore", "--plan", str(stage.folder / "plan.json"), *consent)
    show.command("mirror " + " ".join(("restore", "--plan", "plan.json", *consent)))
    began = time.monotonic()
    if not checks.claim(stage.mirror.run(*restore, timeout_s=120) == 0, "`mirror restore` ended with 0"):
        raise DemoError("`mirror restore` failed: see above")
    show.line(f"{time.monotonic() - began:.1f} s, the start of the command included")

    show.step("The proof: the same reader again")
    after = _fingerprints(show, at.bootstrap)
    _compare(show, checks, before, after)
    checks.claim(
        topic_configs(at.bootstrap, _NAMES) == configs and live_topics(at.bootstrap) == _partition_counts(),
        "partition counts and settings of the topics are as they were",
    )

    show.step("The consumer just goes on")
    now = positions(at.bootstrap, _partition_counts()[TOPIC])
    checks.claim(now == stood, f"group {GROUP} stands where it stood")
    rest = read_all(at.bootstrap)
    show.line(f"{GROUP} goes on at {now} and reads {rest:,} records; {half:,} it had read before")
    checks.claim(half + rest == after[TOPIC].records, f"{GROUP} got every order once, and no broken one")

    show.step("What is stored is sound, and the worker ends as it should")
    # The restored topics are new to the worker, which stores their settings a discovery after it has taken them over.
    wait_for("the restored topics are captured", lambda: _all_captured(stage), timeout_s=60, every_s=0.5)
    show.command("mirror verify")
    checks.claim(stage.mirror.run("verify") == 0, "`mirror verify` found no damage")
    _end_worker(show, checks, stage)


def _stored_positions(stage: Stage) -> dict[int, int]:
    """Where the group stands by the repository."""
    code, found = stage.mirror.ask("groups", "list")
    rows: Any = found.get("groups", []) if code == 0 else []
    mine = next((row for row in rows if row["group"] == GROUP), None)
    return {} if mine is None else {p["partition"]: p["offset"] for p in mine["positions"]}


def _nothing_lags(stage: Stage) -> bool:
    _, status = stage.mirror.ask("status")
    partitions: list[dict[str, Any]] = status.get("partitions", [])
    return status.get("verdict") == "SAFE" and not any(partition["lag_offsets"] for partition in partitions)


def _all_captured(stage: Stage) -> bool:
    _, found = stage.mirror.ask("verify", "--quick")
    notes: list[dict[str, Any]] = found.get("notes", [])
    return "notes" in found and not any(note["kind"] == "topic_missing" for note in notes)


def _end_worker(show: Show, checks: Checks, stage: Stage) -> None:
    worker = stage.worker
    assert worker is not None
    if not checks.claim(worker.is_running, "the worker lived through the disaster and the restore"):
        return
    show.command(f"kill -TERM {worker.pid}")
    began = time.monotonic()
    code = worker.end(_DRAIN_TIMEOUT_S)
    if not checks.claim(code == 0, "the worker drained at SIGTERM and exited 0"):
        how = "it was killed, or had to be," if code is None else f"exit code {code}"
        show.line(f"{how} after {time.monotonic() - began:.1f} s", style="red")


def _write_and_kill(show: Show, checks: Checks, stage: Stage) -> None:
    shop = Shop(stage.addresses.bootstrap)
    done, stop = threading.Event(), threading.Event()
    errors: list[BaseException] = []

    def write() -> None:
        try:
            for number in range(TICKS):
                until = time.monotonic() + _TICK_S
                shop.tick(number)
                if stop.wait(max(0.0, until - time.monotonic())):
                    return
            shop.finish()
        except BaseException as error:  # noqa: BLE001 handed to the main thread
            errors.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=write, name="producers", daemon=True)
    total = sum(spec.per_tick for spec in TOPICS) * TICKS
    with show.bars() as bars:
        thread.start()
        try:
            _watch(show, checks, stage, lambda: (shop.written, total, done.is_set()), bars)
        finally:
            stop.set()
            thread.join(30)
    if errors:
        raise errors[0]


def _watch(show: Show, checks: Checks, stage: Stage, written: Callable[[], tuple[int, int, bool]], bars: Any) -> None:
    """Draw both bars until everything written is safe by the worker's own table; kill the worker on the way."""
    safe, killed, is_back, deadline = 0, False, False, time.monotonic() + 90
    while True:
        count, total, is_done = written()
        safe = max(safe, _safe_offsets(stage))
        note = ""
        if killed and not is_back:
            is_back = stage.worker_is_ready()
            note = "" if is_back else "worker comes back"
            if is_back:
                show.line("the worker is back: it goes on where the store says")
        bars.set("written by producers", count, total)
        bars.set("safe in MinIO", safe, max(total, safe), unit="offsets", note=note)
        bars.tick()
        if not killed and count >= total * _KILL_AT and safe > 0:
            killed = True
            _kill(show, checks, stage, safe, count)
        if is_done and is_back and _all_is_safe(stage, checks):
            bars.set("safe in MinIO", total, total, unit="offsets")
            bars.tick(now=True)
            return
        if time.monotonic() > deadline:
            raise DemoError("what was written did not become safe in 90 s")
        if stage.worker is not None:
            stage.worker.require_alive()
        time.sleep(0.15)


def _kill(show: Show, checks: Checks, stage: Stage, safe: int, written: int) -> None:
    worker = stage.worker
    assert worker is not None
    show.command(f"kill -9 {worker.pid}")
    worker.kill()
    checks.claim(
        not worker.is_running and safe < written, "the worker was killed with -9 while records were on their way"
    )
    stage.start_worker()
    show.line("killed, and started again; producers go on. Kafka first waits out the dead one's session (10 s)")


def _safe_offsets(stage: Stage) -> int:
    """Sum of safe offsets by the worker's table; 0 while it does not answer or recovers its table."""
    found = page(stage.addresses.web + "/v1/positions")
    rows: Any = [] if found is None else found.get("positions")
    return sum(int(row["next_offset"]) for row in rows)


def _all_is_safe(stage: Stage, checks: Checks) -> bool:
    _, status = stage.mirror.ask("status")
    partitions: list[dict[str, Any]] = status.get("partitions", [])
    if (
        status.get("verdict") != "SAFE"
        or len(partitions) != sum(spec.partitions for spec in TOPICS)
        or any(partition["lag_offsets"] != 0 for partition in partitions)
    ):
        return False
    checks.claim(status.get("gap_count") == 0, "nothing lags and there is no gap, although the worker was killed")
    return True


def _fingerprints(show: Show, bootstrap: str) -> dict[str, Fingerprint]:
    total, read = sum(records_of(spec) for spec in TOPICS), 0
    with show.bars() as bars:

        def add(count: int) -> None:
            nonlocal read
            read += count
            bars.set("read by the witness", read, total)

        found = take_fingerprints(bootstrap, _NAMES, add)
    show.line(f"{read:,} records read")
    return found


def _compare(show: Show, checks: Checks, before: dict[str, Fingerprint], after: dict[str, Fingerprint]) -> None:
    rows = []
    for name in _NAMES:
        same = before[name] == after[name]
        rows.append(
            [
                name,
                f"{before[name].records:,}",
                f"{after[name].records:,}",
                before[name].digest[:16],
                after[name].digest[:16],
                "[green]identical[/]" if same else "[bold red]DIFFERENT[/]",
            ]
        )
        checks.claim(
            same, f"{name}: offsets, keys, values, headers and times of {before[name].records:,} records are back"
        )
    show.table(["topic", "before", "after", "digest before", "digest after", ""], rows, right=("before", "after"))


def _partition_counts() -> dict[str, int]:
    return {spec.name: spec.partitions for spec in TOPICS}


def _judge(show: Show, checks: Checks, *, keep: bool) -> None:
    show.step("Verdict")
    for held, text in checks.all:
        show.line(f"[green]✓[/] {text}" if held else f"[bold red]✗ {text}[/]")
    where = f"; logs and data are in {FOLDER}/" if keep else f"; {FOLDER}/ is removed"
    seconds = f"{show.seconds:.0f} s"
    if checks.held:
        show.line(f"[bold green]ALL OF IT HELD[/] in {seconds}{where}")
    else:
        failed = sum(not held for held, _ in checks.all)
        show.line(f"[bold red]{failed} OF {len(checks.all)} CLAIMS DID NOT HOLD[/] after {seconds}{where}")
