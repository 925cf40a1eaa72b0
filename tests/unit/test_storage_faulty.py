"""FaultyStore does harm exactly as told: tests of other things stand on it."""

import doctest

import pytest

from mirror.errors import ObjectNotFoundError, StoreBusyError, UnreachableError
from mirror.storage import faulty
from mirror.storage.faulty import Fault, FaultyStore
from mirror.storage.memory import MemoryStore


def test_example_in_the_module_is_true() -> None:
    """The doctest of the module runs."""
    assert doctest.testmod(faulty).failed == 0


def test_schedule_counts_only_what_fits() -> None:
    """``skip`` and ``times`` count the calls of the operation on matching keys."""
    store = FaultyStore(
        MemoryStore(), [Fault(operation="put", key_contains="l0/", skip=1, times=2, error=UnreachableError("x"))]
    )
    outcomes = []
    for key in ("l0/1", "other", "l0/2", "l0/3", "l0/4"):
        try:
            store.put(key, b"")
            outcomes.append(key)
        except UnreachableError:
            outcomes.append("lost")
    assert outcomes == ["l0/1", "other", "lost", "lost", "l0/4"]
    assert [call.fault is not None for call in store.calls] == [False, False, True, True, False]


def test_error_before_or_after_the_effect() -> None:
    """A failed put stored nothing; a lost answer hides a stored object."""
    inner = MemoryStore()
    store = FaultyStore(inner, [Fault(operation="put", error=StoreBusyError("full"))])
    with pytest.raises(StoreBusyError):
        store.put("k", b"1")
    with pytest.raises(ObjectNotFoundError):
        inner.get("k")
    store.add(Fault(operation="put", error=UnreachableError("lost"), effect=True))
    with pytest.raises(UnreachableError):
        store.put("k", b"1")
    assert inner.get("k") == b"1"


def test_bit_flips_and_truncation() -> None:
    """Damage on the way in stays; damage on the way out is of that read alone."""
    inner = MemoryStore()
    store = FaultyStore(inner)
    store.add(Fault(operation="put", flip_bit=9))
    store.put("in", b"\0\0\0")
    assert inner.get("in") == b"\0\2\0"
    inner.put("out", b"\0\0\0")
    store.add(Fault(operation="get", truncate_to_bytes=2))
    store.add(Fault(operation="get_suffix", flip_bit=0))
    store.add(Fault(operation="get_range", flip_bit=8 * 5))
    assert store.get("out") == b"\0\0"
    assert store.get("out") == b"\0\0\0"
    assert store.get_suffix("out", 2) == (b"\1\0", 3)
    assert store.get_range("out", 0, 3) == b"\0\0\1"


def test_delay_and_healing() -> None:
    """A delay comes before the effect; a healed store does no more harm."""
    slept: list[float] = []
    store = FaultyStore(
        MemoryStore(), [Fault(delay_seconds=3, times=None, error=UnreachableError("x"))], sleep=slept.append
    )
    for _ in range(2):
        with pytest.raises(UnreachableError):
            store.put("k", b"")
    store.heal()
    store.put("k", b"")
    assert slept == [3, 3]
