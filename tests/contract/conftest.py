"""The stores that keep the contract. A new one is one line in STORES."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mirror.storage.faulty import FaultyStore
from mirror.storage.folder import FolderStore
from mirror.storage.memory import MemoryStore
from mirror.storage.metered import MeteredStore
from mirror.storage.object_store import ObjectStore
from mirror.storage.opening import open_store
from mirror.storage.prefixed import PrefixedStore
from mirror.storage.retrying import RetryingStore

needs_minio = pytest.mark.servers

STORES = [
    "memory",
    "folder",
    pytest.param("minio", marks=needs_minio),
    pytest.param("minio with prefix", marks=needs_minio),
    "decorated folder",
    pytest.param("decorated minio", marks=needs_minio),
]


def decorated(inner: ObjectStore) -> ObjectStore:
    """All decorators around each other, none with anything to do."""
    metered = MeteredStore(FaultyStore(inner), lambda operation, seconds, size_bytes, outcome: None)
    return PrefixedStore(RetryingStore(metered), "deep/er/")


@pytest.fixture
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[..., ObjectStore]:
    """Makes a store of the given kind; with ``created=False`` its bucket or folder is missing."""

    def on_minio(created: bool, path: str = "") -> ObjectStore:
        server = request.getfixturevalue("minio")
        bucket = request.getfixturevalue("bucket") if created else "b-not-there"
        return open_store(
            f"s3://{bucket}{path}", endpoint=server.url, access_key=server.access_key, secret_key=server.secret_key
        )

    def make(kind: str, *, created: bool = True) -> ObjectStore:
        folder = tmp_path / "store"
        if created:
            folder.mkdir(exist_ok=True)
        match kind:
            case "memory":
                return MemoryStore(created=created)
            case "folder":
                return FolderStore(str(folder))
            case "minio":
                return on_minio(created)
            case "minio with prefix":
                return on_minio(created, "/some/prefix")
            case "decorated folder":
                return decorated(FolderStore(str(folder)))
            case "decorated minio":
                return decorated(on_minio(created))
        raise AssertionError(kind)

    return make


@pytest.fixture(params=STORES)
def kind(request: pytest.FixtureRequest) -> str:
    """Name of a kind of store."""
    name: str = request.param
    return name


@pytest.fixture
def store(kind: str, new_store: Callable[..., ObjectStore]) -> Iterator[ObjectStore]:
    """A new, empty store."""
    opened = new_store(kind)
    yield opened
    opened.close()


@pytest.fixture
def missing(kind: str, new_store: Callable[..., ObjectStore]) -> Iterator[ObjectStore]:
    """A store whose bucket or folder is not there."""
    opened = new_store(kind, created=False)
    yield opened
    opened.close()
