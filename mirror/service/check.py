"""`mirror check`: everything a worker will need, looked at before it is needed. Changes nothing unless told to try a put."""

import asyncio

from mirror.config import Config
from mirror.service.check_lines import CheckLine
from mirror.service.check_local import check_local
from mirror.service.check_source import check_source
from mirror.service.check_store import check_store

__all__ = ["run_checks"]


async def run_checks(config: Config, *, write_probe: bool = False) -> list[CheckLine]:
    """All lines: this machine, the source cluster, the repository.

    Args:
        write_probe: put, read and remove a tiny object below ``probe/`` of the repository.
    """
    lines = check_local(config)
    source_lines, cluster_id = await check_source(config)
    store_lines = await asyncio.to_thread(check_store, config, cluster_id=cluster_id, write_probe=write_probe)
    return [*lines, *source_lines, *store_lines]
