"""``mirror status``."""

import asyncio
from contextlib import nullcontext

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, emit_json_line, print_line
from mirror.cli.status_view import as_json, print_status
from mirror.cli.streams import reader_is_gone
from mirror.errors import NoMatchError
from mirror.service.status import StatusObserver, StatusReport

__all__ = ["command"]


@click.command(name="status")
@click.option("--topic", "topics", multiple=True, metavar="TOPIC", help="Only this topic or glob; may be repeated.")
@click.option("--partitions", "by_partition", is_flag=True, help="A line per partition instead of one per topic.")
@click.option("--watch", is_flag=True, help="Again and again, until Ctrl-C.")
@click.option(
    "--every",
    "every_s",
    type=click.FloatRange(0.5, 3600),
    default=2.0,
    show_default=True,
    help="Seconds between looks.",
)
@json_option
@pass_cli
def command(cli: CliContext, topics: tuple[str, ...], by_partition: bool, watch: bool, every_s: float) -> int:
    """Say what is safe, up to when, and what is not. Needs no worker: it asks the repository and the source cluster.

    Exits 0 when everything selected is within its objectives, else 6; the first line says what to do. With --watch and --json one document
    per line.
    """
    repository = open_for(cli)
    observer = StatusObserver(cli.config(), repository, topics)

    async def run() -> StatusReport:
        try:
            while True:
                with nullcontext() if watch else waiting_for(cli, repository, "the source cluster"):
                    report = await observer.look()
                if topics and not (report.partitions or report.others or report.left_out or report.groups):
                    raise NoMatchError(f"no topic matches {', '.join(topics)}")
                if not watch:
                    return report
                if cli.as_json:
                    emit_json_line(as_json(report))
                else:
                    click.clear()
                    print_status(report, by_partition=by_partition)
                    print_line(f"again every {every_s:g} s, Ctrl-C ends", color="bright_black")
                if reader_is_gone():
                    return report
                await asyncio.sleep(every_s)
        finally:
            await observer.close()

    try:
        report = asyncio.run(run())
    except KeyboardInterrupt:
        if watch:  # that is how a watch ends
            return 0
        raise
    if watch:
        return 0
    if cli.as_json:
        emit_json(as_json(report))
    else:
        print_status(report, by_partition=by_partition)
    return report.verdict.exit_code
