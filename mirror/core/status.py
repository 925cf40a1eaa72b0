"""What is safe, up to when, and what is not: facts of partitions in, a verdict out. Pure: ``now_ms`` is a parameter.

How a partition is judged (each with its reason in words; the worst one leads):

- *missing*: the coverage has a hole that nothing explains, or ends before what the workers have committed as stored: an object is
  gone. At risk.
- *lost*: the log begins behind the position: the broker has deleted what was not stored. At risk, until a worker has recorded the gap.
- *not covered*: it holds records, nothing of it is stored, and the oldest is older than the objective. Unprotected.
- *late*: the oldest record that is not durable is older than the objective. At risk; the cause is told (initial load, open transaction).
- *headroom*: the broker will delete something that is not stored before the headroom objective. At risk.
- *gap*: records were lost within the last day. At risk; an older gap is counted, and no longer a reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mirror.core.objectives import Objectives, bytes_headroom_ms, recovery_point_age_ms, time_headroom_ms, time_left_ms

__all__ = [
    "PartitionFacts",
    "PartitionState",
    "PartitionStatus",
    "Verdict",
    "judge_partition",
    "verdict",
    "worst_first",
]

PartitionState = Literal["safe", "unknown", "gap", "headroom", "late", "not_covered", "lost", "missing"]
SEVERITY: tuple[PartitionState, ...] = ("safe", "unknown", "gap", "headroom", "late", "not_covered", "lost", "missing")
Word = Literal["SAFE", "AT RISK", "NOT PROTECTED"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionFacts:
    """What is known of a partition. The log's offsets are None where the cluster could not be asked.

    Attributes:
        is_covered: something of it is stored, or its start is recorded.
        start_offset, position: the coverage, from its start to the end of contiguous coverage.
        stored_offsets: how many offsets of it are stored (gaps and holes do not count).
        oldest_unstored_ms: time of the first batch at ``position`` (approximate where producers set the times).
        last_sealed_ms: when something of it was stored last.
        newest_object_ms: when anything was stored last, by any worker.
        recent_offsets, recent_bytes, recent_ms: offsets and bytes as fetched that were stored during the last ``recent_ms``.
        bytes_per_offset: average of what is stored; None where nothing is.
        retention_ms, retention_bytes: of the topic; None or −1 where there is no limit.
        last_gap_ms: when the newest gap was detected.
        gone_offsets: behind all that is stored, what the workers have committed as stored.
    """

    topic: str
    topic_id: str
    partition: int
    is_covered: bool = True
    start_offset: int = 0
    position: int = 0
    stored_offsets: int = 0
    gap_offsets: int = 0
    last_gap_ms: int | None = None
    missing_offsets: int = 0
    gone_offsets: int = 0
    overlap_offsets: int = 0
    stored_bytes: int = 0
    fetched_bytes: int = 0
    last_sealed_ms: int | None = None
    newest_object_ms: int | None = None
    log_start_offset: int | None = None
    high_watermark: int | None = None
    last_stable_offset: int | None = None
    oldest_unstored_ms: int | None = None
    is_append_time: bool = False
    recent_offsets: int = 0
    recent_bytes: int = 0
    recent_ms: int = 0
    retention_ms: int | None = None
    retention_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStatus:
    """The judgement of one partition.

    Attributes:
        lag_offsets: from the position to the last stable offset; None where the cluster could not be asked.
        recovery_point_age_ms: 0 where everything is stored.
        is_approximate: the age stands on times that producers set.
        retention_headroom_ms: None where nothing is limited.
        time_left_ms: of the initial load, or of catching up; None where it is not loading or has no pace.
        blocked_since_ms: time of the first record of the open transaction that holds the last stable offset.
    """

    facts: PartitionFacts
    state: PartitionState
    reason: str
    lag_offsets: int | None
    recovery_point_age_ms: int | None
    is_approximate: bool
    retention_headroom_ms: int | None
    is_loading: bool
    time_left_ms: int | None
    blocked_since_ms: int | None

    @property
    def severity(self) -> int:
        """0 safe; higher is worse."""
        return SEVERITY.index(self.state)


def judge_partition(facts: PartitionFacts, objectives: Objectives, now_ms: int) -> PartitionStatus:
    """Judge one partition."""
    if facts.high_watermark is None or facts.last_stable_offset is None:
        return _unseen(facts, objectives, now_ms)
    position = max(facts.position, facts.log_start_offset or 0) if facts.is_covered else (facts.log_start_offset or 0)
    age_ms = recovery_point_age_ms(
        now_ms,
        position=position,
        high_watermark=facts.high_watermark,
        oldest_unstored_ms=facts.oldest_unstored_ms,
        is_append_time=facts.is_append_time,
        last_sealed_ms=facts.last_sealed_ms,
        newest_object_ms=facts.newest_object_ms,
        objectives=objectives,
    )
    unstored = max(0, facts.high_watermark - position)
    lag = max(0, facts.last_stable_offset - position)
    headroom_ms = _headroom(facts, now_ms, unstored)
    blocked = lag == 0 and unstored > 0
    stored_lately = facts.last_sealed_ms is None or now_ms - facts.last_sealed_ms <= objectives.silent_ms
    loading = stored_lately and lag > 0 and facts.recent_offsets > 0 and (age_ms or 0) > objectives.recovery_point_ms
    left_ms = time_left_ms(remaining=lag, done=facts.recent_offsets, during_ms=facts.recent_ms) if loading else None
    state, reason = _state(facts, objectives, now_ms, age_ms, headroom_ms, blocked=blocked, loading=loading, lag=lag)
    return PartitionStatus(
        facts=facts,
        state=state,
        reason=reason,
        lag_offsets=lag,
        recovery_point_age_ms=age_ms,
        is_approximate=bool(age_ms) and not facts.is_append_time,
        retention_headroom_ms=headroom_ms,
        is_loading=loading,
        time_left_ms=left_ms,
        blocked_since_ms=facts.oldest_unstored_ms if blocked else None,
    )


def _unseen(facts: PartitionFacts, objectives: Objectives, now_ms: int) -> PartitionStatus:
    state: PartitionState = "unknown"
    reason = "the source could not be asked about it"
    if facts.missing_offsets:
        state, reason = "missing", f"{facts.missing_offsets} offsets are missing and nothing says why"
    elif _has_recent_gap(facts, objectives, now_ms):
        state, reason = "gap", f"{facts.gap_offsets} offsets were lost"
    return PartitionStatus(
        facts=facts,
        state=state,
        reason=reason,
        lag_offsets=None,
        recovery_point_age_ms=None,
        is_approximate=False,
        retention_headroom_ms=None,
        is_loading=False,
        time_left_ms=None,
        blocked_since_ms=None,
    )


def _headroom(facts: PartitionFacts, now_ms: int, unstored_offsets: int) -> int | None:
    if not unstored_offsets:
        return None
    by_time = time_headroom_ms(now_ms, oldest_unstored_ms=facts.oldest_unstored_ms, retention_ms=facts.retention_ms)
    per_offset = facts.fetched_bytes / facts.stored_offsets if facts.stored_offsets else None
    by_bytes = None
    if per_offset is not None:
        pace = facts.recent_bytes / facts.recent_ms * 1000 if facts.recent_ms else None
        by_bytes = bytes_headroom_ms(
            unstored_bytes=int(unstored_offsets * per_offset),
            retention_bytes=facts.retention_bytes,
            bytes_per_second=pace,
        )
    known = [value for value in (by_time, by_bytes) if value is not None]
    return min(known) if known else None


def _has_recent_gap(facts: PartitionFacts, objectives: Objectives, now_ms: int) -> bool:
    return facts.last_gap_ms is not None and now_ms - facts.last_gap_ms <= objectives.recent_gap_ms


def _state(
    facts: PartitionFacts,
    objectives: Objectives,
    now_ms: int,
    age_ms: int | None,
    headroom_ms: int | None,
    *,
    blocked: bool,
    loading: bool,
    lag: int,
) -> tuple[PartitionState, str]:
    if facts.missing_offsets:
        return "missing", f"{facts.missing_offsets} offsets are missing and nothing says why"
    if facts.gone_offsets:
        return (
            "missing",
            f"its newest {facts.gone_offsets} offsets were stored once, and the object that held them is gone",
        )
    outrun = (facts.log_start_offset or 0) - facts.position
    if facts.is_covered and outrun > 0:
        return "lost", f"the broker has deleted {outrun} offsets that were not stored"
    is_late = age_ms is None or age_ms > objectives.recovery_point_ms
    if not facts.is_covered and is_late:
        return "not_covered", "it holds records and nothing of it is stored"
    if age_ms is None:
        return "unknown", "the time of its oldest record that is not stored could not be read"
    if is_late and blocked:
        return "late", "an open transaction holds back what was written since"
    if is_late and loading:
        return "late", f"still loading: {lag} offsets to go"
    if is_late:
        return "late", f"{lag} offsets behind, and nothing was stored lately"
    if headroom_ms is not None and headroom_ms < objectives.retention_headroom_ms:
        return "headroom", "the broker soon deletes records that are not stored"
    if _has_recent_gap(facts, objectives, now_ms):
        return "gap", f"{facts.gap_offsets} offsets were lost"
    return "safe", ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The first line of `mirror status`, as values.

    Attributes:
        restorable_to_ms: every selected partition can be restored up to here; None where nothing is stored or it is not known.
        is_estimate: ``restorable_to_ms`` is the time of the newest object, since the cluster could not be asked.
        worst: the partition that leads, if one is not safe.
        by_state: how many selected partitions are in each state.
        next_step: what a person can do now; empty where nothing is to be done.
    """

    word: Word
    reason: str
    next_step: str
    restorable_to_ms: int | None
    is_estimate: bool
    partition_count: int
    gap_count: int
    uncovered_topic_count: int
    worst: PartitionStatus | None
    by_state: dict[PartitionState, int]

    @property
    def exit_code(self) -> int:
        """0, or 6 where an objective is missed or something is unprotected."""
        return 0 if self.word == "SAFE" else 6


