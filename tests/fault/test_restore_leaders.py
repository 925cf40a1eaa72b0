"""A leader dies while offsets are being kept: nothing is missing, nothing is there twice. The soak has more of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fault.restore_leaders import LeaderLab
from tests.servers.kafka import KafkaCluster

_SEED = int(os.environ.get("MIRROR_TEST_SEED", "20261123"))

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]


async def test_a_leader_dies_during_an_exact_restore(new_kafka: Callable[..., KafkaCluster], tmp_path: Path) -> None:
    """It ends 0 or 3, the same command finishes, and every record, offset, log end and position is as it was."""
    lab = LeaderLab(new_kafka(3, heap="384m"), tmp_path, _SEED, bytes_per_second=40_000)
    await lab.prepare(600)
    assert set(await lab.restore_through("x-", ["kill"])) <= {0, 3}
