"""Undoing a restore: which of its topics are deleted, made anew as they were, or kept, and doing it.

Only what this restore made or loaded into nothing is ever touched: a topic that held records before is kept, whatever it holds now. What is
complete, or got records of others since, is only deleted on a person's word.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from mirror.core.restore_plan import TopicState
from mirror.core.restore_record import RecordedTopic
from mirror.errors import PartialError, RefusedError, TopicNotFoundError
from mirror.kafka.admin import Admin, non_default
from mirror.kafka.client import MirrorClient
from mirror.service.restore.standing import UNKNOWN_BEFORE, Standing, TopicStanding, stand_of

__all__ = ["TopicUndo", "Undo", "plan_undo", "undo_topics"]

_UNKNOWN = frozenset({None, TopicState.UNFINISHED.value})
_LOADED_INTO_NOTHING = _UNKNOWN | {TopicState.ABSENT.value, TopicState.EMPTY.value}
_LOADED_BEHIND = frozenset({TopicState.BEGINNING.value, TopicState.APPENDED.value})


class Undo(StrEnum):
    """What is done with a topic."""

    NOTHING = "nothing to do"
    DELETE = "delete"
    SETTINGS = "put its settings back"
    RECREATE = "delete, and make it empty again"
    KEEP = "KEEP"


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicUndo:
    """One topic: how it stands, what is done with it and why; ``before`` is what the first run found there."""

    standing: TopicStanding
    before: RecordedTopic
    undo: Undo
    why: str

    @property
    def name(self) -> str:
        """Of the topic on the target."""
        return self.standing.topic.target_topic

    @property
    def deletes(self) -> bool:
        """Whether records go."""
        return self.undo in (Undo.DELETE, Undo.RECREATE)

    @property
    def is_left(self) -> bool:
        """Whether something that this restore loaded stays."""
        loaded = self.standing.standing in (Standing.UNFINISHED, Standing.COMPLETE)
        by_us = {*_LOADED_INTO_NOTHING, *_LOADED_BEHIND, TopicState.REPLACED.value, UNKNOWN_BEFORE}
        stays = self.undo is Undo.KEEP or (self.undo is Undo.SETTINGS and self.before.before in _LOADED_BEHIND)
        return loaded and stays and self.before.before in by_us

    @property
    def waits_for_word(self) -> bool:
        """Whether it stays only until a person says more: `--complete`, `--foreign`."""
        return self.is_left and self.before.before in {*_LOADED_INTO_NOTHING, UNKNOWN_BEFORE}


def plan_undo(
    standing: TopicStanding, before: RecordedTopic | None, *, with_complete: bool, with_foreign: bool
) -> TopicUndo:
    """What is done with a topic of a restore that is aborted.

    Args:
        standing: how it stands now.
        before: what the first run found; None where no record is kept.
        with_complete: topics that are complete go too.
        with_foreign: topics that got records of others since go too.
    """
    undo, why = _decide(standing, before, with_complete, with_foreign)
    return TopicUndo(standing=standing, before=before or standing.topic, undo=undo, why=why)


def _decide(
    standing: TopicStanding, before: RecordedTopic | None, with_complete: bool, with_foreign: bool
) -> tuple[Undo, str]:
    now = standing.standing
    state = None if before is None else before.before
    if now is Standing.ABSENT:
        return Undo.NOTHING, "it is not there"
    if now is Standing.OTHER_RESTORE:
        return Undo.KEEP, f"another restore loads it: {standing.other}"
    if now is Standing.EMPTY and state != TopicState.ABSENT:
        return Undo.NOTHING, "it is empty"
    if now is Standing.OTHER:
        return Undo.KEEP, "its records are not those of this restore: was it deleted and made again?"
    if state in _LOADED_BEHIND and now is Standing.UNFINISHED:
        return Undo.SETTINGS, "it held records before: they stay, and so does what was loaded behind them"
    if state == TopicState.REPLACED:
        return Undo.KEEP, "it took the place of a topic that was destroyed, which nothing brings back"
    if state not in _LOADED_INTO_NOTHING or (state in _UNKNOWN and now is not Standing.UNFINISHED):
        return (
            Undo.KEEP,
            "nothing says that this restore made it" if state is None else "it was there before this restore",
        )
    if standing.later_offsets and not with_foreign:
        return (
            Undo.KEEP,
            f"{standing.later_offsets:,} offsets were written since, by others or a later restore: --foreign deletes these too",
        )
    if state in _UNKNOWN and not with_complete:
        return Undo.KEEP, "no record says whether it held something before: --complete deletes it"
    if now is Standing.COMPLETE and not with_complete:
        return Undo.KEEP, "it is complete: --complete deletes it too"
    if state == TopicState.EMPTY:
        if not standing.there_offsets and not standing.later_offsets:
            return Undo.SETTINGS, "it was empty before, and is"
        return Undo.RECREATE, "it was empty before"
    unknown = "it bears the mark of this restore"
    return Undo.DELETE, "this restore made it" if state == TopicState.ABSENT else unknown


async def undo_topics(client: MirrorClient, admin: Admin, undos: Sequence[TopicUndo]) -> None:
    """Do it, topic by topic; each is looked at once more right before.

    Raises:
        RefusedError: a topic is not as it was shown; names it. Those before it are done.
        PartialError: it stopped in the middle; the same command goes on.
        AccessError, UnreachableError, ClusterError.
    """
    done: list[str] = []
    for undo in undos:
        if undo.undo in (Undo.NOTHING, Undo.KEEP):
            continue
        (now,) = await stand_of(client, admin, [undo.standing.topic])
        if now.standing is Standing.ABSENT:
            continue
        if (now.standing, now.later_offsets) != (undo.standing.standing, undo.standing.later_offsets):
            raise (PartialError if done else RefusedError)(
                f"topic {undo.name} is not as it was shown: it is {now.standing.value} now",
                hint="somebody is at work on it, perhaps a run of this restore: stop that; the same command looks again",
            )
        await _undo_topic(admin, undo)
        done.append(undo.name)


async def _undo_topic(admin: Admin, undo: TopicUndo) -> None:
    name, before = undo.name, undo.before
    if undo.undo is Undo.SETTINGS:
        present = non_default((await admin.topic_configs([name]))[name])
        unwanted = sorted(present.keys() - before.before_configs.keys())
        await admin.alter_topic_configs(name, set_values=before.before_configs, delete=unwanted)
        return
    with suppress(TopicNotFoundError):  # by somebody else, just now
        await admin.delete_topic(name)
    if undo.undo is Undo.RECREATE:
        await admin.create_topic(
            name,
            partitions=undo.standing.partition_count,
            replication_factor=before.replication_factor or -1,
            configs=before.before_configs,
        )
