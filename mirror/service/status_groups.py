"""What `mirror status` says of consumer groups: one line instead of the fifty partitions of the group log."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import PartitionId
from mirror.core.status import PartitionStatus
from mirror.errors import MirrorError
from mirror.service.groups import choose_group_log, read_groups
from mirror.service.status_source import SourceView
from mirror.storage.repository import Repository

__all__ = ["GroupCounter", "GroupsStatus", "groups_status", "not_to_be_ignored"]

_MOST_OBJECTS = 100
_MOST_BYTES = 16 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupsStatus:
    """Of the capture of consumer groups.

    Attributes:
        is_captured: something of the group log is stored, and more is wanted.
        group_count: groups with a position, without mirrors' own; None where counting them would take long.
        captured_to_ms: every commit up to here is stored; None where that is not known.
        is_estimate: ``captured_to_ms`` is the time of the newest object.
        way: how they are captured: ``topic``, or ``poll``, of which less is known; empty where they are not.
        reason: why groups are not captured, or not known to be, or only polled; else empty.
    """

    is_captured: bool
    group_count: int | None = None
    captured_to_ms: int | None = None
    is_estimate: bool = False
    way: str = ""
    reason: str = ""


def groups_status(
    mode: str,
    partitions: Sequence[PartitionStatus],
    view: SourceView | None,
    *,
    group_count: int | None,
    newest_object_ms: int | None,
    now_ms: int,
    is_polled: bool = False,
) -> GroupsStatus:
    """Sum up.

    Args:
        mode: ``[worker] groups``.
        partitions: of the group log, as far as they are stored.
        view: the source; None where it could not be asked.
        group_count: see :class:`GroupsStatus`.
        newest_object_ms: when the newest object was sealed.
        now_ms: the present.
        is_polled: what is stored last of groups was polled.
    """
    if is_polled and (mode == "poll" or (mode == "auto" and not partitions)):
        may_not = view is not None and mode == "auto" and bool(view.missing_group_rights)
        return GroupsStatus(
            is_captured=True,
            group_count=group_count,
            captured_to_ms=newest_object_ms,  # polls that find nothing new leave no trace
            is_estimate=True,
            way="poll",
            reason=_lacking(view) if may_not and view is not None else "",
        )
    if mode == "off" or not partitions:
        return GroupsStatus(is_captured=False, group_count=group_count, reason=_why_not(mode, view))
    if view is None:
        return GroupsStatus(
            is_captured=True, group_count=group_count, captured_to_ms=newest_object_ms, is_estimate=True, way="topic"
        )
    ages = [p.recovery_point_age_ms for p in partitions]
    known = [age for age in ages if age is not None]
    worst = max(partitions, key=lambda p: p.severity)
    return GroupsStatus(
        is_captured=True,
        group_count=group_count,
        captured_to_ms=now_ms - max(known) if len(known) == len(ages) else None,
        way="topic",
        reason=f"{worst.facts.topic}-{worst.facts.partition}: {worst.reason}" if worst.severity else "",
    )


def _lacking(view: SourceView) -> str:
    missing = " and ".join(sorted(view.missing_group_rights))
    return f"{missing} on topic __consumer_offsets is missing (`mirror check` prints the command; [worker] groups)"


def _why_not(mode: str, view: SourceView | None) -> str:
    if mode == "off":
        return '[worker] groups = "off"'
    if view is None:
        return "nothing of them is stored, and the source is not reachable"
    if view.missing_group_rights:
        return _lacking(view)
    if mode == "poll":
        return "no worker has polled them yet"
    if view.group_log is None:
        return "no group has committed on this cluster yet"
    return "no worker has begun with topic __consumer_offsets yet"


def not_to_be_ignored(partitions: Sequence[PartitionStatus]) -> list[PartitionStatus]:
    """Partitions of the group log that count for the verdict: stored once, and not safe now; their first load is nobody's worry."""
    return [p for p in partitions if p.severity and p.state != "unknown" and not p.is_loading]


@dataclass(slots=True)
class GroupCounter:
    """Counts stored groups where that is quick, and again only where something was added. Blocks."""

    repository: Repository
    _runs: int = -1
    _count: int | None = field(default=None)

    def count(self, coverages: Mapping[PartitionId, PartitionCoverage], without_groups: Collection[str]) -> int | None:
        """How many groups have a position; None where nothing is stored, or too much, or it cannot be read."""
        pieces = [piece for entry in choose_group_log(coverages).values() for piece in entry.runs]
        with_bytes = [piece for piece in pieces if piece.run.stored_bytes]
        objects = {piece.object_key for piece in with_bytes}
        size_bytes = sum(piece.run.stored_bytes for piece in with_bytes)
        if not pieces or len(objects) > _MOST_OBJECTS or size_bytes > _MOST_BYTES:
            return None
        if len(with_bytes) != self._runs:
            try:
                self._count = len(read_groups(self.repository, coverages, without_groups=without_groups).groups)
            except MirrorError:
                return None  # `mirror verify` names what is damaged
            self._runs = len(with_bytes)
        return self._count
