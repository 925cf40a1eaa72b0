"""How a store behaves where implementations are known to differ: asked once by ``mirror check`` and ``mirror init``."""

import uuid
from dataclasses import dataclass

from mirror.errors import AccessError, ObjectExistsError, StoreError
from mirror.storage.object_store import ObjectStore

__all__ = ["PROBE_FOLDER", "StoreBehaviour", "probe"]

PROBE_FOLDER = "probe/"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBehaviour:
    """What the probe saw.

    ``create_only``: a ``put_new`` of an existing key is refused (False: the store ignored the condition, or does not know it).
    ``reads_its_writes``, ``lists_its_writes``: an object is there as soon as its put has returned.
    ``suffix_ranges``: the tail of an object can be read in one request.
    ``can_delete``: the credentials may delete (a worker needs not to).
    ``left_behind``: key of the probe's object where it could not be removed, else None.
    """

    create_only: bool
    reads_its_writes: bool
    lists_its_writes: bool
    suffix_ranges: bool
    can_delete: bool | None
    left_behind: str | None = None


def probe(store: ObjectStore, *, existing_key: str | None = None) -> StoreBehaviour:
    """Try ``store`` with one small object.

    Args:
        store: the store to try.
        existing_key: an object that is there already (the repository's own small root object). Its own bytes are offered again as a
            new object, so that nothing changes even where the store ignores the condition. Without it, a new object is written below
            ``probe/`` and removed afterwards where the rights allow.

    Raises:
        AccessError: no right to put, get or list.
        MirrorError: whatever else the store answers to a put, get or list.
    """
    if existing_key is None:
        key = f"{PROBE_FOLDER}{uuid.uuid4()}"
        body = b"written by mirror to learn how this store behaves; may be deleted\n"
        store.put(key, body)
    else:
        key = existing_key
        body = store.get(key)
    create_only = _refuses_second(store, key, body)
    reads = store.get(key) == body
    lists = any(info.key == key for info in store.list(key))
    tail_bytes = min(16, max(1, len(body)))
    tail, total_bytes = store.get_suffix(key, tail_bytes)
    can_delete = _try_delete(store, key) if existing_key is None else None
    return StoreBehaviour(
        create_only=create_only,
        reads_its_writes=reads,
        lists_its_writes=lists,
        suffix_ranges=tail == body[-tail_bytes:] and total_bytes == len(body),
        can_delete=can_delete,
        left_behind=key if can_delete is False else None,
    )


def _refuses_second(store: ObjectStore, key: str, body: bytes) -> bool:
    try:
        store.put_new(key, body)
    except ObjectExistsError:
        return True
    except StoreError as error:
        if error.transient:
            raise
        return False
    return False


def _try_delete(store: ObjectStore, key: str) -> bool:
    try:
        store.delete(key)
    except AccessError:
        return False
    return True
