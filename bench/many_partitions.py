"""1,000 partitions: what a worker uses while nothing happens, and how many objects it writes while all of them are active."""

import json
import statistics
import time
import urllib.error
import urllib.request

from confluent_kafka import Producer
from confluent_kafka.admin import NewTopic

from bench.children import BenchError, Child
from bench.clients import kafka_admin
from bench.compare import Result
from bench.deployment import Deployment
from bench.stack import BenchStack
from bench.topics import delete_topics, wait_for_leaders

__all__ = ["measure_many_partitions", "run_idle"]

TOPIC_COUNT, PARTITIONS_EACH = 20, 50
IDLE_GOAL_PERCENT = 4.0
_PREFIX = "many-"
_READY_TIMEOUT_S = 120.0
_SETTLE_S = 20.0  # the default flush interval is 10 s
_DAY_S = 86_400


def measure_many_partitions(stack: BenchStack, *, idle_seconds: int, active_seconds: int) -> list[Result]:
    """First idle, then with a record in every partition each second, by one worker with the default flush interval."""
    topics = _create(stack)
    deployment = Deployment(stack, "partitions-backup", [f"{_PREFIX}*"])
    with deployment.start("worker") as worker:
        idle = _idle_after_start(stack, deployment, worker, topics, idle_seconds)
        active = _active(stack, deployment, topics, active_seconds)
        worker.terminate(60)
    deployment.remove()
    delete_topics(stack, _PREFIX)
    return [idle, active]


def run_idle(stack: BenchStack, seconds: int, *, module: str) -> Result:
    """Only the idle part, with the worker started by another module than usual: for a profile."""
    topics = _create(stack)
    deployment = Deployment(stack, "partitions-backup", [f"{_PREFIX}*"])
    with deployment.start("worker", module=module) as worker:
        idle = _idle_after_start(stack, deployment, worker, topics, seconds)
        worker.terminate(60)
    return idle


def _idle_after_start(
    stack: BenchStack, deployment: Deployment, worker: Child, topics: list[str], seconds: int
) -> Result:
    _wait_until_ready(deployment, worker)
    _produce(stack, topics, seconds=1)  # no partition is empty
    time.sleep(_SETTLE_S)
    return _idle(worker, seconds)


def _create(stack: BenchStack) -> list[str]:
    names = [f"{_PREFIX}{number:02d}" for number in range(TOPIC_COUNT)]
    admin = kafka_admin(stack.bootstrap)
    for created in admin.create_topics([NewTopic(name, PARTITIONS_EACH, 1) for name in names]).values():
        created.result()
    for name in names:
        wait_for_leaders(admin, name, PARTITIONS_EACH)
    return names


def _wait_until_ready(deployment: Deployment, worker: Child) -> None:
    """Readiness must hold, and every partition be fetched."""
    wanted = float(TOPIC_COUNT * PARTITIONS_EACH)
    deadline = time.monotonic() + _READY_TIMEOUT_S
    while time.monotonic() < deadline:
        worker.require_alive()
        if _get(deployment, "/readyz") and _fetching(deployment) >= wanted:  # and those of the group log
            return
        time.sleep(0.5)
    raise BenchError(f"the worker does not fetch {wanted:.0f} partitions\n{worker.log_tail()}")


def _get(deployment: Deployment, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{deployment.web_port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


def _fetching(deployment: Deployment) -> float:
    for line in _get(deployment, "/metrics").splitlines():
        if line.startswith('mirror_partitions{state="fetching"}'):
            return float(line.split()[-1])
    return 0.0


def _idle(worker: Child, seconds: int) -> Result:
    shares = []
    for _ in range(3):
        begin_s = time.time()
        time.sleep(seconds / 3)
        shares.append(worker.usage.between(begin_s, time.time() - 0.05) / (seconds / 3 - 0.05) * 100)
    percent = statistics.fmean(shares)
    return Result(
        name="idle with 1,000 partitions",
        ours=round(percent, 2),
        other=None,
        ratio=percent / IDLE_GOAL_PERCENT,
        goal=1.0,
        unit=f"% of one core (goal: {IDLE_GOAL_PERCENT:.0f} %)",
        spread=(min(shares) / IDLE_GOAL_PERCENT, max(shares) / IDLE_GOAL_PERCENT),
        pairs=1,
        higher_is_better=False,
        details={"seconds": seconds, "peak_rss_bytes": worker.usage.peak_rss_bytes, "settings": {}},
    )


def _active(stack: BenchStack, deployment: Deployment, topics: list[str], seconds: int) -> Result:
    repository = deployment.repository
    _produce(stack, topics, seconds=12)  # from here on a flush interval never begins late
    before = sum(1 for _ in repository.list_segments())
    begin_s = time.time()
    _produce(stack, topics, seconds=seconds)
    puts = sum(1 for _ in repository.list_segments()) - before
    per_day = puts / (time.time() - begin_s) * _DAY_S
    # `mirror status` ends with 6 when something is behind its objective: its prediction is all that is asked for here.
    with deployment.start("status", "--json") as child:
        printed = child.wait(120, good_codes=(0, 6))
    predicted = float(json.loads(printed)["totals"]["predicted_puts_per_day"])
    return Result(
        name="puts a day with 1,000 active partitions, against the prediction of `mirror status`",
        ours=round(per_day),
        other=round(predicted),
        ratio=per_day / predicted,
        goal=1.1,
        unit="puts/day",
        spread=(per_day / predicted, per_day / predicted),
        pairs=1,
        higher_is_better=False,
        details={"seconds": seconds, "objects": puts, "settings": {}},
    )


def _produce(stack: BenchStack, topics: list[str], *, seconds: int) -> None:
    producer = Producer({"bootstrap.servers": stack.bootstrap, "linger.ms": 5})
    for _ in range(seconds):
        next_s = time.monotonic() + 1.0
        for topic in topics:
            for partition in range(PARTITIONS_EACH):
                producer.produce(topic, b"x" * 80, partition=partition)
        producer.flush(30)
        time.sleep(max(0.0, next_s - time.monotonic()))
