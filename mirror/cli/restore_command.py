"""``mirror restore``: load topics of a repository into a cluster."""

import asyncio
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import click

from mirror.cli.consent import Consent, can_consent, confirm
from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, print_line
from mirror.cli.progress import waiting
from mirror.cli.restore_options import selection_options
from mirror.cli.restore_progress import RestoreProgress, restore_progress
from mirror.cli.restore_view import plan_json, print_plan, print_result, result_json
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import RefusedError, UsageError
from mirror.service.restore.plan_file import PlanFile, read_plan_file
from mirror.service.restore.run import Inventory, RestoreSession, read_inventory
from mirror.service.wiring import connection_for
from mirror.storage.repository import Repository

__all__ = ["chosen_restore", "command", "open_session", "parse_rate"]

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?(?:/s)?")
_UNITS = {"": 1, "k": 1000, "M": 1_000_000, "G": 1_000_000_000}


@click.command(name="restore")
@click.option("--target", metavar="ALIAS", help="The cluster to load into, an alias of [clusters].")
@click.option("--repository", metavar="ALIAS", help="Where from.  [default: the worker's]")
@selection_options
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Run just this plan of `mirror plan -o FILE`; takes the place of all options above.",
)
@click.option("--limit-rate", metavar="RATE", help="At most so much, such as 20MB/s.")
@click.option(
    "--yes", is_flag=True, help="Do not ask; needs --target-cluster-id where the target is the source cluster."
)
@click.option("--target-cluster-id", metavar="ID", help="The cluster must have this id; else nothing is done.")
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@json_option
@pass_cli
def command(
    cli: CliContext,
    target: str | None,
    repository: str | None,
    selection: Callable[[], RestoreSelection],
    plan_path: Path | None,
    limit_rate: str | None,
    yes: bool,
    target_cluster_id: str | None,
    dry_run: bool,
) -> int:
    """Load topics into a cluster as they were: every record at the offset it had, as consumers saw it.

    Say which moment: --at, --until, --latest, --snapshot or --to-offsets. `mirror plan` shows what would happen. Nothing is written
    to a topic that holds anything, except to go on with a restore that was interrupted: the same command resumes it. Reads
    the repository and the target; neither the source nor workers are needed.
    """
    rate = parse_rate(limit_rate) if limit_rate else None
    target, chosen, planned = chosen_restore(target, selection, plan_path)
    consent = Consent(yes=yes, cluster_id=target_cluster_id)
    if cli.config().cluster(target).role == "source" and not dry_run and not can_consent(consent):
        raise RefusedError(
            f"THIS IS THE SOURCE CLUSTER: {target} has the role source",
            hint="if it is meant: --yes --target-cluster-id ID (`mirror plan` shows the id)",
        )
    opened = open_session(cli, repository or "", target)
    return asyncio.run(_restore(cli, opened, target, chosen, rate, planned, consent, dry_run=dry_run))


def chosen_restore(
    target: str | None, selection: Callable[[], RestoreSelection], plan_path: Path | None
) -> tuple[str, RestoreSelection, PlanFile | None]:
    """Which target and what, by the options or by a plan file.

    Raises:
        UsageError: neither, both, or not a plan.
    """
    planned = None
    if plan_path is not None:
        given = click.get_current_context().get_parameter_source
        others = [
            name
            for name in ("target", "topics", "at", "until", "latest", "to_offsets", "acls", "all_acls", "quotas")
            if _is_given(given(name))
        ]
        if others:
            raise UsageError(
                "--plan says everything already: leave out the options that choose what to restore and where"
            )
        planned = read_plan_file(plan_path)
        target, chosen = planned.target, planned.selection
    else:
        chosen = selection()
    if target is None:
        raise UsageError("--target is needed: an alias of [clusters]", hint="`mirror config show` lists them")
    return target, chosen, planned


def _is_given(source: object) -> bool:
    return getattr(source, "name", "") in ("COMMANDLINE", "ENVIRONMENT")


def open_session(cli: CliContext, repository: str, target: str) -> tuple[Repository, Inventory, RestoreSession]:
    """The repository, what it holds, and a session to the target that is not opened yet.

    Raises:
        ConfigError, UnreachableError, AccessError, StoreError: as the configuration and the store say.
    """
    cluster = cli.config().cluster(target)
    source = open_for(cli, repository, goes_on=True)
    with waiting_for(cli, source):
        inventory = read_inventory(source)
    if inventory.unlisted_objects and not cli.as_json:
        print_line(
            f"{inventory.unlisted_objects:,} objects of finished days are known by roll-ups and were not looked for one by one "
            "(`mirror verify` does); one that is gone stops the restore where it is read"
        )
    return source, inventory, RestoreSession(source, inventory, connection_for(cluster), alias=target)


async def _restore(
    cli: CliContext,
    opened: tuple[Repository, Inventory, RestoreSession],
    target: str,
    selection: RestoreSelection,
    rate: int | None,
    planned: PlanFile | None,
    consent: Consent,
    *,
    dry_run: bool,
) -> int:
    source, inventory, opening = opened
    async with opening as session:
        with waiting(f"the cluster {target}", quiet=cli.as_json):
            plan, rests = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
        if planned is not None:
            planned.require_same(plan, source.identity.repository_id)
        if not cli.as_json:
            for line in inventory.unreadable:
                print_line(f"NOT READABLE, restored without what it held: {line}", color="red")
            print_plan(plan)
        if dry_run:
            if cli.as_json:
                emit_json({"plan": plan_json(plan), "unreadable": inventory.unreadable})
            else:
                print_line("nothing was changed (--dry-run)")
            return 0
        confirm(plan, consent, is_source=plan.target_is_source or cli.config().cluster(target).role == "source")
        started_s = time.monotonic()
        shown: AbstractContextManager[RestoreProgress] = restore_progress(plan, quiet=cli.as_json)
        with shown as observer:
            result = await session.execute(plan, rests, observer=observer, bytes_per_second=rate)
        elapsed_s = time.monotonic() - started_s
    if cli.as_json:
        shown_result = result_json(result, elapsed_s)
        emit_json({"plan": plan_json(plan), "result": shown_result, "unreadable": inventory.unreadable})
    else:
        print_result(plan, result, elapsed_s)
    return 0


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
