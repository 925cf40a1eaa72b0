"""An object that somebody deleted is missed by the others of its writer, in restore, verify and status, until a person accepts it."""

import asyncio
import dataclasses
import json
from pathlib import Path

import pytest

from mirror.cli.__main__ import main
from mirror.errors import DamageError
from mirror.kafka.memory_budget import Lease, MemoryBudget
from mirror.service.backup.collector import FlushBatch
from mirror.service.backup.flusher import Flusher, FlusherSettings, SealedSegment
from mirror.service.gone import accept_gone, describe_gone, find_gone
from mirror.service.restore.run import read_inventory
from mirror.service.status_repository import RepositoryObserver
from mirror.service.verify import verify_repository
from mirror.storage.folder import FolderStore
from mirror.storage.repository import Repository
from tests.builders import a_batch, a_repository, a_run_draft, a_slice


async def _written(repository: Repository, count: int) -> list[str]:
    """Keys of so many objects of one writer, each put when the one before was durable."""
    told: list[SealedSegment] = []

    async def tell(sealed: SealedSegment) -> None:
        told.append(sealed)

    budget = MemoryBudget(64 << 20, 16 << 20)
    settings = FlusherSettings(writer="w1", body_mode="auto", zstd_level=1, put_threads=3)
    flusher = Flusher(repository, budget, settings, on_sealed=tell)
    for number in range(count):
        piece = a_slice(a_batch(3 * number, 3), start_offset=3 * number)
        flusher.submit(FlushBatch([a_run_draft(dataclasses.replace(piece, lease=Lease(budget, 100)))], [], []))
        assert await flusher.drain(10)
    await flusher.close()
    return [sealed.key for sealed in told]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """In a folder, so that a command can open it."""
    (tmp_path / "store").mkdir()
    return a_repository(FolderStore(str(tmp_path / "store")))


def test_the_last_one_but_one_is_missed_and_the_last_is_not(repository: Repository) -> None:
    """Nobody vouches for a writer's last object."""
    keys = asyncio.run(_written(repository, 4))
    assert find_gone(repository, repository.load_indexes()) == []
    repository.store.delete(keys[3])
    assert find_gone(repository, repository.load_indexes()) == []
    repository.store.delete(keys[1])
    (gone,) = find_gone(repository, repository.load_indexes())
    assert (gone.writer, gone.sequence) == ("w1", 2)
    assert "object 2 of writer w1 was durable before 20" in describe_gone(gone)


def test_everybody_speaks_of_it_until_it_is_accepted(repository: Repository) -> None:
    """Restore refuses unless told otherwise, verify finds it, status counts it."""
    keys = asyncio.run(_written(repository, 3))
    repository.store.delete(keys[0])
    inventory = read_inventory(repository)
    with pytest.raises(DamageError, match="object 1 of writer w1"):
        inventory.require_readable(allow_missing=False)
    inventory.require_readable(allow_missing=True)
    report, _ = verify_repository(repository, settle_seconds=0)
    assert [finding.kind for finding in report.findings if finding.kind == "object_gone"] == ["object_gone"]
    observer = RepositoryObserver(repository)
    observer.refresh(1)
    assert observer.totals(1, 1000).damaged == 1

    accept_gone(repository, find_gone(repository, repository.load_indexes()))
    read_inventory(repository).require_readable(allow_missing=False)
    report, _ = verify_repository(repository, settle_seconds=0)
    assert "object_gone" not in {finding.kind for finding in report.findings}


def test_the_command_lists_and_accepts(
    repository: Repository, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 5 while something is gone and nobody said that he knows."""
    keys = asyncio.run(_written(repository, 3))
    repository.store.delete(keys[0])
    config = tmp_path / "mirror.toml"
    config.write_text(
        '[worker]\nid = "m"\ntopics = ["*"]\n[clusters.live]\nrole = "source"\nbootstrap_servers = ["localhost:9"]\n'
        f'[repositories.here]\nurl = "file://{tmp_path}/store"\n'
    )

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["--config", str(config), "repair", "gone", *arguments])
        return code, capsys.readouterr().out

    assert run()[0] == 5
    code, said = run("--json")
    assert (code, json.loads(said)["gone"][0]["sequence"]) == (5, 1)
    assert run("--accept")[0] == 0
    assert run() == (0, "0 objects gone\n")
