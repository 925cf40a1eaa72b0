"""The kill matrix: seeded random ill-treatment of workers, store and brokers under load, then the judge."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from confluent_kafka import KafkaException, Producer

from tests.fault.worker_check import Judgement, judge
from tests.fault.worker_lab import WorkerLab, WorkerProcess

TOPICS = {"orders": 4, "audit": 2}
TRANSACTED = {"payments": 2}

_SESSION_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How rough, and how long each thing lasts (seconds)."""

    between: tuple[float, float] = (0.3, 3.0)
    store_away: tuple[float, float] = (5.0, 12.0)
    kafka_away: tuple[float, float] = (3.0, 8.0)
    weights: dict[str, int] = field(
        default_factory=lambda: {"kill": 4, "term": 2, "stop": 2, "freeze": 1, "put": 3, "store": 1, "kafka": 1}
    )


@dataclass(slots=True)
class MatrixResult:
    """What was done and what the judge said."""

    seed: int
    done: list[str] = field(default_factory=list)
    seconds: float = 0.0
    judgement: Judgement | None = None
    refetched: int = 0


class KillMatrix:
    """One run.

    Args:
        lab: its servers are killed too.
        seed: of what is killed and when.
        pace: see there.
        say: told of every step.
    """

    def __init__(self, lab: WorkerLab, seed: int, pace: Pace | None = None, say: Callable[[str], None] = print) -> None:
        self._lab = lab
        self._random = random.Random(seed)
        self._pace = pace or Pace()
        self._say = say
        self._workers: list[WorkerProcess] = []
        self.result = MatrixResult(seed)

    def run(self, kills: int, actions: list[str] | None = None) -> MatrixResult:
        """Ill-treat so many times under load, let everything settle, and judge.

        Args:
            kills: how many.
            actions: exactly these, instead of as many by weight.
        """
        begun = time.monotonic()
        lab = self._lab
        for topic, partitions in (TOPICS | TRANSACTED).items():
            lab.make_topic(topic, partitions)
        self._workers = [lab.worker(ready=False) for _ in range(2)]
        for worker in self._workers:
            worker.wait_ready()
        loads = [
            lab.load({"orders": 4}, records_per_second=1500, codec="lz4", padding=150),
            lab.load({"audit": 2}, records_per_second=700, codec="none", padding=200),
        ]
        transactions = TransactionLoad(lab.kafka.bootstrap, "payments", 2, self._random.randrange(1 << 30))
        transactions.start()
        try:
            for action in actions or self._choose(kills):
                time.sleep(self._random.uniform(*self._pace.between))
                transactions.step()
                self._one(action)
        finally:
            lab.minio.cont()
            for worker in self._workers:
                worker.cont()
        for load in loads:
            load.stop(timeout_s=120)
        transactions.finish()
        lab.wait_durable(TOPICS | TRANSACTED, 150)
        self.result.judgement = judge(lab, TOPICS | TRANSACTED, loads)
        self._judge_exits()
        self.result.seconds = time.monotonic() - begun
        return self.result

    def shuffled(self, actions: list[str]) -> list[str]:
        """These actions in the order of the seed."""
        return self._random.sample(actions, len(actions))

    def _choose(self, kills: int) -> list[str]:
        names, weights = zip(*self._pace.weights.items(), strict=True)
        return self._random.choices(names, weights, k=kills)

    def _one(self, action: str) -> None:
        worker = self._random.choice(self._workers)
        note = getattr(self, f"_{action}")(worker)
        done = f"{action} {worker.name if action not in ('store', 'kafka') else ''} {note}".strip()
        self.result.done.append(done)
        self._say(done)

    # --- what is done

    def _kill(self, worker: WorkerProcess) -> str:
        worker.kill()
        return self._start_again(worker)

    def _term(self, worker: WorkerProcess) -> str:
        worker.wait_running()  # before that it has nothing to drain, and dies of the signal like any other process
        worker.terminate()
        begun = time.monotonic()
        code = worker.wait_exit(45)
        assert code == 0, f"{worker.name} ended with {code} on TERM with store and brokers there\n{worker.log_tail(40)}"
        return f"drained in {time.monotonic() - begun:.1f} s, {self._start_again(worker)}"

    def _stop(self, worker: WorkerProcess) -> str:
        """Long enough for the others to take over: what wakes up is a zombie with full buffers."""
        return self._pause(worker, _SESSION_TIMEOUT_S + self._random.uniform(2.0, 5.0))

    def _freeze(self, worker: WorkerProcess) -> str:
        return self._pause(worker, self._random.uniform(0.5, 4.0))

    def _put(self, worker: WorkerProcess) -> str:
        """Killed between put and event: the store is frozen so that puts are under way, and may or may not have done their work."""
        self._lab.minio.pause()
        time.sleep(self._random.uniform(0.8, 3.0))
        first = self._random.random() < 0.5
        if first:
            worker.kill()
        self._lab.minio.cont()
        if not first:
            time.sleep(self._random.uniform(0.0, 0.15))
            worker.kill()
        return f"{'before' if first else 'after'} the store went on, {self._start_again(worker)}"

    def _store(self, _worker: WorkerProcess) -> str:
        return self._away(self._lab.minio.kill, self._lab.minio.start, self._pace.store_away)

    def _kafka(self, _worker: WorkerProcess) -> str:
        note = self._away(self._lab.kafka.kill, self._lab.kafka.start, self._pace.kafka_away)
        return note + self._revive()

    # --- helpers

    def _away(self, end: Callable[[], None], start: Callable[[], None], between: tuple[float, float]) -> str:
        seconds = self._random.uniform(*between)
        end()
        time.sleep(seconds)
        start()
        return f"away for {seconds:.1f} s"

    def _pause(self, worker: WorkerProcess, seconds: float) -> str:
        worker.pause()
        time.sleep(seconds)
        worker.cont()
        return f"for {seconds:.1f} s"

    def _start_again(self, worker: WorkerProcess) -> str:
        seconds = self._random.uniform(0.0, 2.0)
        time.sleep(seconds)
        worker.start()
        return f"back after {seconds:.1f} s"

    def _revive(self) -> str:
        """A supervisor would start what crashed: counted, since it should not be needed."""
        crashed = [worker for worker in self._workers if not worker.is_running]
        for worker in crashed:
            worker.wait_exit(1)
            worker.start()
        return f", {len(crashed)} workers had crashed" if crashed else ""

    def _judge_exits(self) -> None:
        for worker in self._workers:
            worker.require_alive()
            self.result.refetched += int(worker.metrics().get("mirror_refetch_count_total", 0))


