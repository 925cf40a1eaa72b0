"""The one client of a cluster: aiokafka's connections, without its habit of creating topics."""

import asyncio
import logging
import random
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiokafka import errors as aiokafka_errors
from aiokafka.client import AIOKafkaClient, ConnectionGroup
from aiokafka.conn import CloseReason, create_conn
from aiokafka.protocol.metadata import MetadataRequest

from mirror.errors import AccessError, MirrorError, UnreachableError
from mirror.kafka.connection import ClusterConnection, aiokafka_options
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.whole_frames import read_whole_frames

__all__ = ["MirrorClient", "kafka_error_to_ours", "open_client"]

log = logging.getLogger(__name__)

_DIAGNOSIS_TIMEOUT_MS: Final = 5_000
_SILENT_AFTER_S: Final = 4.0
"""Longer than a fetch that waits for records."""


class MirrorClient(AIOKafkaClient):
    """aiokafka's client, except that no metadata request of it ever lets a broker create a topic.

    May stand in for the client of a stock consumer or producer (``consumer._client.__class__ = MirrorClient`` before its
    start): a stock one re-creates, with the broker's default partitions, a topic that somebody deleted.
    """

    brokers_only = False
    """True: while no topics are set, ask for brokers only instead of for every topic of the cluster."""

    async def _metadata_update(self, cluster_metadata: Any, topics: Iterable[str] | None) -> bool:
        names = list(topics) if topics else None
        if names is None and topics is not None and self.brokers_only:
            names = []
        request = MetadataRequest(names, allow_auto_topic_creation=False)
        bootstrap_id = ("bootstrap", 0)
        node_ids: list[Any] = self._most_alive_first()
        if bootstrap_id in self._conns:
            node_ids.insert(random.randint(0, len(node_ids)), "bootstrap")
        for node_id in node_ids:
            connection = await self._get_conn(node_id)
            if connection is None:
                continue
            try:
                answer = await connection.send(request)
            except (aiokafka_errors.KafkaError, TimeoutError) as error:
                log.warning("no metadata from broker %s: %r", node_id, error)
                continue
            if not answer.brokers:
                return False
            cluster_metadata.update_metadata(answer)
            if bootstrap_id in self._conns and len(self.cluster.brokers()):
                self._conns.pop(bootstrap_id).close()
            return True
        log.error("no metadata from any of the brokers %s", node_ids)
        cluster_metadata.failed_update(None)
        return False

    async def _get_conn(self, node_id: Any, *, group: Any = ConnectionGroup.DEFAULT, no_hint: bool = False) -> Any:
        connection = await super()._get_conn(node_id, group=group, no_hint=no_hint)
        # Over the connections that have a name go requests of ours only.
        if connection is not None and isinstance(group, str):
            read_whole_frames(connection)
        return connection

    async def know_brokers(self, node_ids: Iterable[int]) -> None:
        """Make sure that the addresses of these brokers are known; ask the cluster only if one is not."""
        if any(self.cluster.broker_metadata(node_id) is None for node_id in node_ids):
            await self.force_metadata_update()

    async def any_broker(self) -> int:
        """A broker to ask things that every broker knows: one that we are connected to, else the first that lets us connect.

        Raises:
            UnreachableError: none does.
        """
        node_ids = self._most_alive_first()
        for node_id in node_ids:
            if await self._get_conn(node_id) is not None:
                return node_id
        raise UnreachableError(
            f"none of the brokers {sorted(node_ids)} of {self._bootstrap_servers} answers",
            hint="check that the brokers are up and reachable from here",
        )

    async def send(self, node_id: int, request: Any, *, group: Any = ConnectionGroup.DEFAULT) -> Any:
        """As aiokafka's; remembers which brokers keep us waiting."""
        loop, key = asyncio.get_running_loop(), object()
        since = loop.time()
        self._silence()[key] = node_id, since
        try:
            answer = await super().send(node_id, request, group=group)
        except BaseException:
            if loop.time() - since > _SILENT_AFTER_S:
                self._silence()[node_id] = node_id, since  # until it answers something
            raise
        else:
            self._silence().pop(node_id, None)
            return answer
        finally:
            del self._silence()[key]

    def send_now(
        self, node_id: int, request: Any, *, group: object, on_answer: Callable[[memoryview | BaseException], None]
    ) -> bool:
        """Send over a connection that is open already, without a task that waits for the answer.

        Args:
            on_answer: called from the event loop, once: with the answer, or with aiokafka's error.

        Returns:
            False where there is no open connection; nothing was sent.
        """
        opened = self._conns.get((node_id, group))
        if opened is None or not opened.connected():
            return False
        try:
            opened.send(request).close()  # a coroutine that would only wait
        except (aiokafka_errors.KafkaError, OSError):
            return False
        future: asyncio.Future[memoryview] = opened._requests[-1][2]
        # As aiokafka does with a broker that is silent for so long; it ends everything that waits on the connection.
        limit = asyncio.get_running_loop().call_later(
            opened._request_timeout, lambda: opened.close(reason=CloseReason.CONNECTION_TIMEOUT)
        )

        def answered(done: asyncio.Future[memoryview]) -> None:
            limit.cancel()
            error = aiokafka_errors.KafkaConnectionError("given up") if done.cancelled() else done.exception()
            on_answer(done.result() if error is None else error)

        future.add_done_callback(answered)
        return True

    def _silence(self) -> dict[object, tuple[int, float]]:
        """By request under way, and by broker that left one without an answer: broker, and since when."""
        # Not made by a constructor: a stock client may have become one of us later.
        silence: dict[object, tuple[int, float]] = self.__dict__.setdefault("_silence_by_request", {})
        return silence

    def _most_alive_first(self) -> list[int]:
        """All listed brokers, in random order, but last those that keep somebody waiting, then those without a connection.

        The list keeps dead brokers until the next look at the metadata. One whose host is gone leaves every request and every attempt
        to connect hanging for the whole request timeout.
        """
        now = asyncio.get_running_loop().time()
        silent = {node_id for node_id, since in self._silence().values() if now - since > _SILENT_AFTER_S}
        node_ids: list[int] = [int(broker.nodeId) for broker in self.cluster.brokers()]
        random.shuffle(node_ids)
        return sorted(node_ids, key=lambda node_id: (node_id in silent, not self._is_open(node_id)))

    def _is_open(self, node_id: int) -> bool:
        connection = self._conns.get((node_id, ConnectionGroup.DEFAULT))
        return connection is not None and bool(connection.connected())

    async def api_versions(self, node_id: int) -> dict[int, tuple[int, int]]:
        """The APIs that a broker speaks: by API number the least and the largest version.

        Raises:
            UnreachableError: no connection to the broker.
        """
        connection = await self._get_conn(node_id)
        if connection is None:
            raise UnreachableError(f"no connection to broker {node_id}")
        return dict(connection._versions)

    async def __aenter__(self) -> "MirrorClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


