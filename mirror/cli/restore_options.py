"""The options that say what to restore, shared by `mirror plan` and `mirror restore`."""

import functools
import inspect
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from mirror.cli.context import CliContext
from mirror.cli.times import parse_moment
from mirror.core.group_plan import GroupChoice
from mirror.core.moments import format_moment
from mirror.core.not_empty import IfNotEmpty
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import OffsetMode, PointKind, RecoveryPoint
from mirror.core.restore_scope import RestoreScope, StateChoice
from mirror.core.restore_selection import RestoreSelection
from mirror.core.topic_filter import TopicFilter
from mirror.errors import UsageError

__all__ = ["pairs", "parse_duration_s", "read_offsets", "selection_options"]

_Command = TypeVar("_Command", bound=Callable[..., Any])

_DURATION = re.compile(r"(\d+(?:\.\d+)?) ?(s|m|min|h)")
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600}

_OPTIONS = [
    click.option("--topic", "topics", multiple=True, metavar="GLOB", help="Topics; repeatable.  [default: all]"),
    click.option("--topic-regex", "regexes", multiple=True, metavar="REGEX", help="The same, by regular expression."),
    click.option(
        "--partition",
        "partitions",
        multiple=True,
        type=click.IntRange(0),
        metavar="N",
        help="Only this partition of each topic; the others stay empty. Repeatable.",
    ),
    click.option("--exclude", multiple=True, metavar="GLOB", help="Topics to leave out; repeatable."),
    click.option(
        "--at",
        metavar="TIME",
        help="The cluster as it stood at TIME: a prefix of every partition, no transaction split.",
    ),
    click.option(
        "--until",
        metavar="TIME",
        help="Records whose own timestamp, as a consumer sees it, is at most TIME, in whatever order they lie.",
    ),
    click.option("--latest", is_flag=True, help="All that is stored."),
    click.option(
        "--to-offsets",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help='Up to these offsets, exclusive: JSON as {"orders": {"0": 1200, "1": 980}}.',
    ),
    click.option("--snapshot", metavar="NAME", help="A named recovery point of `mirror snapshot`."),
    click.option(
        "--since",
        metavar="TIME",
        help="The other end: with --at without what stood in the log then, else without records of earlier timestamps.",
    ),
    click.option(
        "--offsets",
        "offset_mode",
        type=click.Choice([mode.name.lower() for mode in OffsetMode]),
        default="exact",
        show_default=True,
        help="exact: every record at the offset it had. translated: from offset 0, without holes.",
    ),
    click.option(
        "--max-fill-time",
        default="10m",
        show_default=True,
        metavar="TIME",
        help="How long filling the unused offsets of one partition may take.",
    ),
    click.option("--rename", "renames", multiple=True, metavar="TOPIC=NAME", help="Under another name; repeatable."),
    click.option("--prefix", default="", metavar="TEXT", help="Put this before the names of all other topics."),
    click.option(
        "--incarnation",
        "incarnations",
        multiple=True,
        metavar="TOPIC=ID",
        help="Which one, of a topic created again; the first letters of its id will do.",
    ),
    click.option(
        "--replication-factor", type=click.IntRange(1, 32767), help="Of created topics.  [default: the source's]"
    ),
    click.option(
        "--group",
        "groups",
        multiple=True,
        metavar="GLOB",
        help="Consumer groups to put where they stood.  [default: all]",
    ),
    click.option(
        "--group-regex", "group_regexes", multiple=True, metavar="REGEX", help="The same, by regular expression."
    ),
    click.option(
        "--rename-group", "group_renames", multiple=True, metavar="GROUP=NAME", help="Under another name; repeatable."
    ),
    click.option("--no-groups", is_flag=True, help="Leave consumer groups alone."),
    click.option(
        "--only-state",
        is_flag=True,
        help="Topics with their partitions, settings and replication factor, empty; ACLs and quotas if asked for. No records, no groups. "
        "A topic that holds records is refused, unless it has these settings.",
    ),
    click.option(
        "--only-data",
        is_flag=True,
        help="Records, and the groups of these topics, into empty topics that exist with as many partitions. None is made; each keeps its "
        "settings, but for what would refuse or delete records while they are loaded.",
    ),
    click.option(
        "--acls",
        is_flag=True,
        help="Also add the ACLs of that moment that name a restored topic or group, or a prefix of one. None is deleted.",
    ),
    click.option("--all-acls", is_flag=True, help="Also add all ACLs of that moment, whatever they name."),
    click.option(
        "--quotas", is_flag=True, help="Also set all client quotas of that moment that are missing or different."
    ),
    click.option(
        "--allow-missing", is_flag=True, help="Restore the rest although offsets are missing or cannot be read."
    ),
    click.option(
        "--if-not-empty",
        type=click.Choice([one.value for one in IfNotEmpty]),
        default="refuse",
        show_default=True,
        help="A topic there that holds something else. append: load behind that, with --offsets translated. replace: delete it first.",
    ),
    click.option(
        "--discard-unstored", is_flag=True, help="With replace: destroy records too that this repository does not have."
    ),
    click.option(
        "--allow-short", is_flag=True, help="Although partitions are not stored as far as the recovery point."
    ),
]


