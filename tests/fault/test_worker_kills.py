"""A seeded part of the kill matrix; `make soak` runs the long one."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.worker_kills import KillMatrix
from tests.fault.worker_lab import WorkerLab
from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

pytestmark = [pytest.mark.servers, pytest.mark.timeout(420)]

_ACTIONS = ["kill", "put", "stop", "term", "put", "store", "kill", "kafka", "freeze", "kill"]


def test_whatever_is_killed_each_offset_is_readable_exactly_once(
    new_kafka: Callable[..., KafkaCluster], new_minio: Callable[..., MinioServer], tmp_path: Path
) -> None:
    """Ten kills of workers, store and brokers under load, two of them between a put and its event; verify agrees."""
    seed = int(os.environ.get("MIRROR_TEST_SEED", "20261123"))
    lab = WorkerLab(new_kafka(), new_minio(), tmp_path / "lab")
    try:
        matrix = KillMatrix(lab, seed)
        result = matrix.run(len(_ACTIONS), matrix.shuffled(_ACTIONS))
    finally:
        lab.close()
    assert result.judgement is not None
    assert result.judgement.records > 10_000
    assert not [done for done in result.done if "crashed" in done], result.done
