"""Objects in a dictionary: for tests and dry runs; as strict as the others."""

import time
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator
from threading import Lock

from mirror.errors import ObjectExistsError, ObjectNotFoundError, RepositoryNotFoundError, StoreError
from mirror.storage.administration import StoreDescription
from mirror.storage.keyspace import check_folder_prefix, check_key, check_length, check_range
from mirror.storage.object_store import ObjectInfo

__all__ = ["MemoryStore"]


class MemoryStore:
    """A store that ends with the process.

    Args:
        name: told in the address, to tell several apart.
        created: False for a store that does not exist until :meth:`create`.
        clock_ms: milliseconds since the epoch.
    """

    def __init__(
        self, name: str = "", *, created: bool = True, clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000
    ) -> None:
        self._name = name
        self._created = created
        self._clock_ms = clock_ms
        self._lock = Lock()
        self._bodies: dict[str, bytes] = {}
        self._modified_ms: dict[str, int] = {}
        self._keys: list[str] = []  # sorted

    @property
    def address(self) -> str:
        """``memory:`` and the name."""
        return f"memory:{self._name}"

    def put(self, key: str, body: bytes) -> None:
        """Store ``body``."""
        check_key(key)
        with self._lock:
            self._check_created()
            self._set(key, bytes(body))

    def put_new(self, key: str, body: bytes) -> None:
        """Store ``body`` unless the key is taken."""
        check_key(key)
        with self._lock:
            self._check_created()
            if key in self._bodies:
                raise ObjectExistsError(f"{self.address} already has {key}")
            self._set(key, bytes(body))

    def get(self, key: str) -> bytes:
        """The whole object."""
        check_key(key)
        with self._lock:
            return self._body(key)

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """A part of the object."""
        check_range(position, length_bytes)
        return self.get(key)[position : position + length_bytes]

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """The object's end, and its size."""
        check_length(length_bytes)
        body = self.get(key)
        return body[-length_bytes:], len(body)

    def head(self, key: str) -> ObjectInfo:
        """Size and time."""
        check_key(key)
        with self._lock:
            return ObjectInfo(key=key, size_bytes=len(self._body(key)), modified_ms=self._modified_ms[key])

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects in order of keys; each step looks at the store as it is then."""
        last: str | None = None
        while True:
            with self._lock:
                self._check_created()
                if last is None:
                    index = max(bisect_left(self._keys, prefix), bisect_right(self._keys, after))
                else:
                    index = bisect_right(self._keys, last)
                if index == len(self._keys) or not self._keys[index].startswith(prefix):
                    return
                last = self._keys[index]
                info = ObjectInfo(key=last, size_bytes=len(self._bodies[last]), modified_ms=self._modified_ms[last])
            yield info

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The next path segments below ``prefix``."""
        check_folder_prefix(prefix)
        with self._lock:
            self._check_created()
            rests = [key[len(prefix) :] for key in self._keys if key.startswith(prefix)]
        yield from sorted({rest[: rest.index("/")] for rest in rests if "/" in rest})

    def delete(self, key: str) -> None:
        """Remove an object."""
        check_key(key)
        with self._lock:
            self._check_created()
            if self._bodies.pop(key, None) is not None:
                del self._modified_ms[key]
                del self._keys[bisect_right(self._keys, key) - 1]

    def close(self) -> None:
        """Nothing to give back; the objects stay readable."""

    def exists(self) -> bool:
        """Whether it was created."""
        return self._created

    def create(self) -> None:
        """Make it usable."""
        self._created = True

    def describe(self) -> StoreDescription:
        """Its kind; there is no more to tell."""
        self._check_created()
        return StoreDescription(kind="memory", versioning=False, object_lock=False)

    def _set(self, key: str, body: bytes) -> None:
        if key not in self._bodies:
            self._check_folders(key)
            insort(self._keys, key)
        self._bodies[key] = body
        self._modified_ms[key] = self._clock_ms()

    def _check_folders(self, key: str) -> None:
        parts = key.split("/")
        taken = [above for depth in range(1, len(parts)) if (above := "/".join(parts[:depth])) in self._bodies]
        below = bisect_left(self._keys, key + "/")
        if taken or (below < len(self._keys) and self._keys[below].startswith(key + "/")):
            raise StoreError(f"{self.address} cannot hold {key}: a key cannot be both an object and a folder")

    def _body(self, key: str) -> bytes:
        self._check_created()
        try:
            return self._bodies[key]
        except KeyError:
            raise ObjectNotFoundError(f"{self.address} has no object {key}") from None

    def _check_created(self) -> None:
        if not self._created:
            raise RepositoryNotFoundError(
                f"{self.address} does not exist", hint="check the url; `mirror init` makes a new repository"
            )
