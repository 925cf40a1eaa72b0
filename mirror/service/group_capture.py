"""Whether the group log is captured, why not, and which groups are mirrors' own."""

import asyncio
import logging
from collections.abc import Collection
from typing import Final

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.topic_filter import TopicFilter
from mirror.errors import AccessError, MirrorError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.cluster_view import ClusterView
from mirror.kafka.rights import operations_of

__all__ = ["GROUP_LOG_RIGHTS", "GroupCapture", "missing_group_log_rights", "own_groups"]

log = logging.getLogger(__name__)

GROUP_LOG_RIGHTS: Final = frozenset({"DESCRIBE", "READ"})
_FROM_TOPIC: Final = frozenset({"auto", "topic"})
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.3


async def missing_group_log_rights(client: MirrorClient) -> frozenset[str]:
    """Which rights on the group log are missing; none where it is not there yet (the first group of a cluster makes it).

    Raises:
        UnreachableError, ClusterError: it cannot be asked.
    """
    described = await describe_cluster(client, [GROUP_LOG_TOPIC], authorized_operations=True)
    topic = described.topics.get(GROUP_LOG_TOPIC)
    if topic is not None:
        return GROUP_LOG_RIGHTS - operations_of(topic.authorized_operations)
    return GROUP_LOG_RIGHTS if isinstance(described.missing.get(GROUP_LOG_TOPIC), AccessError) else frozenset()


def own_groups(worker_id: str, rules: TopicFilter, topics: Collection[str]) -> frozenset[str]:
    """The consumer groups of this mirror and of the others on a cluster that has these topics: a mirror's id is its group's name."""
    return frozenset({worker_id, *rules.among(topics).others_topics.values()})


class GroupCapture:
    """Decides for a worker; look again whenever topics were listed.

    Attributes:
        is_on: the group log is read.
        is_polling: it may not be read, or is not to be: brokers are asked where groups stand.
        own_groups: of mirrors.

    Args:
        mode: ``[worker] groups``.
        client: of the source cluster.
        worker_id: of this mirror.
    """

    def __init__(self, mode: str, client: MirrorClient, worker_id: str) -> None:
        self.is_on = False
        self.is_polling = mode == "poll"
        self.own_groups = frozenset({worker_id})
        self._mode = mode
        self._client = client
        self._worker_id = worker_id
        self._told: frozenset[str] = frozenset()

    async def begin(self, admin: Admin, view: ClusterView, rules: TopicFilter) -> None:
        """The first look. On a young cluster the group log is made first, as the worker's own group would a moment later."""
        if self._mode in _FROM_TOPIC and GROUP_LOG_TOPIC not in view.topics:
            await self._wait_for_coordinator(admin)
            await view.refresh()
        await self.look(view.topics, rules)

    async def look(self, topics: Collection[str], rules: TopicFilter) -> None:
        """Learn whose groups are own, and whether the group log may be read (once it may, it is captured for good).

        Never raises: groups are no reason to stop a backup.
        """
        self.own_groups = own_groups(self._worker_id, rules, topics)
        if self._mode not in _FROM_TOPIC or self.is_on:
            return
        try:
            missing = await missing_group_log_rights(self._client)
        except MirrorError as error:
            log.warning("whether consumer groups can be captured is not known, asked again: %s", error)
            return
        # Told to capture it, a worker tries: then the partitions are quarantined, and everybody can see it.
        self.is_on = GROUP_LOG_TOPIC in topics and (self._mode == "topic" or not missing)
        self.is_polling = self._mode == "auto" and bool(missing) and not self.is_on
        if missing and missing != self._told:
            log.log(
                logging.ERROR if self._mode == "topic" else logging.WARNING,
                "consumer groups are %s: %s on topic %s is missing; `mirror check` prints the command that grants it",
                "polled, not read" if self.is_polling else "not captured",
                " and ".join(sorted(missing)),
                GROUP_LOG_TOPIC,
            )
        self._told = missing

    def with_log(self, selected: list[str], topics: Collection[str]) -> list[str]:
        """The selected topics, and the group log where it is captured."""
        return sorted([*selected, GROUP_LOG_TOPIC]) if self.is_on and GROUP_LOG_TOPIC in topics else selected

    async def _wait_for_coordinator(self, admin: Admin) -> None:
        give_up_at = asyncio.get_running_loop().time() + _PATIENCE_S
        while True:
            try:
                await admin.group_operations(self._worker_id)
            except MirrorError as error:
                if error.transient and asyncio.get_running_loop().time() < give_up_at:
                    await asyncio.sleep(_PAUSE_S)
                    continue
            return  # where it is not there now, discovery finds it later
