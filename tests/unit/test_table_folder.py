"""The local copy of the table: never of another changelog, and dispensable."""

import subprocess
import sys
from pathlib import Path

import pytest

from agents.table_folder import TableFolder, hold_data_dir
from mirror.errors import ConfigError


def test_each_incarnation_of_the_changelog_has_its_own_folder(tmp_path: Path) -> None:
    """A copy of a changelog topic that was deleted and made again is removed, not read."""
    old = TableFolder(tmp_path, "A" * 22)
    assert old.open().startswith("rocksdb:")
    (old.path / "data").write_text("rows")
    new = TableFolder(tmp_path, "B" * 22)
    assert new.open().startswith("rocksdb:")
    assert new.path.is_dir()
    assert not old.path.exists()


def test_a_discarded_copy_is_gone(tmp_path: Path) -> None:
    """discard() removes what was kept, and may be called twice."""
    folder = TableFolder(tmp_path, "A" * 22)
    folder.open()
    folder.discard()
    folder.discard()
    assert not folder.path.exists()


def test_without_a_usable_disk_the_table_is_kept_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A data_dir that is a file, or full, does not stop the worker; it is said."""
    (tmp_path / "faust").write_text("in the way")
    assert TableFolder(tmp_path, "A" * 22).open() == "memory://"
    assert "kept in memory" in caplog.text


def test_a_data_dir_belongs_to_one_worker(tmp_path: Path) -> None:
    """A second worker on the folder is told who holds it and what to do (exit 2); once the first has ended, it may have it."""
    hold = "import sys; from pathlib import Path; from agents.table_folder import hold_data_dir; "
    hold += "held = hold_data_dir(Path(sys.argv[1])); print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(ConfigError) as refused:
            hold_data_dir(tmp_path)
        first.kill()
    assert str(tmp_path) in refused.value.message
    assert f"(process {first.pid})" in refused.value.message
    assert "data_dir" in (refused.value.hint or "")
    assert refused.value.exit_code == 2
    held = hold_data_dir(tmp_path)
    assert held is not None
    held.close()


def test_a_folder_that_cannot_be_used_is_not_held(tmp_path: Path) -> None:
    """Where the table will be in memory there is nothing to share: no error here."""
    (tmp_path / "file").write_text("in the way")
    assert hold_data_dir(tmp_path / "file") is None
