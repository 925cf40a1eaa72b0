"""How the S3 store takes answers that a real store gives only on its worst days: written by hand, over a real socket."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from mirror.errors import (
    AccessError,
    MirrorError,
    ObjectExistsError,
    ObjectNotFoundError,
    RepositoryNotFoundError,
    StoreBusyError,
    StoreError,
    UnreachableError,
)
from mirror.storage.minio import S3Store
from mirror.storage.object_store import ObjectStore
from mirror.storage.opening import open_store

SECRET = "the-secret-key"


class HandWrittenServer:
    """Accepts connections one after the other and gives each to ``behave``."""

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._behave = behave
        self.connections = 0
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection:
            try:
                self._behave(connection)
            except OSError:
                return

    def close(self) -> None:
        """Accept no more."""
        self._listener.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., HandWrittenServer]]:
    """``serve(behave)``: a server that ends with the test."""
    servers: list[HandWrittenServer] = []

    def start(behave: Callable[[socket.socket], None]) -> HandWrittenServer:
        servers.append(HandWrittenServer(behave))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


def open_at(url: str, **options: float) -> ObjectStore:
    """A store of the server, with little patience."""
    patience = {"connect_seconds": 1.0, "stall_seconds": 1.0, "answer_seconds": 1.0} | options
    return open_store("s3://backup", endpoint=url, access_key="key", secret_key=SECRET, **patience)  # type: ignore[arg-type]


def read_request(connection: socket.socket) -> bytes:
    """Head and body of one request."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            raise OSError("closed")
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lengths = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    wanted_bytes = lengths[0] if lengths else 0
    while len(body) < wanted_bytes:
        body += connection.recv(1 << 20)
    return head + b"\r\n\r\n" + body


def answering(
    status: str, body: bytes = b"", *headers: str, announced_bytes: int | None = None
) -> Callable[[socket.socket], None]:
    """Reads a request, answers like this, closes."""

    def behave(connection: socket.socket) -> None:
        read_request(connection)
        length_bytes = len(body) if announced_bytes is None else announced_bytes
        head = [f"HTTP/1.1 {status}", f"Content-Length: {length_bytes}", "Connection: close", *headers]
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)

    return behave


