"""Tokens from files and from a token endpoint on loopback."""

import base64
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import aiokafka.errors
import pytest

from mirror.errors import AccessError, ConfigError, UnreachableError
from mirror.kafka.oauth import ClientCredentials, Token, TokenFile, TokenProvider


def _jwt(expires_at_s: float) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": expires_at_s}).encode()).decode().rstrip("=")
    return f"e30.{claims}.x"


class _Endpoint(HTTPServer):
    """Counts requests and answers with `body` and `status`."""

    def __init__(self) -> None:
        self.status = 200
        self.body: Any = {"access_token": "t", "expires_in": 3600}
        self.seen: list[tuple[str | None, dict[str, list[str]]]] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/token"


class _Handler(BaseHTTPRequestHandler):
    server: _Endpoint

    def do_POST(self) -> None:
        form = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.seen.append((self.headers["Authorization"], urllib.parse.parse_qs(form)))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(json.dumps(self.server.body).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[_Endpoint]:
    """A token endpoint."""
    server = _Endpoint()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def _credentials(url: str, **settings: Any) -> ClientCredentials:
    return ClientCredentials(token_url=url, client_id="me:1", client_secret=lambda: "s/3cret", **settings)


def test_a_token_file_is_read_anew(tmp_path: Path) -> None:
    """Each call sees what is in the file then; a JWT brings its own expiry."""
    path = tmp_path / "token"
    source = TokenFile(path=path)
    path.write_text("first\n")
    assert source.token().value == "first"
    assert source.token().expires_at_s > time.time()
    path.write_text(_jwt(1234567890))
    assert source.token().expires_at_s == 1234567890
    path.write_text(" \n")
    with pytest.raises(ConfigError, match="empty"):
        source.token()
    path.unlink()
    with pytest.raises(ConfigError, match="cannot be read"):
        source.token()


def test_a_token_is_asked_for_once_per_lifetime(endpoint: _Endpoint) -> None:
    """The endpoint gets id and secret as RFC 6749 says; the token is kept until shortly before its end."""
    source = _credentials(endpoint.url, scope="kafka")
    assert source.token().value == source.token().value == "t"
    ((login, form),) = endpoint.seen
    assert login == "Basic " + base64.b64encode(b"me%3A1:s%2F3cret").decode()
    assert form == {"grant_type": ["client_credentials"], "scope": ["kafka"]}
    endpoint.body = {"access_token": "short", "expires_in": 10}
    brief = _credentials(endpoint.url)
    assert brief.token().for_librdkafka()[0] == "short"
    brief.token()
    assert len(endpoint.seen) == 3


def test_refusals_of_the_endpoint_are_named(endpoint: _Endpoint) -> None:
    """401 and an answer without a token are AccessError, nobody there is UnreachableError; the secret never shows."""
    source = _credentials(endpoint.url, timeout_s=1.0)
    endpoint.status = 401
    with pytest.raises(AccessError, match="401") as caught:
        source.token()
    assert "3cret" not in f"{caught.value!r}{caught.value.hint}{source!r}"
    endpoint.status, endpoint.body = 200, {"no": "token"}
    with pytest.raises(AccessError, match="access_token"):
        source.token()
    with pytest.raises(UnreachableError):
        _credentials("http://127.0.0.1:9/token", timeout_s=1.0).token()
    with pytest.raises(ConfigError, match="URL"):
        _credentials("file:///etc/passwd")


async def test_inside_aiokafka_only_its_own_errors_come_up(tmp_path: Path) -> None:
    """The provider gives the token, and for any trouble of ours a KafkaError: aiokafka survives no other."""
    path = tmp_path / "token"
    path.write_text("t")
    provider = TokenProvider(TokenFile(path=path))
    assert await provider.token() == "t"
    path.write_text("")
    with pytest.raises(aiokafka.errors.KafkaError, match="empty"):
        await provider.token()


def test_a_token_does_not_show() -> None:
    """Not even in a repr."""
    assert "hidden" not in repr(Token("hidden", 1.0))
