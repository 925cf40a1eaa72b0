"""Retention that a restore left lifted, on every configured cluster that answers soon: for `mirror status`.

Finds restored topics under the names that they have in the repository, or got by a restore that kept its record.
"""

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from mirror.config import Config
from mirror.core.segment.index import TopicObject
from mirror.errors import MirrorError
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.client import open_client
from mirror.kafka.cluster import describe_cluster
from mirror.service.restore.earlier import restored_topics
from mirror.service.restore.holds import held_settings
from mirror.service.wiring import connection_for
from mirror.storage.repository import Repository

__all__ = ["ClusterHolds", "HeldTopic", "HoldsObserver"]

_ANSWER_S = 3.0
_LOOK_EVERY_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTopic:
    """A topic on hold: its lifted settings, each with the source's value; None where the cluster's default applied.

    ``source`` is its name in the repository.
    """

    topic: str
    source: str
    settings: Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHolds:
    """The holds of one configured cluster; ``problem`` says why they are not known."""

    cluster: str
    topics: tuple[HeldTopic, ...] = ()
    problem: str = ""

    @property
    def release_command(self) -> str:
        """Ends them; empty where there are none."""
        return f"mirror holds release {self.options}" if self.topics else ""

    @property
    def options(self) -> str:
        """What chooses these topics; names that they got are found by the records of restores there too."""
        return f"--target {self.cluster}"


class HoldsObserver:
    """Looks at all configured clusters at once, at most once a minute.

    Args:
        config: its clusters.
        repository: opened; the source's settings are in it.
    """

    def __init__(self, config: Config, repository: Repository) -> None:
        self._config = config
        self._repository = repository
        self._found: list[ClusterHolds] = []
        self._looked_at_s: float | None = None

    async def look(self, topics: Collection[str]) -> list[ClusterHolds]:
        """Clusters with holds, and those that do not answer within 3 s; never raises.

        Args:
            topics: names in the repository that matter.
        """
        now_s = time.monotonic()
        if self._looked_at_s is None or now_s - self._looked_at_s >= _LOOK_EVERY_S:
            wanted = frozenset(topics)
            found = await asyncio.gather(*(self._cluster(alias, wanted) for alias in sorted(self._config.clusters)))
            self._found = [one for one in found if one.topics or one.problem]
            self._looked_at_s = now_s
        return self._found

    async def _cluster(self, alias: str, topics: frozenset[str]) -> ClusterHolds:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return ClusterHolds(cluster=alias, topics=await self._held(alias, topics))
        except MirrorError as error:
            problem = error.message
        except TimeoutError:
            problem = f"no answer within {_ANSWER_S:.0f} s"
        is_source = self._config.clusters[alias].role == "source"  # what it does not answer, status says already
        return ClusterHolds(cluster=alias, problem="" if is_source else problem)

    async def _held(self, alias: str, topics: frozenset[str]) -> tuple[HeldTopic, ...]:
        connection = replace(connection_for(self._config.cluster(alias)), request_timeout_ms=int(_ANSWER_S * 1000))
        async with await open_client(connection) as client:
            described = await describe_cluster(client)
            renamed = await asyncio.to_thread(self._renamed, described.cluster_id, topics)
            there = (topics | renamed.keys()) & described.topics.keys()
            configs = await Admin(connection, client).topic_configs(there) if there else {}
        set_there = {name: non_default(found) for name, found in configs.items()}
        lifted = {name: found for name, found in set_there.items() if held_settings(found, {})}
        sources = {name: renamed.get(name, name) for name in lifted}
        captured = await asyncio.to_thread(self._captured, set(sources.values())) if lifted else {}
        return tuple(
            HeldTopic(topic=name, source=sources[name], settings=held)
            for name, found in sorted(lifted.items())
            if sources[name] in captured and (held := held_settings(found, captured[sources[name]].configs))
        )

    def _renamed(self, cluster_id: str, topics: frozenset[str]) -> dict[str, str]:
        """Topic there → topic of the repository, where a restore said so; without records the names are the same."""
        try:
            found = restored_topics(self._repository, cluster_id)
        except MirrorError:
            return {}
        return {target: source for target, source in found.items() if source in topics and target != source}

    def _captured(self, names: Collection[str]) -> dict[str, TopicObject]:
        listed = self._repository.list_topics(topics=names, on_damage=lambda _key, _error: None)
        return {topic.topic: topic for topic in sorted(listed, key=lambda topic: topic.captured_at_ms)}
