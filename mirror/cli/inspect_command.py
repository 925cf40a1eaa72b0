"""``mirror inspect``."""

import re
from typing import Any

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.inspect_topics import show_topics
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_bytes, human_count, print_line, print_table, utc
from mirror.core.coverage import CoveredRun, PartitionCoverage
from mirror.core.keys import ROLLUP_PREFIX
from mirror.core.segment.index import RunEntry
from mirror.service.inspect import ObjectView, inspect_object, inspect_topic, list_batches, list_stored_topics
from mirror.storage.repository import Repository

__all__ = ["command"]

_NAMED = 3  # ranges of a kind in the first line; the table has all
_TOPIC = re.compile(r"([A-Za-z0-9._-]{1,249})(?::(\d{1,9}))?", re.ASCII)


@click.command(name="inspect")
@click.argument("what", required=False, metavar="[TOPIC[:PARTITION] | OBJECT_KEY]")
@click.option("--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's.")
@click.option("--batches", is_flag=True, help="Also list the batches of an object's runs (headers, never records).")
@json_option
@pass_cli
def command(cli: CliContext, what: str | None, alias: str, batches: bool) -> None:
    """Show the coverage of a topic or partition (ranges, objects, gaps, forks, cut tails, overlap), or what an object holds.

    Without a name it lists the topics that are stored. A name that begins with a dash goes behind two: `mirror inspect -- -name`.

    An object key is what `mirror inspect TOPIC:PARTITION` and `mirror verify` print: l0/2026-11-23/02/….seg
    """
    if what is None:
        if batches:
            raise click.UsageError("--batches goes with the key of an object")
        _list_topics(cli, open_for(cli, alias))
        return
    is_key = "/" in what
    match = _TOPIC.fullmatch(what)
    if not is_key and match is None:
        raise click.UsageError(f"{what!r} is neither TOPIC, TOPIC:PARTITION nor the key of an object")
    if batches and not is_key:
        raise click.UsageError("--batches goes with the key of an object")
    repository = open_for(cli, alias)
    if is_key:
        _show_object(cli, repository, inspect_object(repository, what), batches=batches)
        return
    assert match is not None
    damaged: list[str] = []
    partition = int(match[2]) if match[2] else None
    with waiting_for(cli, repository):
        found = inspect_topic(repository, match[1], partition, on_damage=lambda _, error: damaged.append(str(error)))
    if cli.as_json:
        emit_json({"topic": match[1], "damaged": damaged, "partitions": [_coverage_json(entry) for entry in found]})
        return
    for message in damaged:
        print_line(f"cannot be read, so left out here: {message}", color="red", err=True)
    if partition is None:
        _show_topic(found)
    else:
        for entry in found:
            _show_partition(entry)


def _list_topics(cli: CliContext, repository: Repository) -> None:
    damaged: list[str] = []

    def note(key: str, error: Exception) -> None:
        if not key.startswith(ROLLUP_PREFIX):  # a cache: the footers were read instead
            damaged.append(str(error))

    with waiting_for(cli, repository):
        found = list_stored_topics(repository, on_damage=note)
    if not cli.as_json:
        for message in damaged:
            print_line(f"cannot be read, so left out here: {message}", color="red", err=True)
    show_topics(found, repository.address, damaged, as_json=cli.as_json)


def _show_topic(found: list[PartitionCoverage]) -> None:
    columns = (
        "topic id",
        "partition",
        "covered",
        "position",
        "runs",
        "gaps",
        "missing",
        "cut tails",
        "overlap",
        "raw",
        "stored",
    )
    rows = [
        (
            entry.partition_id.topic_id,
            entry.partition_id.partition,
            f"[{entry.start_offset}, {entry.next_offset})",
            entry.position,
            len(entry.runs),
            sum(gap.next_offset - gap.start_offset for gap in entry.gaps),
            sum(hole.length for hole in entry.missing),
            len(entry.cut_tails),
            entry.overlap_offsets,
            human_bytes(entry.fetched_bytes),
            human_bytes(entry.stored_bytes),
        )
        for entry in found
    ]
    optional = ("overlap", "raw", "cut tails", "runs", "position")
    print_table(columns, rows, title=found[0].topic, right=columns[1:], fixed=columns[:1], optional=optional)


