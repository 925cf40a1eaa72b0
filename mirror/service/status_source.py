"""What `mirror status` asks the source cluster: topics, where their logs begin and end, how old the first record is that is not stored."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.own_groups import OwnGroups
from mirror.core.positions import TopicPartition
from mirror.core.record_batch import BatchHeader
from mirror.core.topic_filter import Decision, TopicFilter
from mirror.errors import MirrorError, UnreachableError
from mirror.kafka.admin import Admin, ConfigValue
from mirror.kafka.client import MirrorClient, open_client
from mirror.kafka.cluster import (
    ClusterDescription,
    LogOffsets,
    TopicDescription,
    describe_cluster,
    first_batch_headers_at,
    log_offsets,
)
from mirror.kafka.connection import ClusterConnection
from mirror.service.group_capture import missing_group_log_rights, own_groups
from mirror.service.group_tail import quiet_until
from mirror.service.status_committed import committed_offsets

__all__ = ["SourceObserver", "SourceView"]

T = TypeVar("T")
_PATIENCE_S = 10.0
_CONFIGS_FOR_S = 60.0


@dataclass(slots=True, kw_only=True)
class SourceView:
    """The source at one moment. What could not be asked is left out of the mappings and said in ``problems``.

    Attributes:
        group_log: the topic of consumer groups' commits, where it is to be captured and is visible.
        missing_group_rights: on it; asked only where nothing of it is stored.
        quiet_to: per partition of it, how far what follows the stored part is only mirrors' own commits.
        own_groups: of mirrors.
    """

    cluster_id: str
    selected: dict[str, TopicDescription]
    left_out: dict[str, Decision]
    logs: dict[TopicPartition, LogOffsets] = field(default_factory=dict)
    heads: dict[TopicPartition, BatchHeader] = field(default_factory=dict)
    configs: dict[str, dict[str, ConfigValue]] = field(default_factory=dict)
    committed: dict[TopicPartition, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    group_log: TopicDescription | None = None
    missing_group_rights: frozenset[str] = frozenset()
    quiet_to: dict[TopicPartition, int] = field(default_factory=dict)
    own_groups: frozenset[str] = frozenset()

    def topic(self, name: str, topic_id: str) -> TopicDescription | None:
        """The topic of that name, if it is selected or the group log, and of that incarnation."""
        found = self.selected.get(name) or (self.group_log if name == GROUP_LOG_TOPIC else None)
        return found if found is not None and found.topic_id == topic_id else None


class SourceObserver:
    """Looks at a cluster again and again over the same connections.

    Args:
        connection: of the source.
        rules: which topics are selected.
        group: whose committed offsets tell what was stored once: the mirror's id.
        with_groups: whether consumer groups are to be captured.
    """

    def __init__(
        self, connection: ClusterConnection, rules: TopicFilter, group: str, *, with_groups: bool = False
    ) -> None:
        self._connection = connection
        self._group = group
        self._rules = rules
        self._with_groups = with_groups
        self._client: MirrorClient | None = None
        self._admin: Admin | None = None
        self._configs: dict[str, dict[str, ConfigValue]] = {}
        self._configs_until = 0.0

    async def close(self) -> None:
        """Give back the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def look(self, positions_of: Callable[[ClusterDescription], Mapping[TopicPartition, int]]) -> SourceView:
        """Ask everything.

        Args:
            positions_of: per partition, given the topics and their ids, where its contiguous coverage ends.

        Raises:
            UnreachableError, AccessError, ClusterError, ConfigError: the cluster as a whole cannot be asked.
        """
        try:
            if self._client is None:
                self._client = await asyncio.wait_for(open_client(self._connection), _PATIENCE_S)
                self._admin = Admin(self._connection, self._client)
            description = await asyncio.wait_for(describe_cluster(self._client), _PATIENCE_S)
        except TimeoutError:
            raise UnreachableError(f"{self._connection.where} does not answer within {_PATIENCE_S:.0f} s") from None
        rules = self._rules.among(description.topics)
        decisions = {name: rules.decide(name) for name in description.topics}
        view = SourceView(
            cluster_id=description.cluster_id,
            selected={name: t for name, t in sorted(description.topics.items()) if decisions[name].selected},
            left_out={name: decision for name, decision in sorted(decisions.items()) if not decision.selected},
        )
        client = self._client
        positions = dict(positions_of(description))
        partitions = [
            TopicPartition(name, partition.partition) for name, t in view.selected.items() for partition in t.partitions
        ]
        partitions += await self._group_log(view, description, positions)
        view.logs = await self._by_topic(partitions, lambda tps: log_offsets(client, tps), view.problems)
        await self._pass_over_own_groups(view, positions)
        behind = {
            tp: max(log.log_start_offset, positions.get(tp, log.log_start_offset))
            for tp, log in view.logs.items()
            if positions.get(tp, log.log_start_offset) < log.high_watermark
        }
        heads = await self._by_topic(
            behind, lambda tps: first_batch_headers_at(client, {tp: behind[tp] for tp in tps}), view.problems
        )
        view.heads = {tp: head for tp, head in heads.items() if head is not None}
        view.configs = await self._topic_configs(view)
        if positions:
            try:
                view.committed = await committed_offsets(self._connection, self._group, positions)
            except MirrorError as error:
                view.problems.append(f"whether what was stored once is still stored: {error.message}")
        return view

    async def _group_log(
        self, view: SourceView, description: ClusterDescription, positions: Mapping[TopicPartition, int]
    ) -> list[TopicPartition]:
        """Those of its partitions of which something is stored."""
        view.own_groups = own_groups(self._group, self._rules, description.topics)
        if not self._with_groups:
            return []
        view.group_log = description.topics.get(GROUP_LOG_TOPIC)
        view.left_out.pop(GROUP_LOG_TOPIC, None)
        stored = [tp for tp in positions if tp.topic == GROUP_LOG_TOPIC]
        if not stored:
            assert self._client is not None
            try:
                view.missing_group_rights = await asyncio.wait_for(missing_group_log_rights(self._client), _PATIENCE_S)
            except (MirrorError, TimeoutError):
                view.problems.append(f"the rights on topic {GROUP_LOG_TOPIC}: no answer")
        return stored

    async def _pass_over_own_groups(self, view: SourceView, positions: dict[TopicPartition, int]) -> None:
        """Positions of the group log move on to what must be stored: else every commit of a mirror would look like a lag."""
        assert self._client is not None
        own = OwnGroups(view.own_groups)
        for tp, log in view.logs.items():
            if tp.topic != GROUP_LOG_TOPIC or view.group_log is None or positions[tp] >= log.last_stable_offset:
                continue
            asked = quiet_until(self._client, tp, view.group_log.topic_id, positions[tp], log.last_stable_offset, own)
            try:
                positions[tp] = view.quiet_to[tp] = await asyncio.wait_for(asked, _PATIENCE_S)
            except MirrorError as error:
                view.problems.append(f"how far consumer groups are stored: {error.message}")
            except TimeoutError:
                view.problems.append(f"how far consumer groups are stored: {tp} cannot be read in {_PATIENCE_S:.0f} s")

    async def _topic_configs(self, view: SourceView) -> dict[str, dict[str, ConfigValue]]:
        """Kept for a minute; without the right to read them, retention is unknown, and that is said."""
        now = asyncio.get_running_loop().time()
        if now >= self._configs_until or not view.selected.keys() <= self._configs.keys():
            assert self._admin is not None
            try:
                self._configs = await self._admin.topic_configs(view.selected)
                self._configs_until = now + _CONFIGS_FOR_S
            except MirrorError as error:
                self._configs = {}
                view.problems.append(f"retention is unknown: {error.message}")
        return self._configs

    async def _by_topic(
        self,
        tps: Iterable[TopicPartition],
        ask: Callable[[list[TopicPartition]], Awaitable[Mapping[TopicPartition, T]]],
        problems: list[str],
    ) -> dict[TopicPartition, T]:
        """Of all at once; topic by topic where that fails, so that one bad partition never hides the others."""
        todo = list(tps)
        if not todo:
            return {}
        try:
            return dict(await asyncio.wait_for(ask(todo), _PATIENCE_S))
        except (MirrorError, TimeoutError):
            pass
        topics = sorted({tp.topic for tp in todo})

        async def one(topic: str) -> Mapping[TopicPartition, T]:
            try:
                return await asyncio.wait_for(ask([tp for tp in todo if tp.topic == topic]), _PATIENCE_S / 2)
            except MirrorError as error:
                problems.append(error.message)
            except TimeoutError:
                problems.append(f"topic {topic}: its leaders do not answer within {_PATIENCE_S / 2:.0f} s")
            return {}

        found: dict[TopicPartition, T] = {}
        for part in await asyncio.gather(*(one(topic) for topic in topics)):
            found.update(part)
        return found
