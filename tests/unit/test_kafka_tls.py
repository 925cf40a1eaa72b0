"""Certificates that are replaced while we run, over real TLS on loopback."""

import asyncio
import logging
import os
import ssl
from pathlib import Path

import pytest

from mirror.errors import ConfigError
from mirror.kafka.tls import TlsFiles, make_ssl_context, refresh_ssl
from tests.servers.certificates import Certificate, CertificateAuthority


async def _names_seen(authority: CertificateAuthority, context: ssl.SSLContext, between: list[object]) -> list[str]:
    """Connect once, and once more after each step; the common name that the server saw each time."""
    server_certificate = authority.issue("server")
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=authority.ca_path)
    server_context.load_cert_chain(server_certificate.bundle_path)
    server_context.verify_mode = ssl.CERT_REQUIRED
    names: list[str] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        subject = writer.get_extra_info("peercert")["subject"]
        names.append(dict(field[0] for field in subject)["commonName"])
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for step in [None, *between]:
            if callable(step):
                step()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
            await reader.read()
            writer.close()
    return names


def _replace(current: Certificate, new: Certificate) -> None:
    current.key_path.write_bytes(new.key_path.read_bytes())
    current.chain_path.write_bytes(new.chain_path.read_bytes())
    _touch_later(current.key_path, current.chain_path)


def _touch_later(*paths: Path) -> None:
    for path in paths:
        later = path.stat().st_mtime_ns + 1_000_000_000
        os.utime(path, ns=(later, later))


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    """An authority of the test's own."""
    return CertificateAuthority(tmp_path)


def _files(authority: CertificateAuthority, certificate: Certificate) -> TlsFiles:
    return TlsFiles(ca_file=authority.ca_path, cert_file=certificate.chain_path, key_file=certificate.key_path)


async def test_new_connections_use_the_new_certificate(authority: CertificateAuthority) -> None:
    """The same context presents what is on disk when a connection begins."""
    current, new = authority.issue("old"), authority.issue("new")
    context = make_ssl_context(_files(authority, current))
    names = await _names_seen(authority, context, [lambda: None, lambda: _replace(current, new)])
    assert names == ["old", "old", "new"]


async def test_half_a_rotation_keeps_the_old_certificate(
    authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    """While certificate and key do not fit together the old ones are used, with a warning; then the new ones."""
    current, new = authority.issue("old"), authority.issue("new")
    context = make_ssl_context(_files(authority, current))

    def half() -> None:
        current.chain_path.write_bytes(new.chain_path.read_bytes())
        _touch_later(current.chain_path)

    with caplog.at_level(logging.WARNING):
        names = await _names_seen(authority, context, [half, lambda: _replace(current, new)])
    assert names == ["old", "old", "new"]
    assert "cannot be used" in caplog.text


def test_refresh_says_whether_it_did(authority: CertificateAuthority) -> None:
    """True only when a file was replaced; ConfigError when what is there now cannot be used."""
    current = authority.issue("old")
    files = _files(authority, current)
    context = make_ssl_context(files)
    assert refresh_ssl(context, files) is False
    _touch_later(current.chain_path)
    assert refresh_ssl(context, files) is True
    assert refresh_ssl(context, files) is False
    current.key_path.unlink()
    with pytest.raises(ConfigError, match=current.key_path.name):
        refresh_ssl(context, files)


def test_wrong_files_are_config_errors(authority: CertificateAuthority, tmp_path: Path) -> None:
    """A missing file, no certificate in it, or a key of another certificate: each named."""
    one, other = authority.issue("one"), authority.issue("other")
    text = tmp_path / "text.pem"
    text.write_text("nothing")
    for files in (
        TlsFiles(ca_file=tmp_path / "missing.pem"),
        TlsFiles(ca_file=text),
        TlsFiles(cert_file=text),
        TlsFiles(cert_file=one.chain_path, key_file=other.key_path),
    ):
        with pytest.raises(ConfigError, match=r"missing\.pem|text\.pem|one\.pem"):
            make_ssl_context(files)


def test_host_names_are_checked_unless_told_not_to() -> None:
    """The default verifies both the chain and the host name."""
    strict, lax = make_ssl_context(TlsFiles()), make_ssl_context(TlsFiles(check_hostname=False))
    assert (strict.check_hostname, strict.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert (lax.check_hostname, lax.verify_mode) == (False, ssl.CERT_REQUIRED)
