"""The record of one run of a restore while it goes: its plan, start, groups, ACLs and quotas before they are put, end.

A restore must also work where the store's key may only read: then nothing is kept, and `why_not` says so.
"""

import asyncio
import getpass
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from typing import Any, Final

import msgspec

from mirror.config.secrets import redact
from mirror.core.recovery_point import OffsetMode
from mirror.core.restore_plan import RestorePlan, TopicPlan, UnreadableRange
from mirror.core.restore_record import (
    OffsetMapping,
    RecordedGroup,
    RecordedQuota,
    RecordedTopic,
    RestoreEnd,
    RestoreGroups,
    RestoreObject,
    RestorePlanned,
    RestoreProved,
    RestoreStart,
    RestoreState,
    Verb,
)
from mirror.core.restore_selection import RestoreSelection
from mirror.core.segment.index import FORMAT_VERSION
from mirror.core.state_plan import StatePlan
from mirror.errors import AccessError, DamageError, InterruptedByUserError, MirrorError, PartialError, RefusedError
from mirror.service.restore.mapping import map_offsets
from mirror.service.restore.plan_file import PlanFile
from mirror.service.restore.records import put_record, read_history
from mirror.storage.repository import Repository

__all__ = ["RestoreJournal", "keep_proof"]

_ERROR_CHARS: Final = 4000


class RestoreJournal:
    """Keeps the record of one run.

    Args:
        repository: where it is kept.
        planned: what is restored.
        verb: what is done with it.
        reason: why, in the user's words.
        command: the arguments of the command; secrets are masked before they are kept.
    """

    def __init__(
        self, repository: Repository, planned: PlanFile, *, verb: Verb, reason: str = "", command: Sequence[str] = ()
    ) -> None:
        self.restore_id = planned.restore_id
        self.why_not = ""
        self._repository = repository
        self._planned = planned
        self._verb = verb
        self._reason = reason or planned.reason
        self._command = [redact(word) for word in command]
        self._started_at_ms: int | None = None

    @property
    def selection(self) -> RestoreSelection:
        """What makes the same plan again."""
        return self._planned.selection

    @property
    def is_kept(self) -> bool:
        """Whether there is a record."""
        return self._started_at_ms is not None

    async def begin(self, plan: RestorePlan | None = None) -> None:
        """The run begins; with its plan, where that is not kept yet.

        Raises:
            UnreachableError, StoreError: the store; it may not be written to is no error, see `why_not`.
        """
        try:
            if plan is not None:
                await asyncio.to_thread(self._put_plan, plan)
            elif not await asyncio.to_thread(self._plans, with_undone=True):
                self.why_not = "none was begun"
                return
            start = RestoreStart(
                format_version=FORMAT_VERSION,
                restore_id=self.restore_id,
                written_at_ms=_now_ms(),
                verb=self._verb,
                user=_user(),
                host=platform.node(),
                version=version("mirror"),
                command=self._command,
                plan_digest=self._planned.digest,
                reason=self._reason,
            )
            self._started_at_ms = await self._put(start)
        except AccessError as error:
            self.why_not = error.message

    async def note_groups(self, groups: Sequence[RecordedGroup]) -> None:
        """What will be put, and what was there before; returns once it is durable."""
        if self.is_kept and groups:
            value = RestoreGroups(
                format_version=FORMAT_VERSION, restore_id=self.restore_id, written_at_ms=_now_ms(), groups=list(groups)
            )
            await self._put(value)

    async def note_state(self, plan: StatePlan) -> None:
        """Which ACLs will be added, which quotas set and what they were; returns once it is durable."""
        if self.is_kept and (plan.new_acls or plan.new_quotas):
            value = RestoreState(
                format_version=FORMAT_VERSION,
                restore_id=self.restore_id,
                written_at_ms=_now_ms(),
                acls=plan.new_acls,
                quotas=[
                    RecordedQuota(entity=dict(one.entity), name=one.name, value=one.wanted, before=one.present)
                    for one in plan.new_quotas
                ],
            )
            await self._put(value)

    async def note_offsets(self, plan: RestorePlan, *, is_changed: bool) -> None:
        """Which offset every record got, where offsets were translated; reads the repository once more."""
        if not self.is_kept or plan.offsets is not OffsetMode.TRANSLATED:
            return
        if not is_changed and (await asyncio.to_thread(read_history, self._repository, self.restore_id)).mapping_keys:
            return
        await asyncio.to_thread(self._put_offsets, plan)

    async def end(
        self,
        error: BaseException | None = None,
        *,
        loaded_records: int = 0,
        loaded_bytes: int = 0,
        notes: Sequence[str] = (),
        unreadable: Sequence[UnreadableRange] = (),
    ) -> None:
        """The run has ended, by an error or not. A store that fails now changes nothing about that."""
        if self._started_at_ms is None:
            return
        text = "" if error is None else redact(error.message if isinstance(error, MirrorError) else repr(error))
        if _outcome(error) == "interrupted":
            text = "interrupted"
        value: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "restore_id": self.restore_id,
            "written_at_ms": _now_ms(),
            "started_at_ms": self._started_at_ms,
            "outcome": _outcome(error),
            "exit_code": _exit_code(error),
            "loaded_records": loaded_records,
            "loaded_bytes": loaded_bytes,
            "error": text[:_ERROR_CHARS],
            "notes": list(notes),
            "unreadable": [asdict(one) for one in unreadable],
        }
        try:
            await self._put(msgspec.convert(value, RestoreEnd))
        except MirrorError as failed:
            self.why_not = f"how it ended is not kept: {failed.message}"

    async def _put(self, value: RestoreObject) -> int:
        return await asyncio.to_thread(put_record, self._repository, value)

    def _put_plan(self, plan: RestorePlan) -> None:
        if any(one.plan_digest == self._planned.digest for one in self._plans()):
            return
        put_record(
            self._repository,
            RestorePlanned(
                format_version=FORMAT_VERSION,
                repository_id=self._planned.repository_id,
                restore_id=self.restore_id,
                written_at_ms=_now_ms(),
                target=plan.target_alias,
                target_cluster_id=plan.target_cluster_id,
                plan=msgspec.to_builtins(self._planned),
                plan_digest=self._planned.digest,
                topics=[_recorded(plan, topic) for topic in plan.topics],
            ),
        )

    def _plans(self, *, with_undone: bool = False) -> list[RestorePlanned]:
        """The newest plan that is kept, unless it was undone since."""
        try:
            history = read_history(self._repository, self.restore_id)
        except DamageError:  # none yet, or one that cannot be read: it is put once more
            return []
        return [one for one in history.plans[-1:] if with_undone or one.written_at_ms > history.undone_at_ms]

    def _put_offsets(self, plan: RestorePlan) -> None:
        for partitions in map_offsets(self._repository, plan):
            put_record(
                self._repository,
                OffsetMapping(
                    format_version=FORMAT_VERSION,
                    restore_id=self.restore_id,
                    written_at_ms=_now_ms(),
                    partitions=partitions,
                ),
            )


