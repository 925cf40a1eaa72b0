"""The patience of RetryingStore."""

import itertools
from collections.abc import Callable
from threading import Event

import pytest

from mirror.errors import (
    AccessError,
    MirrorError,
    ObjectExistsError,
    ObjectNotFoundError,
    StoreBusyError,
    StoreError,
    UnreachableError,
)
from mirror.storage.faulty import Fault, FaultyStore
from mirror.storage.memory import MemoryStore
from mirror.storage.retrying import RetryingStore, RetryPolicy, StoreRetry

LOST = UnreachableError("lost")


class Bench:
    """A faulty memory store under retries that never really sleep."""

    def __init__(self, *script: Fault, policy: RetryPolicy | None = None, stop: Event | None = None) -> None:
        self.memory = MemoryStore()
        self.faulty = FaultyStore(self.memory, script)
        self.now_seconds = 0.0
        self.retries: list[StoreRetry] = []
        self.store = RetryingStore(
            self.faulty,
            policy,
            stop=stop,
            sleep=self._sleep,
            on_retry=self.retries.append,
            clock=lambda: self.now_seconds,
            jitter=lambda longest: longest,
        )

    def _sleep(self, seconds: float) -> bool:
        self.now_seconds += seconds
        return False

    @property
    def pauses(self) -> list[float]:
        """Seconds of each pause so far."""
        return [retry.pause_seconds for retry in self.retries]


@pytest.mark.parametrize("error", [LOST, StoreBusyError("full")])
def test_transient_errors_are_repeated(error: MirrorError) -> None:
    """What may pass is tried until it has passed, and each pause is told."""
    bench = Bench(Fault(operation="put", times=3, error=error))
    bench.store.put("k", b"1")
    assert bench.memory.get("k") == b"1"
    assert [(retry.operation, retry.key, retry.attempt) for retry in bench.retries] == [
        ("put", "k", 1),
        ("put", "k", 2),
        ("put", "k", 3),
    ]
    assert bench.retries[0].error.message == error.message


@pytest.mark.parametrize("error", [AccessError("no"), StoreError("no"), ObjectNotFoundError("no")])
def test_lasting_errors_pass_at_once(error: MirrorError) -> None:
    """What will not pass by waiting is not waited for."""
    bench = Bench(Fault(error=error))
    with pytest.raises(type(error)):
        bench.store.get("k")
    assert bench.retries == []


def test_pauses_grow_to_the_longest() -> None:
    """The bound of the pauses doubles from the first to the longest."""
    bench = Bench(Fault(times=7, error=LOST), policy=RetryPolicy(first_pause_seconds=0.5, longest_pause_seconds=10))
    bench.store.put("k", b"")
    assert bench.pauses == [0.5, 1, 2, 4, 8, 10, 10]


def test_pauses_are_random() -> None:
    """Without a given jitter the pause is anywhere between nothing and the bound."""
    pauses: list[float] = []
    faulty = FaultyStore(MemoryStore(), [Fault(times=200, error=LOST)])
    policy = RetryPolicy(first_pause_seconds=1, longest_pause_seconds=1)

    def sleep(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    RetryingStore(faulty, policy, sleep=sleep).put("k", b"")
    assert min(pauses) < 0.2
    assert max(pauses) > 0.8
    assert all(0 <= pause <= 1 for pause in pauses)


def test_goes_on_for_ever_without_deadline() -> None:
    """A thousand failures are no reason to give up."""
    bench = Bench(Fault(times=1000, error=LOST))
    bench.store.put("k", b"1")
    assert len(bench.retries) == 1000


def test_deadline_ends_it_with_the_last_error() -> None:
    """No pause begins that would end after the deadline."""
    bench = Bench(
        Fault(times=None, error=LOST),
        policy=RetryPolicy(first_pause_seconds=1, longest_pause_seconds=4, deadline_seconds=12),
    )
    with pytest.raises(UnreachableError, match="lost"):
        bench.store.put("k", b"1")
    assert bench.pauses == [1, 2, 4, 4]


def test_stop_ends_the_pause() -> None:
    """Once stopped, the last error comes out instead of the next attempt."""
    stop = Event()
    faulty = FaultyStore(MemoryStore(), [Fault(times=None, error=LOST)])
    store = RetryingStore(faulty, RetryPolicy(first_pause_seconds=60), stop=stop, on_retry=lambda retry: stop.set())
    with pytest.raises(UnreachableError):
        store.put("k", b"1")
    with pytest.raises(UnreachableError):
        store.get("k")
    assert len(faulty.calls) == 2


def test_put_new_whose_answer_was_lost_is_ours() -> None:
    """The first attempt had succeeded unheard: the second finds its own body and is content."""
    bench = Bench(Fault(operation="put_new", error=LOST, effect=True))
    bench.store.put_new("k", b"mine")
    assert bench.memory.get("k") == b"mine"


def test_put_new_that_lost_the_race_meanwhile() -> None:
    """Another's body under the key is a refusal, also after an attempt of unknown outcome."""
    bench = Bench(Fault(operation="put_new", error=LOST))
    bench.memory.put("k", b"theirs")
    with pytest.raises(ObjectExistsError):
        bench.store.put_new("k", b"mine")
    assert bench.memory.get("k") == b"theirs"


def test_put_new_of_taken_key_with_same_body_is_refused() -> None:
    """Without an attempt of unknown outcome, the same body is no excuse."""
    bench = Bench()
    bench.store.put_new("k", b"mine")
    with pytest.raises(ObjectExistsError):
        bench.store.put_new("k", b"mine")


def test_broken_listing_goes_on_where_it_broke() -> None:
    """A listing that breaks twice gives each object once, in order."""
    bench = Bench(*(Fault(operation="list", error=LOST, after_items=count) for count in (3, 2)))
    # the second fault meets the second attempt: each call of the inner listing meets at most one
    for number in range(10):
        bench.memory.put(f"k/{number}", b"")
    found = [info.key for info in bench.store.list("k/", after="k/0")]
    assert found == [f"k/{number}" for number in range(1, 10)]
    assert len(bench.retries) == 1


def test_listing_that_makes_progress_is_patient_anew() -> None:
    """The deadline of a listing counts from its last progress, so a long one may break often."""
    policy = RetryPolicy(first_pause_seconds=1, longest_pause_seconds=1, deadline_seconds=1.5)
    bench = Bench(Fault(operation="list", times=9, error=LOST, after_items=1), policy=policy)
    for number in range(10):
        bench.memory.put(f"k/{number}", b"")
    assert [info.key for info in bench.store.list("k/")] == [f"k/{number}" for number in range(10)]
    assert bench.pauses == [1] * 9


def test_all_reads_are_repeated() -> None:
    """Each operation goes through the same patience."""
    bench = Bench()
    bench.memory.put("f/k", b"123")
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: bench.store.get("f/k") == b"123",
        "get_range": lambda: bench.store.get_range("f/k", 1, 1) == b"2",
        "get_suffix": lambda: bench.store.get_suffix("f/k", 1) == (b"3", 3),
        "head": lambda: bench.store.head("f/k").size_bytes == 3,
        "list_folders": lambda: list(bench.store.list_folders("")) == ["f"],
    }
    for count, (operation, call) in zip(itertools.count(1), calls.items(), strict=False):
        bench.faulty.add(Fault(operation=operation, error=LOST))
        assert call()
        assert len(bench.retries) == count
    bench.faulty.add(Fault(operation="delete", error=LOST))
    bench.store.delete("f/k")
    assert list(bench.memory.list("")) == []
