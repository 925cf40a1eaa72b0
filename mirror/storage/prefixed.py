"""A store inside a store: every key begins with a fixed prefix that the user of the store does not see."""

from collections.abc import Iterator
from dataclasses import replace

from mirror.storage.decorator import StoreDecorator
from mirror.storage.object_store import ObjectInfo, ObjectStore

__all__ = ["PrefixedStore"]


class PrefixedStore(StoreDecorator):
    """Puts ``prefix`` (ending in ``/``) before each key.

    Several repositories live in one bucket this way. Errors name the full key, as an operator would look for it.
    """

    def __init__(self, inner: ObjectStore, prefix: str) -> None:
        super().__init__(inner)
        if not prefix.endswith("/"):
            raise ValueError(f"a prefix ends in '/': {prefix!r}")
        self._prefix = prefix

    @property
    def address(self) -> str:
        """The inner address with the prefix behind the bucket."""
        place, at, host = self._inner.address.partition(" at ")
        return f"{place}/{self._prefix.rstrip('/')}{at}{host}"

    def put(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._inner.put(self._prefix + key, body)

    def put_new(self, key: str, body: bytes) -> None:
        """See :class:`ObjectStore`."""
        self._inner.put_new(self._prefix + key, body)

    def get(self, key: str) -> bytes:
        """See :class:`ObjectStore`."""
        return self._inner.get(self._prefix + key)

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """See :class:`ObjectStore`."""
        return self._inner.get_range(self._prefix + key, position, length_bytes)

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """See :class:`ObjectStore`."""
        return self._inner.get_suffix(self._prefix + key, length_bytes)

    def head(self, key: str) -> ObjectInfo:
        """See :class:`ObjectStore`."""
        return self._without_prefix(self._inner.head(self._prefix + key))

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """See :class:`ObjectStore`."""
        inner_after = self._prefix + after if after else ""
        yield from map(self._without_prefix, self._inner.list(self._prefix + prefix, after=inner_after))

    def list_folders(self, prefix: str) -> Iterator[str]:
        """See :class:`ObjectStore`."""
        return self._inner.list_folders(self._prefix + prefix)

    def delete(self, key: str) -> None:
        """See :class:`ObjectStore`."""
        self._inner.delete(self._prefix + key)

    def _without_prefix(self, info: ObjectInfo) -> ObjectInfo:
        return replace(info, key=info.key[len(self._prefix) :])
