"""``mirror snapshot``: recovery points with a name."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_count, human_duration, print_line, print_table, utc
from mirror.cli.progress import progress, waiting
from mirror.cli.restore_options import parse_duration_s
from mirror.core.positions import TopicPartition
from mirror.core.snapshot import ShortPartition, Snapshot, find_shortfall, shown_name
from mirror.core.topic_filter import TopicFilter
from mirror.errors import DamageError, MirrorError, RefusedError
from mirror.kafka.connection import ClusterConnection
from mirror.service.snapshot_taking import take_snapshot
from mirror.service.snapshots import (
    check_snapshot_name,
    delete_snapshot,
    find_snapshot,
    list_snapshots,
    put_snapshot,
    read_snapshot,
)
from mirror.service.state_recorder import StateRecorder
from mirror.service.status_repository import RepositoryObserver
from mirror.service.wiring import connection_for, internal_topics
from mirror.storage.repository import Repository

__all__ = ["command"]

_SHORT_CODE = 6
_DAMAGE_CODE = 5
_POLL_S = 1.0
_NAMED = 3

_repository_option = click.option(
    "--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's."
)


@click.group(name="snapshot")
def command() -> None:
    """Name a moment to come back to: the ends of all partitions and the positions of all consumer groups.

    A snapshot is a small object beside the backup: data is not copied, and deleting one deletes no data.
    """


@command.command(name="create")
@click.argument("name", default="", required=False)
@click.option("--wait", is_flag=True, help="Return once everything up to the snapshot is stored.")
@click.option("--timeout", default="5m", show_default=True, metavar="TIME", help="How long --wait waits.")
@_repository_option
@json_option
@pass_cli
def create(cli: CliContext, name: str, wait: bool, timeout: str, alias: str) -> int:
    """Take a snapshot of all topics that are backed up.

    Its UTC time becomes part of its name: before-deploy@2026-11-23T02:41:07Z.

    Exits 6 where workers have not stored everything up to it yet (--wait waits for them): until then it cannot be restored whole.
    """
    check_snapshot_name(name)
    timeout_s = parse_duration_s("--timeout", timeout)
    config = cli.config()
    repository = open_for(cli, alias, goes_on=True)
    rules = config.worker.topic_filter(own_topics=frozenset(internal_topics(config.worker.id).values()))
    connection = connection_for(config.source_cluster)
    with waiting(f"the source cluster {connection.where}", quiet=cli.as_json):
        snapshot = asyncio.run(_take(connection, repository, rules, config.worker.id, name))
    known = list_snapshots(repository)
    if any(shown_name(key) == shown_name(snapshot.key) for key in known):
        raise RefusedError(f"snapshot {shown_name(snapshot.key)} exists", hint="run it again")
    put_snapshot(repository, snapshot)
    if not cli.as_json:
        _print_created(snapshot)
        if name and any(key.name == name for key in known):
            print_line(
                f"there is another snapshot {name}: say {shown_name(snapshot.key)} where this one is meant",
                color="yellow",
            )
    begun = time.monotonic()
    short = _stored(cli, repository, snapshot, timeout_s if wait else 0.0)
    waited_s = time.monotonic() - begun
    if cli.as_json:
        emit_json({**_summary(snapshot, short), "waited_seconds": round(waited_s, 3) if wait else None})
    elif short:
        print_line(f"NOT STORED YET{f' after {waited_s:.0f} s' if wait else ''}: {_shortfall_text(short)}", color="red")
        shown = shown_name(snapshot.key)
        print_line(f"next: `mirror snapshot show {shown}` says what is stored; `mirror status` whether workers run")
    else:
        print_line(f"all of it is stored{f' (waited {waited_s:.0f} s)' if wait else ''}", color="green")
        _print_next(snapshot)
    return _SHORT_CODE if short else 0


async def _take(
    connection: ClusterConnection, repository: Repository, rules: TopicFilter, worker_id: str, name: str
) -> Snapshot:
    """The state of the cluster is captured a moment before, so that it is that of the snapshot's time too."""
    notes = []
    try:
        await StateRecorder(repository, connection).look(_now_ms(), at_once=True)
    except MirrorError as error:
        notes.append(f"the cluster's state of this moment is not captured: {error.message}")
    snapshot = await take_snapshot(connection, repository.identity, rules, worker_id, name)
    return msgspec.structs.replace(snapshot, notes=[*snapshot.notes, *notes])


