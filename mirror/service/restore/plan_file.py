"""A plan as a file: what was asked for, with every moment and offset frozen, and what the plan then found.

Running it makes the plan anew from the repository and the target, and refuses where that differs in a way that matters: another cluster or
repository, other topics or incarnations, other offsets. What a run of the same plan has done already is no difference.
"""

import base64
import hashlib
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from mirror.core.cluster_state import StateAcl, StateQuota
from mirror.core.group_plan import GroupChoice
from mirror.core.moments import format_moment
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_plan import RestorePlan, TopicState
from mirror.core.restore_scope import RestoreScope, StateChoice
from mirror.core.restore_selection import RestoreSelection
from mirror.core.topic_filter import TopicFilter
from mirror.errors import RefusedError, UnsupportedFormatError, UsageError

__all__ = ["PlanFile", "decode_plan", "freeze", "read_plan_file"]

_VERSION = 1
_HINT = "make a new plan: `mirror plan`"


class _Ranges(msgspec.Struct, frozen=True, kw_only=True):
    """Of one topic: its incarnation, its name on the target, and ``[partition, start_offset, next_offset]`` of each partition."""

    topic_id: str
    target_topic: str
    partitions: list[tuple[int, int, int]]


class PlanFile(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds; times in ms UTC, offsets as ``{topic: {partition: offset}}``."""

    format_version: int
    created_at: str
    repository_id: str
    target: str
    target_cluster_id: str
    kind: str
    snapshot: str
    time_ms: int | None
    since_ms: int | None
    offsets: dict[str, dict[str, int]]
    offset_mode: str
    topics: dict[str, _Ranges]
    renames: dict[str, str]
    incarnations: dict[str, str]
    replication_factor: int | None
    allow_missing: bool
    allow_short: bool
    max_fill_s: float
    partitions: list[int]
    has_groups: bool
    groups: list[str]
    group_renames: dict[str, str]
    scope: str = RestoreScope.ALL.value
    acls: list[StateAcl] | None = None
    all_acls: bool = False
    quotas: list[StateQuota] | None = None
    state_captured_at_ms: int | None = None
    kept_configs: dict[str, dict[str, str]] = {}
    reason: str = ""
    if_not_empty: str = IfNotEmpty.REFUSE.value
    discard_unstored: bool = False
    replaced: dict[str, list[int]] = {}  # target topic: where each of its logs ended
    was_latest: bool = False  # `--latest` was asked for: the offsets are where the repository reached then

    @property
    def restore_id(self) -> str:
        """The name of the restore: what decides which records come from where to where, so that the same command is the same restore."""
        topics = sorted((name, ranges.topic_id, ranges.target_topic) for name, ranges in self.topics.items())
        point = (self.kind, self.snapshot, self.time_ms, self.since_ms, sorted(self.offsets.items()))
        scope = [] if self.scope == RestoreScope.ALL.value else [self.scope]
        scope += [self.if_not_empty] if self.if_not_empty == IfNotEmpty.APPEND else []
        what = [
            self.repository_id,
            self.target_cluster_id,
            point,
            self.offset_mode,
            topics,
            sorted(self.partitions),
            *scope,
        ]
        digest = hashlib.sha256(msgspec.json.encode(what, order="deterministic")).digest()
        return f"r-{base64.b32encode(digest)[:10].decode().lower()}"

    @property
    def digest(self) -> str:
        """SHA-256 of what it says: without when it was made and why, and where replaced logs ended."""
        said = msgspec.structs.replace(self, created_at="", reason="", replaced={})
        return hashlib.sha256(msgspec.json.encode(said, order="deterministic")).hexdigest()

    @property
    def is_frozen(self) -> bool:
        """Whether what came into the repository later is no part of it."""
        return self.kind in ("at", "snapshot") or bool(self.offsets)

    def as_found(self) -> "PlanFile":
        """The same up to where the repository reached when it was made: what a run of it has brought."""
        if self.is_frozen:
            return self
        ends = {
            name: {str(partition): next_offset for partition, _, next_offset in ranges.partitions}
            for name, ranges in self.topics.items()
        }
        offsets = {name: found for name, found in ends.items() if found}
        if not offsets:  # without records, as with `--only-state`, there is nothing to freeze
            return self
        # The kind stays: what the restore wrote is known by it, see `identity`.
        return msgspec.structs.replace(self, offsets=offsets)

    @property
    def selection(self) -> RestoreSelection:
        """What to ask for to get this plan again."""
        offsets = {
            TopicPartition(topic, int(partition)): offset
            for topic, partitions in self.offsets.items()
            for partition, offset in partitions.items()
        }
        return RestoreSelection(
            topics=TopicFilter(include=tuple(self.topics)),
            renames=self.renames,
            incarnations=self.incarnations,
            replication_factor=self.replication_factor,
            allow_missing=self.allow_missing,
            allow_short=self.allow_short,
            point=RecoveryPoint(
                kind=PointKind[self.kind.upper()],
                time_ms=self.time_ms,
                offsets=offsets,
                since_ms=self.since_ms,
                snapshot=self.snapshot,
                planned_at=self.created_at if self.was_latest else "",
            ),
            offsets=OffsetMode[self.offset_mode.upper()],
            max_fill_s=self.max_fill_s,
            partitions=frozenset(self.partitions),
            if_not_empty=IfNotEmpty(self.if_not_empty),
            discard_unstored=self.discard_unstored,
            groups=GroupChoice(
                is_wanted=self.has_groups, regexes=tuple(map(re.escape, self.groups)), renames=self.group_renames
            ),
            scope=RestoreScope(self.scope),
            state=StateChoice(
                acls=self.acls is not None and not self.all_acls,
                all_acls=self.all_acls,
                quotas=self.quotas is not None,
                captured_at_ms=self.state_captured_at_ms,
            ),
            kept_configs=self.kept_configs,
        )

    def require_same(self, plan: RestorePlan, repository_id: str) -> None:
        """Refuse a plan that is not this one.

        Raises:
            RefusedError: names what moved.
        """
        if repository_id != self.repository_id:
            raise RefusedError(f"the plan is of repository {self.repository_id}, this is {repository_id}", hint=_HINT)
        if plan.target_cluster_id != self.target_cluster_id:
            raise RefusedError(
                f"the plan is for cluster {self.target_cluster_id}, {plan.target_alias} is {plan.target_cluster_id} now",
                hint=_HINT,
            )
        for name, ends in _replaced(plan).items():
            if self.replaced.get(name) != ends:
                raise RefusedError(
                    f"topic {name} on {plan.target_alias} holds something else than the plan of {self.created_at} would destroy",
                    hint=_HINT,
                )
        if not self.is_frozen:
            return
        now = _ranges(plan)
        moved = sorted(name for name in now.keys() | self.topics.keys() if now.get(name) != self.topics.get(name))
        if moved:
            raise RefusedError(
                f"the plan of {self.created_at} says something else of {', '.join(moved[:10])} than the repository now: "
                "that changed, or the file was edited",
                hint=_HINT,
            )
        if (self.acls, self.quotas) != (_acls(plan), _quotas(plan)):
            raise RefusedError(
                f"the plan of {self.created_at} wants other ACLs or quotas than the repository now", hint=_HINT
            )


def freeze(
    selection: RestoreSelection, plan: RestorePlan, repository_id: str, *, reason: str = "", as_asked: bool = False
) -> PlanFile:
    """The file of a plan.

    Args:
        selection: what was asked for.
        plan: what was found.
        repository_id: of the repository.
        reason: why, in the user's words.
        as_asked: ``--latest`` and ``--until`` are left as they are, so that the same command goes on with it when more was stored.
    """
    point = plan.point
    if point.kind not in (PointKind.AT, PointKind.SNAPSHOT) and not as_asked:
        # What comes later into the repository is not part of the plan.
        ends = {
            TopicPartition(topic.topic, p.partition): p.cut.next_offset
            for topic in plan.topics
            for p in topic.partitions
            if p.cut is not None
        }
        kind = PointKind.OFFSETS if point.kind is PointKind.LATEST and ends else point.kind
        point = replace(point, kind=kind, offsets=ends)
    offsets: dict[str, dict[str, int]] = {}
    for (topic_name, partition), offset in sorted(point.offsets.items()):
        offsets.setdefault(topic_name, {})[str(partition)] = offset
    return PlanFile(
        format_version=_VERSION,
        created_at=format_moment(time.time_ns() // 1_000_000),
        repository_id=repository_id,
        target=plan.target_alias,
        target_cluster_id=plan.target_cluster_id,
        kind=point.kind.name.lower(),
        snapshot=point.snapshot,
        time_ms=point.time_ms,
        since_ms=point.since_ms,
        offsets=offsets,
        offset_mode=selection.offsets.name.lower(),
        topics=_ranges(plan),
        renames={t.topic: t.target_topic for t in plan.topics if t.topic != t.target_topic},
        incarnations={t.topic: t.topic_id for t in plan.topics},
        replication_factor=selection.replication_factor,
        allow_missing=selection.allow_missing,
        allow_short=selection.allow_short,
        max_fill_s=selection.max_fill_s,
        partitions=sorted(selection.partitions),
        has_groups=bool(_group_names(plan)),
        groups=_group_names(plan),
        if_not_empty=selection.if_not_empty.value,
        discard_unstored=selection.discard_unstored,
        replaced=_replaced(plan),
        group_renames={group.group: group.target_group for group in plan.groups if group.group != group.target_group},
        scope=selection.scope.value,
        acls=_acls(plan),
        all_acls=selection.state.all_acls,
        quotas=_quotas(plan),
        state_captured_at_ms=None if plan.state is None else plan.state.captured_at_ms,
        kept_configs=_kept(plan),
        reason=reason,
        was_latest=point.kind is PointKind.OFFSETS and plan.point.kind is PointKind.LATEST,
    )


def _kept(plan: RestorePlan) -> dict[str, dict[str, str]]:
    """What topics have set, where only data is loaded into them: while that goes on, this is the only place where it is kept."""
    if plan.scope is not RestoreScope.DATA:
        return {}
    kept: dict[str, dict[str, str]] = {}
    for topic in plan.topics:
        held = {hold.name: hold.wanted for hold in topic.held}
        values = {**topic.final_configs, **held}
        kept[topic.target_topic] = {name: value for name, value in values.items() if value is not None}
    return kept


def _acls(plan: RestorePlan) -> list[StateAcl] | None:
    state = plan.state
    return [planned.acl for planned in state.acls] if state is not None and state.choice.wants_acls else None


def _quotas(plan: RestorePlan) -> list[StateQuota] | None:
    state = plan.state
    if state is None or not state.choice.quotas:
        return None
    return [StateQuota(entity=dict(one.entity), values={one.name: one.wanted}) for one in state.quotas]


def _group_names(plan: RestorePlan) -> list[str]:
    """Those that are put, or whose ACLs are."""
    return [group.group for group in plan.groups] or list(plan.state.groups if plan.state is not None else ())


def _replaced(plan: RestorePlan) -> dict[str, list[int]]:
    return {
        topic.target_topic: [log.next_offset for log in topic.doomed]
        for topic in plan.topics
        if topic.state is TopicState.REPLACED
    }


def _ranges(plan: RestorePlan) -> dict[str, _Ranges]:
    return {
        topic.topic: _Ranges(
            topic_id=topic.topic_id,
            target_topic=topic.target_topic,
            partitions=[
                (p.partition, p.coverage.start_offset, p.coverage.next_offset) for p in topic.partitions if p.coverage
            ],
        )
        for topic in plan.topics
    }


def read_plan_file(path: Path) -> PlanFile:
    """A plan that `mirror plan -o` wrote.

    Raises:
        UsageError: it is none.
        UnsupportedFormatError: a newer mirror wrote it.
    """
    try:
        return decode_plan(msgspec.json.decode(path.read_bytes()), str(path))
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(f"{path} is not a plan: {error}", hint="`mirror plan ... -o FILE` writes one") from None


def decode_plan(found: Any, where: str) -> PlanFile:
    """A plan from its JSON, decoded.

    Raises:
        UsageError: it is none; names ``where``.
        UnsupportedFormatError: a newer mirror wrote it.
    """
    version = found.get("format_version") if isinstance(found, Mapping) else None
    if isinstance(version, int) and version > _VERSION:
        raise UnsupportedFormatError(f"{where}: a plan of version {version}; this mirror reads {_VERSION}")
    try:
        planned = msgspec.convert(found, PlanFile)
        planned.selection  # noqa: B018 - every name in it must be known
    except (ValueError, KeyError, msgspec.MsgspecError) as error:
        raise UsageError(f"{where} is not a plan: {error}", hint="`mirror plan ... -o FILE` writes one") from None
    return planned
