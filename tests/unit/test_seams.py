"""The privates of Faust and aiokafka that agents/ and mirror/kafka stand on are where they were.

When one of these fails after an upgrade: read the new code of that place, mend agents/transport.py (or what the test names), then this.
"""

import asyncio
import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import aiokafka.client
import aiokafka.conn
import aiokafka.consumer.consumer
import aiokafka.consumer.fetcher
import aiokafka.consumer.group_coordinator
import faust
import pytest
from faust.agents.manager import AgentManager
from faust.app.base import App
from faust.assignor.client_assignment import ClientAssignment, ClientMetadata
from faust.assignor.partition_assignor import PartitionAssignor
from faust.transport import consumer as faust_consumer
from faust.transport.conductor import Conductor
from faust.transport.drivers import aiokafka as driver
from mode.services import Service
from mode.supervisors import CrashingSupervisor

from agents import assignor, transport

PINNED = {"faust-streaming": "0.15.3", "aiokafka": "0.14.0", "rocksdict": "0.3.29"}


@pytest.mark.parametrize(("name", "wanted"), PINNED.items())
def test_versions_are_the_pinned_ones(name: str, wanted: str) -> None:
    """Everything below was read in these versions."""
    assert version(name) == wanted


def parameters(function: Callable[..., Any]) -> list[str]:
    """Names of the parameters, without self."""
    return [name for name in inspect.signature(function).parameters if name != "self"]


SIGNATURES: list[tuple[Callable[..., Any], list[str]]] = [
    (aiokafka.consumer.fetcher.Fetcher._get_actions_per_node, ["assignment"]),
    (aiokafka.client.AIOKafkaClient._metadata_update, ["cluster_metadata", "topics"]),
    (aiokafka.client.AIOKafkaClient.send, ["node_id", "request", "group"]),
    (aiokafka.client.AIOKafkaClient._get_conn, ["node_id", "group", "no_hint"]),
    (aiokafka.consumer.group_coordinator.GroupCoordinator.fetch_committed_offsets, ["partitions"]),
    (driver.ConsumerRebalanceListener.on_partitions_revoked, ["revoked"]),
    (driver.ConsumerRebalanceListener.on_partitions_assigned, ["assigned"]),
    (driver.AIOKafkaConsumerThread.on_start, []),
    (driver.AIOKafkaConsumerThread._create_worker_consumer, ["transport"]),
    (driver.AIOKafkaConsumerThread._create_consumer, ["loop"]),
    (driver.AIOKafkaConsumerThread.seek_to_committed, []),
    (driver.AIOKafkaConsumerThread._commit, ["offsets"]),
    (driver.AIOKafkaConsumerThread.highwater, ["tp"]),
    (driver.AIOKafkaConsumerThread._ensure_consumer, []),
    (driver.Consumer._new_consumer_thread, []),
    (driver.Consumer._to_message, ["tp", "record"]),
    (driver.Producer._settings_auth, []),
    (driver.Producer._new_producer, ["transactional_id"]),
    (
        driver.Producer.send_and_wait,
        ["topic", "key", "value", "partition", "timestamp", "headers", "transactional_id"],
    ),
    (faust_consumer.Consumer._getmany, ["active_partitions", "timeout"]),
    (faust_consumer.Consumer._filter_tps_with_pending_acks, ["topics"]),
    (faust_consumer.Consumer._should_commit, ["tp", "offset"]),
    (faust_consumer.Consumer._new_offset, ["tp"]),
    (faust_consumer.Consumer.on_partitions_revoked, ["revoked"]),
    (faust_consumer.Consumer.commit, ["topics", "start_new_transaction"]),
    (App.on_rebalance_end, []),
    (App.on_stop, []),
    (App.crash, ["reason"]),
    (Conductor._update_indices, []),
    (AgentManager.update_topic_index, []),
    (PartitionAssignor._perform_assignment, ["cluster", "member_metadata"]),
    (PartitionAssignor._global_table_standby_assignments, ["assignments", "partitions_by_topic"]),
    (PartitionAssignor._get_client_metadata, ["metadata"]),
    (PartitionAssignor._compress, ["raw"]),
    (PartitionAssignor._decompress, ["compressed"]),
    (ClientAssignment.kafka_protocol_assignment, ["table_manager"]),
]


