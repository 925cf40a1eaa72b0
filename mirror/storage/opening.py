"""From an address to a store: ``s3://bucket[/prefix]``, ``file:///folder``, ``memory:[name]``."""

import re
from urllib.parse import unquote, urlsplit

from mirror.errors import ConfigError, StoreError
from mirror.storage.folder import FolderStore
from mirror.storage.keyspace import check_key
from mirror.storage.memory import MemoryStore
from mirror.storage.minio import BodyCheck, S3Store
from mirror.storage.object_store import ObjectStore
from mirror.storage.prefixed import PrefixedStore
from mirror.storage.s3_credentials import CredentialSource, credential_provider

__all__ = ["open_store"]

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_MAX_PREFIX_BYTES = 120
_FORMS = "one of s3://bucket, s3://bucket/prefix, file:///folder, memory:"

_MEMORY: dict[str, MemoryStore] = {}


def open_store(
    url: str,
    *,
    endpoint: str | None = None,
    region: str | None = None,
    credentials: CredentialSource = "auto",
    access_key: str | None = None,
    secret_key: str | None = None,
    session_token: str | None = None,
    sts_endpoint: str | None = None,
    ca_file: str | None = None,
    body_check: BodyCheck = "crc32c",
    connections: int = 32,
    connect_seconds: float = 5.0,
    stall_seconds: float = 30.0,
    answer_seconds: float = 60.0,
) -> ObjectStore:
    """The store at ``url``; asks nobody yet, so a store that is not there or refuses is met by the first call.

    Args:
        url: ``s3://bucket[/prefix]``, ``file:///absolute/folder``, ``memory:`` (a new one) or ``memory:name`` (the process's one of
            that name).
        endpoint: ``http(s)://host[:port]`` of the S3 store; None means AWS.
        region: of the bucket; None: AWS is asked, others are taken to be ``us-east-1``.
        credentials: where keys come from, see :data:`~mirror.storage.s3_credentials.CredentialSource`.
        access_key: static key, with ``secret_key``.
        secret_key: its secret.
        session_token: of temporary static keys.
        sts_endpoint: exchanges web identity tokens; None means the S3 endpoint if there is one, else AWS.
        ca_file: PEM file of authorities to trust instead of the usual ones.
        body_check: how bodies are checked on arrival, see :data:`~mirror.storage.minio.BodyCheck`.
        connections: at most so many S3 requests at once.
        connect_seconds: patience for a connection.
        stall_seconds: patience for each MiB sent.
        answer_seconds: patience for an answer, and between its bytes.

    Raises:
        ConfigError: the address or a setting is wrong.
    """
    scheme, colon, rest = url.partition(":")
    if scheme == "memory" and colon:
        return _memory(rest)
    if scheme == "file" and colon:
        return FolderStore(_folder_path(url))
    if scheme != "s3" or not rest.startswith("//"):
        raise ConfigError(f"not the address of a repository: {_masked(url)!r}", hint=_FORMS)
    bucket, prefix = _bucket_and_prefix(url)
    where = _checked_endpoint(endpoint, region)
    provider = credential_provider(
        credentials,
        access_key=access_key,
        secret_key=secret_key,
        session_token=session_token,
        sts_endpoint=sts_endpoint or endpoint,
        ca_file=ca_file,
    )
    store = S3Store(
        bucket,
        endpoint=where,
        region=region,
        credentials=provider,
        ca_file=ca_file,
        body_check=body_check,
        connections=connections,
        connect_seconds=connect_seconds,
        stall_seconds=stall_seconds,
        answer_seconds=answer_seconds,
    )
    return PrefixedStore(store, prefix) if prefix else store


def _memory(name: str) -> ObjectStore:
    if not name:
        return MemoryStore()
    return _MEMORY.setdefault(name, MemoryStore(name))


def _folder_path(url: str) -> str:
    parts = urlsplit(url)
    path = unquote(parts.path)
    if parts.netloc not in ("", "localhost") or not path.startswith("/") or parts.query or parts.fragment:
        raise ConfigError(
            f"not the address of a folder: {url!r}", hint="file:// and an absolute path: file:///srv/backup"
        )
    if path.strip("/") == "":
        raise ConfigError("the root of the file system is no repository", hint="name a folder: file:///srv/backup")
    return path


def _bucket_and_prefix(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            f"credentials do not belong in an address: {_masked(url)}", hint="use access_key and secret_key"
        )
    if not _BUCKET.fullmatch(parts.netloc) or parts.query or parts.fragment:
        raise ConfigError(
            f"not the name of a bucket: {parts.netloc!r} in {url!r}",
            hint="s3://bucket/prefix, with 3 to 63 lower-case letters, digits, dots and hyphens as bucket",
        )
    path = parts.path.strip("/")
    if not path:
        return parts.netloc, ""
    try:
        check_key(path)
    except StoreError as error:
        raise ConfigError(f"not a possible prefix: {path!r} in {url!r}", hint=error.hint) from None
    if len(path) >= _MAX_PREFIX_BYTES:
        raise ConfigError(f"the prefix in {url!r} is too long", hint=f"at most {_MAX_PREFIX_BYTES - 1} bytes")
    return parts.netloc, path + "/"


def _checked_endpoint(endpoint: str | None, region: str | None) -> str:
    if endpoint is None:
        return f"https://s3.{region}.amazonaws.com" if region else "https://s3.amazonaws.com"
    parts = urlsplit(endpoint)
    try:
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or parts.path not in ("", "/") or parts.query or parts.fragment or "@" in parts.netloc:
        raise ConfigError(
            f"not the endpoint of an S3 store: {_masked(endpoint)!r}",
            hint="http:// or https://, a host and a port, no path",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _masked(url: str) -> str:
    """``url`` without what stands before an ``@``: somebody may have put a secret there."""
    return re.sub(r"//[^/@]*@", "//***@", url)
