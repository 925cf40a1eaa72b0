"""The command line of verify and inspect on a folder, without any cluster."""

import json
from pathlib import Path

import pytest

from mirror.cli.__main__ import main
from mirror.storage.folder import FolderStore
from tests.observe_builders import RepositoryBuilder, a_batch, a_slice


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    """A configuration whose repository holds topic `orders` in three objects."""
    store = FolderStore(str(tmp_path / "repository"))
    store.create()
    builder = RepositoryBuilder(store=store)
    builder.topic("orders")
    builder.start("orders")
    for number in range(3):
        builder.put([a_slice("orders", 0, number * 10, a_batch(number * 10, 10))])
    path = tmp_path / "mirror.toml"
    path.write_text(f'[worker]\nid = "w"\n[repositories.main]\nurl = "file://{tmp_path}/repository"\n')
    return path


def _run(config_path: Path, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    capsys.readouterr()
    code = main(["--config", str(config_path), *args])
    return code, capsys.readouterr().out


def test_sound_repository(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0, one verdict line, and what was checked; no cluster is needed."""
    code, out = _run(config_path, capsys, "verify")
    assert (code, out.splitlines()[0].split()[0]) == (0, "SOUND")
    assert "3 batches also by their producer's CRC-32C" in out
    code, out = _run(config_path, capsys, "verify", "--quick")
    assert code == 0
    assert "no run was read" in out


def test_damage_is_exit_5_with_offsets(config_path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """In the table and in the JSON."""
    victim = sorted((tmp_path / "repository" / "l0").rglob("*.seg"))[2]
    victim.write_bytes(victim.read_bytes()[:-1])
    code, out = _run(config_path, capsys, "verify")
    assert code == 5
    assert "DAMAGED" in out
    assert "[10, 20)" in out
    code, out = _run(config_path, capsys, "verify", "--json")
    document = json.loads(out)
    assert (code, document["exit_code"], document["sound"]) == (5, 5, False)
    missing = [f for f in document["findings"] if f["kind"] == "offsets_missing"]
    assert [(f["topic"], f["partition"], f["start_offset"], f["next_offset"]) for f in missing] == [
        ("orders", 0, 10, 20)
    ]


def test_impossible_requests_are_usage_errors(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2: contradicting options, a topic of which nothing is stored, a name that is none."""
    assert _run(config_path, capsys, "verify", "--quick", "--deep")[0] == 2
    assert _run(config_path, capsys, "verify", "--topic", "payments")[0] == 2
    assert _run(config_path, capsys, "inspect", "or ders")[0] == 2
    assert _run(config_path, capsys, "inspect", "orders", "--batches")[0] == 2
    assert _run(config_path, capsys, "verify", "--against-source")[0] == 2, "no source cluster is configured"


def test_status_without_a_source_shows_what_is_stored(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The repository alone: what can be restored, and that nobody protects it now."""
    code, out = _run(config_path, capsys, "status")
    assert code == 6
    assert out.startswith("AT RISK cluster-under-test restorable to about 2026-09-21T14:14:00Z")
    assert "no source cluster is configured" in out
    assert "orders" in out


def test_repository_that_is_not_there_is_exit_10(
    config_path: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """For every command that reads one."""
    (tmp_path / "repository").rename(tmp_path / "elsewhere")
    for command in (("verify",), ("inspect", "orders"), ("status",)):
        assert _run(config_path, capsys, *command)[0] == 10
