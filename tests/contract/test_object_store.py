"""What every store must do with objects, on every store."""

import hashlib
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from mirror.errors import ObjectExistsError, ObjectNotFoundError, RepositoryNotFoundError, StoreError
from mirror.storage.administration import admin_of
from mirror.storage.object_store import ObjectStore
from mirror.storage.probing import probe
from tests.contract.contents import keys_of, put_all

TOPIC_249 = ("Az09._-" * 36)[:249]


def test_store_satisfies_protocol(store: ObjectStore) -> None:
    """Every store is an ObjectStore, with an address that names it."""
    assert isinstance(store, ObjectStore)
    assert store.address.split(":")[0] in ("memory", "file", "s3")


@pytest.mark.parametrize("size_bytes", [0, 1, 100_000, 40_000_000])
def test_body_comes_back(store: ObjectStore, size_bytes: int) -> None:
    """Bodies of any size, the empty one too, come back as they were put."""
    body = random.randbytes(size_bytes)
    store.put("l0/a", body)
    assert hashlib.sha256(store.get("l0/a")).digest() == hashlib.sha256(body).digest()
    assert store.head("l0/a").size_bytes == size_bytes
    assert [info.size_bytes for info in store.list("")] == [size_bytes]


def test_put_twice_is_harmless(store: ObjectStore) -> None:
    """The same key and body again change nothing."""
    store.put("a/b", b"body")
    store.put("a/b", b"body")
    assert keys_of(store) == ["a/b"]
    assert store.get("a/b") == b"body"


def test_put_new_of_taken_key_is_refused(store: ObjectStore) -> None:
    """A create-only put never touches what is there, whoever put it."""
    store.put("marker", b"first")
    with pytest.raises(ObjectExistsError, match="marker"):
        store.put_new("marker", b"second")
    store.put_new("other", b"first")
    with pytest.raises(ObjectExistsError):
        store.put_new("other", b"first")
    assert store.get("marker") == b"first"


def test_put_new_has_one_winner(store: ObjectStore) -> None:
    """Of eight callers at once exactly one succeeds, and its body is what everybody reads."""
    for attempt in range(5):
        barrier = threading.Barrier(8)
        key = f"race/{attempt}"

        def race(number: int, key: str = key, barrier: threading.Barrier = barrier) -> int | None:
            barrier.wait()
            try:
                store.put_new(key, b"by %d" % number * 1000)
            except ObjectExistsError:
                return None
            return number

        with ThreadPoolExecutor(8) as pool:
            winners = [number for number in pool.map(race, range(8)) if number is not None]
        assert len(winners) == 1
        assert store.get(key) == b"by %d" % winners[0] * 1000


def test_ranges(store: ObjectStore) -> None:
    """A range is cut at the object's end, and empty past it."""
    body = bytes(range(200))
    store.put("r", body)
    assert store.get_range("r", 0, 1) == body[:1]
    assert store.get_range("r", 10, 50) == body[10:60]
    assert store.get_range("r", 0, 200) == body
    assert store.get_range("r", 190, 50) == body[190:]
    assert store.get_range("r", 199, 1) == body[199:]
    assert store.get_range("r", 200, 10) == b""
    assert store.get_range("r", 5_000_000_000, 10) == b""


def test_suffixes(store: ObjectStore) -> None:
    """The tail comes with the object's size; a tail longer than the object is the object."""
    body = bytes(range(200))
    store.put("s", body)
    assert store.get_suffix("s", 1) == (body[-1:], 200)
    assert store.get_suffix("s", 64) == (body[-64:], 200)
    assert store.get_suffix("s", 200) == (body, 200)
    assert store.get_suffix("s", 70_000) == (body, 200)


def test_parts_of_empty_object(store: ObjectStore) -> None:
    """An empty object has empty parts."""
    store.put("empty", b"")
    assert store.get("empty") == b""
    assert store.get_range("empty", 0, 10) == b""
    assert store.get_suffix("empty", 10) == (b"", 0)


def test_impossible_numbers_are_refused(store: ObjectStore) -> None:
    """A negative position or a length below one is a mistake of the caller."""
    store.put("n", b"123")
    with pytest.raises(ValueError, match="negative"):
        store.get_range("n", -1, 2)
    with pytest.raises(ValueError, match="below 1"):
        store.get_range("n", 0, 0)
    with pytest.raises(ValueError, match="below 1"):
        store.get_suffix("n", 0)


def test_missing_object(store: ObjectStore) -> None:
    """Each way to read names the object that is not there; a delete does not mind."""
    for read in (
        store.get,
        store.head,
        lambda key: store.get_range(key, 0, 1),
        lambda key: store.get_suffix(key, 1),
    ):
        with pytest.raises(ObjectNotFoundError, match="no/such/key"):
            read("no/such/key")
    store.delete("no/such/key")


