"""Where the table is kept on this machine: a cache of its changelog, which may be lost, stale or unwritable at any time."""

import logging
import shutil
import tempfile
from pathlib import Path

from mirror.errors import ConfigError

__all__ = ["TableFolder"]

log = logging.getLogger(__name__)

_LEAST_FREE_BYTES = 64 << 20
_ROCKSDB = "rocksdb://?driver=rocksdict"
_MEMORY = "memory://"


class TableFolder:
    """One folder for each incarnation of the changelog topic: a copy of a deleted one is never taken for this one.

    Args:
        data_dir: the worker's.
        changelog_id: topic id of the changelog.
    """

    def __init__(self, data_dir: Path, changelog_id: str) -> None:
        self.path = data_dir / "faust" / changelog_id

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