def _stored(cli: CliContext, repository: Repository, snapshot: Snapshot, timeout_s: float) -> list[ShortPartition]:
    """What is not stored of it, at the latest after ``timeout_s``."""
    observer = RepositoryObserver(repository)
    give_up_at_s = time.monotonic() + timeout_s
    with waiting_for(cli, repository):
        short = find_shortfall(snapshot, observer.refresh(_now_ms()))
    missing = _missing(short)
    if not missing or not timeout_s:
        return short
    with progress("storing", total=missing, unit="offsets", quiet=cli.as_json) as shown:
        while missing and time.monotonic() < give_up_at_s:
            time.sleep(_POLL_S)
            short = find_shortfall(snapshot, observer.refresh(_now_ms()))
            shown.advance(missing - _missing(short))
            missing = _missing(short)
    return short


@command.command(name="list")
@_repository_option
@json_option
@pass_cli
def list_all(cli: CliContext, alias: str) -> int:
    """List the snapshots, and whether they are stored whole.

    Needs the repository only.
    Exits 5 where one is damaged.
    """
    repository = open_for(cli, alias, goes_on=True)
    rows: list[tuple[object, ...]] = []
    found: list[dict[str, Any]] = []
    damaged = 0
    with waiting_for(cli, repository):
        keys = list_snapshots(repository)
        coverages = RepositoryObserver(repository).refresh(_now_ms()) if keys else {}
        for key in keys:
            try:
                snapshot = read_snapshot(repository, key)
            except DamageError as error:
                damaged += 1
                rows.append((shown_name(key), "–", "–", "–", f"DAMAGED: {error.message}"))
                found.append({"snapshot": shown_name(key), "damage": error.message})
                continue
            short = find_shortfall(snapshot, coverages)
            found.append(_summary(snapshot, short))
            partitions = sum(len(topic.partitions) for topic in snapshot.topics)
            state = f"short: {_shortfall_text(short)}" if short else "complete"
            rows.append((shown_name(key), len(snapshot.topics), partitions, len(snapshot.groups), state))
    if cli.as_json:
        emit_json({"snapshots": found})
    else:
        if rows:
            print_table(
                ("snapshot", "topics", "partitions", "groups", "stored"),
                rows,
                right=("topics", "partitions", "groups"),
                fixed=("snapshot",),
            )
        print_line(f"{human_count(len(rows))} {'snapshot' if len(rows) == 1 else 'snapshots'}", bold=True)
        if not rows:
            print_line("next: `mirror snapshot create NAME --wait` takes one")
    return _DAMAGE_CODE if damaged else 0


@command.command(name="show")
@click.argument("name")
@_repository_option
@json_option
@pass_cli
def show(cli: CliContext, name: str, alias: str) -> None:
    """Show what a snapshot holds, and what is stored of it.

    NAME is as `mirror snapshot list` shows it, or its part before the @ where only one has it. Needs the repository only.
    """
    repository = open_for(cli, alias, goes_on=True)
    with waiting_for(cli, repository):
        snapshot = read_snapshot(repository, find_snapshot(repository, name))
        coverages = RepositoryObserver(repository).refresh(_now_ms())
    short = {one.topic_partition: one for one in find_shortfall(snapshot, coverages)}
    if cli.as_json:
        emit_json({**_summary(snapshot, list(short.values())), "content": snapshot})
        return
    rows = []
    for topic in snapshot.topics:
        for one in topic.partitions:
            lack = short.get(TopicPartition(topic.topic, one.partition))
            state = "complete" if lack is None else _lack_text(lack)
            rows.append((topic.topic, one.partition, one.log_start_offset, one.last_stable_offset, state))
    print_table(
        ("topic", "partition", "from", "to", "stored"),
        rows,
        title=f"snapshot {shown_name(snapshot.key)} of cluster {snapshot.cluster_id}",
        right=("partition", "from", "to"),
    )
    if snapshot.groups:
        print_table(
            ("group", "topic", "partition", "offset"),
            [(g.group, p.topic, p.partition, p.offset) for g in snapshot.groups for p in g.positions],
            right=("partition", "offset"),
        )
    for note in snapshot.notes:
        print_line(f"note: {note}")
    _print_state(snapshot, list(short.values()))


