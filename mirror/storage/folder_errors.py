"""Operating system errors of a folder store, as ours."""

import errno
import os

from mirror.errors import AccessError, MirrorError, StoreBusyError, StoreError, UnreachableError

__all__ = ["folder_error", "free_bytes_at"]

_FULL = {errno.ENOSPC, errno.EDQUOT}
_READ_ONLY = {errno.EROFS}
_NO_RIGHT = {errno.EACCES, errno.EPERM}
_PASSING = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN, errno.EBUSY}
_GONE = {errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN, errno.ENOTCONN, errno.EREMOTEIO}
_NOT_A_FOLDER = {errno.ENOTDIR, errno.EISDIR}


def folder_error(error: OSError, *, operation: str, key: str, root: str) -> MirrorError:
    """What went wrong at ``operation`` on ``key`` below ``root``, as an error of this project; never raises."""
    number = error.errno or 0
    what = f"{operation} of {key} in file://{root}: {os.strerror(number) if number else error}"
    if number in _FULL:
        why = "over quota" if number == errno.EDQUOT else "the file system is full"
        return StoreBusyError(
            f"{operation} of {key} in file://{root}: {why}, {_free_text(root)}",
            hint=f"make room on the file system of {root}; the work goes on by itself",
        )
    if number in _READ_ONLY:
        return AccessError(f"{what}", hint=f"remount the file system of {root} for writing")
    if number in _NO_RIGHT:
        return AccessError(f"{what} (as user id {os.geteuid()})", hint=f"give this user the rights on {root}: chown -R")
    if number in _GONE:
        return UnreachableError(what, hint=f"is the file system of {root} mounted and its server up?")
    if number in _PASSING:
        return StoreBusyError(what)
    if number == errno.ELOOP:
        return AccessError(f"{what}: symbolic links inside a repository are not followed")
    if number in _NOT_A_FOLDER:
        return StoreError(f"{what}: a key cannot be both an object and a folder")
    if number == errno.EFBIG:
        return StoreBusyError(what, hint="raise the file size limit of this process (ulimit -f)")
    if number == errno.EXDEV:
        return StoreError(what, hint=f"{root} must be one file system: no mounts inside it")
    if number in (errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
        return StoreError(what, hint=f"{root} must be on a file system with hard links")
    return StoreError(what)


def free_bytes_at(path: str) -> int | None:
    """Bytes an ordinary user may still write to the file system of ``path``; None where that cannot be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize


def _free_text(root: str) -> str:
    free_bytes = free_bytes_at(root)
    return "free bytes unknown" if free_bytes is None else f"{free_bytes} bytes free"
