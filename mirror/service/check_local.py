"""`mirror check`, this machine: configuration, data folder, memory, port."""

import contextlib
import os
import shutil
import socket
from pathlib import Path

from mirror.config import Config
from mirror.config.show import secret_rows
from mirror.errors import ConfigError
from mirror.service.check_lines import CheckLine, failed, ok, warned

__all__ = ["check_local"]

_LEAST_DISK_BYTES = 256 << 20
_WORKER_BASE_BYTES = 200 << 20  # interpreter, libraries and RocksDB beside the memory ceiling
_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_MEMINFO = Path("/proc/meminfo")


def check_local(config: Config) -> list[CheckLine]:
    """All lines about this machine; changes nothing."""
    return [*_config(config), *_data_folder(config.worker.data_dir), *_memory(config), *_port(config)]


def _config(config: Config) -> list[CheckLine]:
    lines = [ok("config", f"{config.path or 'from the environment'} is valid")]
    for key, secret in secret_rows(config):
        try:
            secret.reveal()
        except ConfigError as error:
            lines.append(failed("config", f"{key}: {error.message}", error.hint or "", exit_code=2))
    return lines


def _data_folder(folder: Path) -> list[CheckLine]:
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if folder.exists() and not folder.is_dir():
        return [failed("disk", f"data_dir {folder} is not a folder", "set [worker] data_dir", exit_code=2)]
    if not os.access(there, os.W_OK | os.X_OK):
        what = (
            f"data_dir {folder} is not writable" if there == folder else f"data_dir {folder} cannot be made in {there}"
        )
        return [failed("disk", what, "make it writable for this user, or set [worker] data_dir", exit_code=12)]
    free = shutil.disk_usage(there).free
    if free < _LEAST_DISK_BYTES:
        return [warned("disk", f"{free >> 20} MiB are free at {folder}", "the table needs a little room: make some")]
    return [ok("disk", f"data_dir {folder} is writable, {free >> 30} GiB free")]


def _memory(config: Config) -> list[CheckLine]:
    wanted = config.worker.memory_bytes + _WORKER_BASE_BYTES
    available = _available_bytes()
    if available is None:
        return []
    text = f"a worker takes up to about {wanted >> 20} MiB, {available >> 20} MiB are available"
    if available < wanted:
        return [warned("memory", text, "lower [worker] memory_bytes, or give it more memory")]
    return [ok("memory", text)]


def _available_bytes() -> int | None:
    limits = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = _MEMINFO.read_text().splitlines()
        limits += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    with contextlib.suppress(OSError, ValueError):  # no cgroup v2, or "max"
        limits.append(int(_CGROUP_LIMIT.read_text()))
    return min(limits, default=None)


def _port(config: Config) -> list[CheckLine]:
    host, port = config.worker.web_host, config.worker.web_port
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            text = f"port {port} of {host} cannot be taken: {error.strerror or error}"
            return [warned("web", text, "a worker runs here already, or choose another [worker] web_port")]
    return [ok("web", f"port {port} of {host} is free")]
