"""``mirror repair table`` and ``mirror repair gone``."""

import asyncio

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, print_line, print_table
from mirror.service.gone import accept_gone, describe_gone, find_gone
from mirror.service.repair import plan_table_repair, publish_repair

__all__ = ["command"]


@click.group(name="repair")
def command() -> None:
    """Rebuild what can be rebuilt from the stored objects."""


@command.command(name="table")
@click.option("--dry-run", is_flag=True, help="Only show the positions that would be told.")
@json_option
@pass_cli
def table(cli: CliContext, dry_run: bool) -> None:
    """Make the workers' table of last backed-up offsets say what the repository holds. Workers may be running."""
    config = cli.config()
    repository = open_for(cli)
    with waiting_for(cli, repository, "the source cluster"):
        plan = plan_table_repair(config, repository)
        if not dry_run:
            asyncio.run(publish_repair(config, repository, plan))
    rows = [
        (run.topic, run.partition, run.topic_id, run.start_offset, run.next_offset)
        for e in plan.events
        for run in e.runs
    ]
    columns = ("topic", "partition", "topic_id", "start_offset", "next_offset")
    if cli.as_json:
        emit_json(
            {
                "internal_topic": plan.topic,
                "sent": not dry_run,
                "positions": [dict(zip(columns, row, strict=True)) for row in rows],
            }
        )
        return
    print_table(columns, rows, right=("partition", "start_offset", "next_offset"))
    done = (
        f"would send {len(rows)} positions to {plan.topic}"
        if dry_run
        else f"sent {len(rows)} positions to {plan.topic}"
    )
    print_line(done, bold=True)


@command.command(name="gone")
@click.option(
    "--accept",
    is_flag=True,
    help="Write down that they are gone; status, verify and restore then speak of them no more.",
)
@json_option
@pass_cli
def gone(cli: CliContext, accept: bool) -> int:
    """List the objects that somebody deleted from the repository, as far as the others tell. Changes nothing without --accept.

    Before you accept: restart the workers, which fetch again what the source still has; `mirror verify --against-source` then compares.
    Exits 5 where something is gone and was not accepted.
    """
    repository = open_for(cli)
    with waiting_for(cli, repository):
        found = find_gone(repository, repository.load_indexes(on_damage=lambda _key, _error: None, list_all=True))
        if accept and found:
            accept_gone(repository, found)
    if cli.as_json:
        rows = [
            {"writer": entry.writer, "sequence": entry.sequence, "durable_before_ms": entry.before_ms}
            for entry in found
        ]
        emit_json({"gone": rows, "accepted": accept})
    else:
        for entry in found:
            print_line(describe_gone(entry))
        count = f"{len(found)} {'object' if len(found) == 1 else 'objects'} gone"
        print_line(f"{count}, accepted" if accept and found else count, bold=True)
    return 5 if found and not accept else 0
