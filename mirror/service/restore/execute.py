"""Executes a restore plan: one kind of instruction after another, those of a kind for several topics at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from typing import Protocol, assert_never

from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_plan import (
    CheckLogEnd,
    CreateTopic,
    Instruction,
    LoadPartitions,
    PutConfigs,
    RestorePlan,
    TopicPlan,
    TopicState,
    instructions_of,
)
from mirror.errors import (
    AccessError,
    ClusterError,
    DamageError,
    MirrorError,
    PartialError,
    RefusedError,
    UnreadableRunsError,
)
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.batch_producer import BatchProducer
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import log_offsets
from mirror.kafka.hole_filler import HoleFiller
from mirror.kafka.wire.init_producer_id import ProducerIdentity
from mirror.service.restore.groups import GroupResult
from mirror.service.restore.keeping import OffsetKeeper
from mirror.service.restore.loading import Loader, PartitionJob
from mirror.service.restore.preparing import prepare_topic
from mirror.service.restore.rate import RateLimit
from mirror.service.restore.replacing import require_as_surveyed
from mirror.service.restore.rest import PartitionRest, rest_of
from mirror.service.restore.state import StateResult
from mirror.service.restore.together import each_of
from mirror.service.restore.unreadable import allowing_hint
from mirror.service.restore.watching import SettingsWatch
from mirror.storage.repository import Repository

__all__ = ["RestoreObserver", "RestoreResult", "RestoredTopic", "execute"]

_AT_ONCE = 8
_CONNECTIONS = 1  # more batches share a request: less work on both sides


class RestoreObserver(Protocol):
    """Told how it goes; from the event loop, must not block."""

    def advanced(self, topic: str, records: int, size_bytes: int) -> None:
        """The target has so much more of that target topic."""

    def finished(self, topic: str) -> None:
        """That target topic is complete and has its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredTopic:
    """One topic after the restore; ``loaded_records`` of its ``records`` were loaded by this run.

    ``problems`` are settings that the target refused.
    """

    topic: str
    topic_id: str
    target_topic: str
    records: int
    loaded_records: int
    held: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreResult:
    """What a restore did; ``loaded_bytes`` are of batches as produced."""

    topics: tuple[RestoredTopic, ...]
    loaded_records: int
    loaded_bytes: int
    groups: tuple[GroupResult, ...] = ()
    state: StateResult | None = None


@dataclass(slots=True)
class _Progress:
    jobs: dict[TopicPartition, PartitionJob] = field(default_factory=dict)
    loaded_bytes: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    configured: set[str] = field(default_factory=set)


