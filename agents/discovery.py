"""Which topics are backed up, looked at again and again: new ones, added partitions, deleted ones."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from agents.app import MirrorApp
from mirror.core.topic_filter import TopicFilter
from mirror.errors import MirrorError
from mirror.kafka.cluster_view import ClusterView
from mirror.service.group_capture import GroupCapture

__all__ = ["Discovery"]

log = logging.getLogger(__name__)


class Discovery:
    """Asks the cluster on ticks of the wall clock, so that several workers change their subscription in one rebalance.

    Args:
        app: whose subscription is kept.
        view: refreshed here.
        rules: which topics are selected.
        groups: whether the group log is, beside them.
        interval_seconds: between ticks.
        on_topics: awaited after each look with the selected topics.
    """

    def __init__(
        self,
        app: MirrorApp,
        view: ClusterView,
        rules: TopicFilter,
        groups: GroupCapture,
        *,
        interval_seconds: float,
        on_topics: Callable[[list[str]], Awaitable[None]],
    ) -> None:
        self.excluded: dict[str, str] = {}
        self.failing_since: float = 0.0
        self._app = app
        self._view = view
        self._rules = rules
        self._groups = groups
        self._interval = interval_seconds
        self._on_topics = on_topics
        self._partitions: dict[str, int] = {}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(self._interval - time.time() % self._interval)
            try:
                await self._look()
                self.failing_since = 0.0
            except MirrorError as error:
                if not self.failing_since:
                    self.failing_since = time.time()
                    log.warning("topics cannot be listed, tried again: %s", error)

    async def _look(self) -> None:
        description = await self._view.refresh()
        if description is None:
            return
        await self._groups.look(description.topics, self._rules)
        selected = self.select(list(description.topics))
        topic = self._app.source_topic
        before = set(topic.topics)
        added, gone = sorted(set(selected) - before), sorted(before - set(selected))
        grown = [name for name in selected if self._grew(name)]
        if added:
            log.info("new topics: %s", ", ".join(added))
        if gone:
            log.warning("topics that were deleted (what is stored of them stays restorable): %s", ", ".join(gone))
        if grown:
            log.info("topics with added partitions: %s", ", ".join(grown))
        if (added or gone) and not self._app.rebalancing:
            await self._subscribe(selected)
        await self._on_topics(selected)

    def select(self, names: list[str]) -> list[str]:
        """The topics that the rules select, in order; the others are kept with their rule."""
        selected = []
        self.excluded = {}
        rules = self._rules.among(names)
        for name in sorted(names):
            decision = rules.decide(name)
            if decision.selected:
                selected.append(name)
            else:
                self.excluded[name] = decision.rule
        with_log = self._groups.with_log(selected, names)
        for name in with_log:
            self.excluded.pop(name, None)
        return with_log

    def _grew(self, name: str) -> bool:
        count = len(self._view.topics[name].partitions)
        before = self._partitions.get(name)
        self._partitions[name] = count
        return before is not None and count > before

    async def _subscribe(self, selected: list[str]) -> None:
        """Faust's own way of changing a subscription sleeps for 45 seconds first: this is that way without the sleep."""
        app = self._app
        app.source_topic.topics = list(selected)
        for channel in app.source_channels():
            channel.topics = list(selected)
        app.agents.update_topic_index()
        await app.consumer.subscribe(await app.topics._update_indices())
