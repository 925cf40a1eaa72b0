"""The mirror's own topics: made before a worker starts, and again when somebody deleted them while it runs."""

import asyncio
import logging
from collections.abc import Mapping

from mirror.errors import AccessError, MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.cluster_view import ClusterView

__all__ = ["OwnTopics"]

log = logging.getLogger(__name__)

_LOOKS = 20
_LOOK_PAUSE_SECONDS = 0.5
# Small segments are compacted soon: a new worker reads all of a changelog when it starts.
_CHANGELOG = {
    "cleanup.policy": "compact",
    "segment.bytes": str(8 << 20),
    "segment.ms": str(3600 * 1000),
    "min.cleanable.dirty.ratio": "0.1",
}
_CONFIGS: dict[str, dict[str, str]] = {
    "sealed": {"cleanup.policy": "delete", "retention.ms": str(7 * 24 * 3600 * 1000)},
    "ledger": _CHANGELOG,
    "groups": _CHANGELOG,
    "assignor": {},
}


class OwnTopics:
    """Each of one partition.

    Args:
        names: purpose (``sealed``, ``ledger``, ``groups``, ``assignor``) → topic.
        admin: of the source cluster.
        view: of the same cluster; refreshed where a topic is made.
        replication: their replication factor.
    """

    def __init__(self, names: Mapping[str, str], admin: Admin, view: ClusterView, replication: int) -> None:
        self._names = names
        self._admin = admin
        self._view = view
        self._replication = replication

    @property
    def are_missing(self) -> bool:
        """Whether one is not in the view."""
        return any(name not in self._view.topics for name in self._names.values())

    async def ensure(self) -> None:
        """Make those that are not in the view.

        Raises:
            MirrorError: one cannot be made.
        """
        for purpose, configs in _CONFIGS.items():
            name = self._names[purpose]
            if name in self._view.topics:
                continue
            log.info("creating the mirror's own topic %s", name)
            try:
                await self._admin.create_topic(
                    name, partitions=1, replication_factor=self._replication, configs=configs
                )
            except AccessError:
                raise
            except MirrorError:
                if not await self._appears(name):  # else another worker was faster
                    raise

    async def _appears(self, name: str) -> bool:
        """A broker may not have heard yet of a topic that another one says exists."""
        for _ in range(_LOOKS):
            await self._view.refresh()
            if name in self._view.topics:
                return True
            await asyncio.sleep(_LOOK_PAUSE_SECONDS)
        return False
