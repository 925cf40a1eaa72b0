"""Tokens for SASL OAUTHBEARER: from a file that something else renews, or from a token endpoint."""

import asyncio
import base64
import binascii
import json
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaError

from mirror.errors import AccessError, ConfigError, MirrorError, UnreachableError

__all__ = ["ClientCredentials", "Token", "TokenFile", "TokenProvider", "TokenSource"]

_UNKNOWN_LIFETIME_S: Final = 60.0
_RENEW_BEFORE_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and when it ends (seconds since the epoch)."""

    value: str = field(repr=False)
    expires_at_s: float

    def for_librdkafka(self) -> tuple[str, float]:
        """What its ``oauth_cb`` returns."""
        return self.value, self.expires_at_s


class TokenSource(Protocol):
    """Gives a token that is valid now; may block; safe to call from any thread."""

    def token(self) -> Token:
        """Raises ConfigError, AccessError or UnreachableError."""


def _expiry_of_jwt(value: str) -> float | None:
    """The ``exp`` of a JWT, not verified (the broker does that); None if it is no JWT or has none."""
    parts = value.split(".")
    if len(parts) != 3:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenFile:
    """A token that something else keeps fresh in a file; read anew each time."""

    path: Path

    def token(self) -> Token:
        """Read the file; ConfigError if there is no token in it."""
        try:
            value = self.path.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"OAUTHBEARER token file {self.path} cannot be read: {error}") from error
        if not value:
            raise ConfigError(f"OAUTHBEARER token file {self.path} is empty")
        return Token(value, _expiry_of_jwt(value) or time.time() + _UNKNOWN_LIFETIME_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """OAuth 2 client credentials grant: a token per lifetime from a token endpoint."""

    token_url: str
    client_id: str
    client_secret: Callable[[], str] = field(repr=False)
    scope: str = ""
    ca_file: Path | None = None
    timeout_s: float = 10.0
    _cache: list[Token] = field(default_factory=list, repr=False, compare=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if urllib.parse.urlsplit(self.token_url).scheme not in ("http", "https"):
            raise ConfigError(f"OAUTHBEARER token endpoint {self.token_url!r} is not an http(s) URL")

    def token(self) -> Token:
        """The kept token while it lives, else a new one."""
        with self._lock:
            if not self._cache or self._cache[0].expires_at_s - _RENEW_BEFORE_S <= time.time():
                self._cache[:] = [self._request()]
            return self._cache[0]

    def _request(self) -> Token:
        form = {"grant_type": "client_credentials"} | ({"scope": self.scope} if self.scope else {})
        # RFC 6749 2.3.1: both halves are form-encoded before they are joined.
        login = ":".join(urllib.parse.quote_plus(half) for half in (self.client_id, self.client_secret()))
        request = urllib.request.Request(  # noqa: S310 - the scheme is checked above
            self.token_url,
            data=urllib.parse.urlencode(form).encode(),
            headers={
                "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
                "Accept": "application/json",
            },
        )
        where = f"OAUTHBEARER token endpoint {self.token_url}"
        try:
            context = ssl.create_default_context(cafile=self.ca_file) if self.token_url.startswith("https") else None
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"{where}: ca_file {self.ca_file} cannot be used: {error}") from error
        now_s = time.time()
        try:
            with urllib.request.urlopen(request, timeout=self.timeout_s, context=context) as answer:  # noqa: S310
                body = json.load(answer)
            value, lifetime_s = str(body["access_token"]), float(body.get("expires_in", _UNKNOWN_LIFETIME_S))
        except urllib.error.HTTPError as error:
            raise AccessError(
                f"{where} answered {error.code} {error.reason}", hint="check client id and secret"
            ) from error
        except OSError as error:
            raise UnreachableError(f"{where}: {getattr(error, 'reason', error)}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise AccessError(f"{where} answered without an access_token") from error
        return Token(value, now_s + lifetime_s)


class TokenProvider(AbstractTokenProvider):
    """A token source in the shape that aiokafka wants; asks it in a thread."""

    def __init__(self, source: TokenSource) -> None:
        self._source = source

    async def token(self) -> str:
        """The token for a login that happens now."""
        try:
            return (await asyncio.to_thread(self._source.token)).value
        except MirrorError as error:
            # aiokafka's metadata task survives only its own errors; any other would end it and hang its waiters.
            raise KafkaError(str(error)) from error