async def open_client(conn: ClusterConnection) -> MirrorClient:
    """Connect to a cluster. Close the client when done (it is an async context manager).

    Raises:
        ConfigError: a TLS file or a token file is missing or wrong.
        UnreachableError: none of the bootstrap servers answers.
        AccessError: one answers, but TLS or SASL failed.
    """
    options = aiokafka_options(conn)
    if conn.sasl is not None and conn.sasl.token is not None:
        await asyncio.to_thread(conn.sasl.token.token)  # its own error says more than that of a failed login
    client = MirrorClient(
        bootstrap_servers=list(conn.bootstrap_servers),
        client_id=conn.client_id,
        request_timeout_ms=conn.request_timeout_ms,
        **options,
    )
    client.brokers_only = True
    try:
        await client.bootstrap()
    except aiokafka_errors.KafkaConnectionError:
        await client.close()
        raise await _diagnosis(conn, options) from None
    return client


async def _diagnosis(conn: ClusterConnection, options: dict[str, Any]) -> MirrorError:
    """Why bootstrapping failed: aiokafka only logs the reasons. The most telling reason of all servers wins."""
    reasons: list[MirrorError] = []
    for server in conn.bootstrap_servers:
        host, _, port = server.rpartition(":")
        what = f"cannot connect to {server} by {conn.security_protocol}"
        try:
            connection = await create_conn(
                host.strip("[]"),
                int(port),
                client_id=conn.client_id,
                request_timeout_ms=min(conn.request_timeout_ms, _DIAGNOSIS_TIMEOUT_MS),
                **options,
            )
        except asyncio.IncompleteReadError:
            reasons.append(_hung_up(what))
        except aiokafka_errors.KafkaConnectionError as error:
            cause = error.__cause__
            hung_up = cause is None or isinstance(cause, EOFError | ConnectionResetError)
            reasons.append(_hung_up(what) if hung_up else kafka_error_to_ours(cause or error, what))
        except (aiokafka_errors.KafkaError, OSError, TimeoutError, ValueError) as error:
            reasons.append(kafka_error_to_ours(error, what))
        else:
            connection.close()
            reasons.append(UnreachableError(f"{server} answers, but gave no metadata"))
    for reason in reasons:
        if isinstance(reason, AccessError):
            return reason
    said = "; ".join(reason.message for reason in reasons)
    return UnreachableError(
        f"none of the bootstrap servers answers: {said}",
        hint="check bootstrap_servers and security_protocol, and that the brokers are up and reachable from here",
    )


def _hung_up(what: str) -> UnreachableError:
    return UnreachableError(f"{what}: the broker closes the connection (often the wrong security_protocol)")
