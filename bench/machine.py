"""What the numbers were measured on."""

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka

from tests.servers.versions import KAFKA_VERSION, MINIO_VERSION

__all__ = ["describe_machine"]

_PACKAGES = (
    "mirror",
    "faust-streaming",
    "aiokafka",
    "minio",
    "confluent-kafka",
    "numpy",
    "zstandard",
    "cramjam",
    "crc32c",
)


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy it was before the first run."""
    return {
        "cpu": _first_value("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count(),
        "memory_bytes": int(_first_value("/proc/meminfo", "MemTotal").split()[0]) * 1024,
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_before": os.getloadavg()[0],
        "python": platform.python_version(),
        "kafka": KAFKA_VERSION,
        "minio": MINIO_VERSION,
        "librdkafka": confluent_kafka.libversion()[0],
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _first_value(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"
