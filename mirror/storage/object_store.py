"""The one interface between the repository and bytes under keys.

A key is a ``/``-separated path of printable ASCII (no backslash) without empty, ``.`` or ``..`` segments, at most 900 bytes, each segment
at most 255; no key is a folder of another (``a`` and ``a/b`` never both exist: a folder cannot hold them). Objects are immutable: callers
never put other bytes under an existing key (level-0 keys are unique per writer; where a single winner matters, ``put_new`` is used). A
reader sees all of an object or nothing.

All methods block and are safe to call from many threads; callers that live in an event loop run them in their own thread pool.
Errors are those of :mod:`mirror.errors`: :class:`ObjectNotFoundError`, :class:`ObjectExistsError`, :class:`AccessError`,
:class:`UnreachableError` (transient), :class:`StoreBusyError` (transient), :class:`RepositoryNotFoundError` (no bucket / folder),
:class:`StoreError` (anything else, an impossible key among it). Impossible numbers (a negative position, a length below 1) are a
:class:`ValueError`. Whatever is asked of a missing bucket or folder is answered by :class:`RepositoryNotFoundError`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = ["ObjectInfo", "ObjectStore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectInfo:
    """What a listing tells of an object.

    ``modified_ms`` is the store's clock (milliseconds since the epoch, UTC), 0 where unknown.
    """

    key: str
    size_bytes: int
    modified_ms: int


@runtime_checkable
class ObjectStore(Protocol):
    """Bytes under keys, with strong read-after-write (every current S3 implementation, a POSIX folder, memory)."""

    @property
    def address(self) -> str:
        """Where it is, for messages: ``s3://bucket/prefix at host``, ``file:///path``, ``memory:``; never a secret."""
        ...

    def put(self, key: str, body: bytes) -> None:
        """Store ``body`` durably under ``key``; when it returns, the object survives a crash of this process and of the store.

        Calling it again with the same key and the same body is harmless.
        """
        ...

    def put_new(self, key: str, body: bytes) -> None:
        """Like :meth:`put`, but exactly one of several concurrent callers succeeds.

        After an error whose outcome is unknown (:class:`UnreachableError`, :class:`StoreBusyError`) the object may or may not be there; a
        caller that tries again must be able to tell its own body from another's, so let bodies that compete be distinct.

        Raises:
            ObjectExistsError: an object of that key exists.
        """
        ...

    def get(self, key: str) -> bytes:
        """The whole object."""
        ...

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """``length_bytes`` (≥ 1) bytes from ``position`` (≥ 0); fewer only where the object ends before, none past its end."""
        ...

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """The last ``length_bytes`` (≥ 1) bytes (all if it is shorter) and the object's total size in bytes, in one request."""
        ...

    def head(self, key: str) -> ObjectInfo:
        """Size and time of an object."""
        ...

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Every object whose key starts with ``prefix`` (a plain string prefix) and is greater than ``after``, in ascending order of keys.

        The order is that of the keys as plain strings, so ``a-b`` comes before ``a/b``. Lazily paged; an object that was put before the
        call is in it. Errors come out of the iteration.
        """
        ...

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The distinct next path segments below ``prefix`` (which ends in ``/`` or is empty), ascending, each without slashes."""
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error when it is not there. The worker never calls this."""
        ...

    def close(self) -> None:
        """Give back connections and threads."""
        ...
