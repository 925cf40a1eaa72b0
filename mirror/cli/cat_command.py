"""``mirror cat``: records straight from the repository."""

import re
import sys
import time
from contextlib import closing

import click

from mirror.cli.cat_summary import Heartbeat, print_summary
from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.record_json import json_writer
from mirror.cli.record_text import hex_writer, text_writer
from mirror.cli.streams import reader_is_gone
from mirror.cli.times import parse_moment
from mirror.core.moments import format_moment
from mirror.core.record_filter import RecordFilter
from mirror.errors import UsageError
from mirror.service.cat import RecordSearch
from mirror.service.cat_choice import CatSelection, choose

__all__ = ["command"]

_TOPIC = re.compile(r"([A-Za-z0-9._-]{1,249})(?::(\d{1,9}))?", re.ASCII)
_WRITERS = {"text": text_writer, "json": json_writer, "hex": hex_writer}
_EXIT_NOTHING, _EXIT_DAMAGED = 2, 5
_LOOK_EVERY = 64  # records between looks whether anybody still reads


@click.command(name="cat")
@click.argument("what", metavar="TOPIC[:PARTITION]")
@click.option("--partition", "partitions", type=click.IntRange(0), multiple=True, help="Only this one; repeatable.")
@click.option("--since", metavar="TIME", help="Records of this time or later.")
@click.option("--until", metavar="TIME", help="Records of this time or earlier, wherever they lie.")
@click.option(
    "--from-offset", type=click.IntRange(0), metavar="N", help="Records from this offset on, of each partition."
)
@click.option("--key", metavar="TEXT", help="Records with exactly this key (its bytes, as UTF-8).")
@click.option("--grep", metavar="REGEX", help="Records whose value or key matches somewhere; over bytes.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Stop after so many records.")
@click.option(
    "--incarnation", metavar="ID", help="Which one, of a topic created again; the first letters of its id will do."
)
@click.option("--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's.")
@click.option("--format", "form", type=click.Choice(list(_WRITERS)), help="How to print them.  [default: text]")
@json_option
@pass_cli
def command(
    cli: CliContext,
    what: str,
    partitions: tuple[int, ...],
    since: str | None,
    until: str | None,
    from_offset: int | None,
    key: str | None,
    grep: str | None,
    limit: int | None,
    incarnation: str | None,
    alias: str,
    form: str | None,
) -> int:
    """Print records straight from the repository; no cluster is needed.

    TIME is 2026-11-23T02:41:07Z, with any zone, or '2h ago', or now. It is the record's own time as a consumer sees it: the
    producer's, or the broker's in a topic with LogAppendTime. Both ends are included, to the millisecond.

    Each partition comes in the order of its offsets; several are merged by time as far as one stored object reaches (some
    seconds of writing). --since leaves out objects that hold only older records. --until cannot leave out any, for a record of
    that time may lie anywhere: give --limit to stop sooner. What a read_committed consumer never saw is not shown.

    \b
    text  partition, offset, time, key, value, headers (name=value), by tabs;
          null is none, "null" a text, \\xNN a byte that is no UTF-8
    json  one object a line (the same as --json); key_base64 and value_base64
          where the bytes are no UTF-8
    hex   key, value and headers as a hex dump

    What was looked at, gaps and damage are told on stderr, with json as one object. Exits 2 when no record matches, 5 when
    something cannot be read; the rest is shown.
    """
    match = _TOPIC.fullmatch(what)
    if match is None:
        raise click.UsageError(f"{what!r} is neither TOPIC nor TOPIC:PARTITION")
    if cli.as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other")
    form = "json" if cli.as_json else form or "text"
    cli.as_json = form == "json"
    numbers = frozenset(partitions) | ({int(match[2])} if match[2] else set())
    selection = CatSelection(
        topic=match[1],
        partitions=numbers,
        incarnation=incarnation,
        from_offset=from_offset,
        filter=_filter(since, until, key, grep),
        limit=limit,
    )
    repository = open_for(cli, alias)
    with waiting_for(cli, repository):
        choice = choose(repository, selection)
    heartbeat = Heartbeat()
    search = RecordSearch(repository, choice, selection, on_object=heartbeat.told)
    try:
        _write(search, form, selection.topic, heartbeat)
    finally:
        print_summary(search.report, selection, as_json=cli.as_json)
    if search.report.is_damaged:
        return _EXIT_DAMAGED
    return 0 if search.report.records or selection.is_whole else _EXIT_NOTHING


def _write(search: RecordSearch, form: str, topic: str, heartbeat: Heartbeat) -> None:
    line_of = _WRITERS[form](topic)
    write = sys.stdout.write
    with closing(search.records()) as records:
        for number, found in enumerate(records, start=1):
            write(line_of(found))
            heartbeat.wrote()
            if number % _LOOK_EVERY == 0 and reader_is_gone():
                break
    sys.stdout.flush()


def _filter(since: str | None, until: str | None, key: str | None, grep: str | None) -> RecordFilter:
    now_ms = time.time_ns() // 1_000_000
    since_ms = None if since is None else _moment("--since", since, now_ms)
    until_ms = None if until is None else _moment("--until", until, now_ms)
    if since_ms is not None and until_ms is not None and since_ms > until_ms:
        raise UsageError(
            f"--since {format_moment(since_ms)} is after --until {format_moment(until_ms)}: no record can match",
            hint="exchange them",
        )
    pattern = None
    if grep is not None:
        try:
            pattern = re.compile(_bytes(grep))
        except re.error as error:
            raise UsageError(
                f"--grep {grep}: not a regular expression: {error}",
                hint="put a backslash before what is meant as it stands: ( ) [ ] { } . * + ? ^ $ | \\",
            ) from None
    return RecordFilter(since_ms=since_ms, until_ms=until_ms, key=None if key is None else _bytes(key), pattern=pattern)


def _bytes(text: str) -> bytes:
    """UTF-8, whatever the terminal speaks; bytes that it could not read as text stay as they were typed."""
    return text.encode("utf-8", "surrogateescape")


def _moment(option: str, text: str, now_ms: int) -> int:
    try:
        return parse_moment(text, now_ms=now_ms)
    except UsageError as error:
        raise UsageError(f"{option}: {error.message}", hint=error.hint) from None
