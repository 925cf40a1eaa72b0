"""Where the S3 credentials come from: the SDK's providers, chosen by name, made safe.

Safe means: bounded in time, one fetch at a time, and no text of a provider in a message — those of the web identity provider hold the
token in the URL they name.
"""

import configparser
import json
import os
from threading import Lock
from typing import Any, Literal, get_args
from xml.etree.ElementTree import ParseError

import urllib3
from minio.credentials import (
    AWSConfigProvider,
    EnvAWSProvider,
    EnvMinioProvider,
    IamAwsProvider,
    StaticProvider,
)
from minio.credentials.providers import Provider

from mirror.errors import AccessError, ConfigError, UnreachableError

__all__ = ["CredentialSource", "credential_provider"]

CredentialSource = Literal["auto", "static", "environment", "file", "instance", "web_identity", "anonymous"]
"""``auto``: static keys if given, else environment, then ``~/.aws/credentials``, then instance or web identity."""

_NOT_THERE = (ValueError, KeyError, ParseError, configparser.Error, json.JSONDecodeError, OSError)
_HINT = "give access_key and secret_key, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"


class SafeProvider(Provider):  # type: ignore[misc]
    """Asks ``candidates`` in order; the first that has credentials is kept to from then on."""

    def __init__(self, candidates: list[tuple[str, Any]]) -> None:
        self._candidates = candidates
        self._chosen: Any = None
        self._lock = Lock()

    def retrieve(self) -> Any:
        """Credentials, from the provider's cache while they are fresh.

        Raises:
            AccessError: no source has any.
            UnreachableError: the only source, or the one that had them before, did not answer.
        """
        with self._lock:
            if self._chosen is not None:
                return _ask(*self._chosen)
            for candidate in self._candidates:
                try:
                    found = _ask(*candidate)
                except (AccessError, UnreachableError):
                    if len(self._candidates) == 1:
                        raise
                    continue
                self._chosen = candidate
                return found
            names = ", ".join(dict.fromkeys(name for name, _ in self._candidates))
            raise AccessError(f"no S3 credentials found (looked in: {names})", hint=_HINT)


def _ask(name: str, provider: Any) -> Any:
    try:
        return provider.retrieve()
    except urllib3.exceptions.HTTPError as error:
        # Without a cause: its text may hold a token.
        raise UnreachableError(
            f"the {name} credential service does not answer ({type(error).__name__})", hint=_HINT
        ) from None
    except _NOT_THERE as error:
        raise AccessError(f"no S3 credentials from {name} ({type(error).__name__})", hint=_HINT) from None


def credential_provider(
    source: CredentialSource,
    *,
    access_key: str | None,
    secret_key: str | None,
    session_token: str | None,
    sts_endpoint: str | None,
    ca_file: str | None,
) -> Provider | None:
    """The provider for ``source``; None for anonymous access. Asks nobody yet.

    Args:
        source: see :data:`CredentialSource`.
        access_key: for ``static`` and ``auto``.
        secret_key: for ``static`` and ``auto``.
        session_token: for temporary static keys.
        sts_endpoint: URL that exchanges a web identity token (``AWS_WEB_IDENTITY_TOKEN_FILE``) for keys; None means AWS's.
        ca_file: authorities to trust for ``sts_endpoint``.

    Raises:
        ConfigError: half of a key pair, or an unknown source.
    """
    if source not in get_args(CredentialSource):
        raise ConfigError(
            f"unknown source of credentials {source!r}", hint=f"one of {', '.join(get_args(CredentialSource))}"
        )
    if source == "anonymous":
        return None
    given = bool(access_key), bool(secret_key)
    if any(given) and not all(given):
        raise ConfigError(
            "an access key without a secret key" if access_key else "a secret key without an access key",
            hint="give both, or neither",
        )
    if source == "static" or (source == "auto" and all(given)):
        if not all(given):
            raise ConfigError(
                "static credentials need access_key and secret_key", hint="give both, or use another source"
            )
        return SafeProvider([("the configuration", StaticProvider(access_key, secret_key, session_token))])
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=2, read=10),
        retries=urllib3.Retry(total=1, backoff_factor=0.2, status_forcelist=[500, 502, 503, 504]),
        **({"ca_certs": ca_file} if ca_file else {}),  # type: ignore[arg-type]
    )
    environment = [("the environment", EnvAWSProvider()), ("the environment", EnvMinioProvider())]
    file = [("the credentials file", AWSConfigProvider())]
    web_identity = bool(os.environ.get("AWS_WEB_IDENTITY_TOKEN_FILE"))
    endpoint = sts_endpoint if web_identity else None
    instance = [("instance", IamAwsProvider(custom_endpoint=endpoint, http_client=pool))]
    if source == "environment":
        return SafeProvider(environment)
    if source == "file":
        return SafeProvider(file)
    if source == "instance":
        return SafeProvider(instance)
    if source == "web_identity":
        if not web_identity:
            raise ConfigError("web identity needs a token", hint="set AWS_WEB_IDENTITY_TOKEN_FILE to the token's file")
        return SafeProvider([("web identity", instance[0][1])])
    return SafeProvider([*environment, *file, *instance])