def s3_xml(code: str, message: str = "said the store") -> bytes:
    """The body of an S3 error."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


XML = "Content-Type: application/xml"


@pytest.mark.parametrize(
    ("status", "code", "error", "told"),
    [
        ("404 Not Found", "NoSuchKey", ObjectNotFoundError, "l0/a"),
        ("404 Not Found", "NoSuchBucket", RepositoryNotFoundError, "s3://backup"),
        ("412 Precondition Failed", "PreconditionFailed", ObjectExistsError, "l0/a"),
        ("409 Conflict", "ConditionalRequestConflict", StoreBusyError, ""),
        ("403 Forbidden", "AccessDenied", AccessError, "s3:PutObject"),
        ("403 Forbidden", "InvalidAccessKeyId", AccessError, ""),
        ("403 Forbidden", "SignatureDoesNotMatch", AccessError, ""),
        ("400 Bad Request", "ExpiredToken", AccessError, ""),
        ("403 Forbidden", "RequestTimeTooSkewed", AccessError, ""),
        ("400 Bad Request", "AuthorizationHeaderMalformed", AccessError, ""),
        ("403 Forbidden", "SomethingNew", AccessError, "SomethingNew"),
        ("503 Slow Down", "SlowDown", StoreBusyError, "SlowDown"),
        ("503 Slow Down", "SlowDownWrite", StoreBusyError, ""),
        ("500 Internal Server Error", "InternalError", StoreBusyError, ""),
        ("500 Internal Server Error", "SomethingNew", StoreBusyError, ""),
        ("507 Insufficient Storage", "XMinioStorageFull", StoreBusyError, "XMinioStorageFull"),
        ("400 Bad Request", "XMinioAdminBucketQuotaExceeded", StoreBusyError, ""),
        ("400 Bad Request", "BadDigest", UnreachableError, "did not arrive"),
        ("400 Bad Request", "RequestTimeout", UnreachableError, ""),
        ("501 Not Implemented", "NotImplemented", StoreError, "If-None-Match"),
        ("400 Bad Request", "EntityTooLarge", StoreError, "EntityTooLarge"),
    ],
)
def test_codes_of_s3(
    serve: Callable[..., HandWrittenServer], status: str, code: str, error: type[MirrorError], told: str
) -> None:
    """Each code becomes the error a caller acts on, with the operation and the key; never with a secret."""
    server = serve(answering(status, s3_xml(code), XML))
    with pytest.raises(error) as caught:
        open_at(server.url).put_new("l0/a", b"body")
    assert type(caught.value) is error
    assert told in f"{caught.value} {caught.value.hint}"
    assert "backup" in caught.value.message
    assert SECRET not in f"{caught.value!r} {caught.value.hint} {caught.value.__cause__!r}"
    assert server.connections == 1, "no hidden retries: they would make a put_new find its own object"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("502 Bad Gateway", StoreBusyError),
        ("503 Service Unavailable", StoreBusyError),
        ("504 Gateway Timeout", StoreBusyError),
        ("429 Too Many Requests", StoreBusyError),
        ("408 Request Timeout", UnreachableError),
        ("403 Forbidden", AccessError),
        ("404 Not Found", StoreError),
        ("307 Temporary Redirect", StoreError),
    ],
)
def test_answers_that_are_not_of_s3(
    serve: Callable[..., HandWrittenServer], status: str, error: type[MirrorError]
) -> None:
    """A proxy's page is judged by its status, and never repeated in a message."""
    server = serve(
        answering(status, b"<html>secret page</html>", "Content-Type: text/html", "Location: http://127.0.0.1:1/")
    )
    with pytest.raises(error) as caught:
        open_at(server.url).get("l0/a")
    assert type(caught.value) is error
    assert "secret page" not in str(caught.value)


def test_unreadable_error_answer(serve: Callable[..., HandWrittenServer]) -> None:
    """An error that is not even XML is an error of ours."""
    server = serve(answering("400 Bad Request", b"<Error><Code>", XML))
    with pytest.raises(StoreError):
        open_at(server.url).get("l0/a")


@pytest.mark.parametrize("read", ["get", "get_range", "get_suffix"])
def test_answer_that_breaks_off(serve: Callable[..., HandWrittenServer], read: str) -> None:
    """Fewer bytes than announced are never handed on as an object."""
    reads = {
        "get": lambda store: store.get("l0/a"),
        "get_range": lambda store: store.get_range("l0/a", 0, 100),
        "get_suffix": lambda store: store.get_suffix("l0/a", 100),
    }
    server = serve(answering("206 Partial Content", b"x" * 60, "Content-Range: bytes 0-99/1000", announced_bytes=100))
    with pytest.raises(UnreachableError, match="broke"):
        reads[read](open_at(server.url))


@pytest.mark.parametrize("span", ["bytes 0-99/1000", "bytes 5-3/2", "items 0-59/60", "bytes */60", "nonsense", ""])
def test_range_that_does_not_fit_the_bytes(serve: Callable[..., HandWrittenServer], span: str) -> None:
    """A part whose announced place and length contradict each other is refused."""
    server = serve(answering("206 Partial Content", b"x" * 60, f"Content-Range: {span}"))
    with pytest.raises(UnreachableError, match="do not fit"):
        open_at(server.url).get_suffix("l0/a", 60)


def test_store_that_ignores_ranges(serve: Callable[..., HandWrittenServer]) -> None:
    """The whole object in answer to a range is cut to the range."""
    server = serve(answering("200 OK", bytes(range(100))))
    store = open_at(server.url)
    assert store.get_range("l0/a", 10, 5) == bytes(range(10, 15))
    assert store.get_suffix("l0/a", 5) == (bytes(range(95, 100)), 100)