def _show_partition(entry: PartitionCoverage) -> None:
    start = (
        "not recorded" if entry.start is None else f"{entry.start.reason}, recorded {utc(entry.start.recorded_at_ms)}"
    )
    print_line(
        f"{entry.topic}:{entry.partition_id.partition} ({entry.partition_id.topic_id}) covers "
        f"[{entry.start_offset}, {entry.next_offset}){_but_for(entry)}, position {entry.position}",
        bold=True,
    )
    print_line(f"  start {start} · {human_count(entry.overlap_offsets)} offsets stored more than once")
    lines: list[tuple[int, tuple[object, ...]]] = [
        (piece.start_offset, ("stored", _range(piece), _piece(piece), _times(piece.run), piece.object_key))
        for piece in entry.runs
    ]
    lines += [
        (gap.start_offset, ("gap", _range(gap), gap.reason, f"found {utc(gap.detected_at_ms)}", "–"))
        for gap in entry.gaps
    ]
    lines += [
        (hole.start_offset, ("MISSING", _range(hole), "nothing says why", "–", "`mirror verify` looks for the cause"))
        for hole in entry.missing
    ]
    lines += [
        (cut.start_offset, ("cut tail", _range(cut), _piece(cut), _times(cut.run), cut.object_key))
        for cut in entry.cut_tails
    ]
    columns = ("", "offsets", "what", "times", "object")
    rows = [line for _, line in sorted(lines, key=lambda x: x[0])]
    print_table(columns, rows, fixed=("", "offsets"), below=("times", "object"))


def _show_object(cli: CliContext, repository: Repository, view: ObjectView, *, batches: bool) -> None:
    index = view.index
    listed = (
        {number: list_batches(repository, view.key, run) for number, run in enumerate(index.runs)} if batches else {}
    )
    if cli.as_json:
        runs: list[Any] = [
            {"run": run, "batches": listed[number]} if batches else {"run": run}
            for number, run in enumerate(index.runs)
        ]
        emit_json(
            {
                "key": view.key,
                "size_bytes": view.size_bytes,
                "writer": index.writer,
                "sequence": index.sequence,
                "sealed_at": utc(index.sealed_at_ms, with_ms=True),
                "level": index.level,
                "runs": runs,
                "starts": index.starts,
                "gaps": index.gaps,
                "forks": index.forks,
            }
        )
        return
    print_line(view.key, bold=True)
    print_line(
        f"  {human_bytes(view.size_bytes)}, level {index.level}, sealed {utc(index.sealed_at_ms, with_ms=True)} by {index.writer} "
        f"as number {index.sequence}"
    )
    columns = ("topic", "partition", "offsets", "batches", "records", "fetched", "stored", "codec", "times")
    print_table(
        columns,
        [_run_row(run) for run in index.runs],
        right=columns[3:7],
        fixed=("offsets",),
        below=("times",),
        optional=("fetched", "batches"),
    )
    for start in index.starts:
        print_line(f"start of {start.topic}:{start.partition} at {start.start_offset} ({start.reason})")
    for gap in index.gaps:
        print_line(f"gap of {gap.topic}:{gap.partition} [{gap.start_offset}, {gap.next_offset}): {gap.reason}")
    for fork in index.forks:
        print_line(f"fork of {fork.topic}:{fork.partition} at {fork.fork_offset} after epoch {fork.last_leader_epoch}")
    for number, lines in listed.items():
        run = index.runs[number]
        header = (
            "offsets",
            "records",
            "kind",
            "codec",
            "stored",
            "bytes",
            "base time",
            "max time",
            "epoch",
            "producer",
        )
        rows = [
            (
                f"[{b.base_offset}, {b.next_offset})",
                b.record_count,
                b.kind,
                b.codec,
                b.stored_as,
                b.fetched_bytes,
                utc(b.base_timestamp_ms, with_ms=True),
                utc(b.max_timestamp_ms, with_ms=True),
                b.leader_epoch,
                b.producer_id,
            )
            for b in lines
        ]
        print_table(
            header,
            rows,
            title=f"{run.topic}:{run.partition}",
            right=("records", "bytes", "epoch", "producer"),
            fixed=("offsets", "kind", "codec", "stored"),
            below=("base time", "max time"),
            optional=("producer", "epoch"),
        )


