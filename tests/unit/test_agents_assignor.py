"""The assignor with a cluster whose metadata lacks topics of the mirror itself."""

from pathlib import Path
from typing import Any

import pytest
from aiokafka.coordinator.protocol import ConsumerProtocolMemberMetadata
from faust.assignor.client_assignment import ClientMetadata

from agents.app import MirrorApp, make_app
from agents.assignor import MirrorAssignor
from mirror.config.load import parse_config
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.kafka.connection import ClusterConnection
from mirror.service.wiring import internal_topics


class _Metadata:
    """What an assignor asks aiokafka's metadata for."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int] | None:
        return set(range(self._counts[topic])) if topic in self._counts else None


@pytest.fixture
async def app(tmp_path: Path) -> MirrorApp:
    """An app that never starts."""
    raw = {
        "clusters": {"live": {"role": "source", "bootstrap_servers": ["localhost:9"]}},
        "repositories": {"here": {"url": f"file://{tmp_path}/store"}},
        "worker": {"id": "m", "source": "live", "repository": "here", "topics": ["orders"]},
    }
    config = parse_config(raw, environ={})
    connection = ClusterConnection(bootstrap_servers=("localhost:9",))
    return make_app(
        config,
        connection,
        sources=["orders"],
        replication_factor=1,
        table_store="memory://",
        table_path=tmp_path / "table",
    )


async def test_a_rebalance_while_the_changelog_is_gone_does_not_end_the_worker(app: MirrorApp) -> None:
    """Somebody deleted it: sources are given out all the same, and the changelog's only partition to everybody, for when it is back."""
    assignor: Any = app.assignor
    assert type(assignor) is MirrorAssignor
    topics = internal_topics("m")
    subscription = ["orders", *topics.values()]
    members = {name: ConsumerProtocolMemberMetadata(0, subscription, assignor._metadata.dumps()) for name in ("a", "b")}
    answers = assignor._perform_assignment(_Metadata(orders=4), members)
    read = {name: ClientMetadata.loads(assignor._decompress(answer.user_data)) for name, answer in answers.items()}
    assert [len(read[name].assignment.actives["orders"]) for name in ("a", "b")] == [2, 2]
    assert [read[name].assignment.actives[topics["ledger"]] for name in ("a", "b")] == [[0], [0]]


async def test_the_partitions_of_the_group_log_do_not_stand_in_for_those_of_users(app: MirrorApp) -> None:
    """Each kind is shared evenly by itself, however many the other has."""
    assignor: Any = app.assignor
    subscription = ["orders", GROUP_LOG_TOPIC, *internal_topics("m").values()]
    members = {name: ConsumerProtocolMemberMetadata(0, subscription, assignor._metadata.dumps()) for name in ("a", "b")}
    answers = assignor._perform_assignment(_Metadata(**{"orders": 4, GROUP_LOG_TOPIC: 50}), members)
    read = {name: ClientMetadata.loads(assignor._decompress(answer.user_data)) for name, answer in answers.items()}
    for topic, share in (("orders", 2), (GROUP_LOG_TOPIC, 25)):
        assert [len(read[name].assignment.actives[topic]) for name in ("a", "b")] == [share, share]
