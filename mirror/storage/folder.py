"""Objects as files below a folder (``file://``): local disks, NFS, anything mounted with hard links and fsync."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from mirror.errors import (
    AccessError,
    ObjectExistsError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    StoreError,
    UnreachableError,
)
from mirror.storage.administration import StoreDescription
from mirror.storage.folder_errors import folder_error, free_bytes_at
from mirror.storage.folder_walk import subfolders, walk
from mirror.storage.folder_writes import INCOMING, LEFTOVER_AGE_SECONDS, FolderWriter, sync_folder
from mirror.storage.keyspace import check_folder_prefix, check_key, check_length, check_range
from mirror.storage.object_store import ObjectInfo

__all__ = ["FolderStore"]


class FolderStore:
    """A folder as a store.

    A key is the path of a file below ``root``. Symbolic links below the root are never followed and never listed; what has no key
    (the hidden folder of unfinished puts) is never listed.

    Args:
        root: absolute path; need not exist before :meth:`create`.
        leftover_age_seconds: unfinished files older than this are removed at the first put.
    """

    def __init__(self, root: str, *, leftover_age_seconds: float = LEFTOVER_AGE_SECONDS) -> None:
        self._root = os.path.abspath(root)
        self._writer = FolderWriter(self._root, leftover_age_seconds=leftover_age_seconds)

    @property
    def address(self) -> str:
        """``file://`` and the path."""
        return f"file://{self._root}"

    def put(self, key: str, body: bytes) -> None:
        """Store ``body``."""
        self._write("put", key, body, create_only=False)

    def put_new(self, key: str, body: bytes) -> None:
        """Store ``body`` unless the key is taken."""
        self._write("put_new", key, body, create_only=True)

    def get(self, key: str) -> bytes:
        """The whole object."""
        with self._opened("get", key) as (descriptor, size_bytes):
            return _read(descriptor, 0, size_bytes)

    def get_range(self, key: str, position: int, length_bytes: int) -> bytes:
        """A part of the object."""
        check_range(position, length_bytes)
        with self._opened("get_range", key) as (descriptor, size_bytes):
            return _read(descriptor, position, max(0, min(length_bytes, size_bytes - position)))

    def get_suffix(self, key: str, length_bytes: int) -> tuple[bytes, int]:
        """The object's end, and its size."""
        check_length(length_bytes)
        with self._opened("get_suffix", key) as (descriptor, size_bytes):
            position = max(0, size_bytes - length_bytes)
            return _read(descriptor, position, size_bytes - position), size_bytes

    def head(self, key: str) -> ObjectInfo:
        """Size and time."""
        with self._opened("head", key) as (descriptor, size_bytes):
            modified_ms = os.fstat(descriptor).st_mtime_ns // 1_000_000
            return ObjectInfo(key=key, size_bytes=size_bytes, modified_ms=modified_ms)

    def list(self, prefix: str, *, after: str = "") -> Iterator[ObjectInfo]:
        """Objects in order of keys; a folder is read when the iteration gets to it."""
        self._check_exists()
        with self._mapped("list", prefix):
            yield from walk(self._root, prefix, after, hidden=INCOMING)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The next path segments below ``prefix``."""
        check_folder_prefix(prefix)
        self._check_exists()
        with self._mapped("list_folders", prefix):
            yield from subfolders(self._root, prefix, hidden=INCOMING)

    def delete(self, key: str) -> None:
        """Remove an object; its empty folders stay."""
        self._check_key(key)
        self._check_exists()
        path = os.path.join(self._root, key)
        with self._mapped("delete", key):
            try:
                self._refuse_links(key)
                os.unlink(path)
                sync_folder(os.path.dirname(path))
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return

    def close(self) -> None:
        """Nothing to give back."""

    def exists(self) -> bool:
        """Whether the folder is there."""
        with self._mapped("stat", "/"):
            try:
                return stat.S_ISDIR(os.stat(self._root).st_mode)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def create(self) -> None:
        """Make the folder, and those above it."""
        with self._mapped("mkdir", "/"):
            missing = []
            path = self._root
            while not os.path.isdir(path):
                missing.append(path)
                path = os.path.dirname(path)
            for folder in reversed(missing):
                os.makedirs(folder, exist_ok=True)
                sync_folder(os.path.dirname(folder))

    def describe(self) -> StoreDescription:
        """Its free room."""
        self._check_exists()
        return StoreDescription(
            kind="folder", free_bytes=free_bytes_at(self._root), versioning=False, object_lock=False
        )

    def _write(self, operation: str, key: str, body: bytes, *, create_only: bool) -> None:
        self._check_key(key)
        self._check_exists()
        with self._mapped(operation, key):
            try:
                self._writer.write(key, body, create_only=create_only)
            except FileExistsError:
                raise ObjectExistsError(f"{self.address} already has {key}") from None

    @contextmanager
    def _opened(self, operation: str, key: str) -> Iterator[tuple[int, int]]:
        """A descriptor and the size of the object: what is read from it is one object, whatever becomes of the name."""
        self._check_key(key)
        with self._mapped(operation, key):
            try:
                self._refuse_links(key)
                descriptor = os.open(os.path.join(self._root, key), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            except (FileNotFoundError, NotADirectoryError):
                self._check_exists()
                raise ObjectNotFoundError(f"{self.address} has no object {key}") from None
            try:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode):
                    raise ObjectNotFoundError(f"{self.address} has no object {key}: there is no regular file")
                yield descriptor, status.st_size
            finally:
                os.close(descriptor)

    def _refuse_links(self, key: str) -> None:
        """No folder of ``key`` may be a symbolic link: it could lead out of the root."""
        path = self._root
        for segment in key.split("/")[:-1]:
            path = f"{path}/{segment}"
            if os.path.islink(path):
                raise AccessError(f"{path} is a symbolic link: those inside a repository are not followed")

    def _check_key(self, key: str) -> None:
        check_key(key)
        if key.split("/", 1)[0] == INCOMING:
            raise StoreError(f"the key {key} is reserved for unfinished puts")

    def _check_exists(self) -> None:
        if not self.exists():
            raise RepositoryNotFoundError(
                f"{self.address} does not exist", hint="check the url; `mirror init` makes a new repository"
            )

    @contextmanager
    def _mapped(self, operation: str, key: str) -> Iterator[None]:
        try:
            yield
        except (AccessError, UnreachableError, ObjectExistsError):
            raise  # ours, although they are OSErrors too
        except OSError as error:
            raise folder_error(error, operation=operation, key=key, root=self._root) from error


def _read(descriptor: int, position: int, length_bytes: int) -> bytes:
    """Exactly ``length_bytes`` bytes: the object's size was taken from the same descriptor."""
    first = os.pread(descriptor, length_bytes, position)
    if len(first) == length_bytes:
        return first
    chunks = [first]
    done_bytes = len(first)
    while done_bytes < length_bytes:
        chunk = os.pread(descriptor, length_bytes - done_bytes, position + done_bytes)
        if not chunk:
            raise UnreachableError(f"a file became shorter while it was read: {done_bytes} of {length_bytes} bytes")
        chunks.append(chunk)
        done_bytes += len(chunk)
    return b"".join(chunks)
