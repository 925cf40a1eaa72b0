"""TLS contexts whose certificate files may be replaced while we run."""

import logging
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mirror.errors import ConfigError

__all__ = ["RotatingSSLContext", "TlsFiles", "make_ssl_context", "refresh_ssl"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """The files of a TLS connection (PEM).

    Args:
        ca_file: authorities to trust; None means the system's.
        cert_file: our own certificate chain, for mutual TLS.
        key_file: its key; None means it is in ``cert_file``.
        key_password: opens the key.
        check_hostname: whether the certificate must name the host that we connect to.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    key_password: Callable[[], str] | None = field(default=None, repr=False)
    check_hostname: bool = True

    def __post_init__(self) -> None:
        if self.key_file is not None and self.cert_file is None:
            raise ConfigError("key_file is given without cert_file")

    def paths(self) -> tuple[Path, ...]:
        """The files in use."""
        return tuple(path for path in (self.ca_file, self.cert_file, self.key_file) if path is not None)

    def check(self) -> None:
        """Raise ConfigError if one of the files cannot be read."""
        for path in self.paths():
            try:
                with path.open("rb") as file:
                    file.read(1)
            except OSError as error:
                raise ConfigError(f"TLS file {path} cannot be read: {error.strerror}") from error

    def stamp(self) -> tuple[tuple[Path, int], ...]:
        """Modification times (ns) of the files; a missing file counts as 0."""
        times = []
        for path in self.paths():
            try:
                times.append((path, path.stat().st_mtime_ns))
            except OSError:
                times.append((path, 0))
        return tuple(times)


def _load(context: ssl.SSLContext, files: TlsFiles) -> None:
    """Load the files into a context; ConfigError names the one that does not fit."""
    files.check()
    if files.ca_file is not None:
        try:
            context.load_verify_locations(cafile=files.ca_file)
        except (ssl.SSLError, OSError) as error:
            raise ConfigError(f"TLS ca_file {files.ca_file} holds no certificate that can be read: {error}") from error
    if files.cert_file is not None:
        password: Any = files.key_password if files.key_password is not None else _no_password
        try:
            context.load_cert_chain(files.cert_file, files.key_file, password)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ConfigError(
                f"TLS cert_file {files.cert_file} and key_file {files.key_file or files.cert_file} do not fit: {error}",
                hint="the certificate and the key must belong together; an encrypted key needs its password",
            ) from error


def _no_password() -> str:
    """Without this, OpenSSL asks for the password on the terminal and waits for ever."""
    raise ValueError("the key is encrypted and no password is set")


class RotatingSSLContext(ssl.SSLContext):
    """A client context that looks, before each new connection, whether its files were replaced, and reads them again.

    Connections that are open keep what they have. Files that do not fit together (half-way through a rotation) leave
    the context as it was, with a warning; the next connection looks again.
    """

    files: TlsFiles
    _stamp: tuple[tuple[Path, int], ...]
    _lock: threading.Lock

    def wrap_bio(self, *args: Any, **kwargs: Any) -> ssl.SSLObject:
        """What asyncio calls for each new connection."""
        try:
            refresh_ssl(self, self.files)
        except ConfigError as error:
            log.warning("TLS files were replaced but cannot be used, going on with the old ones: %s", error)
        return super().wrap_bio(*args, **kwargs)


def make_ssl_context(files: TlsFiles) -> RotatingSSLContext:
    """A client context of these files that follows their rotation.

    Raises:
        ConfigError: a file is missing or is not what it should be.
    """
    context = RotatingSSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = files.check_hostname
    context._lock = threading.Lock()
    context.files = files
    context._stamp = files.stamp()
    if files.ca_file is None:
        context.load_default_certs()
    _load(context, files)
    return context


def refresh_ssl(context: RotatingSSLContext, files: TlsFiles) -> bool:
    """Read the files again if one was replaced; new connections of this context use them. True if it did.

    Raises:
        ConfigError: the new files cannot be used; the context is unchanged.
    """
    stamp = files.stamp()
    with context._lock:
        if stamp == context._stamp:
            return False
        # A failure half-way would leave a new certificate with an old key: try on a context of its own first.
        _load(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), files)
        _load(context, files)
        context._stamp = stamp
    log.info("TLS files were replaced and read again: %s", ", ".join(str(path) for path in files.paths()))
    return True
