"""``mirror verify``."""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import click

from mirror.cli.context import CliContext, json_option
from mirror.cli.opening import open_for
from mirror.cli.output import emit_json, human_bytes, human_count, print_line, print_table
from mirror.cli.progress import progress
from mirror.cli.subcommands import VerbGroup, refuse_own_options
from mirror.config import Config
from mirror.core.coverage import PartitionCoverage
from mirror.core.positions import TopicPartition
from mirror.errors import MirrorError
from mirror.kafka.connection import ClusterConnection
from mirror.service.verify import verify_repository
from mirror.service.verify_findings import Finding, Level, Note, VerifyReport
from mirror.service.verify_footers import OnProgress
from mirror.service.wiring import connection_for

__all__ = ["command"]

_SHOWN = 200


@click.group(name="verify", cls=VerbGroup, below={"restore": "mirror.cli.verify_restore_command:restore_command"})
@click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="Only this topic; may be repeated.")
@click.option("--repository", "alias", default="", metavar="ALIAS", help="Another repository than the worker's.")
@click.option("--quick", is_flag=True, help="Only footers and coverage; no run is read.")
@click.option("--deep", is_flag=True, help="Also open every body and decode every record.")
@click.option("--against-source", is_flag=True, help="Also compare with what the brokers still hold.")
@json_option
@click.pass_context
def command(
    context: click.Context, topics: tuple[str, ...], alias: str, quick: bool, deep: bool, against_source: bool
) -> int | None:
    """Check that what is stored is what was written, and that all of it is there. Changes nothing.

    Exits 0 when everything is sound, 5 when damage or a difference was found; damaged offsets are named.
    """
    if context.invoked_subcommand is not None:
        refuse_own_options(context)
        return None
    cli = context.ensure_object(CliContext)
    if quick and deep:
        raise click.UsageError("--quick and --deep exclude each other")
    config = cli.config()
    level: Level = "quick" if quick else "deep" if deep else "checksums"
    repository = open_for(cli, alias, goes_on=True)
    with _shown(cli) as on_progress:
        report, coverage = verify_repository(repository, level=level, topics=topics or None, on_progress=on_progress)
    if topics:
        unknown = sorted(set(topics) - {entry.topic for entry in coverage.values()})
        if unknown and not report.findings:
            from mirror.errors import NoMatchError

            raise NoMatchError(f"nothing is stored of {', '.join(unknown)}", hint="`mirror status` lists the topics")
    if against_source:
        from mirror.service.verify_source import compare_with_source

        async def compare() -> None:
            from mirror.kafka.client import open_client

            connection = connection_for(config.source_cluster)
            async with await open_client(connection) as client:
                committed = await _committed(connection, config.worker.id, coverage.values(), report)
                with progress("comparing with the source", unit="offsets", quiet=cli.as_json) as bar:
                    done = 0

                    def advance(compared: int, total: int) -> None:
                        nonlocal done
                        bar.set_total(total)
                        bar.advance(compared - done)
                        done = compared

                    await compare_with_source(
                        repository,
                        coverage,
                        client,
                        report,
                        on_offsets=advance,
                        committed=committed,
                        worker_id=config.worker.id,
                    )

        asyncio.run(compare())
        report.finish()
    _print(cli, config, report)
    return report.exit_code


async def _committed(
    connection: ClusterConnection, group: str, coverage: Iterable[PartitionCoverage], report: VerifyReport
) -> dict[TopicPartition, int] | None:
    """What the workers committed as stored; None, and a note, where that cannot be asked."""
    from mirror.service.status_committed import committed_offsets

    partitions = {TopicPartition(entry.topic, entry.partition_id.partition) for entry in coverage}
    try:
        return await committed_offsets(connection, group, partitions)
    except MirrorError as error:
        message = f"not known whether all that was stored once is still stored: {error.message}"
        report.notes.append(Note(kind="not_compared", message=message))
        return None


