"""How far a restore has come, as its topics on the target tell: their marks and where their logs end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import ALL_TIMES, OffsetMode
from mirror.core.restore_mark import RestoreMark
from mirror.core.restore_plan import TopicState
from mirror.core.restore_record import RecordedTopic
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import LogOffsets, describe_cluster, log_offsets
from mirror.service.restore.plan_file import PlanFile
from mirror.service.restore.strangers import count_strangers_records

__all__ = ["UNKNOWN_BEFORE", "Standing", "TopicStanding", "stand_of", "topics_of_plan"]

UNKNOWN_BEFORE = "not known"
_HELD_RECORDS = frozenset(
    {TopicState.APPENDED.value, TopicState.BEGINNING.value, TopicState.FILLED.value, TopicState.COMPLETE.value}
)


class Standing(StrEnum):
    """What there is of a topic now."""

    ABSENT = "not there"
    EMPTY = "empty"
    UNFINISHED = "unfinished"  # it bears the mark of this restore
    COMPLETE = "complete"  # no mark, and the logs reach as far as the plan says
    OTHER_RESTORE = "another restore's"  # it bears the mark of another one
    OTHER = "other records"  # no mark, and the logs do not reach as far


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicStanding:
    """One topic now.

    Attributes:
        topic: as recorded.
        standing: what there is.
        there_offsets: offsets of what is restored that the logs have, of ``wanted_offsets``.
        wanted_offsets: where all its logs will end, together.
        later_offsets: offsets beyond those, and others' records among those of what is unfinished: somebody else's.
        partition_count: of the topic on the target; 0 where it is not there.
        other: the options of the other restore.
    """

    topic: RecordedTopic
    standing: Standing
    there_offsets: int = 0
    wanted_offsets: int = 0
    later_offsets: int = 0
    partition_count: int = 0
    other: str = ""

    @property
    def is_in_the_way(self) -> bool:
        """Whether others wrote into what is unfinished, so that no run goes on with it."""
        held = self.topic.before in _HELD_RECORDS
        return self.standing is Standing.UNFINISHED and self.later_offsets > 0 and not held


def topics_of_plan(planned: PlanFile) -> list[RecordedTopic]:
    """What a record would say of the topics of a plan, where there is none."""
    selection = planned.selection
    exact = selection.offsets is OffsetMode.EXACT
    topics: list[RecordedTopic] = []
    for name, ranges in planned.topics.items():
        mark = RestoreMark.of(selection.point, selection.offsets, ranges.topic_id, name, selection.partitions)
        count = max((partition for partition, *_ in ranges.partitions), default=-1) + 1
        ends = [0] * count
        for partition, start_offset, next_offset in ranges.partitions:
            ends[partition] = next_offset if exact else next_offset - start_offset
        topics.append(
            RecordedTopic(
                topic=name,
                topic_id=ranges.topic_id,
                target_topic=ranges.target_topic,
                mark=mark.value,
                before=UNKNOWN_BEFORE,
                log_ends=ends,
                ends_are_bounds=not exact or selection.point.bounds != ALL_TIMES,
                replication_factor=0,
            )
        )
    return topics


async def stand_of(client: MirrorClient, admin: Admin, topics: Sequence[RecordedTopic]) -> list[TopicStanding]:
    """How each of these topics stands on the target now; changes nothing.

    Raises:
        AccessError, UnreachableError, ClusterError: the target cannot be asked.
    """
    there = (await describe_cluster(client)).topics
    names = [topic.target_topic for topic in topics if topic.target_topic in there]
    configs = await admin.topic_configs(names)
    partitions = [TopicPartition(name, number) for name in names for number in range(len(there[name].partitions))]
    logs = await log_offsets(client, partitions) if partitions else {}
    marks = {name: RestoreMark.read(non_default(configs[name])) for name in names}
    strangers = await _strangers(client, topics, marks, logs)
    found: list[TopicStanding] = []
    for topic in topics:
        name = topic.target_topic
        wanted = sum(topic.log_ends)
        if name not in there:
            found.append(TopicStanding(topic=topic, standing=Standing.ABSENT, wanted_offsets=wanted))
            continue
        count = len(there[name].partitions)
        ends = [logs[TopicPartition(name, number)].high_watermark for number in range(count)]
        mark = marks[name]
        others = [strangers.get(TopicPartition(name, number), 0) for number in range(count)]
        least = [*topic.log_ends, *[0] * count][:count]
        found.append(
            TopicStanding(
                topic=topic,
                standing=_standing(topic, ends, mark),
                there_offsets=sum(min(end - more, to) for end, more, to in zip(ends, others, least, strict=True)),
                wanted_offsets=wanted,
                later_offsets=sum(max(more, end - to) for end, more, to in zip(ends, others, least, strict=True)),
                partition_count=count,
                other="" if mark is None or mark.value == topic.mark else mark.option,
            )
        )
    return found


async def _strangers(
    client: MirrorClient,
    topics: Sequence[RecordedTopic],
    marks: Mapping[str, RestoreMark | None],
    logs: Mapping[TopicPartition, LogOffsets],
) -> dict[TopicPartition, int]:
    """Others' records in the partitions of what is unfinished and held nothing before: where it ends says nothing of them."""
    unfinished = {
        topic.target_topic
        for topic in topics
        if topic.before not in _HELD_RECORDS
        and (mark := marks.get(topic.target_topic)) is not None
        and mark.value == topic.mark
    }
    return await count_strangers_records(client, {name: log for name, log in logs.items() if name.topic in unfinished})


def _standing(topic: RecordedTopic, ends: Sequence[int], mark: RestoreMark | None) -> Standing:
    if mark is not None:
        return Standing.UNFINISHED if mark.value == topic.mark else Standing.OTHER_RESTORE
    wanted = [*topic.log_ends, *[0] * len(ends)][: len(ends)]
    reached = all(end >= least for end, least in zip(ends, wanted, strict=True))
    if len(ends) >= len(topic.log_ends) and (reached or (topic.ends_are_bounds and any(ends))):
        return Standing.COMPLETE
    return Standing.OTHER if any(ends) else Standing.EMPTY
