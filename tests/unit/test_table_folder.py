"""The local copy of the table: never of another changelog, and dispensable."""

from pathlib import Path

import pytest

from agents.table_folder import TableFolder


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
