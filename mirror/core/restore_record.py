"""What a repository keeps of a restore: its plan, each run's start and end, groups as they stood before, ACLs and quotas that it put,
offsets, proofs.

Every object is put once and never replaced. `RestoreHistory` is all that there is of one restore, oldest first.
"""

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mirror.core.cluster_state import StateAcl
from mirror.core.positions import TopicPartition
from mirror.core.segment.index import Count, Offset, Timestamp

__all__ = [
    "MappedPartition",
    "OffsetMapping",
    "RecordedGroup",
    "RecordedPosition",
    "RecordedQuota",
    "RecordedTopic",
    "RecordedUnreadable",
    "RestoreEnd",
    "RestoreGroups",
    "RestoreHistory",
    "RestoreObject",
    "RestorePlanned",
    "RestoreProved",
    "RestoreStart",
    "RestoreState",
]

Verb = Literal["restore", "abort", "rollback"]
Outcome = Literal["done", "partial", "failed", "refused", "interrupted"]


class _Stored(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Common options of all stored values."""


class RecordedTopic(_Stored, frozen=True):
    """One topic of the plan, and what the target had of it before (`TopicState`).

    ``mark`` is the setting that the topic bears while it is loaded. ``log_ends`` has by partition the offset at which its log will end;
    where ``ends_are_bounds`` it may also end before.
    """

    topic: str
    topic_id: str
    target_topic: str
    mark: str
    before: str
    log_ends: list[Offset]
    replication_factor: Count
    before_configs: dict[str, str] = {}
    ends_are_bounds: bool = False


class RestorePlanned(_Stored, frozen=True):
    """What is to be restored: ``plan`` is as in a plan file, ``plan_digest`` that of what it says."""

    format_version: Count
    repository_id: str
    restore_id: str
    written_at_ms: Timestamp
    target: str
    target_cluster_id: str
    plan: dict[str, Any]
    plan_digest: str
    topics: list[RecordedTopic]
    required_features: list[str] = []


class RestoreStart(_Stored, frozen=True):
    """A run begins: who, where, why, by which command."""

    format_version: Count
    restore_id: str
    written_at_ms: Timestamp
    verb: Verb
    user: str
    host: str
    version: str
    command: list[str]
    plan_digest: str
    reason: str = ""
    required_features: list[str] = []


class RecordedUnreadable(_Stored, frozen=True):
    """Offsets that the run left out, since what held them cannot be read, or is gone (then ``object_key`` is empty)."""

    topic: str
    partition: Count
    start_offset: Offset
    next_offset: Offset
    object_key: str


class RestoreEnd(_Stored, frozen=True):
    """A run has ended; ``started_at_ms`` is `written_at_ms` of its start. A run without an end was killed, or is at work.

    ``unreadable`` is what it did without (`--allow-missing`).
    """

    format_version: Count
    restore_id: str
    written_at_ms: Timestamp
    started_at_ms: Timestamp
    outcome: Outcome
    exit_code: Count
    loaded_records: Count = 0
    loaded_bytes: Count = 0
    error: str = ""
    notes: list[str] = []
    unreadable: list[RecordedUnreadable] = []
    required_features: list[str] = []


class RecordedPosition(_Stored, frozen=True):
    """A position that is put, and the one that was there; null where there was none."""

    topic: str
    partition: Count
    offset: Offset
    metadata: str = ""
    before_offset: Offset | None = None
    before_metadata: str = ""


class RecordedGroup(_Stored, frozen=True):
    """The positions of one group of the target that are put and were other ones before."""

    group: str
    positions: list[RecordedPosition]


class RestoreGroups(_Stored, frozen=True):
    """Written before the positions of groups are put."""

    format_version: Count
    restore_id: str
    written_at_ms: Timestamp
    groups: list[RecordedGroup]
    required_features: list[str] = []


class RecordedQuota(_Stored, frozen=True):
    """A limit of one entity that is set, and the one that was there; null where there was none."""

    entity: dict[str, str | None]
    name: str
    value: float
    before: float | None = None


class RestoreState(_Stored, frozen=True):
    """Written before ACLs and client quotas are put: those ACLs that are added, those quotas that are set."""

    format_version: Count
    restore_id: str
    written_at_ms: Timestamp
    acls: list[StateAcl] = []
    quotas: list[RecordedQuota] = []
    required_features: list[str] = []


class MappedPartition(_Stored, frozen=True):
    """Offsets of one partition: each range is ``[source offset, records]``; target offsets count on from a base through all of them."""

    topic: str
    partition: Count
    target_topic: str
    ranges: list[tuple[Offset, Count]]
    base_offset: Offset = 0

    def target_offset(self, source_offset: int) -> int | None:
        """Where the record of that offset is on the target; None if it was not restored."""
        before = self.base_offset
        for start_offset, count in self.ranges:
            if start_offset <= source_offset < start_offset + count:
                return before + source_offset - start_offset
            before += count
        return None


class OffsetMapping(_Stored, frozen=True):
    """Which offset every record got, where offsets were translated."""

    format_version: Count
    restore_id: str
    written_at_ms: Timestamp
    partitions: list[MappedPartition]
    required_features: list[str] = []


class RestoreProved(_Stored, frozen=True):
    """The report of a comparison, as `mirror prove` writes it."""

    format_version: Count
    restore_id: str
    written_at_ms: Timestamp
    proved: bool
    report: dict[str, Any]
    required_features: list[str] = []


RestoreObject = (
    RestorePlanned | RestoreStart | RestoreEnd | RestoreGroups | RestoreState | OffsetMapping | RestoreProved
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreHistory:
    """All that is kept of one restore, each kind oldest first; ``mapping_keys`` are those of the objects with offsets."""

    restore_id: str
    plans: tuple[RestorePlanned, ...]
    starts: tuple[RestoreStart, ...]
    ends: tuple[RestoreEnd, ...]
    groups: tuple[RestoreGroups, ...]
    states: tuple[RestoreState, ...]
    proofs: tuple[RestoreProved, ...]
    mapping_keys: tuple[str, ...]

    @property
    def planned(self) -> RestorePlanned:
        """The plan that was run last."""
        return self.plans[-1]

    @property
    def state(self) -> str:
        """How the last run ended: ``done``, ``partial`` …, ``aborted``; ``no end`` if it was killed or is at work."""
        if not self.starts:
            return "planned"
        last = self.starts[-1]
        end = next((end for end in self.ends if end.started_at_ms == last.written_at_ms), None)
        if end is None:
            return "no end"
        if end.outcome == "done":
            return {"abort": "aborted", "rollback": "groups rolled back"}.get(last.verb, "done")
        return end.outcome if last.verb == "restore" else f"{last.verb} {end.outcome}"

    @property
    def reason(self) -> str:
        """Why, as the last run that gave one said."""
        return next((start.reason for start in reversed(self.starts) if start.reason), "")

    @property
    def undone_at_ms(self) -> int:
        """When a run last undid all of it; what was written before counts no more. 0: never."""
        undone = {start.written_at_ms for start in self.starts if start.verb == "abort"}
        done = (end.written_at_ms for end in self.ends if end.started_at_ms in undone and end.outcome == "done")
        return max(done, default=0)

    def topics_before(self) -> dict[str, RecordedTopic]:
        """Target topic → what the first run found there."""
        found: dict[str, RecordedTopic] = {}
        for planned in self.plans:
            if planned.written_at_ms > self.undone_at_ms:
                for topic in planned.topics:
                    found.setdefault(topic.target_topic, topic)
        return found

    def positions_before(self) -> dict[str, dict[TopicPartition, RecordedPosition]]:
        """Group → partition → the position put last, with what was there before it was put first (or since it was last put back)."""
        rolled = {start.written_at_ms for start in self.starts if start.verb in ("rollback", "abort")}
        back = (end.written_at_ms for end in self.ends if end.started_at_ms in rolled and end.outcome == "done")
        since_ms = max(back, default=0)
        found: dict[str, dict[TopicPartition, RecordedPosition]] = {}
        for written in self.groups:
            for group in written.groups if written.written_at_ms > since_ms else ():
                known = found.setdefault(group.group, {})
                for position in group.positions:
                    tp = TopicPartition(position.topic, position.partition)
                    first = known.get(tp, position)
                    known[tp] = msgspec.structs.replace(
                        position, before_offset=first.before_offset, before_metadata=first.before_metadata
                    )
        return found