def verdict(
    partitions: Sequence[PartitionStatus],
    *,
    now_ms: int,
    uncovered_topic_count: int,
    unreachable: str = "",
    newest_object_ms: int | None = None,
    unreadable_count: int = 0,
) -> Verdict:
    """Judge all selected partitions of the cluster as a whole.

    Args:
        partitions: of the topics that the rules select (and, where the cluster could not be asked, of all that are stored).
        now_ms: the present.
        uncovered_topic_count: topics that the rules leave out.
        unreachable: why the cluster could not be asked, else empty.
        newest_object_ms: when the newest object was sealed.
        unreadable_count: objects in the repository that cannot be read: what they hold, or whether they hold anything, is not known.
    """
    covered = [p for p in partitions if p.facts.is_covered]
    ordered = worst_first(partitions)
    worst = ordered[0] if ordered and ordered[0].severity else None
    by_state: dict[PartitionState, int] = {}
    for partition in partitions:
        by_state[partition.state] = by_state.get(partition.state, 0) + 1
    word, reason, next_step = _words(partitions, covered, worst, unreachable)
    if unreadable_count and word != "NOT PROTECTED":
        damage = f"{unreadable_count} {'object' if unreadable_count == 1 else 'objects'} of the repository cannot be read or are gone"
        word, reason = "AT RISK", f"{damage}; {reason}" if reason else damage
        next_step = (
            "`mirror verify` names them and the damaged offsets; a restore refuses until it is told --allow-missing"
        )
    # A partition of which nothing is stored, though it holds records, is restorable to before its first record at best.
    ages = [p.recovery_point_age_ms for p in partitions if p.facts.is_covered or p.severity]
    if unreachable:
        restorable_to = newest_object_ms if covered else None
    else:
        restorable_to = now_ms - max(age for age in ages if age is not None) if ages and None not in ages else None
    return Verdict(
        word=word,
        reason=reason,
        next_step=next_step,
        restorable_to_ms=restorable_to,
        is_estimate=bool(unreachable),
        partition_count=len(partitions),
        gap_count=sum(1 for p in partitions if p.facts.gap_offsets or p.state == "lost"),
        uncovered_topic_count=uncovered_topic_count,
        worst=worst,
        by_state=by_state,
    )


