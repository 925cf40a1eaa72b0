"""``mirror groups``."""

import time
from collections.abc import Mapping
from typing import Any

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_count, print_line, print_table, utc
from mirror.cli.subcommands import VerbGroup
from mirror.cli.times import parse_moment
from mirror.config.nearest import nearest
from mirror.core.coverage import PartitionCoverage
from mirror.core.group_log import CommittedOffset
from mirror.core.keys import ROLLUP_PREFIX
from mirror.core.moments import format_moment
from mirror.core.positions import PartitionId, TopicPartition
from mirror.core.table_coverage import cover_table
from mirror.errors import NoMatchError, RefusedError
from mirror.service.groups import GroupView, read_groups
from mirror.storage.table_loading import load_table

__all__ = ["command"]

_DAMAGE_CODE = 5
_Positions = Mapping[TopicPartition, CommittedOffset]
_Coverages = Mapping[PartitionId, PartitionCoverage]

_at_option = click.option(
    "--at", "at_text", metavar="TIME", help="Where they stood then, such as 2026-11-23T02:41:07Z or '2h ago'."
)
_repository_option = click.option(
    "--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's."
)


_BELOW = {"rollback": "mirror.cli.groups_rollback_command:rollback_command"}


@click.group(name="groups", cls=VerbGroup, below=_BELOW, invoke_without_command=False)
def command() -> None:
    """Show where consumer groups stood, at any time since the backup began, and put them back after a restore."""


@command.command(name="list")
@_at_option
@_repository_option
@json_option
@pass_cli
def list_groups(cli: CliContext, at_text: str | None, alias: str) -> int:
    """List the consumer groups that are stored.

    Exits 5 where a position cannot be read, or a part of the group log is lost; what it is stands on stderr.
    """
    view, _ = _read(cli, at_text, alias)
    if cli.as_json:
        _emit(view, view.groups)
        return _exit_code(view)
    _print_problems(view)
    rows = [
        (name, len({tp.topic for tp in positions}), len(positions), _newest(positions))
        for name, positions in view.groups.items()
    ]
    if rows:
        print_table(
            ("group", "topics", "partitions", "newest commit"),
            rows,
            right=("topics", "partitions"),
            fixed=("newest commit",),
        )
    print_line(f"{human_count(len(rows))} consumer {'group' if len(rows) == 1 else 'groups'} {_when(view)}", bold=True)
    if rows:
        print_line("next: `mirror groups show GROUP` shows a group's offsets")
    return _exit_code(view)


@command.command(name="show")
@click.argument("group")
@_at_option
@_repository_option
@json_option
@pass_cli
def show_group(cli: CliContext, group: str, at_text: str | None, alias: str) -> int:
    """Show the committed offsets of a consumer group, and up to where each partition is stored."""
    view, coverages = _read(cli, at_text, alias)
    concerns_it = [problem for problem in view.problems if problem.group == group]
    if group not in view.groups and not concerns_it:
        raise NoMatchError(
            f"consumer group {group!r} has no position {_when(view)}{_similar(group, view)}",
            hint="`mirror groups list` lists those that had; one that was deleted is there with an earlier --at",
        )
    positions = view.groups.get(group, {})
    if cli.as_json:
        _emit(view, {group: positions})
        return _exit_code(view)
    _print_problems(view)
    columns = ("topic", "partition", "offset", "stored to", "committed", "epoch", "metadata")
    print_table(
        columns,
        [_row(tp, position, coverages) for tp, position in positions.items()],
        title=f"{group} {_when(view)}",
        right=("partition", "offset", "stored to", "epoch"),
        fixed=("offset",),
        optional=("epoch",),
    )
    return _exit_code(view)


