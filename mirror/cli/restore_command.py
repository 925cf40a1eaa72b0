"""``mirror restore``: load topics of a repository into a cluster."""

import asyncio
import re
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_bytes, human_count, human_duration, print_line, print_table
from mirror.cli.progress import waiting
from mirror.cli.restore_progress import RestoreProgress, restore_progress
from mirror.config import Config
from mirror.core.restore_plan import RestorePlan, TopicPlan, TopicState
from mirror.core.restore_selection import RestoreSelection
from mirror.core.topic_filter import TopicFilter
from mirror.errors import RefusedError, UsageError
from mirror.service.restore.execute import RestoreResult
from mirror.service.restore.run import RestoreSession, read_inventory
from mirror.service.wiring import connection_for
from mirror.storage.repository import Repository

__all__ = ["command"]

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?(?:/s)?")
_UNITS = {"": 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000}


@click.command(name="restore")
@click.option("--target", required=True, metavar="ALIAS", help="The cluster to load into, an alias of [clusters].")
@click.option("--repository", metavar="ALIAS", help="Where from.  [default: the worker's]")
@click.option("--topic", "topics", multiple=True, metavar="GLOB", help="Topics to restore; repeatable.  [default: all]")
@click.option("--topic-regex", "regexes", multiple=True, metavar="REGEX", help="The same, by regular expression.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Topics not to restore; repeatable.")
@click.option(
    "--rename", "renames", multiple=True, metavar="TOPIC=NAME", help="Restore under another name; repeatable."
)
@click.option("--prefix", default="", metavar="TEXT", help="Put this before the names of all other topics.")
@click.option(
    "--incarnation", "incarnations", multiple=True, metavar="TOPIC=ID", help="Which one, of a topic created again."
)
@click.option("--replication-factor", type=click.IntRange(1, 32767), help="Of created topics.  [default: the source's]")
@click.option("--allow-missing", is_flag=True, help="Restore the rest although offsets are missing.")
@click.option("--target-is-source", is_flag=True, help="Yes, the target is the cluster that was backed up.")
@click.option("--limit-rate", metavar="RATE", help="At most so much, such as 20MB/s.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@json_option
@pass_cli
def command(
    cli: CliContext,
    target: str,
    repository: str | None,
    topics: tuple[str, ...],
    regexes: tuple[str, ...],
    exclude: tuple[str, ...],
    renames: tuple[str, ...],
    prefix: str,
    incarnations: tuple[str, ...],
    replication_factor: int | None,
    allow_missing: bool,
    target_is_source: bool,
    limit_rate: str | None,
    dry_run: bool,
) -> int:
    """Load topics into a cluster, as they were: offsets dense and in order, everything else as consumers saw it.

    Nothing is written to a topic that holds anything, except to go on with a restore that was interrupted: the same
    command resumes it. Reads the repository and the target; neither the source nor workers are needed.
    """
    config = cli.config()
    selection = RestoreSelection(
        topics=_filter(topics, regexes, exclude),
        renames=_pairs("--rename", renames),
        prefix=prefix,
        incarnations=_pairs("--incarnation", incarnations),
        replication_factor=replication_factor,
        allow_missing=allow_missing,
        target_is_source=target_is_source,
    )
    rate = parse_rate(limit_rate) if limit_rate else None
    cluster = config.cluster(target)
    if cluster.role == "source" and not target_is_source:
        raise RefusedError(
            f"THIS IS THE SOURCE CLUSTER: {target} has the role source",
            hint="say --target-is-source if it is meant, or name another cluster with --target",
        )
    source = open_for(cli, repository or "", goes_on=True)
    return asyncio.run(_restore(cli, config, source, target, selection, rate, dry_run=dry_run))


async def _restore(
    cli: CliContext,
    config: Config,
    repository: Repository,
    target: str,
    selection: RestoreSelection,
    rate: int | None,
    *,
    dry_run: bool,
) -> int:
    with waiting_for(cli, repository):
        inventory = await asyncio.to_thread(read_inventory, repository)
    connection = connection_for(config.cluster(target))
    async with RestoreSession(repository, inventory, connection, alias=target) as session:
        with waiting(f"the cluster {target}", quiet=cli.as_json):
            plan, rests = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
        if not cli.as_json:
            for line in inventory.unreadable:
                print_line(f"NOT READABLE, restored without what it held: {line}", color="red")
            _print_plan(plan)
        if dry_run:
            if cli.as_json:
                emit_json({"plan": _plan_json(plan), "unreadable": inventory.unreadable})
            return 0
        started_s = time.monotonic()
        shown: AbstractContextManager[RestoreProgress] = restore_progress(plan, quiet=cli.as_json)
        with shown as observer:
            result = await session.execute(plan, rests, observer=observer, bytes_per_second=rate)
        elapsed_s = time.monotonic() - started_s
    if cli.as_json:
        shown_result = _result_json(result, elapsed_s)
        emit_json({"plan": _plan_json(plan), "result": shown_result, "unreadable": inventory.unreadable})
    else:
        _print_result(plan, result, elapsed_s)
    return 0


def _filter(topics: Sequence[str], regexes: Sequence[str], exclude: Sequence[str]) -> TopicFilter:
    include = tuple(topics) if topics or regexes else ("*",)
    try:
        return TopicFilter(include=include, include_regex=tuple(regexes), exclude=tuple(exclude))
    except ValueError as error:
        raise UsageError(str(error)) from None


def _pairs(option: str, values: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for value in values:
        name, equals, other = value.partition("=")
        if not (name and equals and other):
            raise UsageError(f"{option} {value}: write it as TOPIC=…")
        if name in pairs:
            raise UsageError(f"{option} names {name} twice", hint="restore it once more with another command")
        pairs[name] = other
    return pairs


def parse_rate(text: str) -> int:
    """Bytes per second of ``20MB/s``, ``500k``, ``1.5G``; decimal units.

    Raises:
        UsageError: it is none of these.
    """
    match = _RATE.fullmatch(text.strip())
    bytes_per_second = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if bytes_per_second < 1:
        raise UsageError(f"--limit-rate {text}: not a rate", hint="write it as 20MB/s")
    return bytes_per_second


# output


def _print_plan(plan: RestorePlan) -> None:
    if plan.target_is_source:
        print_line("THIS IS THE SOURCE CLUSTER", bold=True, color="red")
    rows = [
        (
            topic.topic,
            topic.topic_id,
            topic.target_topic,
            _STATES[topic.state],
            len(topic.partitions),
            topic.replication_factor,
            ("" if all(p.is_exact for p in topic.partitions) else "≤ ") + human_count(topic.records),
            human_bytes(topic.stored_bytes),
        )
        for topic in plan.topics
    ]
    print_table(
        ("topic", "incarnation", "as", "there now", "partitions", "replicas", "records", "stored"),
        rows,
        title=f"restore to {plan.target_alias} ({plan.target_bootstrap})",
        right=("partitions", "replicas", "records", "stored"),
        below=("incarnation",),
        optional=("replicas",),
    )
    for topic in plan.topics:
        for line in _remarks(plan, topic):
            print_line(line, color="yellow")


_STATES = {
    TopicState.ABSENT: "nothing",
    TopicState.EMPTY: "empty topic",
    TopicState.UNFINISHED: "part of this restore",
    TopicState.FILLED: "records",
    TopicState.COMPLETE: "all of it",
}


def _remarks(plan: RestorePlan, topic: TopicPlan) -> list[str]:
    lines = [f"{topic.target_topic}: {note}" for note in topic.notes]
    lines += _hold_lines(plan, topic)
    for partition in topic.partitions:
        name = f"{topic.topic}-{partition.partition}"
        if partition.coverage is not None:
            lines += [f"{name}: [{g.start_offset}, {g.next_offset}) lost: {g.reason}" for g in partition.coverage.gaps]
            lines += [
                f"{name}: [{lost.start_offset}, {lost.next_offset}) MISSING from the repository"
                for lost in partition.coverage.missing
            ]
    return lines


def _hold_lines(plan: RestorePlan, topic: TopicPlan) -> list[str]:
    lines: list[str] = []
    for hold in topic.held:
        wanted = "the cluster's default" if hold.wanted is None else hold.wanted
        lines += [
            f"RETENTION HOLD on {topic.target_topic}: {hold.name} stays -1 instead of {wanted}: {hold.why}",
            f"  to end it: {hold.release_command(plan.target_bootstrap, topic.target_topic)}",
        ]
    return lines


def _print_result(plan: RestorePlan, result: RestoreResult, elapsed_s: float) -> None:
    records = sum(topic.records for topic in result.topics)
    rate = result.loaded_bytes / elapsed_s / 1e6 if elapsed_s > 0 else 0.0
    print_line(
        f"restored {len(result.topics)} topics, {human_count(records)} records "
        f"({human_count(result.loaded_records)} by this run, {human_bytes(result.loaded_bytes)}, {rate:,.1f} MB/s) "
        f"in {human_duration(elapsed_s * 1000)}",
        bold=True,
        color="green",
    )
    for topic in plan.topics:
        for line in _hold_lines(plan, topic):
            print_line(line, bold=True, color="yellow")


def _plan_json(plan: RestorePlan) -> dict[str, Any]:
    return {
        "target": plan.target_alias,
        "target_cluster_id": plan.target_cluster_id,
        "target_is_source": plan.target_is_source,
        "topics": [
            {
                "topic": topic.topic,
                "topic_id": topic.topic_id,
                "target_topic": topic.target_topic,
                "state": topic.state.value,
                "replication_factor": topic.replication_factor,
                "load_configs": dict(topic.load_configs),
                "final_configs": dict(topic.final_configs),
                "notes": list(topic.notes),
                "holds": [
                    {
                        "config": hold.name,
                        "wanted": hold.wanted,
                        "why": hold.why,
                        "release_command": hold.release_command(plan.target_bootstrap, topic.target_topic),
                    }
                    for hold in topic.held
                ],
                "partitions": [
                    {
                        "partition": p.partition,
                        "records": p.records,
                        "records_are_exact": p.is_exact,
                        "done_records": p.done_records,
                        "stored_bytes": p.stored_bytes,
                        "start_offset": p.coverage.start_offset if p.coverage else None,
                        "next_offset": p.coverage.next_offset if p.coverage else None,
                        "gaps": [
                            {"start_offset": g.start_offset, "next_offset": g.next_offset, "reason": g.reason}
                            for g in (p.coverage.gaps if p.coverage else ())
                        ],
                        "missing": [
                            {"start_offset": m.start_offset, "next_offset": m.next_offset}
                            for m in (p.coverage.missing if p.coverage else ())
                        ],
                    }
                    for p in topic.partitions
                ],
            }
            for topic in plan.topics
        ],
    }


def _result_json(result: RestoreResult, elapsed_s: float) -> dict[str, Any]:
    return {
        "seconds": round(elapsed_s, 3),
        "loaded_records": result.loaded_records,
        "loaded_bytes": result.loaded_bytes,
        "topics": [
            {
                "topic": topic.topic,
                "topic_id": topic.topic_id,
                "target_topic": topic.target_topic,
                "records": topic.records,
                "loaded_records": topic.loaded_records,
                "release_commands": list(topic.held),
            }
            for topic in result.topics
        ],
    }
