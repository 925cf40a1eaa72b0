"""How a request of ours goes over aiokafka's connections: the only module that knows.

aiokafka calls ``request.prepare(versions)`` for the structure to send, ``build_request_header`` and ``encode`` on that,
and on the answer ``parse_response_header`` and ``RESPONSE_TYPE.decode(BytesIO)``. `RawRequest` plays all of these roles
with a body that is already bytes and gives the answer back as a memoryview of the frame, uncopied.
"""

import struct
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any, Final, Protocol, TypeVar

from aiokafka import errors as aiokafka_errors
from aiokafka.protocol.api import ResponseHeader_v0, ResponseHeader_v1

from mirror.errors import ClusterError, MirrorError
from mirror.kafka.errors import kafka_error_to_ours
from mirror.kafka.wire.codec import Reader

__all__ = ["Api", "ImmediateSender", "RawRequest", "Sender", "ask", "ask_now"]

T = TypeVar("T")

_HEADER: Final = struct.Struct(">hhih")  # API, version, correlation id, length of the client id


class Sender(Protocol):
    """What we need of `aiokafka.client.AIOKafkaClient`."""

    async def send(self, node_id: int, request: Any, *, group: Any = ...) -> Any:
        """Send a request to a broker and wait for its answer."""


class ImmediateSender(Sender, Protocol):
    """What we need of `mirror.kafka.client.MirrorClient`."""

    def send_now(
        self, node_id: int, request: Any, *, group: object, on_answer: Callable[[memoryview | BaseException], None]
    ) -> bool:
        """Send over an open connection; False where there is none."""


class Api:
    """One API of the protocol in the one version that we speak.

    Args:
        name: Kafka's name of it, for messages.
        key: Kafka's number of it.
        version: the version that we speak.
        since: the first Kafka release that speaks it.
        is_flexible: whether that version is one with compact strings and tagged fields.
    """

    __slots__ = ("is_flexible", "key", "name", "since", "version")

    def __init__(self, name: str, key: int, version: int, *, since: str, is_flexible: bool = True) -> None:
        self.name = name
        self.key = key
        self.version = version
        self.since = since
        self.is_flexible = is_flexible


class _Frame:
    """aiokafka's "response type": hands over the rest of the frame."""

    @staticmethod
    def decode(frame: BytesIO) -> memoryview:
        # getvalue() of a BytesIO that was made from bytes and never written shares those bytes: no copy.
        return memoryview(frame.getvalue())[frame.tell() :]


class _Header:
    """Request header v2, or v1 without its tagged fields; aiokafka's own takes as long as all else that a request needs."""

    __slots__ = ("_encoded",)

    def __init__(self, api_key: int, api_version: int, correlation_id: int, client_id: bytes, tags: bytes) -> None:
        fields = _HEADER.pack(api_key, api_version, correlation_id, len(client_id))
        self._encoded = b"%b%b%b" % (fields, client_id, tags)

    def encode(self) -> bytes:
        """The header."""
        return self._encoded


class RawRequest:
    """A request whose body is encoded already."""

    RESPONSE_TYPE: Final = _Frame

    __slots__ = ("API_KEY", "API_VERSION", "_api", "_body")

    def __init__(self, api: Api, body: bytes) -> None:
        self._api = api
        self._body = body
        self.API_KEY = api.key
        self.API_VERSION = api.version

    def __repr__(self) -> str:  # aiokafka prints requests at debug level: never their contents
        return f"<{self._api.name} v{self._api.version}, {len(self._body)} bytes>"

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> "RawRequest":
        """Called by the connection with the ranges of versions that its broker speaks."""
        least, most = versions.get(self.API_KEY, (0, -1))
        if not least <= self.API_VERSION <= most:
            raise ClusterError(
                f"the broker speaks {self._api.name} v{least} to v{most}, mirror v{self.API_VERSION}",
                hint=f"mirror needs Apache Kafka {self._api.since} or newer",
            )
        return self

    def build_request_header(self, correlation_id: int, client_id: str) -> "_Header":
        """The request header."""
        tags = b"\0" if self._api.is_flexible else b""
        return _Header(self.API_KEY, self.API_VERSION, correlation_id, client_id.encode(), tags)

    def encode(self) -> bytes:
        """The body."""
        return self._body

    def parse_response_header(self, frame: BytesIO) -> Any:
        """Read the response header; the frame is left at the body."""
        return (ResponseHeader_v1 if self._api.is_flexible else ResponseHeader_v0).decode(frame)


async def ask(client: Sender, node_id: int, api: Api, body: bytes, *, connection: object = 0) -> Reader:
    """Send one request to one broker and wait for the answer.

    Args:
        client: the client whose connections are used.
        node_id: the broker.
        api: which API.
        body: the encoded request.
        connection: requests of different values go over different connections to the same broker.

    Raises:
        UnreachableError: no connection or no answer within the client's request timeout.
        AccessError: the broker does not let us in.
        ClusterError: the broker does not speak this version.
    """
    what = _name(api, node_id)
    try:
        frame = await client.send(node_id, RawRequest(api, body), group=connection)
    except (aiokafka_errors.KafkaError, OSError, EOFError, TimeoutError) as error:
        raise kafka_error_to_ours(error, what) from error
    except KeyError as error:  # a timeout on a connection that aiokafka has already forgotten
        raise kafka_error_to_ours(aiokafka_errors.KafkaConnectionError("connection closed"), what) from error
    return Reader(frame)


def ask_now(
    client: ImmediateSender,
    node_id: int,
    api: Api,
    body: bytes,
    *,
    connection: object,
    on_answer: Callable[[Reader | MirrorError], None],
) -> bool:
    """Send one request over a connection that is open already, without a task to wait for the answer.

    Args:
        client: the client whose connections are used.
        on_answer: called from the event loop, once: with the answer, or with an error as `ask` raises it.

    Returns:
        False where there is no open connection: nothing was sent, `ask` opens one.
    """

    def answered(answer: memoryview | BaseException) -> None:
        if isinstance(answer, BaseException):
            on_answer(kafka_error_to_ours(answer, _name(api, node_id)))
        else:
            on_answer(Reader(answer))

    return client.send_now(node_id, RawRequest(api, body), group=connection, on_answer=answered)


def _name(api: Api, node_id: int) -> str:
    return f"{api.name} request to broker {node_id}"
