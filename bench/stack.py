"""One Kafka broker and one MinIO for the measurements, in a folder that goes when they are done."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.kafka import KafkaCluster
from tests.servers.minio import MinioServer

__all__ = ["BROKER_HEAP", "BenchStack", "running_stack"]

BROKER_HEAP = "1g"
# Topics come and go between the runs: their bytes must not pile up for the minute that Kafka waits by default.
_PROPERTIES = {"log.segment.delete.delay.ms": "1000", "log.retention.check.interval.ms": "600000"}


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchStack:
    """Both servers, running."""

    folder: Path
    kafka: KafkaCluster
    minio: MinioServer

    @property
    def bootstrap(self) -> str:
        """Of the broker."""
        return self.kafka.bootstrap

    @property
    def log_folder(self) -> Path:
        """Where the broker keeps its partitions, one folder each."""
        return self.kafka.brokers[0].folder / "data"


@contextmanager
def running_stack(*, keep: bool) -> Iterator[BenchStack]:
    """Start both; at the end stop both and, unless `keep`, remove everything they wrote."""
    folder = Path(tempfile.mkdtemp(prefix="mirror-bench-"))
    minio = MinioServer(folder / "minio")
    kafka = KafkaCluster(folder / "kafka", properties=_PROPERTIES, quick_start=False, heap=BROKER_HEAP)
    try:
        minio.start()
        kafka.start()
        yield BenchStack(folder=folder, kafka=kafka, minio=minio)
    finally:
        kafka.stop()
        minio.stop()
        if keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
