"""A seeded part of the kills of restores; SOAK_RESTORE_KILLS=40 makes it the long one."""

import asyncio
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.fault.restore_kills import ACTIONS, RestoreKills
from tests.fault.restore_lab import RestoreLab, advance, produce, set_configs, transactions, trim
from tests.restoring import consume_all
from tests.servers.kafka import KafkaCluster

_COUNT = int(os.environ.get("SOAK_RESTORE_KILLS", "6"))
_SEED = int(os.environ.get("MIRROR_TEST_SEED", "20261123"))
_HOLE = 12_000
_LEAD = 3_000_000

pytestmark = [pytest.mark.servers, pytest.mark.timeout(150 + 20 * _COUNT)]


async def test_whatever_ends_a_restore_the_same_command_makes_it_whole(
    new_kafka: Callable[..., KafkaCluster], tmp_path: Path
) -> None:
    """Killed, interrupted, frozen and doubled at random moments: never complete with other content, offsets or positions."""
    cluster = new_kafka(properties={"log.cleaner.backoff.ms": "300"})
    lab = RestoreLab(cluster.bootstrap, tmp_path, {"holes": 3, "late": 1, "packed": 1}, "readers")
    hole = await _fill(cluster.bootstrap)
    await lab.prepare()
    actions = [list(ACTIONS)[number % len(ACTIONS)] for number in range(_COUNT)]
    random.Random(_SEED).shuffle(actions)
    kills = RestoreKills(lab, _SEED, lead="late", hole=("holes", 1, *hole))
    try:
        result = kills.run(actions)
    finally:
        lab.close()
    assert len(result.done) >= _COUNT // 2
    print("refused:", *result.refused, sep="\n  ")


async def _fill(bootstrap: str) -> tuple[int, int]:
    """All that makes holes; gives the offsets of the long one."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    packed = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01"}
    new = [
        NewTopic("holes", 3, 1, config={"retention.ms": "-1"}),
        NewTopic("late", 1, 1),
        NewTopic("packed", 1, 1, config=packed),
    ]
    for future in admin.create_topics(new).values():
        future.result(30)
    produce(bootstrap, "packed", 2500, **{"compression.type": "lz4"})
    # A log trimmed inside a batch, transactions of which every third is aborted.
    produce(bootstrap, "holes", 900, **{"compression.type": "lz4"})
    trim(bootstrap, "holes", 333)
    transactions(bootstrap, "holes", [20] * 9)
    produce(bootstrap, "holes", 1200, **{"compression.type": "none"})
    # One-record transactions, and an aborted one of thousands.
    transactions(bootstrap, "holes", [1] * 30, partition=1)
    start_offset = consume_all(bootstrap, "holes")[-1].offset + 1
    transactions(bootstrap, "holes", [1, 1, _HOLE], partition=1)
    produce(bootstrap, "holes", 1500, partition=1, **{"compression.type": "none"})
    produce(bootstrap, "holes", 900, partition=2, **{"compression.type": "zstd"})
    await advance(bootstrap, "late", _LEAD)
    produce(bootstrap, "late", 800)
    deadline = time.monotonic() + 60
    while len(consume_all(bootstrap, "packed")) > 1200:
        assert time.monotonic() < deadline, "the broker does not compact"
        produce(bootstrap, "packed", 3)  # rolls the segment
        await asyncio.sleep(0.3)
    produce(bootstrap, "packed", 700, size=60, **{"compression.type": "lz4"})
    set_configs(bootstrap, "packed", dict.fromkeys(packed))
    return start_offset + 20, start_offset + _HOLE - 100