@pytest.mark.parametrize(("function", "wanted"), SIGNATURES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_a_seam_takes_what_it_took(function: Callable[..., Any], wanted: list[str]) -> None:
    """Overridden or called by us with exactly these parameters."""
    assert parameters(function) == wanted


OVERRIDES = [
    (transport.Thread, driver.AIOKafkaConsumerThread),
    (transport.Consumer, driver.Consumer),
    (transport.Producer, driver.Producer),
    (transport.RebalanceListener, driver.ConsumerRebalanceListener),
    (transport.InternalFetcher, aiokafka.consumer.fetcher.Fetcher),
    (assignor.MirrorAssignor, PartitionAssignor),
]
OURS = {
    "_watch",
    "_seek_internal",
    "_nothing",
    "_own_records",
    "mark_durable",
    "_without_sources",
    "_merge",
    "is_source",
}


@pytest.mark.parametrize(("ours", "theirs"), OVERRIDES, ids=lambda value: value.__name__)
def test_every_override_overrides_something(ours: type, theirs: type) -> None:
    """A method that no longer exists upstream would never be called, in silence."""
    names = [name for name, value in vars(ours).items() if callable(value) and not name.startswith("__")]
    assert [name for name in names if name not in OURS and not hasattr(theirs, name)] == []


SOURCES: list[tuple[Any, list[str]]] = [
    (aiokafka.consumer.fetcher.Fetcher.__init__, ["self._fetch_max_wait_ms", "self._fetch_task"]),
    (aiokafka.consumer.fetcher.Fetcher._get_actions_per_node, ["assignment.tps", "assignment.state_value("]),
    (aiokafka.consumer.fetcher.Fetcher.seek_to, ["def seek_to(self, tp, offset)"]),
    (aiokafka.consumer.group_coordinator.GroupCoordinator.__init__, ["self._coordination_task", "_pending_exception"]),
    (aiokafka.consumer.consumer.AIOKafkaConsumer.__init__, ["self._client", "self._coordinator", "self._fetcher"]),
    (aiokafka.client.AIOKafkaClient.__init__, ["self._security_protocol", "self._ssl_context", "self._conns"]),
    (
        aiokafka.client.AIOKafkaClient.__init__,
        ["_sasl_mechanism", "_sasl_plain_username", "_sasl_plain_password", "_sasl_oauth_token_provider"],
    ),
    (aiokafka.conn.AIOKafkaConnection.send, ["request.prepare(self._versions)", "build_request_header", ".encode()"]),
    (
        aiokafka.conn.AIOKafkaConnection._handle_frame,
        ["parse_response_header", "request.RESPONSE_TYPE", "resp_type.decode(resp)"],
    ),
    (driver.AIOKafkaConsumerThread, ["self._consumer", "time_started", "tp_last_committed_at"]),
    (faust_consumer.Consumer.__init__, ["self._committed_offset", "self._read_offset"]),
    (faust_consumer.Consumer.getmany, ["self.flow_active", "generation_id", "self._to_message"]),
    (App._new_producer, ["self.transport.create_producer"]),
    (Service.stop, ["self.on_stop()"]),
    (CrashingSupervisor._contribute_to_service, ["pass"]),
]


@pytest.mark.parametrize(("place", "wanted"), SOURCES, ids=lambda value: getattr(value, "__qualname__", ""))
def test_attributes_are_still_used_where_we_reach_for_them(place: Any, wanted: list[str]) -> None:
    """An attribute that is set by us and read by nobody would change nothing, in silence."""
    source = inspect.getsource(place)
    assert [text for text in wanted if text not in source] == []


async def test_faust_takes_our_transport_and_our_assignor_by_name() -> None:
    """The entry point is registered; the setting exists."""
    app = faust.App("seams", broker="mirror+kafka://localhost:9", PartitionAssignor=assignor.MirrorAssignor)
    assert type(app.transport) is transport.Transport
    assert app.conf.PartitionAssignor is assignor.MirrorAssignor
    await asyncio.sleep(0)


def test_the_assignors_values_have_the_fields_that_we_fill() -> None:
    """Sent to the other workers: they read them with Faust's own code."""
    metadata = ClientMetadata(
        assignment=ClientAssignment(actives={"a": [0]}, standbys={}),
        url="http://127.0.0.1:1",
        changelog_distribution={},
        external_topic_distribution={},
    )
    again = ClientMetadata.loads(metadata.dumps())
    assert again.assignment.actives == {"a": [0]}
    assert again.topic_groups == {}
