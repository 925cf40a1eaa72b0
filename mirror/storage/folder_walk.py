"""Listing a folder tree in the order of keys as plain strings, reading only the folders that can matter.

A folder's name is compared with its ``/``: then the entries of one folder sort as the full keys below them do
(``a-b`` < ``a/c`` < ``ab``), which the order of bare names would get wrong.
"""

import os
from collections.abc import Iterator

from mirror.storage.keyspace import folder_of
from mirror.storage.object_store import ObjectInfo

__all__ = ["has_object", "subfolders", "walk"]


def walk(root: str, prefix: str, after: str, *, hidden: str) -> Iterator[ObjectInfo]:
    """Every file below ``root`` whose path starts with ``prefix`` and is greater than ``after``, ascending.

    Symbolic links and the top-level entry ``hidden`` are passed over. What vanishes meanwhile is left out. Raises OSError.
    """
    start = folder_of(prefix)
    yield from _walk_folder(root, start, prefix, after, hidden)


def _walk_folder(root: str, folder: str, prefix: str, after: str, hidden: str) -> Iterator[ObjectInfo]:
    for name, entry in _entries(root, folder, hidden):
        path = folder + name
        if not path.startswith(prefix):
            continue
        if name.endswith("/"):
            if path > after or after.startswith(path):
                yield from _walk_folder(root, path, prefix, after, hidden)
        elif path > after:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            yield ObjectInfo(key=path, size_bytes=status.st_size, modified_ms=status.st_mtime_ns // 1_000_000)


def _entries(root: str, folder: str, hidden: str) -> list[tuple[str, os.DirEntry[str]]]:
    """Files by name, folders by name with ``/``, sorted; nothing where there is no such folder (any more)."""
    found: list[tuple[str, os.DirEntry[str]]] = []
    try:
        with os.scandir(os.path.join(root, folder)) as entries:
            for entry in entries:
                if not folder and entry.name == hidden:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    found.append((entry.name + "/", entry))
                elif entry.is_file(follow_symlinks=False):
                    found.append((entry.name, entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    found.sort(key=lambda pair: pair[0])
    return found


def subfolders(root: str, prefix: str, *, hidden: str) -> list[str]:
    """Names of the folders directly below ``prefix`` that hold an object at any depth, ascending."""
    names = [name[:-1] for name, _ in _entries(root, prefix, hidden) if name.endswith("/")]
    return sorted(name for name in names if has_object(root, f"{prefix}{name}/"))


def has_object(root: str, folder: str) -> bool:
    """Whether a file is somewhere below ``folder``: what a crash between making folders and filling them left is no object."""
    entries = _entries(root, folder, "")
    if any(not name.endswith("/") for name, _ in entries):
        return True
    return any(has_object(root, folder + name) for name, _ in entries)
