"""What every store must do when it is asked for keys and folders, on every store."""

import pytest

from mirror.storage.object_store import ObjectStore
from tests.contract.contents import keys_of, put_all


def test_listing_is_in_order_of_plain_keys(store: ObjectStore) -> None:
    """Keys are ordered as strings: '-' and '.' before '/', '/' before digits and letters."""
    keys = [
        "a!/x",
        "a-b",
        "a-bc",
        "a.b/1",
        "a.b/10",
        "a.b/2",
        "a/b",
        "a/b-/c",
        "a/b.",
        "a0",
        "a_b",
        "ab/c",
        "b",
        "A/b",
        "Z",
    ]
    put_all(store, keys)
    assert keys_of(store) == sorted(keys)
    for prefix in ("a", "a/", "a/b", "a.b/1", "a-", "A", "nothing", "a.b/1000"):
        assert keys_of(store, prefix) == sorted(key for key in keys if key.startswith(prefix))


def test_listing_after_a_key(store: ObjectStore) -> None:
    """``after`` is exclusive, need not be a key, and may lie before or behind the prefix."""
    keys = ["l0/a/1", "l0/a/2", "l0/a-/1", "l0/b/1", "l0/b/2", "l1/x", "m"]
    put_all(store, keys)
    for prefix in ("", "l0/", "l0/b/", "l"):
        for after in (
            "",
            "a",
            "l0",
            "l0/",
            "l0/a",
            "l0/a/",
            "l0/a/1",
            "l0/a/10",
            "l0/a/2",
            "l0/a0",
            "l0/b",
            "l0/b/2",
            "l0/zzz",
            "l1/x",
            "z",
        ):
            expected = sorted(key for key in keys if key.startswith(prefix) and key > after)
            assert keys_of(store, prefix, after=after) == expected, (prefix, after)


def test_listing_of_more_than_a_page(store: ObjectStore) -> None:
    """More than the thousand objects of one answer come all, once, in order; and from the middle."""
    keys = [f"l0/2026-11-23/{number % 7:02}/{number:06}" for number in range(1050)]
    put_all(store, keys)
    keys.sort()
    found = list(store.list("l0/"))
    assert [info.key for info in found] == keys
    assert keys_of(store, "l0/", after=keys[500]) == keys[501:]
    first = next(iter(store.list("l0/")))
    assert first.key == keys[0]


def test_listing_knows_size_and_time(store: ObjectStore) -> None:
    """Size and time of the listing are those of head."""
    store.put("t/a", b"12345")
    (info,) = store.list("t/")
    head = store.head("t/a")
    assert info.size_bytes == head.size_bytes == 5
    assert abs(info.modified_ms - head.modified_ms) < 1000  # HEAD tells whole seconds
    assert info.modified_ms > 1_700_000_000_000


def test_listing_folders(store: ObjectStore) -> None:
    """Folders are the next segments, ascending as names, whatever is below; objects are none."""
    put_all(store, ["t/a/0/x", "t/a/1/x", "t/a-b/x", "t/a.b/x", "t/ab/x", "t/object", "u/x"])
    assert list(store.list_folders("t/")) == ["a", "a-b", "a.b", "ab"]
    assert list(store.list_folders("")) == ["t", "u"]
    assert list(store.list_folders("t/a/")) == ["0", "1"]
    assert list(store.list_folders("nothing/")) == []
    with pytest.raises(ValueError, match="ends in"):
        list(store.list_folders("t"))