class _Executor:
    def __init__(
        self,
        repository: Repository,
        client: MirrorClient,
        admin: Admin,
        rests: Mapping[TopicPartition, PartitionRest],
        observer: RestoreObserver,
        rate: RateLimit | None,
        filler: HoleFiller | None,
        writers: Mapping[str, ProducerIdentity],
    ) -> None:
        self._repository = repository
        self._client = client
        self._admin = admin
        self._rests = rests
        self._observer = observer
        self._rate = rate
        self._filler = filler
        self._writers = writers
        self.progress = _Progress()

    async def run(self, plan: RestorePlan) -> None:
        await self._require_still_empty(plan)
        await require_as_surveyed(self._client, plan)
        for _, alike in groupby(instructions_of(plan), type):
            await each_of(alike, partial(self._do, plan), at_once=_AT_ONCE)

    async def _do(self, plan: RestorePlan, instruction: Instruction) -> None:
        match instruction:
            case CreateTopic(topic):
                await self._create(topic)
            case LoadPartitions(topics):
                await self._load(plan, topics)
            case CheckLogEnd(topic):
                await self.check(topic)
            case PutConfigs(topic):
                await self.put_configs(topic)
            case _:
                assert_never(instruction)

    # settings for loading

    async def _require_still_empty(self, plan: RestorePlan) -> None:
        """A person may have thought for long about the plan."""
        names = [
            TopicPartition(topic.target_topic, partition.partition)
            for topic in plan.topics
            if topic.state is TopicState.EMPTY
            for partition in topic.partitions
        ]
        logs = await log_offsets(self._client, names) if names else {}
        for name in names:
            if logs[name].high_watermark:
                raise RefusedError(
                    f"topic {name.topic} on {plan.target_alias} was empty, and got records since the plan was made",
                    hint="restore under another name (--rename) or delete that topic first",
                )

    async def _create(self, topic: TopicPlan) -> None:
        await prepare_topic(self._client, self._admin, topic)
        self.progress.problems[topic.target_topic] = []

    # records

    async def _load(self, plan: RestorePlan, topics: tuple[TopicPlan, ...]) -> None:
        producers: dict[ProducerIdentity, BatchProducer] = {}
        exact = plan.offsets is OffsetMode.EXACT
        try:
            for topic in topics:
                for partition in topic.partitions:
                    target = TopicPartition(topic.target_topic, partition.partition)
                    rest = self._rests.get(target) or rest_of(partition)
                    if partition.coverage is None:
                        continue
                    identity = self._writers[topic.target_topic]
                    if identity not in producers:
                        producers[identity] = await self._producer(identity)
                    producer = producers[identity]
                    if rest.next_sequence:
                        producer.set_next_sequence(*target, rest.next_sequence)
                    self.progress.jobs[target] = PartitionJob(
                        target=target,
                        coverage=replace(partition.coverage, runs=rest.pieces),
                        skip_records=rest.skip_records,
                        done_records=rest.done_records,
                        position=rest.position,
                        log_start_offset=rest.log_start_offset,
                        producer=producer,
                        times=plan.point.bounds,
                        keep_offsets=exact,
                        log_end_offset=partition.log_end_offset,
                        lead_offset=partition.lead_offset,
                        is_blank=rest.is_blank,
                    )
            loader = Loader(
                self._repository,
                list(self.progress.jobs.values()),
                on_advance=self._advanced,
                rate=self._rate,
                keeper=OffsetKeeper(self._client, self._filler) if self._filler is not None else None,
            )
            await SettingsWatch(self._admin, topics).over(loader.run())
        finally:
            for producer in producers.values():
                await producer.close()

    async def _producer(self, identity: ProducerIdentity) -> BatchProducer:
        producer = BatchProducer(self._client, identity=identity, connections_per_broker=_CONNECTIONS)
        await producer.start()
        return producer

    def _advanced(self, target: TopicPartition, records: int, size_bytes: int) -> None:
        self.progress.loaded_bytes += size_bytes
        self._observer.advanced(target.topic, records, size_bytes)

    # afterwards

    def is_loaded(self, topic: TopicPlan) -> bool:
        """Whether all of it is on the target."""
        names = [TopicPartition(topic.target_topic, p.partition) for p in topic.partitions if p.coverage is not None]
        jobs = self.progress.jobs
        return all(name in jobs and jobs[name].is_done for name in names)

    async def check(self, topic: TopicPlan) -> None:
        """Whether its logs begin and end where they were brought.

        Raises:
            DamageError: somebody else wrote to it or deleted of it.
        """
        names = [TopicPartition(topic.target_topic, partition.partition) for partition in topic.partitions]
        logs = await log_offsets(self._client, names)
        for name in names:
            job = self.progress.jobs.get(name)
            if job is None and topic.state is TopicState.APPENDED:
                continue
            begin, end = (job.log_start_offset, job.position) if job else (0, 0)
            if (logs[name].log_start_offset, logs[name].high_watermark) != (begin, end):
                raise DamageError(
                    f"{name} on the target holds offsets [{logs[name].log_start_offset}, {logs[name].high_watermark}), "
                    f"[{begin}, {end}) were loaded: somebody else changed the topic",
                    hint="stop that client, delete the topic and restore again",
                )

    async def require_settings(self, topic: TopicPlan) -> None:
        """Raises ClusterError if its settings are not those for loading."""
        await SettingsWatch(self._admin, [topic]).check()

    async def put_configs(self, topic: TopicPlan) -> None:
        """Final settings; what the target refuses is noted, the rest is put."""
        name = topic.target_topic
        present = non_default((await self._admin.topic_configs([name]))[name])
        unwanted = sorted(set(present) - set(topic.final_configs))
        try:
            await self._admin.alter_topic_configs(name, set_values=topic.final_configs, delete=unwanted)
        except AccessError:
            raise
        except ClusterError as refused:
            await self._one_by_one(topic, unwanted, refused)
        self.progress.configured.add(name)
        self._observer.finished(name)

    async def _one_by_one(self, topic: TopicPlan, unwanted: list[str], refused: ClusterError) -> None:
        if refused.transient:
            raise refused
        name = topic.target_topic
        for key, value in topic.final_configs.items():
            try:
                await self._admin.alter_topic_configs(name, set_values={key: value})
            except ClusterError as error:
                self.progress.problems.setdefault(name, []).append(f"{key}={value}: {error.message}")
        await self._admin.alter_topic_configs(name, delete=unwanted)  # the mark goes last