class TransactionLoad:
    """Transactions, committed and aborted, a few at each step."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, seed: int) -> None:
        self._topic = topic
        self._partitions = partitions
        self._random = random.Random(seed)
        self._bootstrap = bootstrap
        self._number = 0
        self._producer = self._new()

    def _new(self) -> Producer:
        return Producer(
            {
                "bootstrap.servers": self._bootstrap,
                "transactional.id": f"kill-matrix-{self._random.randrange(1 << 30)}",
                "linger.ms": 5,
                "log_level": 0,
            }
        )

    def start(self) -> None:
        """Begin."""
        self._producer.init_transactions(60)
        self.step()

    def step(self) -> None:
        """Some transactions; a broker that is away ends one of them early, the next producer goes on."""
        try:
            for _ in range(self._random.randrange(2, 6)):
                self._one()
        except KafkaException:
            self._producer = self._new()
            self._producer.init_transactions(60)

    def finish(self) -> None:
        """A last one that commits, so that nothing stays open."""
        self.step()

    def _one(self) -> None:
        self._producer.begin_transaction()
        for _ in range(self._random.randrange(1, 40)):
            self._number += 1
            partition = self._random.randrange(self._partitions)
            self._producer.produce(self._topic, f"payment {self._number}".encode(), partition=partition)
        self._producer.flush(20)
        if self._random.random() < 0.3:
            self._producer.abort_transaction(30)
        else:
            self._producer.commit_transaction(30)
