"""Consumer groups back to where they stood before a restore put them: compared first, read back afterwards."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mirror.core.group_log import GROUP_LOG_TOPIC
from mirror.core.positions import TopicPartition
from mirror.core.restore_record import RecordedPosition, RestoreHistory
from mirror.errors import PartialError, RefusedError
from mirror.kafka.admin import Admin
from mirror.kafka.client import MirrorClient
from mirror.kafka.cluster import describe_cluster
from mirror.kafka.group_admin import (
    GroupPosition,
    active_members,
    commit_positions,
    committed_positions,
    delete_positions,
)

__all__ = ["GroupRollback", "find_rollbacks", "refuse_moved", "roll_back"]

_SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupRollback:
    """One group: what goes back.

    Attributes:
        group: on the target.
        put_back: positions as they were before.
        forget: where it had none.
        moved: where it stands neither as it was put nor as it stood before, as text.
        gone: positions before the restore in topics that are not there any more.
        members: consumers that are active.
    """

    group: str
    put_back: Mapping[TopicPartition, GroupPosition]
    forget: tuple[TopicPartition, ...]
    moved: tuple[str, ...]
    gone: tuple[TopicPartition, ...]
    members: int


async def find_rollbacks(
    client: MirrorClient, admin: Admin, history: RestoreHistory, *, topics: Collection[str] | None = None
) -> list[GroupRollback]:
    """What must change so that groups stand as before; changes nothing. Groups that do so already are left out.

    Args:
        client, admin: of the target.
        history: of the restore.
        topics: of the target, whose positions go back; None for all.

    Raises:
        AccessError, UnreachableError, ClusterError: the target cannot be asked.
    """
    wanted: dict[str, dict[TopicPartition, RecordedPosition]] = {}
    for group, positions in history.positions_before().items():
        kept = {tp: one for tp, one in positions.items() if topics is None or tp.topic in topics}
        if kept:
            wanted[group] = kept
    there = (await describe_cluster(client)).topics
    if not wanted or GROUP_LOG_TOPIC not in there:  # asking for a group would create that topic
        return []
    members = await active_members(admin, wanted)
    found: list[GroupRollback] = []
    for group, positions in sorted(wanted.items()):
        now = await committed_positions(client, group)
        one = _compare(group, positions, now, {tp for tp in positions if tp.topic in there}, members[group])
        if one.put_back or one.forget or one.moved or one.gone:
            found.append(one)
    return found


def _compare(
    group: str,
    positions: Mapping[TopicPartition, RecordedPosition],
    now: Mapping[TopicPartition, GroupPosition],
    there: set[TopicPartition],
    members: int,
) -> GroupRollback:
    put_back: dict[TopicPartition, GroupPosition] = {}
    forget: list[TopicPartition] = []
    moved: list[str] = []
    gone: list[TopicPartition] = []
    for tp, position in sorted(positions.items()):
        put = GroupPosition(position.offset, position.metadata)
        before = (
            None if position.before_offset is None else GroupPosition(position.before_offset, position.before_metadata)
        )
        stands = now.get(tp)
        if stands == before:
            continue
        if tp not in there:
            gone.append(tp)
        elif stands != put:
            at = "nowhere" if stands is None else f"at {stands.offset:,}"
            moved.append(f"{group} in {tp}: {at}, was put to {put.offset:,}")
        elif before is None:
            forget.append(tp)
        else:
            put_back[tp] = before
    return GroupRollback(
        group=group, put_back=put_back, forget=tuple(forget), moved=tuple(moved), gone=tuple(gone), members=members
    )


def refuse_moved(rollbacks: Sequence[GroupRollback], alias: str) -> None:
    """Nothing is put under the feet of consumers, nor over what they have done since.

    Raises:
        RefusedError: a group has members, or has moved since it was put; names them.
    """
    active = [f"{one.group} ({one.members} members)" for one in rollbacks if one.members]
    if active:
        raise RefusedError(
            f"consumer groups are active on {alias}: {', '.join(active)}",
            hint="stop their consumers, then run it again",
        )
    moved = [text for one in rollbacks for text in one.moved]
    if moved:
        listed = "".join(f"\n  {text}" for text in moved[:_SHOWN])
        more = f"\n  … and {len(moved) - _SHOWN} more" if len(moved) > _SHOWN else ""
        raise RefusedError(
            f"consumer groups have moved since the restore put them:{listed}{more}",
            hint="what they have read since is theirs: leave them where they are, or set them by hand",
        )


async def roll_back(client: MirrorClient, rollbacks: Sequence[GroupRollback]) -> int:
    """Put them back and read them back; how many positions were changed.

    Raises:
        PartialError: a group stands elsewhere afterwards.
        AccessError, UnreachableError, ClusterError: also if consumers came meanwhile.
    """
    changed = 0
    for one in rollbacks:
        if one.put_back:
            await commit_positions(client, one.group, one.put_back)
        if one.forget:
            await delete_positions(client, one.group, one.forget)
        now = await committed_positions(client, one.group)
        wrong = [tp for tp, position in one.put_back.items() if now.get(tp) != position]
        wrong += [tp for tp in one.forget if tp in now]
        if wrong:
            raise PartialError(
                f"group {one.group} read back otherwise in {', '.join(map(str, sorted(wrong)[:5]))}",
                hint="are its consumers stopped? the same command goes on",
            )
        changed += len(one.put_back) + len(one.forget)
    return changed
