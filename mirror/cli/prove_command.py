"""``mirror prove``: is everything that a restore wanted on the target, and nothing else?"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, human_count, print_line
from mirror.cli.progress import waiting
from mirror.cli.proof_view import print_report, proof_report
from mirror.cli.restore_command import chosen_restore, open_session
from mirror.cli.restore_options import selection_options
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import UsageError
from mirror.service.restore.journal import keep_proof
from mirror.service.restore.plan_file import PlanFile, freeze
from mirror.service.restore.records import list_restores
from mirror.service.restore.run import Inventory, RestoreSession
from mirror.storage.repository import Repository

__all__ = ["DIFFERENCE_CODE", "command", "run_proof"]

DIFFERENCE_CODE = 5


@click.command(name="prove")
@click.option("--target", metavar="ALIAS", help="The cluster that was loaded, an alias of [clusters].")
@click.option("--repository", metavar="ALIAS", help="Where from.  [default: the worker's]")
@selection_options
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The plan that was run; takes the place of all options above, but --allow-missing.",
)
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the report as JSON."
)
@json_option
@pass_cli
def command(
    cli: CliContext,
    target: str | None,
    repository: str | None,
    selection: Callable[[], RestoreSelection],
    plan_path: Path | None,
    output: Path | None,
) -> int:
    """Compare what is on the target with the repository: every record with its offset, time, key, value and headers, where
    logs begin and end, settings, and consumer groups; ACLs and quotas if they were asked for. Give the options, or the plan,
    of the restore. Changes nothing; exits 5 where something differs.

    Do it before producers and consumers start: what they do afterwards is a difference too.
    """
    target, chosen, planned = chosen_restore(target, selection, plan_path)
    opened = open_session(cli, repository or "", target)
    return asyncio.run(run_proof(cli, opened, target, chosen, planned, output))


async def run_proof(
    cli: CliContext,
    opened: tuple[Repository, Inventory, RestoreSession],
    target: str,
    selection: RestoreSelection,
    planned: PlanFile | None,
    output: Path | None,
    *,
    restore_id: str = "",
    later: Sequence[str] = (),
) -> int:
    """Compare, print, and keep the report in the record of the restore, where there is one.

    ``restore_id`` is that of another plan of the same restore, ``later`` names restores that loaded some of its topics since.

    Raises:
        MirrorError: as planning; the repository or the target cannot be read.
    """
    source, inventory, opening = opened
    began_s = time.monotonic()

    def show(partition: str, records: int) -> None:
        if not cli.as_json and records:
            print_line(f"  {partition}: {human_count(records)} records compared", err=True)

    async with opening as session:
        with waiting(f"the cluster {target}", quiet=cli.as_json):
            plan, proof = await session.prove(selection, now_ms=time.time_ns() // 1_000_000, on_progress=show)
    repository_id = source.identity.repository_id
    if planned is not None:
        planned.require_same(plan, repository_id)
    restore_id = restore_id or (planned or freeze(selection, plan, repository_id, as_asked=True)).restore_id
    lacking = [*proof.lacking, *(f"NOT READABLE: {line}" for line in inventory.unreadable)]
    report = proof_report(plan, proof, lacking, repository_id, restore_id, time.monotonic() - began_s)
    report["later_restores"] = list(later)
    if output is not None:
        _write(output, report)
    is_recorded = restore_id in list_restores(source)
    why_not = keep_proof(source, restore_id, report) if is_recorded else ""
    if cli.as_json:
        emit_json(report)
    else:
        print_report(report)
        if why_not:
            print_line(f"the report is not kept in the repository: {why_not}", color="yellow")
        elif is_recorded:
            print_line(f"the report is kept in the record of {restore_id}")
        if later and not report["proved"]:
            print_line(
                f"restores that began later loaded some of these topics, so they may differ from this one: {', '.join(later)}; "
                f"`mirror verify restore {later[-1]}` compares with the last",
                color="yellow",
            )
    return 0 if report["proved"] else DIFFERENCE_CODE


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    except OSError as error:
        raise UsageError(f"-o {path}: {error.strerror}") from None
