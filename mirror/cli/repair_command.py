"""``mirror repair table``."""

import asyncio

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, print_line, print_table
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