@contextmanager
def _shown(cli: CliContext) -> Iterator[OnProgress]:
    """Footers counted quietly; bodies as a bar with MB/s and time left."""
    with progress("reading footers", quiet=cli.as_json) as bar:
        done = 0

        def on_progress(what: str, amount: int, total: int) -> None:
            nonlocal done
            if what == "reading footers":
                bar.describe(f"reading footers: {human_count(amount)} of {human_count(total)}")
                return
            bar.describe(what)
            bar.set_total(total)
            bar.advance(amount - done)
            done = amount

        yield on_progress


def _print(cli: CliContext, config: Config, report: VerifyReport) -> None:
    if cli.as_json:
        emit_json(
            {
                "sound": report.is_sound,
                "exit_code": report.exit_code,
                "repository": report.repository,
                "level": report.level,
                "compared_with": report.compared_with,
                "counts": report.counts,
                "findings": report.findings,
                "notes": report.notes,
            }
        )
        return
    counts = report.counts
    if report.findings:
        columns = ("finding", "topic", "partition", "offsets", "object", "what")
        rows = [_row(finding) for finding in report.findings[:_SHOWN]]
        print_table(columns, rows, right=("partition",), fixed=("finding", "offsets"), below=("object", "what"))
        if len(report.findings) > _SHOWN:
            print_line(f"… and {len(report.findings) - _SHOWN} more: --json prints all")
    for note in report.notes[:_SHOWN]:
        print_line(f"note: {_where(note)}{note.message}", color="yellow")
    verdict = "SOUND" if report.is_sound else f"DAMAGED {human_count(len(report.findings))} findings"
    parts = [
        f"{human_count(counts.objects)} objects",
        f"{human_count(counts.partitions)} partitions",
        f"{human_bytes(counts.bytes_read)} read" if report.level != "quick" else "footers only",
    ]
    print_line(
        f"{verdict} {report.repository} · " + " · ".join(parts),
        bold=True,
        color="green" if report.is_sound else "red",
    )
    for line in _what_was_checked(report):
        print_line(f"  {line}")
    if not report.is_sound:
        print_line(
            "next: `mirror inspect TOPIC:PARTITION` shows what still covers these offsets. `mirror restore` refuses where an object "
            "is gone or its index cannot be read, and stops at a damaged body: --allow-missing restores the rest"
        )


def _what_was_checked(report: VerifyReport) -> list[str]:
    counts, lines = report.counts, []
    if report.level == "quick":
        lines.append("listings, roll-ups, footers and coverage; no run was read: leave out --quick for that")
    else:
        lines.append(f"{human_count(counts.runs)} runs by our checksum of their stored bytes")
        lines.append(f"{human_count(counts.batches_by_producer_crc)} batches also by their producer's CRC-32C")
    if counts.batches_by_our_checksum:
        lines.append(
            f"{human_count(counts.batches_by_our_checksum)} batches are stored unpacked: only our checksum vouches for them now "
            "(their producer's CRC was checked before)"
        )
    if report.level == "deep":
        lines.append(f"{human_count(counts.records_decoded)} records decoded")
    if report.compared_with is not None:
        lines.append(
            f"source {report.compared_with}: {human_count(counts.source_batches_equal)} batches equal, "
            f"{human_count(counts.source_records_compared)} records compared one by one, "
            f"{human_count(counts.source_records_gone)} no longer at the source (normal)"
        )
    return lines


def _row(finding: Finding) -> tuple[object, ...]:
    offsets = "–" if finding.start_offset is None else f"[{finding.start_offset}, {finding.next_offset})"
    return (
        finding.kind,
        finding.topic or "–",
        "–" if finding.partition is None else finding.partition,
        offsets,
        finding.object_key or "–",
        finding.message,
    )


def _where(note: Note) -> str:
    if note.topic is None:
        return ""
    partition = "" if note.partition is None else f"-{note.partition}"
    offsets = "" if note.start_offset is None else f" [{note.start_offset}, {note.next_offset})"
    return f"{note.topic}{partition}{offsets}: "
