"""`mirror status`: facts from the repository and from the source cluster, judged together. Works without workers."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from mirror.config import Config
from mirror.core.coverage import PartitionCoverage
from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.objectives import Objectives, Prices
from mirror.core.polled_groups import is_polled
from mirror.core.positions import OffsetRange, PartitionId, TopicPartition
from mirror.core.status import PartitionFacts, PartitionStatus, Verdict, judge_partition, verdict
from mirror.errors import ConfigError, MirrorError
from mirror.kafka.admin import ConfigValue
from mirror.kafka.cluster import ClusterDescription
from mirror.service.groups import choose_group_log
from mirror.service.status_committed import gone_offsets
from mirror.service.status_deleted import UnwatchedTopic, find_unwatched
from mirror.service.status_groups import GroupCounter, GroupsStatus, groups_status, not_to_be_ignored
from mirror.service.status_holds import ClusterHolds, HoldsObserver
from mirror.service.status_repository import RecentPace, RepositoryObserver, RepositoryTotals
from mirror.service.status_source import SourceObserver, SourceView
from mirror.service.verify_coverage import fresh_holes
from mirror.service.wiring import connection_for, internal_topics
from mirror.storage.repository import Repository

__all__ = ["StatusObserver", "StatusReport"]


_FRESH_MS = 10_000  # for an upload, besides the flush interval
_SILENT_MS = 30_000


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    """One look.

    Attributes:
        partitions: of the live incarnations of selected topics.
        groups: of the capture of consumer groups; None where only some topics were asked for.
        holds: clusters with topics whose retention a restore left lifted, or of which that is not known.
        others: stored partitions of topics that were deleted, created anew, or are no longer selected.
        unwatched: of ``others`` those topics that were deleted while no worker looked.
        left_out: topic → rule, of topics that are not backed up.
        uncovered: those of ``left_out`` that are neither internal nor this mirror's own, as the verdict counts them.
        problems: what could not be asked, in sentences.
    """

    at_ms: int
    cluster: str
    repository: str
    verdict: Verdict
    partitions: list[PartitionStatus]
    others: list[PartitionStatus]
    left_out: dict[str, str]
    uncovered: list[str]
    totals: RepositoryTotals
    objectives: Objectives
    prices: Prices
    problems: list[str]
    groups: GroupsStatus | None = None
    holds: list[ClusterHolds] = field(default_factory=list)
    unwatched: list[UnwatchedTopic] = field(default_factory=list)


class StatusObserver:
    """Gathers what status shows, again and again.

    Args:
        config: objectives, prices, the source and the rules.
        repository: opened.
        topics: names or globs to look at; empty for all.
    """

    def __init__(self, config: Config, repository: Repository, topics: tuple[str, ...] = ()) -> None:
        self._config = config
        self._repository = repository
        self._topics = topics
        self._stored = RepositoryObserver(repository)
        self._counter = GroupCounter(repository)
        self._holds = HoldsObserver(config, repository)
        own = frozenset(internal_topics(config.worker.id).values())
        self._own_topics = own
        self._source: SourceObserver | None = None
        self._source_problem = ""
        try:
            rules = config.worker.topic_filter(own_topics=own)
            self._source = SourceObserver(
                connection_for(config.source_cluster),
                rules,
                config.worker.id,
                with_groups=config.worker.groups != "off" and self._is_wanted(GROUP_LOG_TOPIC),
            )
        except ConfigError as error:
            self._source_problem = error.message

    async def close(self) -> None:
        """Give back the connections."""
        if self._source is not None:
            await self._source.close()

    async def look(self) -> StatusReport:
        """Gather and judge.

        Raises:
            WrongRepositoryError: the repository belongs to another cluster than the configured source.
            AccessError, UnreachableError, StoreError: the repository cannot be read.
        """
        coverage = await asyncio.to_thread(self._stored.refresh, _now_ms())
        topics = {entry.topic for entry in coverage.values() if self._is_wanted(entry.topic)}
        looking_for_holds = asyncio.create_task(self._holds.look(topics - {GROUP_LOG_TOPIC}))
        view, unreachable = await self._look_at_source(coverage)
        if view is not None and any(_gone(entry, view).length for entry in coverage.values()):
            # Objects may have come, and been committed, since the repository was read.
            coverage = await asyncio.to_thread(self._stored.refresh, _now_ms())
        now_ms = _now_ms()
        flush_ms = self._config.worker.flush_interval_ms
        totals = self._stored.totals(now_ms, flush_ms)
        facts = _Facts(
            coverage,
            view,
            self._stored.recent(now_ms, flush_ms),
            self._stored.last_sealed(),
            totals.newest_object_ms,
        )
        objectives = Objectives(
            recovery_point_ms=self._config.objectives.recovery_point_ms,
            retention_headroom_ms=self._config.objectives.retention_headroom_ms,
            fresh_ms=flush_ms + _FRESH_MS,
            silent_ms=max(self._config.worker.idle_interval_ms, flush_ms) + flush_ms + _SILENT_MS,
        )
        live, others, group_log = facts.all()
        judged_groups = [judge_partition(f, objectives, now_ms) for f in group_log if self._is_wanted(f.topic)]
        judged = [judge_partition(f, objectives, now_ms) for f in live if self._is_wanted(f.topic)]
        judged_others = [judge_partition(f, objectives, now_ms) for f in others if self._is_wanted(f.topic)]
        left_out = {} if view is None else {t: d.rule for t, d in view.left_out.items() if self._is_wanted(t)}
        uncovered = [t for t in left_out if not t.startswith("__") and t not in self._own_topics]
        asked_by_name = any(pattern.startswith("__") for pattern in self._topics)
        judged += judged_groups if asked_by_name else []
        found = verdict(
            judged
            + [p for p in judged_others if p.state == "missing"]
            + ([] if asked_by_name else not_to_be_ignored(judged_groups)),
            now_ms=now_ms,
            uncovered_topic_count=len(uncovered),
            unreachable=unreachable,
            newest_object_ms=totals.newest_object_ms,
            unreadable_count=totals.damaged,
        )
        prices = self._config.prices
        return StatusReport(
            at_ms=now_ms,
            cluster=self._config.worker.source or self._repository.identity.cluster_id,
            repository=self._repository.address,
            verdict=found,
            partitions=judged,
            others=judged_others,
            left_out=left_out,
            uncovered=uncovered,
            totals=totals,
            objectives=objectives,
            prices=Prices(
                per_thousand_puts=prices.per_thousand_puts,
                per_gib_month=prices.per_gib_month,
                currency=prices.currency,
            ),
            problems=[] if view is None else list(dict.fromkeys(view.problems)),
            groups=await self._groups(coverage, view, judged_groups, totals.newest_object_ms, now_ms),
            holds=await looking_for_holds,
            unwatched=await asyncio.to_thread(find_unwatched, self._repository, judged_others),
        )

    async def _groups(
        self,
        coverage: Mapping[PartitionId, PartitionCoverage],
        view: SourceView | None,
        partitions: list[PartitionStatus],
        newest_object_ms: int | None,
        now_ms: int,
    ) -> GroupsStatus | None:
        if not self._is_wanted(GROUP_LOG_TOPIC):
            return None
        own = frozenset({self._config.worker.id}) if view is None else view.own_groups
        return groups_status(
            self._config.worker.groups,
            partitions,
            view,
            group_count=await asyncio.to_thread(self._counter.count, coverage, own),
            newest_object_ms=newest_object_ms,
            now_ms=now_ms,
            is_polled=any(is_polled(pid.topic_id) for pid in choose_group_log(coverage)),
        )

    async def _look_at_source(self, coverage: Mapping[PartitionId, PartitionCoverage]) -> tuple[SourceView | None, str]:
        if self._source is None:
            return None, self._source_problem

        def positions(description: ClusterDescription) -> dict[TopicPartition, int]:
            self._repository.require_cluster(description.cluster_id)
            return {
                TopicPartition(name, pid.partition): entry.position
                for pid, entry in coverage.items()
                for name in [entry.topic]
                if name in description.topics and description.topics[name].topic_id == pid.topic_id
            }

        try:
            return await self._source.look(positions), ""
        except MirrorError as error:
            if error.exit_code not in (1, 12, 13):
                raise
            await self._source.close()
            return None, error.message

    def _is_wanted(self, topic: str) -> bool:
        return not self._topics or any(fnmatchcase(topic, pattern) for pattern in self._topics)


@dataclass(frozen=True, slots=True)
class _Facts:
    """Joins what is stored with what the source says, partition by partition."""

    coverage: Mapping[PartitionId, PartitionCoverage]
    view: SourceView | None
    recent: Mapping[PartitionId, RecentPace]
    last_sealed: Mapping[PartitionId, int]
    newest_object_ms: int | None

    def all(self) -> tuple[list[PartitionFacts], list[PartitionFacts], list[PartitionFacts]]:
        """Live partitions of selected topics, the other ones that are stored, and those of the group log that are stored.

        Without a source all count as live.
        """
        group_log = [self._one(entry.topic, pid) for pid, entry in sorted(self._group_log().items())]
        if self.view is None:
            return [self._one(entry.topic, pid) for pid, entry in self._sorted()], [], group_log
        live = [
            (name, PartitionId(topic.topic_id, partition.partition))
            for name, topic in self.view.selected.items()
            for partition in topic.partitions
        ]
        known = {pid for _, pid in live}
        others = [self._one(entry.topic, pid) for pid, entry in self._sorted() if pid not in known]
        return [self._one(name, pid) for name, pid in live], others, group_log

    def _sorted(self) -> list[tuple[PartitionId, PartitionCoverage]]:
        of_users = ((pid, entry) for pid, entry in self.coverage.items() if entry.topic != GROUP_LOG_TOPIC)
        return sorted(of_users, key=lambda item: (item[1].topic, item[0]))

    def _group_log(self) -> dict[PartitionId, PartitionCoverage]:
        chosen = choose_group_log(self.coverage)
        there = self.view.group_log if self.view is not None else None
        return {
            pid: entry
            for pid, entry in chosen.items()
            if not is_polled(pid.topic_id) and (there is None or there.topic_id == pid.topic_id)
        }

    def _one(self, topic: str, pid: PartitionId) -> PartitionFacts:
        entry = self.coverage.get(pid)
        tp = TopicPartition(topic, pid.partition)
        view = self.view
        selected = view is not None and view.topic(topic, pid.topic_id) is not None
        log = view.logs.get(tp) if view is not None and selected else None
        head = view.heads.get(tp) if view is not None and selected else None
        configs = view.configs.get(topic, {}) if view is not None and selected else {}
        pace = self.recent.get(pid, RecentPace())
        return PartitionFacts(
            topic=topic,
            topic_id=pid.topic_id,
            partition=pid.partition,
            is_covered=entry is not None,
            start_offset=entry.start_offset if entry else 0,
            position=max(entry.position, view.quiet_to.get(tp, 0) if view is not None else 0) if entry else 0,
            stored_offsets=sum(piece.next_offset - piece.start_offset for piece in entry.runs) if entry else 0,
            gap_offsets=sum(gap.next_offset - gap.start_offset for gap in entry.gaps) if entry else 0,
            last_gap_ms=max((gap.detected_at_ms for gap in entry.gaps), default=None) if entry else None,
            missing_offsets=_settled_holes(entry) if entry else 0,
            gone_offsets=_gone(entry, view).length if entry and view is not None else 0,
            overlap_offsets=entry.overlap_offsets if entry else 0,
            stored_bytes=entry.stored_bytes if entry else 0,
            fetched_bytes=entry.fetched_bytes if entry else 0,
            last_sealed_ms=self.last_sealed.get(pid),
            newest_object_ms=self.newest_object_ms,
            log_start_offset=log.log_start_offset if log else None,
            high_watermark=log.high_watermark if log else None,
            last_stable_offset=log.last_stable_offset if log else None,
            oldest_unstored_ms=head.max_timestamp if head else None,
            is_append_time=head.has_append_time if head else False,
            recent_offsets=pace.offsets,
            recent_bytes=pace.fetched_bytes,
            recent_ms=pace.during_ms,
            retention_ms=_limit(configs, "retention.ms"),
            retention_bytes=_limit(configs, "retention.bytes"),
        )


def _gone(entry: PartitionCoverage, view: SourceView) -> OffsetRange:
    topic = view.selected.get(entry.topic)
    if topic is None or topic.topic_id != entry.partition_id.topic_id:
        return OffsetRange(entry.next_offset, entry.next_offset)
    tp = TopicPartition(entry.topic, entry.partition_id.partition)
    return gone_offsets(tp, entry, view.logs.get(tp), view.committed)


def _settled_holes(entry: PartitionCoverage) -> int:
    """Offsets of holes that no upload on its way can explain."""
    if not entry.missing:
        return 0
    fresh = set(fresh_holes(entry, _now_ms()))
    return sum(hole.length for hole in entry.missing if hole not in fresh)


def _limit(configs: Mapping[str, ConfigValue], name: str) -> int | None:
    """A limit of retention; None where there is none, or where the topic is only compacted."""
    policy = configs.get("cleanup.policy")
    if policy is not None and "delete" not in (policy.value or "delete"):
        return None
    found = configs.get(name)
    return int(found.value) if found is not None and found.value else None


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
