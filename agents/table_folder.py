"""Where the tables are kept on this machine: a cache of their changelogs, which may be lost, stale or unwritable at any time."""

import errno
import fcntl
import logging
import os
import shutil
import tempfile
from pathlib import Path
from typing import IO

from mirror.errors import ConfigError

__all__ = ["TableFolder", "hold_data_dir"]

log = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 64 << 20
_ROCKSDB = "rocksdb://?driver=rocksdict"
_MEMORY = "memory://"
_LOCK_NAME = "worker.lock"


def hold_data_dir(data_dir: Path) -> IO[str] | None:
    """Make the folder this process's alone, for as long as the file that is returned stays open; a killed process holds nothing.

    None where the disk cannot be used at all: the table is kept in memory then (see :meth:`TableFolder.open`), and nothing is shared.

    Raises:
        ConfigError: another worker holds it; names its process id if it told it.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        # Opened, not truncated: the holder's process id is in it. Not inherited, so that a worker that starts itself again gets it.
        held = (data_dir / _LOCK_NAME).open("a+", encoding="ascii", errors="replace")
    except OSError:
        return None
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held.truncate(0)
        held.write(f"{os.getpid()}\n")
        held.flush()
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            log.warning("data_dir %s cannot be locked (%s): nothing else may use it", data_dir, error.strerror)
            return held
        held.seek(0)
        holder = held.readline(20).strip()
        held.close()
        raise ConfigError(
            f"data_dir {data_dir} is in use by another worker" + (f" (process {holder})" if holder.isdigit() else ""),
            hint="give each worker its own [worker] data_dir (MIRROR_WORKER__DATA_DIR), and web_port, or stop the other one",
        ) from None
    return held


class TableFolder:
    """One folder for each incarnation of the changelog topics: a copy of a deleted one is never taken for this one.

    Args:
        data_dir: the worker's.
        changelog_ids: topic ids of the changelogs.
    """

    def __init__(self, data_dir: Path, changelog_ids: str) -> None:
        self.path = data_dir / "faust" / changelog_ids

    def open(self) -> str:
        """Make the folder, remove those of earlier incarnations; the URL of the store to use: memory, where the disk cannot be used.

        Raises:
            ConfigError: there is no disk at all.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for other in self.path.parent.iterdir():
                if other != self.path:
                    shutil.rmtree(other, ignore_errors=True)
            with tempfile.TemporaryFile(dir=self.path) as probe:
                probe.write(b"x")
            free_bytes = shutil.disk_usage(self.path).free
        except OSError as error:
            log.error("data_dir %s cannot be used (%s): the table is kept in memory", self.path, error.strerror)
            return self._memory()
        if free_bytes < _LEAST_FREE_BYTES:
            log.error("data_dir %s has only %d bytes free: the table is kept in memory", self.path, free_bytes)
            return self._memory()
        return _ROCKSDB

    def _memory(self) -> str:
        # Faust wants a folder all the same.
        try:
            self.path = Path(tempfile.mkdtemp(prefix="mirror-"))
        except OSError as error:
            raise ConfigError(
                f"neither data_dir nor the system's folder for temporary files can be used: {error}",
                hint="free some space, or set [worker] data_dir to another disk",
            ) from error
        return _MEMORY

    def discard(self) -> None:
        """Forget the copy."""
        shutil.rmtree(self.path, ignore_errors=True)
