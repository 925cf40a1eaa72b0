"""``mirror holds``: retention that a restore left lifted."""

import asyncio
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_count, print_line, print_table
from mirror.cli.restore_options import pairs
from mirror.core.segment.index import TopicObject
from mirror.core.topic_filter import TopicFilter
from mirror.errors import NoMatchError, RefusedError, UsageError
from mirror.kafka.admin import Admin
from mirror.kafka.client import open_client
from mirror.kafka.cluster import describe_cluster
from mirror.service.restore.earlier import restored_topics
from mirror.service.restore.holds import Hold, find_holds, release_hold
from mirror.service.wiring import connection_for
from mirror.storage.repository import Repository

__all__ = ["command"]

_OPTIONS = (
    click.option("--target", required=True, metavar="ALIAS", help="The cluster that was loaded."),
    click.option("--repository", default="", metavar="ALIAS", help="Where from.  [default: the worker's]"),
    click.option(
        "--topic",
        "topics",
        multiple=True,
        metavar="GLOB",
        help="Topics as `holds list` shows them, or as the repository names them.  [default: all]",
    ),
    click.option("--prefix", default="", metavar="TEXT", help="As given to the restore.  [default: by its record]"),
    click.option(
        "--rename",
        "renames",
        multiple=True,
        metavar="TOPIC=NAME",
        help="As given to the restore.  [default: by its record]",
    ),
)


def _options(function: Any) -> Any:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.group(name="holds")
def command() -> None:
    """Retention that a restore left lifted, since it would have deleted what was just restored."""


@command.command(name="list")
@_options
@json_option
@pass_cli
def list_holds(
    cli: CliContext, target: str, repository: str, topics: Sequence[str], prefix: str, renames: Sequence[str]
) -> int:
    """Show which topics are on hold, and about how many offsets go when they are released."""
    holds = asyncio.run(_find(cli, target, repository, topics, prefix, pairs("--rename", renames)))
    if cli.as_json:
        emit_json({"holds": holds})
        return 0
    _print(holds)
    if holds:
        print_line("to end them: `mirror holds release` with the same options")
    return 0


@command.command(name="release")
@_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show what would be released, and how many offsets go; change nothing.")
@json_option
@pass_cli
def release_holds(
    cli: CliContext,
    target: str,
    repository: str,
    topics: Sequence[str],
    prefix: str,
    renames: Sequence[str],
    yes: bool,
    dry_run: bool,
) -> int:
    """Put the source's retention back. The brokers then delete what is older."""
    holds = asyncio.run(_find(cli, target, repository, topics, prefix, pairs("--rename", renames)))
    if not holds:
        which = f"no topic that {' or '.join(topics)} names" if topics else "no topic"
        raise NoMatchError(
            f"{which} is on hold", hint="`mirror holds list` with the --prefix or --rename of the restore"
        )
    if not cli.as_json:
        _print(holds)
    if dry_run:
        if cli.as_json:
            emit_json({"holds": holds, "released": []})
        else:
            print_line("nothing was changed (--dry-run)")
        return 0
    if not yes:
        if not sys.stdin.isatty():
            raise RefusedError("releasing deletes records: nothing was changed", hint="if it is meant: --yes")
        count = len({hold.topic for hold in holds})
        if click.prompt(f"Type the number of topics, {count}, to release them", default="", err=True) != str(count):
            raise RefusedError("the number was not typed: nothing was changed")
    asyncio.run(_release(cli, target, holds))
    if cli.as_json:
        emit_json({"released": holds})
    else:
        print_line(f"released: {', '.join(sorted({hold.topic for hold in holds}))}", bold=True)
    return 0


def _captured(cli: CliContext, source: Repository) -> dict[str, TopicObject]:
    """Topic → its newest capture."""
    with waiting_for(cli, source):
        listed = sorted(source.list_topics(), key=lambda topic: topic.captured_at_ms)
    return {topic.topic: topic for topic in listed}


def _chosen(named: Mapping[str, TopicObject], topics: Sequence[str]) -> dict[str, TopicObject]:
    """Those whose name on the target, or in the repository, is one of ``topics``."""
    try:
        rules = TopicFilter(include=tuple(topics) or ("*",))
    except ValueError as error:
        raise UsageError(str(error)) from None
    return {name: one for name, one in named.items() if rules.select((name, one.topic))}


async def _find(
    cli: CliContext, target: str, repository: str, topics: Sequence[str], prefix: str, renames: Mapping[str, str]
) -> list[Hold]:
    """Of the topics under their own names and those that a restore with a record gave them; or under the names that are told."""
    source = open_for(cli, repository)
    captured = _captured(cli, source)
    connection = connection_for(cli.config().cluster(target))
    async with await open_client(connection) as client:
        named = {renames.get(topic, f"{prefix}{topic}"): one for topic, one in captured.items()}
        if not prefix and not renames:
            cluster_id = (await describe_cluster(client)).cluster_id
            restored = await asyncio.to_thread(restored_topics, source, cluster_id)
            named |= {name: captured[topic] for name, topic in restored.items() if topic in captured}
        return await find_holds(
            client,
            Admin(connection, client),
            _chosen(named, topics),
            alias=target,
            bootstrap=connection.where,
            now_ms=time.time_ns() // 1_000_000,
        )


async def _release(cli: CliContext, target: str, holds: Sequence[Hold]) -> None:
    connection = connection_for(cli.config().cluster(target))
    async with await open_client(connection) as client:
        admin = Admin(connection, client)
        for hold in holds:
            await release_hold(admin, hold)


def _print(holds: Sequence[Hold]) -> None:
    if not holds:
        print_line("no topic is on hold")
        return
    rows = [
        (
            hold.topic,
            hold.name,
            "the default" if hold.wanted is None else hold.wanted,
            "not known" if hold.doomed_offsets is None else human_count(hold.doomed_offsets),
            human_count(hold.all_offsets),
        )
        for hold in holds
    ]
    print_table(
        ("topic", "setting", "will be", "offsets that go", "of"), rows, right=("offsets that go", "of"), title="on hold"
    )
