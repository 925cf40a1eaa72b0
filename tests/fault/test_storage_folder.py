"""What happens to a folder store, and what must not."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.errors import (
    AccessError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    StoreBusyError,
    StoreError,
    UnreachableError,
)
from mirror.storage import folder_writes
from mirror.storage.folder import FolderStore

HIDDEN = folder_writes.INCOMING


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The folder of a repository."""
    path = tmp_path / "repository"
    path.mkdir()
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    path = tmp_path / "disk"
    path.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(path)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("this machine does not let a small file system be mounted")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def files_below(root: Path) -> list[str]:
    """Every file, hidden ones too."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def test_full_disk_is_transient_and_leaves_nothing(small_disk: Path) -> None:
    """A full disk is told with its free bytes; no piece of the object stays; with room the same put succeeds."""
    store = FolderStore(str(small_disk))
    store.put("ballast", bytes(700_000))
    with pytest.raises(StoreBusyError, match=r"put of l0/a in file://.*full, \d+ bytes free") as caught:
        store.put("l0/a", bytes(700_000))
    assert caught.value.hint
    assert str(small_disk) in caught.value.message
    with pytest.raises(StoreBusyError):
        store.put_new("l0/a", bytes(700_000))
    assert [info.key for info in store.list("")] == ["ballast"]
    assert files_below(small_disk) == ["ballast"]
    store.delete("ballast")
    store.put_new("l0/a", bytes(700_000))
    assert store.head("l0/a").size_bytes == 700_000


@pytest.mark.parametrize(
    ("number", "error"),
    [
        ("ENOSPC", StoreBusyError),
        ("EDQUOT", StoreBusyError),
        ("EROFS", AccessError),
        ("EACCES", AccessError),
        ("ESTALE", UnreachableError),
        ("EIO", StoreError),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_errors_of_each_step(
    root: Path, monkeypatch: pytest.MonkeyPatch, number: str, error: type[Exception], call: str
) -> None:
    """Whichever step of a put fails, the error is ours, names the key and the folder, and nothing is visible or left."""
    import errno

    def fail(*args: object) -> None:
        raise OSError(getattr(errno, number), os.strerror(getattr(errno, number)))

    store = FolderStore(str(root))
    store.put("before", b"1")
    monkeypatch.setattr(os, call, fail)
    with pytest.raises(error, match=rf"l0/a in file://{root}") as caught:
        store.put_new("l0/a", b"body")
    assert isinstance(caught.value.__cause__, OSError)
    monkeypatch.undo()
    assert [info.key for info in store.list("")] == ["before"]
    assert files_below(root) == ["before"]


def test_put_whose_last_fsync_failed_is_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name may be there, but it may not survive: the caller must not take it for durable."""
    store = FolderStore(str(root))
    store.put("l0/first", b"")
    real = folder_writes.sync_folder

    def fail(path: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(folder_writes, "sync_folder", fail)
    with pytest.raises(StoreError):
        store.put("l0/a", b"1")
    monkeypatch.setattr(folder_writes, "sync_folder", real)
    store.put("l0/a", b"1")


def test_order_of_effects(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes are durable before the name, new folders before what is in them, the name before the put returns."""
    effects: list[str] = []

    def spy(name: str, describe: Callable[..., str]) -> None:
        real = getattr(os, name)

        def wrapped(*args: object, **options: object) -> object:
            effects.append(describe(*args))
            return real(*args, **options)

        monkeypatch.setattr(os, name, wrapped)

    def path_of(descriptor: int) -> str:
        return short(os.readlink(f"/proc/self/fd/{descriptor}"))

    def short(path: str) -> str:
        relative = os.path.relpath(path, root)
        return HIDDEN if relative.startswith(HIDDEN + "/") else relative

    store = FolderStore(str(root))
    store.put("warm-up", b"")
    spy("write", lambda descriptor, body: f"write {path_of(descriptor)}")
    spy("fsync", lambda descriptor: f"fsync {path_of(descriptor)}")
    spy("mkdir", lambda path: f"mkdir {short(path)}")
    spy("link", lambda source, target: f"link {short(source)} {short(target)}")
    store.put_new("a/b/c", b"1")
    assert effects == [
        f"write {HIDDEN}",
        f"fsync {HIDDEN}",
        "mkdir a",
        "fsync .",
        "mkdir a/b",
        "fsync a",
        f"link {HIDDEN} a/b/c",
        "fsync a/b",
    ]


KILLED_BEFORE_LINK = """
import os, signal, sys
from mirror.storage.folder import FolderStore
store = FolderStore(sys.argv[1])
store.put("l0/whole", b"1")
os.link = os.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
store.put_new("l0/new-folder/lost", b"2" * 100_000)
"""


def test_crash_before_the_link_leaves_nothing_visible(root: Path) -> None:
    """A process killed between writing and naming leaves a hidden file only, which is removed when it is old."""
    killed = subprocess.run([sys.executable, "-c", KILLED_BEFORE_LINK, str(root)], check=False, timeout=60)
    assert killed.returncode == -signal.SIGKILL
    store = FolderStore(str(root))
    assert [info.key for info in store.list("")] == ["l0/whole"]
    assert list(store.list_folders("l0/")) == []
    with pytest.raises(ObjectNotFoundError):
        store.get("l0/new-folder/lost")
    (leftover,) = (root / HIDDEN).iterdir()
    with pytest.raises(StoreError, match="reserved"):
        store.get(f"{HIDDEN}/{leftover.name}")
    store.put("l0/next", b"3")
    assert leftover.exists(), "a young file may belong to a put under way elsewhere"
    yesterday = time.time() - 90_000
    os.utime(leftover, (yesterday, yesterday))
    FolderStore(str(root)).put("l0/last", b"4")
    assert not leftover.exists()
    assert [info.key for info in store.list("")] == ["l0/last", "l0/next", "l0/whole"]


def test_symbolic_links_are_not_followed(root: Path, tmp_path: Path) -> None:
    """What lies outside of the root can neither be read, written, listed nor deleted through a link inside it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "folder").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    store = FolderStore(str(root))
    for ask in (
        lambda: store.get("folder/secret"),
        lambda: store.get("file"),
        lambda: store.put("folder/new", b"1"),
        lambda: store.put_new("folder/deep/new", b"1"),
        lambda: store.delete("folder/secret"),
    ):
        with pytest.raises(AccessError, match="symbolic link"):
            ask()
    assert list(store.list("")) == []
    assert list(store.list_folders("")) == []
    assert [path.name for path in outside.iterdir()] == ["secret"]


def test_root_itself_may_be_a_link(root: Path, tmp_path: Path) -> None:
    """The operator's own link to the repository is the operator's business."""
    link = tmp_path / "link"
    link.symlink_to(root)
    store = FolderStore(str(link))
    store.put("a/b", b"1")
    assert store.get("a/b") == b"1"


def test_things_that_are_no_files(root: Path) -> None:
    """A pipe under a key is no object, and reading it does not hang."""
    os.mkfifo(root / "pipe")
    store = FolderStore(str(root))
    with pytest.raises(ObjectNotFoundError):
        store.get("pipe")
    assert list(store.list("")) == []


def test_folder_without_the_right_to_write() -> None:
    """Without the right to write, the error says whose rights are missing where; reading goes on."""
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody without rights")
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        store = FolderStore(root)
        store.put("l0/a", b"1")
        os.chmod(f"{root}/l0/a", 0o644)
        os.seteuid(65534)
        try:
            with pytest.raises(AccessError, match=r"put of l0/b .*user id 65534") as caught:
                FolderStore(root).put("l0/b", b"2")
            assert store.get("l0/a") == b"1"
            assert [info.key for info in store.list("")] == ["l0/a"]
        finally:
            os.seteuid(0)
    assert "chown" in str(caught.value.hint)


def test_folder_removed_under_a_running_store(root: Path) -> None:
    """A folder removed by somebody is made again; a removed root is no repository, and is not made silently."""
    store = FolderStore(str(root))
    store.put("l0/day/1", b"1")
    shutil.rmtree(root / "l0")
    store.put("l0/day/2", b"2")
    assert [info.key for info in store.list("")] == ["l0/day/2"]
    shutil.rmtree(root)
    with pytest.raises(RepositoryNotFoundError):
        store.put("l0/day/3", b"3")
    assert not root.exists()


def test_key_that_is_a_folder_too(root: Path) -> None:
    """An object cannot lie below an object, nor take the place of a folder."""
    store = FolderStore(str(root))
    store.put("a", b"1")
    store.put("b/c", b"1")
    for key in ("a/b", "a/b/c", "b"):
        with pytest.raises(StoreError, match="both an object and a folder"):
            store.put(key, b"2")


def test_listing_reads_only_the_folders_it_needs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prefix and a place to begin after spare the rest of the tree; the first object needs one path only."""
    store = FolderStore(str(root))
    for day in range(5):
        for hour in range(5):
            store.put(f"l0/{day}/{hour}/object", b"")
    read: list[str] = []
    real = os.scandir

    def spy(path: str) -> object:
        read.append(os.path.relpath(path, root))
        return real(path)

    monkeypatch.setattr(os, "scandir", spy)
    assert len(list(store.list("l0/3/", after="l0/3/2/object"))) == 2
    assert read == ["l0/3", "l0/3/2", "l0/3/3", "l0/3/4"]
    read.clear()
    next(store.list(""))
    assert read == [".", "l0", "l0/0", "l0/0/0"]


def test_create_makes_parents(tmp_path: Path) -> None:
    """A folder several levels down can be created; creating below a file cannot work."""
    store = FolderStore(str(tmp_path / "x" / "y" / "z"))
    store.create()
    store.put("a", b"1")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError):
        FolderStore(str(tmp_path / "file" / "z")).create()