@command.command(name="delete")
@click.argument("name")
@_repository_option
@json_option
@pass_cli
def delete(cli: CliContext, name: str, alias: str) -> None:
    """Delete a snapshot; no data is deleted.

    `--at` and `--to-offsets` still reach what it named. Needs the right to delete objects below snapshots/, which workers do not need.
    """
    repository = open_for(cli, alias)
    with waiting_for(cli, repository):
        key = find_snapshot(repository, name)
        delete_snapshot(repository, key)
    if cli.as_json:
        emit_json({"deleted": shown_name(key)})
    else:
        print_line(f"deleted snapshot {shown_name(key)}; no data was deleted")


def _print_created(snapshot: Snapshot) -> None:
    partitions = sum(len(topic.partitions) for topic in snapshot.topics)
    print_line(
        f"snapshot {shown_name(snapshot.key)}: {len(snapshot.topics)} topics, {partitions} partitions, "
        f"{len(snapshot.groups)} consumer groups, asked within {_skew(snapshot)}",
        bold=True,
    )
    for note in snapshot.notes:
        print_line(f"note: {note}")


def _print_state(snapshot: Snapshot, short: Sequence[ShortPartition]) -> None:
    print_line(f"asked within {_skew(snapshot)}, until {utc(snapshot.taken_at_ms, with_ms=True)}")
    if short:
        print_line(f"NOT ALL OF IT IS STORED: {_shortfall_text(short)}", color="red")
    else:
        print_line("all of it is stored", color="green")
        _print_next(snapshot)


def _print_next(snapshot: Snapshot) -> None:
    print_line(
        f"next: `mirror plan --snapshot {shown_name(snapshot.key)} --target ALIAS` shows what coming back would do"
    )


def _skew(snapshot: Snapshot) -> str:
    return f"{snapshot.skew_ms} ms" if snapshot.skew_ms < 1000 else human_duration(snapshot.skew_ms)


def _missing(short: Sequence[ShortPartition]) -> int:
    return sum(one.missing_offsets for one in short)


def _shortfall_text(short: Sequence[ShortPartition]) -> str:
    """``1,234 offsets in 2 partitions are not stored yet (orders-0, orders-1); 17 are lost``."""
    missing = [one for one in short if one.missing_offsets]
    lost = sum(one.lost_offsets for one in short)
    parts = []
    if missing:
        names = ", ".join(str(one.topic_partition) for one in missing[:_NAMED])
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        parts.append(f"{human_count(_missing(missing))} offsets are not stored ({names}{more})")
    if lost:
        parts.append(f"{human_count(lost)} offsets are lost")
    return "; ".join(parts)


def _lack_text(lack: ShortPartition) -> str:
    to = "nothing is stored" if lack.stored_to is None else f"stored to {lack.stored_to}"
    missing = f"{to}, {human_count(lack.missing_offsets)} missing" if lack.missing_offsets else ""
    lost = f"{human_count(lack.lost_offsets)} lost" if lack.lost_offsets else ""
    return "; ".join(part for part in (missing, lost) if part)


def _summary(snapshot: Snapshot, short: Sequence[ShortPartition]) -> dict[str, Any]:
    return {
        "snapshot": shown_name(snapshot.key),
        "name": snapshot.name,
        "taken_at": utc(snapshot.taken_at_ms, with_ms=True),
        "taken_at_ms": snapshot.taken_at_ms,
        "skew_ms": snapshot.skew_ms,
        "cluster_id": snapshot.cluster_id,
        "topics": len(snapshot.topics),
        "partitions": sum(len(topic.partitions) for topic in snapshot.topics),
        "groups": len(snapshot.groups),
        "notes": snapshot.notes,
        "is_complete": not short,
        "missing_offsets": _missing(short),
        "lost_offsets": sum(one.lost_offsets for one in short),
        "short": [
            {
                "topic": one.topic_partition.topic,
                "partition": one.topic_partition.partition,
                "stored_to": one.stored_to,
                "missing_offsets": one.missing_offsets,
                "lost_offsets": one.lost_offsets,
            }
            for one in short
        ],
    }


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