def test_folder_of_an_object_is_no_object(store: ObjectStore) -> None:
    """What only the parts of a key name is not there."""
    store.put("a/b/c", b"1")
    for key in ("a", "a/b", "a/b/c/d", "a/b/cc"):
        with pytest.raises(ObjectNotFoundError):
            store.get(key)
    assert keys_of(store) == ["a/b/c"]


def test_missing_bucket(missing: ObjectStore) -> None:
    """Whatever is asked of a bucket or folder that is not there says so, and makes nothing."""
    for ask in (
        lambda: missing.put("a", b"1"),
        lambda: missing.put_new("a", b"1"),
        lambda: missing.get("a"),
        lambda: missing.get_range("a", 0, 1),
        lambda: missing.get_suffix("a", 1),
        lambda: missing.head("a"),
        lambda: missing.delete("a"),
        lambda: list(missing.list("")),
        lambda: list(missing.list_folders("")),
        lambda: admin_of(missing).describe(),
    ):
        with pytest.raises(RepositoryNotFoundError):
            ask()
    assert not admin_of(missing).exists()


def test_create(new_store: Callable[..., ObjectStore], kind: str) -> None:
    """Creating is possible once and harmless twice, and nothing is lost by it."""
    store = new_store(kind)
    store.put("a", b"1")
    admin = admin_of(store)
    admin.create()
    assert admin.exists()
    assert store.get("a") == b"1"
    assert admin.describe().kind in ("memory", "folder", "s3")
    assert admin.describe().expires_after_days is None


def test_deleted_object_is_gone(store: ObjectStore) -> None:
    """After a delete nothing of the object is seen; its neighbour stays."""
    put_all(store, ["d/a/1", "d/b/1"])
    store.delete("d/a/1")
    with pytest.raises(ObjectNotFoundError):
        store.get("d/a/1")
    assert keys_of(store) == ["d/b/1"]
    assert list(store.list_folders("d/")) == ["b"]
    store.put_new("d/a/1", b"again")
    assert store.get("d/a/1") == b"again"


@pytest.mark.parametrize(
    "key",
    [
        f"topics/{TOPIC_249}/0/x",
        "topics/..a/-/_",
        "topics/.hidden/x",
        "a b/c+d",
        "%41/%2F",
        "q?x=1&y#z",
        "~'()*,;:@$!=[]{}|^`\"<>",
    ],
)
def test_odd_keys(store: ObjectStore, key: str) -> None:
    """Topic names of any allowed length and character, and printable ASCII at large, are keys like others."""
    store.put(key, b"odd")
    assert store.get(key) == b"odd"
    assert keys_of(store) == [key]
    assert store.head(key).key == key


@pytest.mark.parametrize(
    "key",
    ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/.", "ä", "a\x00", "a\nb", "a\\b", "x" * 256, "y/" * 600 + "z"],
)
def test_impossible_keys_are_refused(store: ObjectStore, key: str) -> None:
    """No key leads out of the store, and none that only some stores could hold is taken."""
    for ask in (
        lambda: store.put(key, b""),
        lambda: store.put_new(key, b""),
        lambda: store.get(key),
        lambda: store.delete(key),
    ):
        with pytest.raises(StoreError):
            ask()
    assert keys_of(store) == []


def test_concurrent_puts(store: ObjectStore) -> None:
    """Many threads on one store do not disturb each other."""
    bodies = {f"c/{number % 4}/{number}": random.randbytes(50_000 + number) for number in range(60)}
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda item: store.put(*item), bodies.items()))
        found = dict(zip(bodies, pool.map(store.get, bodies), strict=True))
    assert found == bodies
    assert keys_of(store) == sorted(bodies)


def test_reader_during_put_sees_all_or_nothing(store: ObjectStore) -> None:
    """While a large object is put, it is not there, in no listing, or whole."""
    body = random.randbytes(20_000_000)
    done = threading.Event()
    sizes: set[int] = set()

    def watch() -> None:
        while True:
            last_look = done.is_set()
            try:
                sizes.add(len(store.get("big")))
            except ObjectNotFoundError:
                sizes.add(-1)
            sizes.update(info.size_bytes for info in store.list(""))
            if last_look:
                return

    with ThreadPoolExecutor(2) as pool:
        watching = pool.submit(watch)
        store.put("big", body)
        done.set()
        watching.result()
    assert sizes <= {-1, len(body)}
    assert len(body) in sizes


def test_probe_of_a_sound_store(store: ObjectStore) -> None:
    """The probe finds nothing wrong with any of these, and leaves nothing behind."""
    behaviour = probe(store)
    assert behaviour.create_only
    assert behaviour.reads_its_writes
    assert behaviour.lists_its_writes
    assert behaviour.suffix_ranges
    assert behaviour.can_delete
    assert keys_of(store) == []


def test_probe_with_an_existing_object_changes_nothing(store: ObjectStore) -> None:
    """A check of a repository in use offers an object its own bytes: nothing is new afterwards."""
    store.put("repository", b"{}")
    before = list(store.list(""))
    assert probe(store, existing_key="repository").create_only
    assert list(store.list("")) == before
