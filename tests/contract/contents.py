"""What is in a store, and how it gets there."""

import random
from concurrent.futures import ThreadPoolExecutor

from mirror.storage.object_store import ObjectStore


def keys_of(store: ObjectStore, prefix: str = "", *, after: str = "") -> list[str]:
    """All keys of a listing."""
    return [info.key for info in store.list(prefix, after=after)]


def put_all(store: ObjectStore, keys: list[str]) -> None:
    """One-byte objects, in random order, in parallel."""
    shuffled = random.sample(keys, len(keys))
    with ThreadPoolExecutor(12) as pool:
        list(pool.map(lambda key: store.put(key, b"x"), shuffled))