def _words(
    partitions: Sequence[PartitionStatus],
    covered: Sequence[PartitionStatus],
    worst: PartitionStatus | None,
    unreachable: str,
) -> tuple[Word, str, str]:
    if unreachable and not covered:
        return "NOT PROTECTED", f"nothing is stored, and the source is not reachable: {unreachable}", "`mirror check`"
    if unreachable:
        step = "`mirror check`; what is stored can be restored now: `mirror restore`"
        if worst is not None and worst.state == "missing":
            step = f"{_NEXT_STEPS['missing']}; `mirror check`"
        return "AT RISK", f"the source cluster is not reachable: {unreachable}", step
    if not partitions:
        return "NOT PROTECTED", "the rules select no topic of the cluster", "see [worker] topics and exclude"
    if not covered:
        return "NOT PROTECTED", "nothing is stored yet", _NEXT_STEPS["not_covered"]
    if worst is None:
        return "SAFE", "", ""
    name = f"{worst.facts.topic}-{worst.facts.partition}"
    same = sum(1 for p in partitions if p.state == worst.state)
    others = f" (and {same - 1} more)" if same > 1 else ""
    return "AT RISK", f"{name}: {worst.reason}{others}", _next_step(worst)


def _next_step(worst: PartitionStatus) -> str:
    topic, partition = worst.facts.topic, worst.facts.partition
    if worst.state == "late" and worst.blocked_since_ms is not None:
        return "find the transaction: `kafka-transactions.sh --bootstrap-server … find-hanging`, or stop its producer"
    if worst.state == "late" and worst.is_loading:
        return "wait until it is loaded; more workers with the same id share the work"
    return _NEXT_STEPS[worst.state].format(topic=topic, partition=partition)


_NEXT_STEPS: dict[PartitionState, str] = {
    "missing": "`mirror verify` names the damaged offsets; after a restart the workers fetch again what the source still has",
    "lost": "start `mirror worker`: it records the gap and goes on; raise retention.ms of {topic} until it has caught up",
    "not_covered": "start `mirror worker`; `mirror check` says what it lacks",
    "late": "is `mirror worker` running? See its log and `mirror check`",
    "headroom": "raise retention.ms of {topic} until the backup has caught up",
    "gap": "`mirror inspect {topic}:{partition}` shows what was lost",
    "unknown": "`mirror check`",
    "safe": "",
}


def worst_first(partitions: Sequence[PartitionStatus]) -> list[PartitionStatus]:
    """By severity, then by age of the recovery point."""
    return sorted(
        partitions,
        key=lambda p: (-p.severity, -(p.recovery_point_age_ms or 0), p.facts.topic, p.facts.partition),
    )