def selection_options(command: _Command) -> _Command:
    """Adds the options; the command gets ``selection``: a function that makes the RestoreSelection of them, or raises UsageError."""

    names = tuple(inspect.signature(_selection).parameters)

    @functools.wraps(command)
    def with_selection(*args: Any, **options: Any) -> Any:
        given = {name: options.pop(name) for name in names}
        return command(*args, selection=functools.partial(_selection, **given), **options)

    wrapped: Any = with_selection
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped  # type: ignore[no-any-return]


def _selection(
    *,
    topics: Sequence[str],
    regexes: Sequence[str],
    exclude: Sequence[str],
    partitions: Sequence[int],
    at: str | None,
    until: str | None,
    latest: bool,
    to_offsets: Path | None,
    snapshot: str | None,
    since: str | None,
    offset_mode: str,
    max_fill_time: str,
    renames: Sequence[str],
    prefix: str,
    incarnations: Sequence[str],
    replication_factor: int | None,
    groups: Sequence[str],
    group_regexes: Sequence[str],
    group_renames: Sequence[str],
    no_groups: bool,
    only_state: bool,
    only_data: bool,
    acls: bool,
    all_acls: bool,
    quotas: bool,
    allow_missing: bool,
    allow_short: bool,
    if_not_empty: str,
    discard_unstored: bool,
) -> RestoreSelection:
    if discard_unstored and if_not_empty != IfNotEmpty.REPLACE:
        raise UsageError("--discard-unstored goes with --if-not-empty replace")
    scope = _scope(only_state=only_state, only_data=only_data)
    state = StateChoice(acls=acls, all_acls=all_acls, quotas=quotas)
    _refuse_contradictions(
        scope,
        {
            "--partition": partitions,
            "--group": groups,
            "--group-regex": group_regexes,
            "--rename-group": group_renames,
        },
        {"--acls": acls, "--all-acls": all_acls, "--quotas": quotas, "--replication-factor": replication_factor},
    )
    return RestoreSelection(
        topics=_filter(topics, regexes, exclude),
        partitions=frozenset(partitions),
        renames=pairs("--rename", renames),
        prefix=prefix,
        incarnations=pairs("--incarnation", incarnations),
        replication_factor=replication_factor,
        allow_missing=allow_missing,
        allow_short=allow_short,
        if_not_empty=IfNotEmpty(if_not_empty),
        discard_unstored=discard_unstored,
        point=_point(at=at, until=until, latest=latest, to_offsets=to_offsets, snapshot=snapshot, since=since),
        offsets=OffsetMode[offset_mode.upper()],
        max_fill_s=parse_duration_s("--max-fill-time", max_fill_time),
        groups=GroupChoice(
            is_wanted=not no_groups and (scope is not RestoreScope.STATE or state.wants_acls),
            globs=tuple(groups),
            regexes=tuple(group_regexes),
            renames=pairs("--rename-group", group_renames),
        ),
        scope=scope,
        state=state,
    )


def _scope(*, only_state: bool, only_data: bool) -> RestoreScope:
    if only_state and only_data:
        raise UsageError(
            "--only-state and --only-data are the two halves of a restore: give one, or none for all of it"
        )
    return RestoreScope.STATE if only_state else RestoreScope.DATA if only_data else RestoreScope.ALL


