"""Fixtures with the real servers. Importing this file, and tests that do not use them, start nothing."""

import os
import secrets
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaCluster
    from tests.servers.minio import MinioServer
    from tests.servers.secure import SecureKafka


# A shell that runs us in the background lets us, and all that we start, ignore Ctrl-C: tests that send it would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says something of the machine, nothing of the code.
settings.register_profile("mirror", deadline=None)
settings.load_profile("mirror")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --require-servers."""
    parser.addoption(
        "--require-servers",
        action="store_true",
        help="a server that cannot be had is a failure, not a skip; fetches what is missing (also on when CI=true)",
    )


def _are_required(config: pytest.Config) -> bool:
    return bool(config.getoption("--require-servers")) or os.environ.get("CI") == "true"


def _uses_servers(item: pytest.Item) -> bool:
    # every fixture with a server stands on this one, and `fixturenames` holds the indirect ones too
    return "_servers" in getattr(item, "fixturenames", ())


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses a server as `servers`; what does not use one is never skipped for the lack of it."""
    for item in items:
        if _uses_servers(item):
            item.add_marker("servers")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fetch the servers, when they are required, before the first test: building takes longer than a test may."""
    config = session.config
    is_worker = hasattr(config, "workerinput")
    if is_worker or config.option.collectonly or not any(map(_uses_servers, session.items)):
        return
    _fetch_required(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config) -> None:
    """With several workers (`-n`) the servers are fetched once, before these start and know what they will run."""
    _fetch_required(config)


def _fetch_required(config: pytest.Config) -> None:
    if not _are_required(config):
        return
    from tests.servers.errors import StackError
    from tests.servers.fetch import ensure_minio
    from tests.servers.kafka import default_jvm

    capture: Any = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        try:
            ensure_minio()
            default_jvm()
        except StackError as error:
            raise pytest.UsageError(f"servers are required: {error}") from error


@pytest.fixture(scope="session")
def _servers(request: pytest.FixtureRequest) -> None:
    """Skip, with the reason, when the servers were never fetched and nobody insists on them."""
    from tests.servers.fetch import is_fetched

    if not is_fetched() and not _are_required(request.config):
        pytest.skip("Kafka and MinIO are not fetched yet: run `python -m tests.servers fetch` (about 5 minutes, once)")


@pytest.fixture(scope="session")
def kafka(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[KafkaCluster]":
    """One broker for the whole session: shared, so never stop, kill or pause it (take `new_kafka` for that)."""
    from tests.servers.kafka import UNTRIMMED, KafkaCluster

    cluster = KafkaCluster(tmp_path_factory.mktemp("kafka"), properties=UNTRIMMED)
    yield from _running(cluster)


@pytest.fixture(scope="session")
def minio(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[MinioServer]":
    """One MinIO for the whole session: shared, so never stop, kill or pause it (take `new_minio` for that)."""
    from tests.servers.minio import MinioServer

    server = MinioServer(tmp_path_factory.mktemp("minio"))
    yield from _running(server)


@pytest.fixture(scope="session")
def _secure_kafka(_servers: None, tmp_path_factory: pytest.TempPathFactory) -> "Iterator[SecureKafka]":
    from tests.servers.kafka import UNTRIMMED
    from tests.servers.secure import SecureKafka

    cluster = SecureKafka(tmp_path_factory.mktemp("secure-kafka"), users=("mirror", "nobody"), properties=UNTRIMMED)
    yield from _running(cluster)


@pytest.fixture
def secure_kafka(_secure_kafka: "SecureKafka") -> "SecureKafka":
    """One locked-down broker for the whole session, with the users "mirror" and "nobody": without any ACL at the test's beginning."""
    _secure_kafka.forbid()
    return _secure_kafka


@pytest.fixture
def new_kafka(_servers: None, tmp_path: Path) -> "Iterator[Callable[..., KafkaCluster]]":
    """`new_kafka(n_brokers=1, **options)`: a started cluster of the test's own, to be ill-treated; ended afterwards."""
    from tests.servers.kafka import UNTRIMMED, KafkaCluster

    started: list[KafkaCluster] = []

    def start(n_brokers: int = 1, *, properties: Mapping[str, str] | None = None, **options: Any) -> KafkaCluster:
        properties = {**UNTRIMMED, **(properties or {})}
        cluster = KafkaCluster(tmp_path / f"kafka-{len(started)}", n_brokers, properties=properties, **options)
        started.append(cluster)
        cluster.start()
        return cluster

    yield start
    for cluster in started:
        _end(cluster)


@pytest.fixture
def new_minio(_servers: None, tmp_path: Path) -> "Iterator[Callable[..., MinioServer]]":
    """`new_minio(**options)`: a started MinIO of the test's own, to be ill-treated; ended afterwards."""
    from tests.servers.minio import MinioServer

    started: list[MinioServer] = []

    def start(**options: Any) -> MinioServer:
        server = MinioServer(tmp_path / f"minio-{len(started)}", **options)
        started.append(server)
        server.start()
        return server

    yield start
    for server in started:
        _end(server)


@pytest.fixture
def topic(kafka: "KafkaCluster") -> Callable[..., str]:
    """`topic(partitions=1, **configs)`: a new topic on the shared broker; returns its name, unique in the session."""
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})

    def make(partitions: int = 1, *, name: str | None = None, **configs: str) -> str:
        """`name` replaces the random name; configs are written with underscores: `cleanup_policy="compact"`."""
        chosen = name or f"t-{secrets.token_hex(6)}"
        config = {key.replace("_", "."): value for key, value in configs.items()}
        new_topic = NewTopic(chosen, num_partitions=partitions, replication_factor=1, config=config)
        admin.create_topics([new_topic])[chosen].result(30)
        return chosen

    return make


@pytest.fixture
def bucket(minio: "MinioServer") -> str:
    """Name of a new, empty bucket on the shared MinIO."""
    return minio.make_bucket(f"b-{secrets.token_hex(6)}")


def _running(server: Any) -> Iterator[Any]:
    try:
        server.start()
        yield server
    finally:
        _end(server)


def _end(server: "KafkaCluster | MinioServer") -> None:
    # killed, not stopped: the data is thrown away anyway, logs are kept for a look
    server.kill()
    for data in [server.folder / "data", *server.folder.glob("broker-*/data")]:
        shutil.rmtree(data, ignore_errors=True)
