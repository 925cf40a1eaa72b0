"""The HTTP connections of the S3 store: bounded in number, and never waiting for ever.

urllib3 lets the *connect* timeout govern the sending of a body as well, and one ``sendall`` of all of it: five seconds for 32 MiB, or no
early notice of a dead store. Here a body goes out in slices, and the timeout is for a slice: it tells a stall, not a slow line.
"""

import ssl
from typing import Any

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from mirror.errors import ConfigError

__all__ = ["SEND_SLICE_BYTES", "http_pool"]

SEND_SLICE_BYTES = 1024 * 1024


class _SlicedSend:
    """Mixed into a connection: ``send`` of a large body in slices, each with its own timeout."""

    send_stall_seconds: float = 30.0
    sock: Any

    def send(self, data: Any) -> None:
        if self.sock is None or not isinstance(data, bytes) or len(data) <= SEND_SLICE_BYTES:
            super().send(data)  # type: ignore[misc]
            return
        self.sock.settimeout(self.send_stall_seconds)
        view = memoryview(data)
        for position in range(0, len(data), SEND_SLICE_BYTES):
            super().send(view[position : position + SEND_SLICE_BYTES])  # type: ignore[misc]


class _PlainConnection(_SlicedSend, HTTPConnection):
    pass


class _TlsConnection(_SlicedSend, HTTPSConnection):
    pass


def http_pool(
    *,
    connections: int,
    connect_seconds: float,
    stall_seconds: float,
    answer_seconds: float,
    ca_file: str | None,
) -> urllib3.PoolManager:
    """A pool without retries of its own (a hidden one would make a ``put_new`` find its own object and report it as another's).

    Args:
        connections: at most so many at once; further requests wait for one.
        connect_seconds: for TCP and TLS.
        stall_seconds: how long one slice of a body may take to be accepted.
        answer_seconds: for the first byte of an answer, and between bytes.
        ca_file: PEM file of the authorities to trust *instead of* the usual ones.

    Raises:
        ConfigError: ``ca_file`` cannot be read as certificates.
    """
    if ca_file is not None:
        try:
            ssl.create_default_context(cafile=ca_file)
        except OSError as error:  # ssl.SSLError is one
            raise ConfigError(
                f"ca_file {ca_file} cannot be used: {error.strerror or error}", hint="name a PEM file with certificates"
            ) from error

    # Classes of this pool alone: the stall timeout is theirs.
    plain = type("_PlainOfPool", (_PlainConnection,), {"send_stall_seconds": stall_seconds})
    tls = type("_TlsOfPool", (_TlsConnection,), {"send_stall_seconds": stall_seconds})
    manager = urllib3.PoolManager(
        num_pools=4,
        maxsize=connections,
        block=True,
        timeout=urllib3.Timeout(connect=connect_seconds, read=answer_seconds),
        retries=False,
        cert_reqs="CERT_REQUIRED",
        ca_certs=ca_file or certifi.where(),
    )
    manager.pool_classes_by_scheme = {
        "http": type("_PlainPool", (HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("_TlsPool", (HTTPSConnectionPool,), {"ConnectionCls": tls}),
    }
    return manager