def _refuse_contradictions(scope: RestoreScope, of_data: Mapping[str, Any], of_state: Mapping[str, Any]) -> None:
    """Options that would do nothing are mistakes."""
    options = {RestoreScope.STATE: of_data, RestoreScope.DATA: of_state}.get(scope, {})
    wrong = [name for name, value in options.items() if value]
    if wrong:
        raise UsageError(f"{' and '.join(wrong)} say nothing to --only-{scope.value}: leave out one or the other")


def _point(
    *,
    at: str | None,
    until: str | None,
    latest: bool,
    to_offsets: Path | None,
    snapshot: str | None,
    since: str | None,
) -> RecoveryPoint:
    given = [
        name
        for name, value in (
            ("--at", at),
            ("--until", until),
            ("--latest", latest),
            ("--to-offsets", to_offsets),
            ("--snapshot", snapshot),
        )
        if value
    ]
    if len(given) != 1:
        said = f"{' and '.join(given)} were given" if given else "none was given"
        raise UsageError(
            f"exactly one recovery point is needed, {said}",
            hint="--at TIME (the cluster as it stood then), --until TIME (records of that time or before), --latest (all that is stored), "
            "--snapshot NAME or --to-offsets FILE",
        )
    now_ms = time.time_ns() // 1_000_000
    since_ms = None if since is None else _moment(since, now_ms)
    if snapshot is not None:
        return RecoveryPoint(kind=PointKind.SNAPSHOT, snapshot=snapshot, since_ms=since_ms)
    text = at or until
    if text is None:
        offsets = {} if to_offsets is None else read_offsets(to_offsets)
        return RecoveryPoint(kind=PointKind.LATEST if latest else PointKind.OFFSETS, offsets=offsets, since_ms=since_ms)
    time_ms = _moment(text, now_ms)
    if since_ms is not None and since_ms > time_ms:
        raise UsageError(f"--since is later than {given[0]}")
    return RecoveryPoint(kind=PointKind.AT if at else PointKind.UNTIL, time_ms=time_ms, since_ms=since_ms)


def _moment(text: str, now_ms: int) -> int:
    moment_ms = parse_moment(text, now_ms=now_ms)
    context = click.get_current_context(silent=True)
    if context is not None:
        context.ensure_object(CliContext).frozen[text] = format_moment(moment_ms)
    return moment_ms


def read_offsets(path: Path) -> dict[TopicPartition, int]:
    """The offsets of a file, ``{"topic": {"partition": next offset}}``.

    Raises:
        UsageError: there is no such file, or it is something else.
    """
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--to-offsets {path}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(
            f"--to-offsets {path}: not JSON: {error}", hint='write it as {"orders": {"0": 1200}}'
        ) from None
    offsets: dict[TopicPartition, int] = {}
    for topic, partitions in found.items() if isinstance(found, Mapping) else ():
        for partition, offset in partitions.items() if isinstance(partitions, Mapping) else ():
            if not partition.isdecimal() or type(offset) is not int or not 0 <= offset < 2**63:
                raise UsageError(f"--to-offsets {path}: {topic} {partition}: {offset!r} is no offset")
            offsets[TopicPartition(topic, int(partition))] = offset
    if not offsets:
        raise UsageError(f"--to-offsets {path}: it names no offset", hint='write it as {"orders": {"0": 1200}}')
    return offsets


def parse_duration_s(option: str, text: str) -> float:
    """Seconds of ``90s``, ``10m``, ``1.5h``.

    Raises:
        UsageError: it is none of these.
    """
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} {text}: not a duration", hint="write it as 90s, 10m or 2h")
    return float(match[1]) * _SECONDS[match[2]]


def _filter(topics: Sequence[str], regexes: Sequence[str], exclude: Sequence[str]) -> TopicFilter:
    include = tuple(topics) if topics or regexes else ("*",)
    try:
        return TopicFilter(include=include, include_regex=tuple(regexes), exclude=tuple(exclude))
    except ValueError as error:
        raise UsageError(str(error)) from None


def pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    """``TOPIC=…`` options as a mapping.

    Raises:
        UsageError: one is written otherwise, or names a topic twice.
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, other = value.partition("=")
        if not (name and equals and other):
            raise UsageError(f"{option} {value}: write it as NAME=…")
        if name in found:
            raise UsageError(f"{option} names {name} twice", hint="restore it once more with another command")
        found[name] = other
    return found
