"""Support of the status, verify and check tests: a configuration for the real servers, and a plain backup without workers."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from mirror.cli.__main__ import main
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.segment.runs import BodyMode
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import describe_cluster, log_offsets
from mirror.kafka.connection import ClusterConnection
from mirror.service.verify_fetch import SourceReader
from mirror.storage.folder import FolderStore
from tests.observe_builders import T0_MS, RepositoryBuilder, a_slice


@dataclass(frozen=True, slots=True)
class Site:
    """A configuration file for one broker and one folder repository, and the command line on it."""

    folder: Path
    bootstrap: str
    config_path: Path
    capsys: pytest.CaptureFixture[str]

    def run(self, *args: str) -> tuple[int, str]:
        """Exit code and stdout of `mirror --config … args`."""
        self.capsys.readouterr()
        code = main(["--config", str(self.config_path), *args])
        return code, self.capsys.readouterr().out

    def run_json(self, *args: str) -> tuple[int, Any]:
        """Exit code and the JSON document of a command."""
        code, out = self.run(*args, "--json")
        return code, json.loads(out)

    @property
    def store(self) -> FolderStore:
        """The repository's store."""
        return FolderStore(str(self.folder / "repository"))

    def back_up(
        self, *topics: str, objects: int = 3, mode: BodyMode = "passthrough", began_ms: int = T0_MS
    ) -> RepositoryBuilder:
        """Store all that a read_committed consumer may see of the topics, as a worker would: an object each ten seconds from then on."""
        return asyncio.run(self._back_up(topics, objects, mode, began_ms))

    async def _back_up(self, topics: tuple[str, ...], objects: int, mode: BodyMode, began_ms: int) -> RepositoryBuilder:
        async with await open_client(ClusterConnection(bootstrap_servers=(self.bootstrap,))) as client:
            described = await describe_cluster(client, topics)
            self.store.create()
            builder = RepositoryBuilder(store=self.store, cluster_id=described.cluster_id, now_ms=began_ms)
            for name in topics:
                found = described.topics[name]
                builder.topic(name, partitions=len(found.partitions), topic_id=found.topic_id)
                for partition in found.partitions:
                    await _store_partition(
                        client, builder, name, PartitionId(found.topic_id, partition.partition), objects, mode
                    )
            return builder


async def _store_partition(
    client: MirrorClient, builder: RepositoryBuilder, topic: str, pid: PartitionId, objects: int, mode: BodyMode
) -> None:
    tp = TopicPartition(topic, pid.partition)
    log = (await log_offsets(client, [tp]))[tp]
    builder.start(topic, pid.partition, log.log_start_offset, topic_id=pid.topic_id)
    at = log.log_start_offset
    reader = SourceReader(client, chunk_bytes=20_000 if objects > 1 else 4 << 20)
    while at < log.last_stable_offset:
        body, following = await reader.read(tp, pid.topic_id, at)
        assert body is not None
        buffer = b"".join(bytes(part) for part in body.parts)
        piece = a_slice(topic, pid.partition, at, buffer, topic_id=pid.topic_id)
        if body.next_offset != piece.next_offset:  # only aborted data, or it stands at the end
            piece = type(piece)(topic, pid.topic_id, pid.partition, 0, at, body, piece.watermarks)
        builder.put([piece], mode=mode)
        at = following


def make_site(tmp_path: Path, bootstrap: str, capsys: pytest.CaptureFixture[str], **worker: Any) -> Site:
    """Write the configuration: the worker is `w`, the source `prod`."""
    settings = {"id": "w", "data_dir": str(tmp_path / "data"), "web_port": 18083, **worker}
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    config_path = tmp_path / "mirror.toml"
    config_path.write_text(
        "[worker]\n" + "\n".join(lines) + "\n"
        f'[clusters.prod]\nrole = "source"\nbootstrap_servers = ["{bootstrap}"]\n'
        f'[repositories.main]\nurl = "file://{tmp_path}/repository"\n'
    )
    return Site(tmp_path, bootstrap, config_path, capsys)


def produce(bootstrap: str, topic: str, count: int, *, partition: int = 0, first: int = 0, **options: Any) -> None:
    """Records with distinct values; `options` are librdkafka's, with underscores, and `timestamp` (ms)."""
    timestamp = options.pop("timestamp", 0)
    settings = {key.replace("_", "."): value for key, value in options.items()}
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 5, "batch.num.messages": 100, **settings})
    for number in range(first, first + count):
        producer.produce(
            topic, key=f"k{number % 7}", value=f"value {number} " * 5, partition=partition, timestamp=timestamp
        )
    assert producer.flush(30) == 0


SiteMaker = Callable[..., Site]