def _read(cli: CliContext, at_text: str | None, alias: str) -> tuple[GroupView, _Coverages]:
    """The view, and the coverage it was read with.

    Raises:
        RefusedError: the moment is in the future, or before the capture began; the hint has the nearest one.
    """
    now_ms = time.time_ns() // 1_000_000
    at_ms = None if at_text is None else parse_moment(at_text, now_ms=now_ms)
    if at_ms is not None and at_ms > now_ms:
        raise RefusedError(f"{format_moment(at_ms)} is in the future", hint=f"now is {format_moment(now_ms)}")
    worker_id = cli.config().worker.id
    repository = open_for(cli, alias, goes_on=True)
    with waiting_for(cli, repository):
        coverages = cover_table(load_table(repository, on_damage=_note_damage).table)
        view = read_groups(repository, coverages, at_ms=at_ms, without_groups={worker_id})
    if at_ms is not None and view.known_from_ms is not None and at_ms < view.known_from_ms:
        raise RefusedError(
            f"at {format_moment(at_ms)} consumer groups were not captured yet: where they stood is not known",
            hint=f"the first moment that is known: --at {format_moment(view.known_from_ms)}",
        )
    return view, coverages


def _note_damage(key: str, error: Exception) -> None:
    if not key.startswith(ROLLUP_PREFIX):  # a cache: the footers were read instead
        print_line(f"cannot be read, so left out here: {error}", color="red", err=True)


def _similar(group: str, view: GroupView) -> str:
    close = nearest(group, view.groups)
    return f"; did you mean {close}?" if close else ""


def _when(view: GroupView) -> str:
    if view.at_ms is not None:
        return f"at {format_moment(view.at_ms)}"
    return f"as last stored (newest commit {utc(view.newest_record_ms)})"


def _newest(positions: _Positions) -> str:
    return utc(max(position.commit_timestamp_ms for position in positions.values()), with_ms=True)


def _row(tp: TopicPartition, position: CommittedOffset, coverages: _Coverages) -> tuple[object, ...]:
    return (
        tp.topic,
        tp.partition,
        position.offset,
        _stored_to(tp, position, coverages),
        utc(position.commit_timestamp_ms, with_ms=True),
        position.leader_epoch if position.leader_epoch >= 0 else "–",
        position.metadata.removesuffix("\0"),  # librdkafka's clients commit the end of their string too
    )


def _stored_to(tp: TopicPartition, position: CommittedOffset, coverages: _Coverages) -> str:
    """The end of what is stored of the incarnation that was consumed; where the broker did not note it, of the longest one."""
    stored = [
        entry.position
        for partition_id, entry in coverages.items()
        if (entry.topic, partition_id.partition) == tp and position.topic_id in (None, partition_id.topic_id)
    ]
    return str(max(stored)) if stored else "–"


def _print_problems(view: GroupView) -> None:
    if view.is_polled:
        print_line("polled from the brokers: what was committed between two polls is not known", err=True)
    for problem in view.problems:
        whose = f"group {problem.group}: " if problem.group else ""
        print_line(f"{whose}{problem.message}", color="red", err=True)


def _exit_code(view: GroupView) -> int:
    return _DAMAGE_CODE if view.problems else 0


def _emit(view: GroupView, groups: Mapping[str, _Positions]) -> None:
    emit_json(
        {
            "at": None if view.at_ms is None else utc(view.at_ms, with_ms=True),
            "at_ms": view.at_ms,
            "known_from": None if view.known_from_ms is None else utc(view.known_from_ms, with_ms=True),
            "known_from_ms": view.known_from_ms,
            "newest_record": None if view.newest_record_ms is None else utc(view.newest_record_ms, with_ms=True),
            "newest_record_ms": view.newest_record_ms,
            "is_polled": view.is_polled,
            "problems": view.problems,
            "groups": [
                {"group": name, "positions": [_as_json(tp, position) for tp, position in positions.items()]}
                for name, positions in groups.items()
            ],
        }
    )


def _as_json(tp: TopicPartition, position: CommittedOffset) -> dict[str, Any]:
    return {
        "topic": tp.topic,
        "partition": tp.partition,
        "offset": position.offset,
        "leader_epoch": position.leader_epoch if position.leader_epoch >= 0 else None,
        "metadata": position.metadata,
        "committed": utc(position.commit_timestamp_ms, with_ms=True),
        "committed_ms": position.commit_timestamp_ms,
        "expires_ms": position.expire_timestamp_ms,
        "topic_id": position.topic_id,
    }
