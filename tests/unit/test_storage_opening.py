"""From an address to a store, or to an error that names the right form."""

from pathlib import Path
from typing import Any

import pytest

from mirror.errors import ConfigError
from mirror.storage.administration import admin_of
from mirror.storage.folder import FolderStore
from mirror.storage.minio import S3Store
from mirror.storage.opening import open_store

KEYS: dict[str, Any] = {
    "access_key": "the-access-key",
    "secret_key": "the-secret-key",
    "session_token": "the-session-token",
}


def test_memory_is_new_or_shared_by_name() -> None:
    """``memory:`` is nobody else's; ``memory:name`` is the process's."""
    open_store("memory:").put("k", b"1")
    assert list(open_store("memory:").list("")) == []
    open_store("memory:shared-for-test").put("k", b"1")
    assert open_store("memory:shared-for-test").get("k") == b"1"
    assert open_store("memory:shared-for-test").address == "memory:shared-for-test"


@pytest.mark.parametrize("form", ["file://{}", "file://localhost{}", "file:{}"])
def test_folder_address(form: str, tmp_path: Path) -> None:
    """A folder is given by its absolute path."""
    store = open_store(form.format(tmp_path))
    assert isinstance(store, FolderStore)
    assert store.address == f"file://{tmp_path}"


def test_folder_address_with_escapes() -> None:
    """A blank in a path is written as in any URL."""
    assert open_store("file:///srv/my%20backup").address == "file:///srv/my backup"


@pytest.mark.parametrize(
    ("url", "endpoint", "address"),
    [
        ("s3://backup", "http://127.0.0.1:9000", "s3://backup at 127.0.0.1:9000"),
        ("s3://backup/", "https://minio.example/", "s3://backup at minio.example"),
        ("s3://backup/prod/eu", "https://minio.example:443", "s3://backup/prod/eu at minio.example:443"),
        ("s3://backup/prod/eu/", "http://[::1]:9000", "s3://backup/prod/eu at [::1]:9000"),
        ("s3://backup", None, "s3://backup at s3.amazonaws.com"),
    ],
)
def test_s3_address(url: str, endpoint: str | None, address: str) -> None:
    """Bucket, prefix and host are told, in one form."""
    store = open_store(url, endpoint=endpoint, **KEYS)
    assert store.address == address
    assert isinstance(admin_of(store), S3Store)


def test_region_names_the_aws_host() -> None:
    """Without an endpoint the region's own host is asked."""
    assert (
        open_store("s3://backup", region="eu-central-1", **KEYS).address
        == "s3://backup at s3.eu-central-1.amazonaws.com"
    )


@pytest.mark.parametrize(
    "url",
    [
        "",
        "backup",
        "/srv/backup",
        "http://backup",
        "s3:backup",
        "s3://",
        "s3:///prefix",
        "s3://Upper_Case",
        "s3://ab",
        "s3://backup/../other",
        "s3://backup/a//b",
        "s3://backup/ü",
        "s3://backup?x=1",
        "s3://backup/" + "x" * 200,
        "file://relative/path",
        "file:relative",
        "file:///",
        "file://",
        "file:///srv/x?y",
    ],
)
def test_bad_address_is_refused_with_the_right_form(url: str) -> None:
    """The hint shows how an address looks."""
    with pytest.raises(ConfigError) as caught:
        open_store(url, endpoint="http://127.0.0.1:9000", **KEYS)
    assert caught.value.hint


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:9000", "ftp://x", "http://", "http://host/path", "http://host:port", "http://host:99999"]
)
def test_bad_endpoint_is_refused(endpoint: str) -> None:
    """An endpoint is a scheme, a host and a port."""
    with pytest.raises(ConfigError, match="endpoint"):
        open_store("s3://backup", endpoint=endpoint, **KEYS)


@pytest.mark.parametrize(
    "options",
    [
        {"access_key": "only"},
        {"secret_key": "only"},
        {"credentials": "static"},
        {"credentials": "guess"},
        {"body_check": "crc64", **KEYS},
        {"ca_file": "/nowhere/ca.pem", **KEYS},
        {"ca_file": __file__, **KEYS},
    ],
)
def test_bad_settings_are_refused(options: dict[str, Any]) -> None:
    """Half a key pair, unknown words and unusable files are found before the first request."""
    with pytest.raises(ConfigError) as caught:
        open_store("s3://backup", endpoint="https://127.0.0.1:9000", **options)
    assert caught.value.hint


def test_web_identity_needs_its_token_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable that is missing is named."""
    monkeypatch.delenv("AWS_WEB_IDENTITY_TOKEN_FILE", raising=False)
    with pytest.raises(ConfigError, match="token") as caught:
        open_store("s3://backup", endpoint="https://127.0.0.1:9000", credentials="web_identity")
    assert "AWS_WEB_IDENTITY_TOKEN_FILE" in str(caught.value.hint)


def test_secrets_are_never_shown() -> None:
    """Neither a store's repr or address, nor an error about an address with a secret in it, tells the secret."""
    store = open_store("s3://backup/p", endpoint="http://127.0.0.1:9000", **KEYS)
    shown = f"{store!r} {store.address}"
    for url, endpoint in (
        ("s3://key:the-secret-key@backup", "http://h"),
        ("s3://backup", "http://key:the-secret-key@h"),
    ):
        with pytest.raises(ConfigError) as caught:
            open_store(url, endpoint=endpoint, **KEYS)
        shown += f"{caught.value} {caught.value.hint}"
    for secret in ("the-secret-key", "the-session-token"):
        assert secret not in shown
