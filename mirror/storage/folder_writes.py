"""How an object gets into a folder so that it is there whole, and durably, or not at all.

1. The bytes go to a new file in the hidden folder, which is fsynced.
2. The folders of the key are made; each new one is durable (its parent is fsynced) before anything is put into it.
3. ``link`` (create only) or ``rename`` (the same key again) gives the file its name: the one moment at which readers see it.
4. The folder that got the name is fsynced. Only then does the put return.

A crash before 3 leaves a file in the hidden folder and nothing else; it is removed when it is a day old.
"""

import errno
import os
import stat
import time
import uuid
from threading import Lock

__all__ = ["INCOMING", "FolderWriter"]

INCOMING = ".mirror-incoming"
"""The hidden folder, directly below the root: on the same file system as the objects."""

LEFTOVER_AGE_SECONDS = 86_400
"""No put takes a day; a younger file may belong to one that is under way in another process."""

_MAX_KNOWN_FOLDERS = 50_000


class FolderWriter:
    """The writing half of a folder store. All its methods raise OSError."""

    def __init__(self, root: str, *, leftover_age_seconds: float = LEFTOVER_AGE_SECONDS) -> None:
        self._root = root
        self._leftover_age_seconds = leftover_age_seconds
        self._lock = Lock()
        self._ready = False
        self._durable_folders: set[str] = set()

    def write(self, key: str, body: bytes, *, create_only: bool) -> None:
        """Store ``body`` as ``key``; FileExistsError if it is there and ``create_only``."""
        self._prepare()
        target = os.path.join(self._root, key)
        folder = os.path.dirname(target)
        temporary = os.path.join(self._root, INCOMING, f"{os.getpid()}-{uuid.uuid4()}")
        try:
            _write_file(temporary, body)
            self._make_durable_folder(folder)
            try:
                _give_name(temporary, target, create_only=create_only)
            except FileNotFoundError:
                # Somebody removed the folder since we made it: forget what we knew, make it again.
                with self._lock:
                    self._durable_folders.clear()
                self._make_durable_folder(folder)
                _give_name(temporary, target, create_only=create_only)
            sync_folder(folder)
        finally:
            _remove_if_there(temporary)

    def _prepare(self) -> None:
        """Make the hidden folder and clear out old leftovers, once a process."""
        if self._ready:
            return
        with self._lock:
            if self._ready:
                return
            incoming = os.path.join(self._root, INCOMING)
            try:
                os.mkdir(incoming, 0o700)
            except FileExistsError:
                self._remove_leftovers(incoming)
            self._ready = True

    def _remove_leftovers(self, incoming: str) -> None:
        oldest = time.time() - self._leftover_age_seconds
        with os.scandir(incoming) as entries:
            for entry in entries:
                try:
                    old = entry.stat(follow_symlinks=False).st_mtime < oldest
                except FileNotFoundError:
                    continue
                if old:
                    _remove_if_there(entry.path)

    def _make_durable_folder(self, folder: str) -> None:
        """Make ``folder`` and its parents; each is fsynced into its parent once a process, also where another made it."""
        if folder == self._root or folder in self._durable_folders:
            return
        with self._lock:
            missing: list[str] = []
            while folder != self._root and folder not in self._durable_folders:
                missing.append(folder)
                folder = os.path.dirname(folder)
            for path in reversed(missing):
                try:
                    os.mkdir(path)
                except FileExistsError:
                    _refuse_link(path)
                sync_folder(os.path.dirname(path))
                if len(self._durable_folders) >= _MAX_KNOWN_FOLDERS:
                    self._durable_folders.clear()
                self._durable_folders.add(path)


def sync_folder(path: str) -> None:
    """fsync a folder: its names are durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_file(path: str, body: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
    try:
        rest = memoryview(body)
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _give_name(temporary: str, target: str, *, create_only: bool) -> None:
    if create_only:
        os.link(temporary, target)
    else:
        os.replace(temporary, target)


def _refuse_link(path: str) -> None:
    """A symbolic link, even to a folder, raises ELOOP: it could lead out of the root. A file raises ENOTDIR."""
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    if not stat.S_ISDIR(mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)


def _remove_if_there(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        return
