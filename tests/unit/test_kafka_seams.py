"""The places in aiokafka that we stand on. When one of these fails, aiokafka changed: read the new code, then move on.

`mirror.kafka.wire.api` and `mirror.kafka.client` are the only modules here that use what aiokafka does not promise.
"""

import hashlib
import inspect
import re
from io import BytesIO
from pathlib import Path

import aiokafka
import pytest
from aiokafka import conn as aiokafka_conn
from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.metadata import MetadataRequest, MetadataRequest_v5

import mirror.kafka
from mirror.errors import ClusterError
from mirror.kafka.client import MirrorClient
from mirror.kafka.wire.api import Api, RawRequest, _Frame

SOURCES = {
    AIOKafkaClient.bootstrap: "198943b004e5",
    AIOKafkaClient._metadata_update: "06dc51ed3e0d",
    AIOKafkaClient._md_synchronizer: "e0421bffa9a7",
    AIOKafkaClient._get_conn: "68ce5d839171",
    AIOKafkaClient.send: "246b277687d7",
    AIOKafkaConnection.send: "5909ea32f4ef",
    AIOKafkaConnection._handle_frame: "46a7d9b8cf7c",
    AIOKafkaConnection._do_version_lookup: "f163772b18ad",
    aiokafka_conn.create_conn: "673276cbddb4",
}
"""The first digits of the SHA-256 of each function's source in the version that we were written against."""


def _digest(function: object) -> str:
    return hashlib.sha256(inspect.getsource(function).encode()).hexdigest()[:12]  # type: ignore[arg-type]


@pytest.mark.parametrize("function", SOURCES, ids=lambda function: function.__qualname__)
def test_the_seam_has_not_moved(function: object) -> None:
    """The source of what we override or rely on is what it was when we looked at it."""
    assert _digest(function) == SOURCES[function], (
        f"{function.__qualname__} of aiokafka {aiokafka.__version__} is not the one we know"  # type: ignore[attr-defined]
    )


def test_the_version_is_the_pinned_one() -> None:
    """Private parts are only known for this minor version."""
    assert aiokafka.__version__.startswith("0.14.")


def test_metadata_requests_can_forbid_creation() -> None:
    """The request that MirrorClient sends carries allow_auto_topic_creation = False on the wire; the stock one True."""
    ours = MetadataRequest(["t"], allow_auto_topic_creation=False).prepare({3: (0, 12)})
    assert isinstance(ours, MetadataRequest_v5)
    assert ours.encode()[-1:] == b"\x00"
    assert MetadataRequest(["t"]).prepare({3: (0, 12)}).encode()[-1:] == b"\x01"


def test_our_client_overrides_the_only_place_that_asks_for_topics() -> None:
    """`_metadata_update` is ours, and in aiokafka's client no other place but the bootstrap (no topics) makes a request."""
    assert MirrorClient._metadata_update is not AIOKafkaClient._metadata_update
    source = inspect.getsource(inspect.getmodule(AIOKafkaClient))  # type: ignore[arg-type]
    assert re.findall(r"MetadataRequest\((.*)", source) == ["[]))", "list(topics) if topics else None)"]


def test_a_frame_is_handed_over_without_a_copy() -> None:
    """What we decode is a view on the very bytes that aiokafka read from the socket."""
    frame = bytes(1 << 20)
    stream = BytesIO(frame)
    stream.read(5)
    view = _Frame.decode(stream)
    assert len(view) == len(frame) - 5
    assert view.obj is frame


def test_a_request_goes_through_the_steps_of_a_connection() -> None:
    """prepare, header, body; the header says key, version, correlation and client; contents never show in the repr."""
    request = RawRequest(Api("Fetch", 1, 13, since="3.1"), b"secret-body")
    prepared = request.prepare({1: (4, 17)})
    header = prepared.build_request_header(correlation_id=7, client_id="me").encode()
    assert header == b"\x00\x01\x00\x0d\x00\x00\x00\x07\x00\x02me\x00"
    assert prepared.encode() == b"secret-body"
    assert prepared.parse_response_header(BytesIO(b"\x00\x00\x00\x07\x00rest")).correlation_id == 7
    assert "secret" not in repr(prepared)


@pytest.mark.parametrize("versions", [{1: (4, 12)}, {1: (14, 17)}, {}])
def test_a_broker_without_our_version_is_named(versions: dict[int, tuple[int, int]]) -> None:
    """Too old, too new, or not at all: an error that names the API and the first fitting Kafka."""
    with pytest.raises(ClusterError, match="Fetch") as caught:
        RawRequest(Api("Fetch", 1, 13, since="3.1"), b"").prepare(versions)
    assert "3.1" in (caught.value.hint or "")


def test_privates_stay_in_their_modules() -> None:
    """aiokafka is imported by few modules, its underscored attributes are used by the client alone."""
    folder = Path(mirror.kafka.__file__).parent
    ours = [path for path in folder.rglob("*.py") if re.search(r"^(from|import) aiokafka", path.read_text(), re.M)]
    allowed = {"api.py", "client.py", "errors.py", "oauth.py"}
    assert {path.name for path in ours if path.name in allowed} == allowed
    for path in ours:
        if path.name in allowed - {"client.py"}:
            assert not re.search(r"(client|connection|conn|cluster)\._[a-z]", path.read_text()), path.name
