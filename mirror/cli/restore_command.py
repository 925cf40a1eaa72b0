"""``mirror restore``: load topics of a repository into a cluster."""

import asyncio
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from mirror.cli.consent import Consent, can_consent, confirm, consent_options
from mirror.cli.consent_replacing import confirm_replacing
from mirror.cli.context import CliContext, json_option
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, print_line
from mirror.cli.progress import waiting
from mirror.cli.rates import RATE_HELP, parse_rate
from mirror.cli.restore_again import going_on, record_command, tell_record
from mirror.cli.restore_options import selection_options
from mirror.cli.restore_progress import RestoreProgress, restore_progress
from mirror.cli.restore_view import plan_json, print_plan, print_result, result_json
from mirror.cli.subcommands import VerbGroup, refuse_own_options
from mirror.core.restore_scope import RestoreScope
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import RefusedError, UsageError
from mirror.service.restore.groups_named import note_groups_named_otherwise
from mirror.service.restore.journal import RestoreJournal
from mirror.service.restore.plan_file import PlanFile, freeze, read_plan_file
from mirror.service.restore.recorded import run_recorded
from mirror.service.restore.run import Inventory, RestoreSession, read_inventory
from mirror.service.wiring import connection_for
from mirror.storage.repository import Repository

__all__ = [
    "RunOptions",
    "chosen_restore",
    "command",
    "open_session",
    "require_consentable",
    "run_restore",
]

_BELOW = {
    "list": "mirror.cli.restore_list_command:list_command",
    "status": "mirror.cli.restore_status_command:status_command",
    "resume": "mirror.cli.restore_resume_command:resume_command",
    "abort": "mirror.cli.restore_abort_command:abort_command",
}


@click.group(name="restore", cls=VerbGroup, below=_BELOW)
@click.option("--target", metavar="ALIAS", help="The cluster to load into, an alias of [clusters].")
@click.option("--repository", metavar="ALIAS", help="Where from.  [default: the worker's]")
@selection_options
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="Run just this plan of `mirror plan -o FILE`; takes the place of all options above, but --allow-missing.",
)
@click.option("--limit-rate", metavar="RATE", help=RATE_HELP)
@consent_options
@click.option(
    "--replace-topics",
    type=click.IntRange(0),
    metavar="COUNT",
    help="With --yes: so many topics, or fewer, may be destroyed.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and stop.")
@json_option
@click.pass_context
def command(
    context: click.Context,
    target: str | None,
    repository: str | None,
    selection: Callable[[], RestoreSelection],
    plan_path: Path | None,
    limit_rate: str | None,
    yes: bool,
    target_cluster_id: str | None,
    reason: str,
    replace_topics: int | None,
    dry_run: bool,
) -> int | None:
    """Load topics into a cluster as they were: every record at the offset it had, as consumers saw it.

    Say which moment: --at, --until, --latest, --snapshot or --to-offsets. `mirror plan` shows what would happen. Nothing is written
    to a topic that holds anything, except to go on with a restore that was interrupted: the same command resumes it. Reads
    the repository and the target; neither the source nor workers are needed.

    Every restore has an id, and a record in the repository: the commands below show it, go on with it, undo it.
    """
    if context.invoked_subcommand is not None:
        refuse_own_options(context)
        return None
    cli = context.ensure_object(CliContext)
    rate = parse_rate(limit_rate) if limit_rate else None
    target, chosen, planned = chosen_restore(target, selection, plan_path)
    if planned is not None and reason:
        planned = msgspec.structs.replace(planned, reason=reason)
    consent = Consent(yes=yes, cluster_id=target_cluster_id)
    require_consentable(cli, target, consent, is_dry=dry_run)
    opened = open_session(cli, repository or "", target)
    options = RunOptions(
        rate=rate,
        consent=consent,
        reason=reason,
        is_dry=dry_run,
        repository=repository,
        replace_topics=replace_topics,
    )
    return asyncio.run(run_restore(cli, opened, target, chosen, planned, options))


class RunOptions(NamedTuple):
    """How a restore is run.

    Attributes:
        rate: bytes per second at most.
        consent: as given.
        reason: why, in the user's words.
        is_dry: print the plan and stop.
        repository: its alias, if one was given.
        replace_topics: so many topics, or fewer, may be destroyed.
    """

    rate: int | None
    consent: Consent
    reason: str = ""
    is_dry: bool = False
    repository: str | None = None
    replace_topics: int | None = None