def _run_row(run: RunEntry) -> tuple[object, ...]:
    return (
        run.topic,
        run.partition,
        f"[{run.start_offset}, {run.next_offset})",
        human_count(run.batch_count),
        human_count(run.record_count),
        human_bytes(run.fetched_bytes),
        human_bytes(run.stored_bytes),
        f"{run.body_codec}{', unpacked' if run.unpacked else ''}",
        _times(run),
    )


def _range(piece: Any) -> str:
    return f"[{piece.start_offset}, {piece.next_offset})"


def _but_for(entry: PartitionCoverage) -> str:
    """The offsets inside the coverage that are not stored; empty where there are none."""
    lists = (("gap", [_range(gap) for gap in entry.gaps]), ("MISSING", [_range(hole) for hole in entry.missing]))
    named = [
        f"{word} {', '.join(ranges[:_NAMED])}{f' and {len(ranges) - _NAMED} more' if len(ranges) > _NAMED else ''}"
        for word, ranges in lists
        if ranges
    ]
    return f" but for {' and '.join(named)}" if named else ""


def _piece(piece: CoveredRun) -> str:
    """Records and bytes are known of whole runs only: of one that is read in part, how many there can be at most."""
    run = piece.run
    stored = f"{human_bytes(run.stored_bytes)} {run.body_codec}"
    if (piece.start_offset, piece.next_offset) == (run.start_offset, run.next_offset):
        return f"{human_count(run.record_count)} records, {stored}"
    at_most = min(run.record_count, piece.next_offset - piece.start_offset)
    return f"up to {human_count(at_most)} records of the run {_range(run)}: {human_count(run.record_count)} records, {stored}"


def _times(run: RunEntry) -> str:
    if run.max_timestamp_ms is None:
        return "no records"
    return f"{utc(run.min_base_timestamp_ms)} – {utc(run.max_timestamp_ms)}"


def _coverage_json(entry: PartitionCoverage) -> dict[str, Any]:
    def pieces(runs: Any) -> list[dict[str, Any]]:
        return [
            {
                "start_offset": piece.start_offset,
                "next_offset": piece.next_offset,
                "object_key": piece.object_key,
                "run_start_offset": piece.run.start_offset,
                "run_next_offset": piece.run.next_offset,
                "record_count": piece.run.record_count,
                "stored_bytes": piece.run.stored_bytes,
                "body_codec": piece.run.body_codec,
            }
            for piece in runs
        ]

    return {
        "topic_id": entry.partition_id.topic_id,
        "partition": entry.partition_id.partition,
        "start_offset": entry.start_offset,
        "next_offset": entry.next_offset,
        "position": entry.position,
        "leader_epoch": entry.leader_epoch,
        "start": entry.start,
        "runs": pieces(entry.runs),
        "gaps": entry.gaps,
        "missing": [{"start_offset": hole.start_offset, "next_offset": hole.next_offset} for hole in entry.missing],
        "cut_tails": pieces(entry.cut_tails),
        "overlap_offsets": entry.overlap_offsets,
        "fetched_bytes": entry.fetched_bytes,
        "stored_bytes": entry.stored_bytes,
    }
