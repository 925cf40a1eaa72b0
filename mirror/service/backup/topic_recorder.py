"""Topic objects: what a restore needs to create a topic again, captured when it changes."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

import msgspec

from mirror.core.moments import format_moment
from mirror.core.segment.index import FORMAT_VERSION, TopicObject
from mirror.errors import MirrorError
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.cluster import TopicDescription
from mirror.storage.repository import Repository

__all__ = ["StoredAtStart", "TopicRecorder"]

log = logging.getLogger(__name__)

_NAMED = 5


StoredAtStart = Callable[[str], Awaitable[Mapping[int, tuple[int, int]]]]
"""Of a topic id: partition → where what was stored ended when the worker started, and when that was stored (ms)."""


class TopicRecorder:
    """Captures the topics it is given, once and then whenever something of them changes.

    Several workers may capture the same change: two equal objects do no harm.

    Args:
        repository: where captures are kept.
        admin: of the source.
        stored_at_start: for the log, where a topic is gone before this worker has seen it.
    """

    def __init__(self, repository: Repository, admin: Admin, stored_at_start: StoredAtStart) -> None:
        self._repository = repository
        self._admin = admin
        self._stored_at_start = stored_at_start
        self._seen: set[tuple[str, str]] = set()
        self._known: dict[tuple[str, str], TopicObject] = {}
        self._loaded = False
        self.failing: MirrorError | None = None
        self.configs: dict[str, dict[str, str]] = {}
        """Effective configs of the topics that were looked at last."""

    async def record(self, topics: list[TopicDescription], *, present: Mapping[str, TopicDescription]) -> None:
        """Look at these topics, and mark captures as deleted whose topic is gone, also if that happened while no worker ran.

        Failures are logged, and tried again next time.

        Args:
            topics: as the cluster describes them now.
            present: all topics of the cluster, by name.
        """
        try:
            await self._record(topics, present)
            self.failing = None
        except MirrorError as error:
            if self.failing is None:
                log.warning("topic configurations are not captured, tried again: %s", error)
            self.failing = error

    async def _record(self, topics: list[TopicDescription], present: Mapping[str, TopicDescription]) -> None:
        if not self._loaded:
            for known in await asyncio.to_thread(self._repository.list_topics):
                self._known[known.topic, known.topic_id] = known
            self._loaded = True
        if topics:
            configs = await self._admin.topic_configs([topic.name for topic in topics])
            for topic in topics:
                found = configs.get(topic.name)
                if found is not None:
                    self.configs[topic.name] = {name: value.value or "" for name, value in found.items()}
                    await self._capture(topic, non_default(found))
        self._seen |= {(topic.name, topic.topic_id) for topic in present.values()}
        current = {(topic.name, topic.topic_id) for topic in topics}
        names = {topic.name for topic in topics}
        for (name, topic_id), known in list(self._known.items()):
            replaced = name in names and (name, topic_id) not in current
            if (name not in present or replaced) and not known.deleted:
                unwatched = (name, topic_id) not in self._seen
                if unwatched:
                    await self._tell_unwatched(known)
                await self._put(
                    msgspec.structs.replace(known, deleted=True, unwatched=unwatched, captured_at_ms=_now_ms())
                )

    async def _tell_unwatched(self, topic: TopicObject) -> None:
        stored = await self._stored_at_start(topic.topic_id)
        ends = [
            f"{topic.topic}-{partition} up to offset {next_offset} at {format_moment(stored_ms)}"
            for partition, (next_offset, stored_ms) in sorted(stored.items())
        ]
        log.warning(
            "topic %s (%s) was deleted while no worker looked: what was written to it behind what is stored is lost with it, "
            "if anything was; stored: %s%s",
            topic.topic,
            topic.topic_id,
            ", ".join(ends[:_NAMED]) or "nothing",
            f" and {len(ends) - _NAMED} partitions more" if len(ends) > _NAMED else "",
        )

    async def _capture(self, topic: TopicDescription, configs: dict[str, str]) -> None:
        known = self._known.get((topic.name, topic.topic_id))
        seen = TopicObject(
            format_version=FORMAT_VERSION,
            topic=topic.name,
            topic_id=topic.topic_id,
            partition_count=len(topic.partitions),
            replication_factor=max((len(partition.replicas) for partition in topic.partitions), default=1),
            configs=configs,
            captured_at_ms=known.captured_at_ms if known else _now_ms(),
        )
        if known != seen:
            await self._put(msgspec.structs.replace(seen, captured_at_ms=_now_ms()))

    async def _put(self, topic: TopicObject) -> None:
        await asyncio.to_thread(self._repository.put_topic, topic)
        self._known[topic.topic, topic.topic_id] = topic


def _now_ms() -> int:
    return int(time.time() * 1000)