def require_consentable(cli: CliContext, target: str, consent: Consent, *, is_dry: bool = False) -> None:
    """Refuse at once what could not be consented to later.

    Raises:
        RefusedError: the target is a source cluster, and nobody can be asked.
    """
    if cli.config().cluster(target).role == "source" and not is_dry and not can_consent(consent):
        raise RefusedError(
            f"THIS IS THE SOURCE CLUSTER: {target} has the role source",
            hint="if it is meant: --yes --target-cluster-id ID (`mirror plan` shows the id)",
        )


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
            for name in (
                "target",
                "topics",
                "at",
                "until",
                "latest",
                "to_offsets",
                "only_state",
                "only_data",
                "acls",
                "all_acls",
                "quotas",
            )
            if _is_given(given(name))
        ]
        if others:
            raise UsageError(
                "--plan says everything already: leave out the options that choose what to restore and where"
            )
        planned = read_plan_file(plan_path)
        if click.get_current_context().params.get("allow_missing"):  # decided later, when something could not be read
            planned = msgspec.structs.replace(planned, allow_missing=True)
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


async def run_restore(
    cli: CliContext,
    opened: tuple[Repository, Inventory, RestoreSession],
    target: str,
    selection: RestoreSelection,
    planned: PlanFile | None,
    options: RunOptions,
) -> int:
    """Plan, ask, run, with a record; ``planned`` is the plan that must come out, if there is one.

    Raises:
        MirrorError: as planning, consent and execution; those of an unfinished restore name the command that goes on.
    """
    source, inventory, opening = opened
    async with opening as session:
        with waiting(f"the cluster {target}", quiet=cli.as_json):
            plan, rests = await session.plan(selection, now_ms=time.time_ns() // 1_000_000)
        if planned is not None:
            planned.require_same(plan, source.identity.repository_id)
        asked = planned or freeze(selection, plan, source.identity.repository_id, reason=options.reason, as_asked=True)
        plan = await asyncio.to_thread(note_groups_named_otherwise, source, asked, plan)
        if not cli.as_json:
            for line in inventory.unreadable:
                print_line(f"NOT READABLE, restored without what it held: {line}", color="red")
            print_plan(plan)
            print_line(f"this restore is {asked.restore_id}")
        if options.is_dry:
            if cli.as_json:
                emit_json({"restore_id": asked.restore_id, "plan": plan_json(plan), "unreadable": inventory.unreadable})
            else:
                print_line("nothing was changed (--dry-run)")
            return 0
        is_source = plan.target_is_source or cli.config().cluster(target).role == "source"
        confirm(plan, options.consent, is_source=is_source)
        confirm_replacing(plan, yes=options.consent.yes, count=options.replace_topics)
        command_line = cli.same_again(sys.argv[1:])
        journal = RestoreJournal(source, asked, verb="restore", reason=options.reason, command=command_line)
        await journal.begin(plan)
        if plan.scope is RestoreScope.DATA and planned is None and not journal.is_kept:
            raise RefusedError(
                f"nothing would keep the settings that the topics have now, to put them back after an interruption: {journal.why_not}",
                hint="with a plan's file: mirror plan ... --only-data -o plan.json, then mirror restore --plan plan.json",
            )
        tell_record(journal, quiet=cli.as_json)
        started_s = time.monotonic()
        shown: AbstractContextManager[RestoreProgress] = restore_progress(plan, quiet=cli.as_json)
        with shown as observer, going_on(cli, journal, options.repository):
            plan, result = await run_recorded(
                session, journal, plan, rests, observer=observer, bytes_per_second=options.rate
            )
        elapsed_s = time.monotonic() - started_s
    if cli.as_json:
        emit_json(
            {
                "restore_id": asked.restore_id,
                "record": journal.is_kept,
                "why_no_record": None if journal.is_kept else journal.why_not,
                "plan": plan_json(plan),
                "result": result_json(result, elapsed_s),
                "unreadable": inventory.unreadable,
            }
        )
    else:
        print_result(plan, result, elapsed_s)
        print_line(
            f"next: `{record_command(cli, options.repository, 'verify', 'restore', asked.restore_id)}` "
            + ("compares all that came back" if plan.not_restored else "proves it")
        )
    return 0
