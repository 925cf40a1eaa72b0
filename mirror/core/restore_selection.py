"""Which topics of a repository a restore takes, which incarnation of each, and what they are called on the target."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mirror.core.coverage import PartitionCoverage
from mirror.core.group_plan import GroupChoice
from mirror.core.moments import utc_second
from mirror.core.named_incarnation import named_incarnation
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import PartitionId
from mirror.core.recovery_point import LATEST, OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_scope import RestoreScope, StateChoice
from mirror.core.run_pieces import RunPieces
from mirror.core.segment.index import TopicObject
from mirror.core.topic_filter import TopicFilter
from mirror.errors import NoMatchError, RefusedError, UsageError

__all__ = ["RestoreSelection", "choose_incarnations", "first_seen_ms", "refuse_colliding"]

_SAME = "names that differ in . and _ only are the same in a broker's metrics, which it refuses"
_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")


_ALL_GROUPS = GroupChoice()
_NO_STATE = StateChoice()


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreSelection:
    """What the user asked for.

    Attributes:
        topics: names, globs and regular expressions, and exclusions.
        renames: source name → target name.
        prefix: put before every target name that is not renamed.
        incarnations: topic → topic id, or the first characters of one, where several are stored.
        replication_factor: of created topics; None: the source's, as far as there are brokers.
        allow_missing: restore although offsets are missing.
        allow_short: restore although partitions are not stored as far as the recovery point.
        point: the recovery point.
        offsets: which offsets records get.
        max_fill_s: how long filling the offsets of one partition may take.
        groups: which consumer groups are put where they stood.
        partitions: only these of each topic; empty for all. The others are created and stay empty.
        scope: whether topics are made, loaded, or both.
        state: which ACLs and quotas are put.
        if_not_empty: what is done about a topic that holds something else.
        discard_unstored: destroy records too that the repository does not have.
        kept_configs: target topic → the settings that it had before only data was loaded into it; from a plan.
    """

    topics: TopicFilter
    renames: Mapping[str, str] = field(default_factory=dict)
    prefix: str = ""
    incarnations: Mapping[str, str] = field(default_factory=dict)
    replication_factor: int | None = None
    allow_missing: bool = False
    allow_short: bool = False
    point: RecoveryPoint = LATEST
    offsets: OffsetMode = OffsetMode.EXACT
    max_fill_s: float = 600.0
    groups: GroupChoice = _ALL_GROUPS
    partitions: frozenset[int] = frozenset()
    scope: RestoreScope = RestoreScope.ALL
    state: StateChoice = _NO_STATE
    if_not_empty: IfNotEmpty = IfNotEmpty.REFUSE
    discard_unstored: bool = False
    kept_configs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def target_name(self, topic: str) -> str:
        """What the topic is called on the target.

        Raises:
            UsageError: no topic can have that name, or it would be an internal one.
        """
        name = self.renames.get(topic, f"{self.prefix}{topic}")
        if not _NAME.fullmatch(name) or name in (".", "..") or name.startswith("__"):
            raise UsageError(
                f"topic {topic} cannot be restored as {name!r}: not a name for a topic of users",
                hint="letters, digits, '.', '_' and '-', at most 249, and not '__' at the beginning; see --prefix and --rename",
            )
        return name


def choose_incarnations(
    selection: RestoreSelection, coverages: Mapping[PartitionId, PartitionCoverage], topics: Sequence[TopicObject]
) -> dict[str, str]:
    """Topic → topic id of all that is selected, sorted by name.

    Raises:
        UsageError: a name that no topic can have, or a rename or choice names a topic that is not selected.
        NoMatchError: nothing is selected, or a chosen incarnation is not stored.
        RefusedError: several incarnations begin as the chosen one does.
        RefusedError: two topics would get names that cannot both be (see :func:`refuse_colliding`), or a topic has several
            incarnations and none is chosen; holds a table of them.
    """
    stored: dict[str, set[str]] = {}
    for topic in topics:
        stored.setdefault(topic.topic, set()).add(topic.topic_id)
    for partition_id, coverage in coverages.items():
        stored.setdefault(coverage.topic, set()).add(partition_id.topic_id)
    names = selection.topics.select(stored)
    for pattern in selection.topics.include:
        if pattern == "*" or TopicFilter(include=(pattern,)).select(stored):
            continue
        if pattern in stored:
            raise NoMatchError(
                f"{pattern} is the brokers' own: it is never restored as a topic",
                hint="consumer groups come back with the topics that they read: --group chooses them",
            )
        raise NoMatchError(
            f"no topic of the repository matches {pattern!r}", hint="`mirror inspect` lists what the repository holds"
        )
    if selection.point.kind is PointKind.OFFSETS:
        named = {topic for topic, _ in selection.point.offsets}
        unknown = sorted(named - set(names))
        if unknown:
            raise NoMatchError(
                f"the file of offsets names {', '.join(unknown[:5])}, which is not stored or not selected",
                hint="`mirror inspect` lists what the repository holds",
            )
        names = [name for name in names if name in named]
    if not names:
        raise NoMatchError(
            "no topic of the repository is selected", hint="`mirror inspect` lists what the repository holds"
        )
    _check_named(selection, names)
    chosen: dict[str, str] = {}
    undecided: list[str] = []
    for name in names:
        wanted = selection.incarnations.get(name)
        if wanted is not None:
            wanted = named_incarnation(name, wanted, stored[name])
        if wanted is None and len(stored[name]) > 1 and selection.point.kind is PointKind.AT:
            wanted = _standing_at(selection.point.time_ms or 0, stored[name], coverages, topics)
        if wanted is None and len(stored[name]) > 1:
            undecided.append(name)
        else:
            chosen[name] = wanted or next(iter(stored[name]))
    if undecided:
        raise _several(undecided, stored, coverages, topics)
    return chosen


def first_seen_ms(
    topic_id: str, coverages: Mapping[PartitionId, PartitionCoverage], topics: Iterable[TopicObject]
) -> int | None:
    """When the backup began to know an incarnation; None if nothing says so."""
    starts = [c.start.recorded_at_ms for pid, c in coverages.items() if pid.topic_id == topic_id and c.start]
    captures = [topic.captured_at_ms for topic in topics if topic.topic_id == topic_id]
    return min(starts or captures, default=None)


def _standing_at(
    at_ms: int,
    topic_ids: Iterable[str],
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
) -> str | None:
    """The incarnation that there was at a moment: the youngest one known by then, else the first one that became known."""
    seen = [(first_seen_ms(topic_id, coverages, topics), topic_id) for topic_id in topic_ids]
    dated = [(seen_ms, topic_id) for seen_ms, topic_id in seen if seen_ms is not None]
    known = [one for one in dated if one[0] <= at_ms]
    if known:
        return max(known)[1]
    return min(dated)[1] if len(dated) == len(seen) else None


def _check_named(selection: RestoreSelection, names: list[str]) -> None:
    for option, given in (("--rename", selection.renames), ("--incarnation", selection.incarnations)):
        for name in given:
            if name not in names:
                raise UsageError(f"{option} {name}=…: no topic of that name is selected")
    refuse_colliding({name: selection.target_name(name) for name in names}, ())


def refuse_colliding(target_names: Mapping[str, str], present: Iterable[str]) -> None:
    """Refuse names that a broker would refuse, before anything is changed.

    Brokers take ``.`` and ``_`` for the same in the names of their metrics: of ``a.b`` and ``a_b`` only the first can be created.

    Args:
        target_names: topic of the repository → name on the target.
        present: names of topics that are on the target.

    Raises:
        RefusedError: two topics would get one name, or names that differ in ``.`` and ``_`` only; names both topics.
    """
    there = {_metric_name(name): name for name in present}
    taken: dict[str, tuple[str, str]] = {}
    exact = set(there.values())
    for source, name in target_names.items():
        other = taken.setdefault(_metric_name(name), (source, name))
        hint = f"give one of them another name: --rename {source}=NAME"
        if other[0] != source and other[1] == name:
            raise RefusedError(f"topics {other[0]} and {source} would both be restored as {name}", hint=hint)
        if other[0] != source:
            raise RefusedError(
                f"topics {other[0]} and {source} cannot be restored as {other[1]} and {name} on one cluster: {_SAME}",
                hint=hint,
            )
        blocking = there.get(_metric_name(name))
        if blocking is not None and name not in exact and blocking != name:
            message = f"topic {source} cannot be restored as {name}: topic {blocking} is on the target, and {_SAME}"
            raise RefusedError(message, hint=f"restore it under another name: --rename {source}=NAME")


def _metric_name(topic: str) -> str:
    return topic.replace(".", "_")


def _several(
    names: Sequence[str],
    stored: Mapping[str, set[str]],
    coverages: Mapping[PartitionId, PartitionCoverage],
    topics: Sequence[TopicObject],
) -> RefusedError:
    lines: list[str] = []
    first = names[0]
    for name in names:
        lines.append(f"  {name}:")
        for topic_id in sorted(stored[name]):
            mine = [coverage for pid, coverage in coverages.items() if pid.topic_id == topic_id]
            captured = next((topic for topic in topics if topic.topic_id == topic_id), None)
            pieces = [RunPieces.of(coverage.runs) for coverage in mine]
            records = sum(runs.total("record_count") for runs in pieces)
            newest_ms = max((runs.newest_ms() or 0 for runs in pieces), default=0)
            partitions = captured.partition_count if captured else len(mine)
            deleted = ", deleted" if captured and captured.deleted else ""
            lines.append(
                f"    {topic_id}  {partitions} partitions, about {records:,} records, newest record {_utc(newest_ms)}{deleted}"
            )
    return RefusedError(
        "topics were deleted and created again; which incarnation is meant?\n" + "\n".join(lines),
        hint=f"choose one of these ids with --incarnation {first}=ID, its first letters will do; the "
        "other can be restored under another name with --rename",
    )


def _utc(timestamp_ms: int) -> str:
    return utc_second(timestamp_ms) if timestamp_ms else "–"
