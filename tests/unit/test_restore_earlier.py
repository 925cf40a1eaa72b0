"""What the records of earlier restores say of a target: how fast it was loaded, which topics have another name there."""

from typing import Any

import pytest

from mirror.core.restore_record import RecordedTopic, RestoreEnd, RestorePlanned
from mirror.core.segment.index import FORMAT_VERSION
from mirror.service.restore.earlier import earlier_rate, restored_topics
from mirror.service.restore.records import put_record
from mirror.storage.repository import Repository
from tests.builders import T0_MS, TOPIC_ID, a_repository

FIRST, SECOND = "r-aaaaaaaaaa", "r-bbbbbbbbbb"
MB = 1_000_000


def _planned(repository: Repository, restore_id: str, at_ms: int, target_topic: str, cluster: str = "c") -> None:
    topic = RecordedTopic(
        topic="orders",
        topic_id=TOPIC_ID,
        target_topic=target_topic,
        mark="1",
        before="absent",
        log_ends=[9],
        replication_factor=1,
    )
    put_record(
        repository,
        RestorePlanned(
            format_version=FORMAT_VERSION,
            repository_id=repository.identity.repository_id,
            restore_id=restore_id,
            written_at_ms=at_ms,
            target="dr",
            target_cluster_id=cluster,
            plan={},
            plan_digest="d",
            topics=[topic],
        ),
    )


def _ended(repository: Repository, restore_id: str, at_ms: int, took_ms: int, **fields: Any) -> None:
    values: dict[str, Any] = {"outcome": "done", "exit_code": 0, "loaded_records": 1, **fields}
    end = RestoreEnd(
        format_version=FORMAT_VERSION,
        restore_id=restore_id,
        written_at_ms=at_ms + took_ms,
        started_at_ms=at_ms,
        **values,
    )
    put_record(repository, end)


def test_nothing_is_known_without_records() -> None:
    """No rate, no names."""
    repository = a_repository()
    assert earlier_rate(repository, "c") is None
    assert restored_topics(repository, "c") == {}


def test_the_rate_of_all_that_was_loaded() -> None:
    """Of whole runs to the same cluster that loaded enough to say something."""
    repository = a_repository()
    _planned(repository, FIRST, T0_MS, "orders")
    _ended(repository, FIRST, T0_MS + 10, 10_000, loaded_bytes=200 * MB)
    _ended(repository, FIRST, T0_MS + 20_000, 5_000, loaded_bytes=900 * MB, outcome="failed")
    _ended(repository, FIRST, T0_MS + 30_000, 5_000, loaded_bytes=5 * MB)
    assert (found := earlier_rate(repository, "c")) is not None
    assert found.bytes_per_s == pytest.approx(20 * MB)
    assert found.source == "the last restore to this cluster"
    _planned(repository, SECOND, T0_MS + 100_000, "copy")
    _ended(repository, SECOND, T0_MS + 100_010, 10_000, loaded_bytes=600 * MB)
    assert (found := earlier_rate(repository, "c")) is not None
    assert (found.bytes_per_s, found.source) == (pytest.approx(40 * MB), "the last 2 restores to this cluster")
    assert earlier_rate(repository, "other") is None


def test_names_that_topics_got() -> None:
    """By cluster."""
    repository = a_repository()
    _planned(repository, FIRST, T0_MS, "orders")
    _planned(repository, SECOND, T0_MS + 1000, "copy")
    assert restored_topics(repository, "c") == {"orders": "orders", "copy": "orders"}
    assert restored_topics(repository, "other") == {}