def keep_proof(repository: Repository, restore_id: str, report: dict[str, Any]) -> str:
    """Keep the report of a comparison in the record of a restore; why it is not kept, if so.

    Raises:
        UnreachableError, StoreError: the store.
    """
    value = RestoreProved(
        format_version=FORMAT_VERSION,
        restore_id=restore_id,
        written_at_ms=_now_ms(),
        proved=bool(report["proved"]),
        report=report,
    )
    try:
        put_record(repository, value)
    except AccessError as error:
        return error.message
    return ""


def _recorded(plan: RestorePlan, topic: TopicPlan) -> RecordedTopic:
    exact = plan.offsets is OffsetMode.EXACT
    ends = [
        0 if one.coverage is None else one.coverage.next_offset if exact else one.base_offset + one.records
        for one in topic.partitions
    ]
    bounds = any(
        one.log_end_offset is None if exact else plan.allow_missing or not one.is_exact
        for one in topic.partitions
        if one.coverage is not None
    )
    return RecordedTopic(
        topic=topic.topic,
        topic_id=topic.topic_id,
        target_topic=topic.target_topic,
        mark=topic.mark.value,
        before=topic.state.value,
        before_configs=dict(topic.present_configs),
        replication_factor=topic.replication_factor,
        log_ends=ends,
        ends_are_bounds=bounds,
    )


def _outcome(error: BaseException | None) -> str:
    match error:
        case None:
            return "done"
        case PartialError():
            return "partial"
        case RefusedError():
            return "refused"
        case InterruptedByUserError() | asyncio.CancelledError() | KeyboardInterrupt():
            return "interrupted"
        case _:
            return "failed"


def _exit_code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, MirrorError):
        return error.exit_code
    return InterruptedByUserError.exit_code if _outcome(error) == "interrupted" else 1


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container without a name for its user
        return ""


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