async def execute(
    plan: RestorePlan,
    rests: Mapping[TopicPartition, PartitionRest],
    *,
    repository: Repository,
    client: MirrorClient,
    admin: Admin,
    observer: RestoreObserver,
    rate: RateLimit | None = None,
    filler: HoleFiller | None = None,
    writers: Mapping[str, ProducerIdentity],
) -> RestoreResult:
    """Run a plan to its end.

    Args:
        plan: after the comparison with the target.
        rests: what is left of partitions that have something already.
        repository: where from.
        client: of the target.
        admin: of the target.
        observer: told of the progress.
        rate: limit, if any.
        filler: for holes, started; needed for exact offsets.
        writers: of each target topic the producer id that loads it.

    Raises:
        PartialError: it stopped in the middle; the same command resumes it. Complete topics have got their settings.
        DamageError: the repository or the target is not what it should be.
        RefusedError: a topic is not empty any more; nothing was changed.
        AccessError, UnreachableError, ClusterError: before anything was loaded.
    """
    executor = _Executor(repository, client, admin, rests, observer, rate, filler, writers)
    try:
        await executor.run(plan)
    except MirrorError as error:
        await _finish_complete_topics(executor, plan)
        if not executor.progress.jobs:
            raise
        raise _unfinished(executor, plan, error) from error
    result = _result(executor, plan)
    refused = [f"{topic.target_topic}: {problem}" for topic in result.topics for problem in topic.problems]
    if refused:
        raise PartialError(
            "all records are restored, but the target refused settings:\n  " + "\n  ".join(refused),
            hint="set them by hand, or leave them",
        )
    return result


async def _finish_complete_topics(executor: _Executor, plan: RestorePlan) -> None:
    for topic in plan.topics:
        done = topic.target_topic in executor.progress.configured or topic.state is TopicState.COMPLETE
        if executor.progress.jobs and not done and executor.is_loaded(topic):
            try:
                await executor.require_settings(topic)
                await executor.check(topic)
                await executor.put_configs(topic)
            except MirrorError as again:  # the topic stays marked as unfinished
                if again.transient:
                    return  # the same trouble again: it is told once


def _unfinished(executor: _Executor, plan: RestorePlan, error: MirrorError) -> MirrorError:
    """What happened and how far it came; of its own kind where somebody must do something before it can go on."""
    jobs = executor.progress.jobs.values()
    there = sum(job.done_records + job.acknowledged_records for job in jobs)
    if "OUT_OF_ORDER_SEQUENCE_NUMBER" in error.message:
        return PartialError(
            f"the restore is not finished, about {there:,} of {plan.records:,} records are there: {error.message}",
            hint="another run of the same restore is probably at work: let it finish, then the same command looks at what is there",
        )
    if isinstance(error, UnreadableRunsError):
        return DamageError(
            f"the restore is not finished, about {there:,} of {plan.records:,} records are there: {error.message}",
            hint=allowing_hint(error),
        )
    kind = next((kind for kind in (DamageError, AccessError) if isinstance(error, kind)), PartialError)
    return kind(
        f"the restore is not finished, about {there:,} of {plan.records:,} records are there: {error.message}",
        hint=f"{error.hint}; then the same command resumes it" if error.hint else "the same command resumes it",
    )


def _result(executor: _Executor, plan: RestorePlan) -> RestoreResult:
    progress = executor.progress
    topics: list[RestoredTopic] = []
    for topic in plan.topics:
        jobs = [
            progress.jobs[name]
            for name in (TopicPartition(topic.target_topic, p.partition) for p in topic.partitions)
            if name in progress.jobs
        ]
        complete = topic.state is TopicState.COMPLETE
        topics.append(
            RestoredTopic(
                topic=topic.topic,
                topic_id=topic.topic_id,
                target_topic=topic.target_topic,
                records=topic.records if complete else sum(job.done_records + job.sent_records for job in jobs),
                loaded_records=sum(job.sent_records for job in jobs),
                held=tuple(hold.release_command(plan.target_bootstrap, topic.target_topic) for hold in topic.held),
                problems=tuple(progress.problems.get(topic.target_topic, ())),
            )
        )
    return RestoreResult(
        topics=tuple(topics),
        loaded_records=sum(topic.loaded_records for topic in topics),
        loaded_bytes=progress.loaded_bytes,
    )
