"""``mirror plan``: what a restore would do; changes nothing."""

import asyncio
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.estimate_view import estimate_json, print_estimate
from mirror.cli.output import emit_json, print_line
from mirror.cli.progress import waiting
from mirror.cli.readings_view import print_readings, readings_json
from mirror.cli.restore_command import open_session
from mirror.cli.restore_options import selection_options
from mirror.cli.restore_view import boundaries_json, plan_json, print_boundaries, print_plan
from mirror.core.positions import TopicPartition
from mirror.core.restore_estimate import estimate, workload_of
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_rights import MissingRight, text_of
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import AccessError, UsageError
from mirror.service.restore.boundaries import Boundary
from mirror.service.restore.earlier import earlier_rate
from mirror.service.restore.groups_named import note_groups_named_otherwise
from mirror.service.restore.measuring import measure_reading
from mirror.service.restore.plan_file import PlanFile, freeze
from mirror.service.restore.readings import Readings, find_readings
from mirror.service.restore.run import Inventory, RestoreSession
from mirror.storage.repository import Repository

__all__ = ["command"]

_EDGES = 100  # partitions whose first and last records are looked up


@click.command(name="plan")
@click.option("--target", required=True, metavar="ALIAS", help="The cluster to load into, an alias of [clusters].")
@click.option("--repository", metavar="ALIAS", help="Where from.  [default: the worker's]")
@selection_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write the plan, frozen, for `mirror restore --plan FILE`.",
)
@click.option("--reason", default="", metavar="TEXT", help="Why; is kept in the plan and in the record of the restore.")
@json_option
@pass_cli
def command(
    cli: CliContext,
    target: str,
    repository: str | None,
    selection: Callable[[], RestoreSelection],
    output: Path | None,
    reason: str,
) -> int:
    """Show what a restore would do, and the command that does it. Changes nothing."""
    chosen = selection()
    opened = open_session(cli, repository or "", target)
    return asyncio.run(_plan(cli, opened, repository, target, chosen, output, reason))


async def _plan(
    cli: CliContext,
    opened: tuple[Repository, Inventory, RestoreSession],
    repository: str | None,
    target: str,
    selection: RestoreSelection,
    output: Path | None,
    reason: str,
) -> int:
    source, inventory, opening = opened
    async with opening as session:
        with waiting(f"the cluster {target}", quiet=cli.as_json):
            now_ms = time.time_ns() // 1_000_000

            async def look() -> tuple[RestorePlan, dict[TopicPartition, Boundary], Readings | None]:
                plan, _ = await session.plan(selection, now_ms=now_ms)
                edges = await session.boundaries(plan, most=_EDGES)
                coverages, sealed = session.coverages, inventory.sealed_at_ms
                found = await asyncio.to_thread(find_readings, source, plan, coverages, sealed, now_ms=now_ms)
                return plan, edges, found

            plan, edges, readings = await session.reading(selection, look)
            missing = await session.missing_rights(plan)
            rate = await asyncio.to_thread(measure_reading, source, plan)
            earlier = await asyncio.to_thread(earlier_rate, source, plan.target_cluster_id)
    work = workload_of(plan)
    duration = estimate(work, reading=rate, earlier=earlier)
    repository_id = source.identity.repository_id
    frozen = freeze(selection, plan, repository_id, reason=reason, as_asked=output is None)
    plan = await asyncio.to_thread(note_groups_named_otherwise, source, frozen, plan)
    if output is not None:
        _write(output, frozen)
    if cli.as_json:
        emit_json(
            {
                "restore_id": frozen.restore_id,
                "plan": plan_json(plan),
                "boundaries": boundaries_json(edges),
                "readings": readings_json(plan.point, readings),
                "estimate": estimate_json(duration, work, rate, earlier),
                "unreadable": inventory.unreadable,
                "missing_rights": missing,
                "file": output and str(output),
            }
        )
        return _exit_code(missing)
    for line in inventory.unreadable:
        print_line(f"NOT READABLE, would be restored without what it held: {line}", color="red")
    print_plan(plan)
    print_boundaries(edges)
    print_readings(plan.point, readings)
    print_estimate(duration, work)
    for right in missing:
        print_line(f"MISSING RIGHT on {target}: {text_of(right)}", color="red")
    if missing:
        prefix = f" --prefix {selection.prefix}" if selection.prefix else ""
        print_line(f"next: `mirror check --target {target}{prefix}` prints the commands that grant them", color="red")
    print_line(f"this restore is {frozen.restore_id}")
    print_line("nothing was changed. To do it:")
    print_line(f"  {_command(cli, repository, output)}", bold=True)
    return _exit_code(missing)


def _exit_code(missing: list[MissingRight]) -> int:
    return AccessError.exit_code if missing else 0


def _write(path: Path, frozen: PlanFile) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(frozen), indent=1) + b"\n")
    except OSError as error:
        raise UsageError(f"-o {path}: {error.strerror}") from None


def _command(cli: CliContext, repository: str | None, output: Path | None) -> str:
    """The command that runs this plan."""
    if output is None:
        given = cli.same_again(sys.argv[1:])
        at = given.index("plan") if "plan" in given else 0
        return shlex.join(["mirror", *given[:at], "restore", *given[at + 1 :]])
    words = ["mirror"]
    if cli.config_path is not None:
        words += ["--config", str(cli.config_path)]
    words += ["restore", "--plan", str(output)]
    if repository is not None:
        words += ["--repository", repository]
    return shlex.join(words)
