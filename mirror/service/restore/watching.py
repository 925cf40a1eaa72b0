"""Looks, while topics are loaded, whether they still have the settings that loading needs.

Compaction or retention that somebody turns on in the middle deletes records of which the restore knows only that they were acknowledged.
"""

import asyncio
from collections.abc import Collection, Coroutine
from typing import Any

from mirror.core.restore_mark import MARK_NAMES
from mirror.core.restore_plan import TopicPlan
from mirror.errors import ClusterError, MirrorError
from mirror.kafka.admin import Admin

__all__ = ["SettingsWatch", "was_open_to_loss"]

_EVERY_S = 3.0
_HARMFUL = ("cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp.type")


def was_open_to_loss(topic: TopicPlan) -> bool:
    """Whether an unfinished topic has settings that may have deleted or changed what an earlier run loaded."""
    return any(topic.present_configs.get(name, "") != topic.load_configs[name] for name in _HARMFUL)


class SettingsWatch:
    """Watches topics that are being loaded.

    Args:
        admin: of the target.
        topics: with their settings for loading.
    """

    def __init__(self, admin: Admin, topics: Collection[TopicPlan]) -> None:
        self._admin = admin
        self._topics = {topic.target_topic: topic for topic in topics}

    async def over(self, loading: Coroutine[Any, Any, None]) -> None:
        """Await it while watching; look once more at its end.

        Raises:
            ClusterError: a setting was changed; names topic and setting. The loading is cancelled.
            MirrorError: as the loading, or as the last look.
        """
        work, watch = asyncio.create_task(loading), asyncio.create_task(self._watch())
        try:
            await asyncio.wait((work, watch), return_when=asyncio.FIRST_COMPLETED)
            if watch.done():
                watch.result()
            await work
        finally:
            for task in (work, watch):
                task.cancel()
            await asyncio.gather(work, watch, return_exceptions=True)
        await self.check()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_S)
            try:
                await self.check()
            except MirrorError as error:
                if not error.transient:
                    raise

    async def check(self) -> None:
        """Look once.

        Raises:
            ClusterError: a setting is not as it was put; names topic and setting.
            AccessError, UnreachableError: settings cannot be read.
        """
        if not self._topics:
            return
        found = await self._admin.topic_configs(list(self._topics))
        for name, topic in self._topics.items():
            there = {key: setting.value for key, setting in found[name].items()}
            for key in _HARMFUL:
                if there.get(key) != topic.load_configs[key]:
                    raise ClusterError(
                        f"topic {name}: somebody changed {key} to {there.get(key)} while it is loaded: records may be lost",
                        hint="find out who enforces it and stop that; the same command compares all that is there",
                    )
            if not any(there.get(key) == topic.mark.value for key in MARK_NAMES):
                raise ClusterError(
                    f"topic {name}: somebody changed {MARK_NAMES[0]} while it is loaded: it says that the topic is unfinished",
                    hint="another run that finished it did, or a stranger: the same command compares all that is there",
                )