def test_store_that_never_answers(serve: Callable[..., HandWrittenServer]) -> None:
    """Silence ends with an error after the time set, not never."""
    server = serve(lambda connection: time.sleep(20))
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="no answer in time"):
        open_at(server.url, answer_seconds=0.3).get("l0/a")
    assert time.monotonic() - started < 5


def test_store_that_stops_taking_the_body(serve: Callable[..., HandWrittenServer]) -> None:
    """An upload that stalls ends with an error after the time set."""

    def stall(connection: socket.socket) -> None:
        connection.recv(100)
        time.sleep(20)

    server = serve(stall)
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="no answer in time"):
        open_at(server.url, stall_seconds=0.3).put("l0/a", bytes(40_000_000))
    assert time.monotonic() - started < 5


def test_slow_line_is_no_stall(serve: Callable[..., HandWrittenServer]) -> None:
    """A body may take longer than any of the timeouts, as long as it moves: the timeouts are for stalls."""
    received = []

    def slowly(connection: socket.socket) -> None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        taken = 0
        while taken < 16_000_000:
            chunk = connection.recv(1 << 20)
            if not chunk:
                return
            taken += len(chunk)
            time.sleep(len(chunk) / 10_000_000)
        received.append(taken)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nETag: x\r\n\r\n")

    server = serve(slowly)
    started = time.monotonic()
    open_at(server.url, connect_seconds=0.5, stall_seconds=0.7, answer_seconds=1).put("l0/a", bytes(16_000_000))
    assert time.monotonic() - started > 1
    assert received


def test_nobody_listens() -> None:
    """A refused connection says where, and asks whether the endpoint is right."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(UnreachableError, match=rf"127\.0\.0\.1:{port}: no connection: Connection refused") as caught:
        open_at(f"http://127.0.0.1:{port}").get("l0/a")
    assert caught.value.hint


def test_connection_closed_without_an_answer(serve: Callable[..., HandWrittenServer]) -> None:
    """A store that dies in a request leaves its outcome unknown: transient, and not repeated here."""
    server = serve(read_request)
    with pytest.raises(UnreachableError, match="connection broke"):
        open_at(server.url).put("l0/a", b"1")
    assert server.connections == 1


def test_plain_http_behind_https(serve: Callable[..., HandWrittenServer]) -> None:
    """An endpoint with the wrong scheme is asked about."""
    server = serve(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(UnreachableError, match="TLS") as caught:
        open_at(server.url.replace("http:", "https:")).get("l0/a")
    assert "http://" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("body_check", "header"), [("crc32c", b"x-amz-checksum-crc32c: "), ("md5", b"content-md5: "), ("sha256", b"")]
)
def test_put_is_one_checked_request(serve: Callable[..., HandWrittenServer], body_check: str, header: bytes) -> None:
    """One request carries the body as it is and something the store can check it by; the signature covers that."""
    requests: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        requests.append(read_request(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = serve(behave)
    body = b"the body" * 200_000
    store = open_store("s3://backup/p", endpoint=server.url, access_key="key", secret_key=SECRET, body_check=body_check)  # type: ignore[arg-type]
    store.put("l0/a", body)
    ((head, _, sent),) = [request.partition(b"\r\n\r\n") for request in requests]
    assert head.startswith(b"PUT /backup/p/l0/a HTTP/1.1\r\n")
    assert sent == body
    lower = head.lower()
    assert header in lower
    signed = lower.split(b"signedheaders=")[1].split(b",")[0].split(b";")
    assert b"x-amz-content-sha256" in signed
    assert not header or header.split(b":")[0] in signed
    assert (b"unsigned-payload" in lower) == (body_check != "sha256")
    assert SECRET.encode() not in head


def test_anonymous_requests_are_unsigned(serve: Callable[..., HandWrittenServer]) -> None:
    """Without credentials nothing is signed, but the body is still checked."""
    requests: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        requests.append(read_request(connection).lower())
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = serve(behave)
    S3Store("backup", endpoint=server.url).put("a", b"1")
    assert b"authorization" not in requests[0]
    assert b"x-amz-checksum-crc32c" in requests[0]
