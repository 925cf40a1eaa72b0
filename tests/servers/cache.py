"""The cache folder shared by all clones on a machine: whole entries only, made by one process at a time."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

CACHE_VARIABLE = "MIRROR_STACK_CACHE"


def default_cache_dir() -> Path:
    """The folder named by MIRROR_STACK_CACHE, else `~/.cache/mirror-stack`; not created here."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser() if named else Path.home() / ".cache" / "mirror-stack"


@contextmanager
def _exclusive(lock_path: Path) -> Iterator[None]:
    """Hold an advisory lock; the kernel drops it when the holder dies, so it is never stale."""
    with lock_path.open("a") as lock_file:
        fcntl.flock(lock_file, fcntl.LOCK_EX)
        yield


def ensure_entry(cache_dir: Path, name: str, make: Callable[[Path], None]) -> Path:
    """Return `cache_dir/name`, calling `make(work_folder)` to fill it when it is not there.

    `make` writes to `work_folder / "out"` (a file or a folder); only when it returned is that renamed to its name, so
    whatever has the name is whole. What `make` raises is passed on, and nothing is left behind.
    """
    entry = cache_dir / name
    if entry.exists():
        return entry
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _exclusive(cache_dir / f".{name}.lock"):
        if entry.exists():
            return entry
        work_folder = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache_dir))
        try:
            make(work_folder)
            (work_folder / "out").rename(entry)
        finally:
            shutil.rmtree(work_folder, ignore_errors=True)
    return entry
