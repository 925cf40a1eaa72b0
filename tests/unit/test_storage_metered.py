"""What MeteredStore tells."""

import itertools

import pytest

from mirror.errors import (
    AccessError,
    DamageError,
    MirrorError,
    ObjectExistsError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    StoreBusyError,
    UnreachableError,
)
from mirror.storage.faulty import Fault, FaultyStore
from mirror.storage.memory import MemoryStore
from mirror.storage.metered import MeteredStore, outcome_of


class Bench:
    """A metered memory store whose clock goes on by one second a look."""

    def __init__(self, *script: Fault) -> None:
        self.told: list[tuple[str, float, int, str]] = []
        seconds = itertools.count()
        self.store = MeteredStore(
            FaultyStore(MemoryStore(), script), lambda *told: self.told.append(told), clock=lambda: float(next(seconds))
        )


def test_calls_are_told_with_their_bytes() -> None:
    """Bytes are those of the body that went or came."""
    bench = Bench()
    bench.store.put("a/k", b"12345")
    bench.store.put_new("a/l", b"12")
    bench.store.get("a/k")
    bench.store.get_range("a/k", 1, 3)
    bench.store.get_suffix("a/k", 2)
    bench.store.head("a/k")
    bench.store.delete("a/l")
    assert bench.told == [
        ("put", 1.0, 5, "ok"),
        ("put_new", 1.0, 2, "ok"),
        ("get", 1.0, 5, "ok"),
        ("get_range", 1.0, 3, "ok"),
        ("get_suffix", 1.0, 2, "ok"),
        ("head", 1.0, 0, "ok"),
        ("delete", 1.0, 0, "ok"),
    ]


def test_listing_is_told_once_without_the_consumers_time() -> None:
    """Two objects and the end: three steps of a second each, told at the end."""
    bench = Bench()
    bench.store.put("a/1", b"")
    bench.store.put("b/2", b"")
    bench.told.clear()
    for _ in bench.store.list(""):
        assert bench.told == []
    assert bench.told == [("list", 3.0, 0, "ok")]
    assert list(bench.store.list_folders("")) == ["a", "b"]
    assert bench.told[1:] == [("list_folders", 3.0, 0, "ok")]


def test_abandoned_listing_is_told() -> None:
    """Who needs only the first object still made a call."""
    bench = Bench()
    bench.store.put("a/1", b"")
    bench.told.clear()
    listing = bench.store.list("")
    next(listing)
    del listing
    assert bench.told == [("list", 1.0, 0, "ok")]


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (ObjectNotFoundError("x"), "not_found"),
        (ObjectExistsError("x"), "exists"),
        (StoreBusyError("x"), "busy"),
        (UnreachableError("x"), "unreachable"),
        (AccessError("x"), "access"),
        (RepositoryNotFoundError("x"), "no_repository"),
        (DamageError("x"), "error"),
    ],
)
def test_failures_are_told_by_one_word(error: MirrorError, word: str) -> None:
    """The outcome is from a small set; the error itself goes on."""
    bench = Bench(Fault(operation="get", error=error), Fault(operation="list", error=error))
    with pytest.raises(type(error)):
        bench.store.get("k")
    with pytest.raises(type(error)):
        list(bench.store.list(""))
    assert bench.told == [("get", 1.0, 0, word), ("list", 1.0, 0, word)]
    assert outcome_of(error) == word
