"""``mirror groups rollback``: consumer groups back to where they stood before a restore put them."""

import asyncio
import sys
from collections.abc import Sequence

import click

from mirror.cli.consent import Consent, confirm, consent_options
from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, human_count, print_line, print_table
from mirror.cli.restore_command import require_consentable
from mirror.cli.restore_named import NamedRestore, NamedTarget, find_named, on_target
from mirror.core.restore_record import RestoreHistory
from mirror.errors import NoMatchError, RefusedError
from mirror.service.restore.journal import RestoreJournal
from mirror.service.restore.rollback import GroupRollback, find_rollbacks, refuse_moved, roll_back

__all__ = ["rollback_command"]


@click.command(name="rollback")
@click.argument("restore", metavar="ID")
@click.option("--repository", default="", metavar="ALIAS", help="Another repository than the worker's.")
@consent_options
@click.option("--dry-run", is_flag=True, help="Show what would be done and stop.")
@json_option
@pass_cli
def rollback_command(
    cli: CliContext,
    restore: str,
    repository: str,
    yes: bool,
    target_cluster_id: str | None,
    reason: str,
    dry_run: bool,
) -> int:
    """Put consumer groups back to where they stood before a restore put them; where they had no position, it is forgotten.

    Compares first: where a group is active, or has moved since, nothing is changed (exit 4). Topics stay as they are. ID is as
    `mirror restore list` shows it, its first letters, or the file of its plan.
    """
    named = find_named(cli, repository, restore)
    if named.history is None:
        raise NoMatchError(
            f"no record of restore {named.restore_id} is kept, so nobody knows where its groups stood before",
            hint="`mirror groups show GROUP --at TIME` shows where a group of the source stood",
        )
    consent = Consent(yes=yes, cluster_id=target_cluster_id)
    require_consentable(cli, named.planned.target, consent, is_dry=dry_run)
    return asyncio.run(_roll_back(cli, named, named.history, consent, reason, is_dry=dry_run))


async def _roll_back(
    cli: CliContext, named: NamedRestore, history: RestoreHistory, consent: Consent, reason: str, *, is_dry: bool
) -> int:
    async with on_target(cli, named) as (client, admin, target):
        rollbacks = await find_rollbacks(client, admin, history)
        if not cli.as_json:
            _print(named, target, rollbacks)
        if not is_dry and rollbacks:
            refuse_moved(rollbacks, target.target_alias)
            _consent_to(target, consent, len(rollbacks))
            words = cli.same_again(sys.argv[1:])
            journal = RestoreJournal(named.repository, named.planned, verb="rollback", reason=reason, command=words)
            await journal.begin()
            try:
                await roll_back(client, rollbacks)
            except BaseException as error:
                await journal.end(error)
                raise
            await journal.end()
    if cli.as_json:
        emit_json({"restore_id": named.restore_id, "done": not is_dry, "groups": [_as_json(one) for one in rollbacks]})
    elif is_dry:
        print_line("nothing was changed (--dry-run)")
    elif rollbacks:
        count = sum(len(one.put_back) + len(one.forget) for one in rollbacks)
        print_line(
            f"{len(rollbacks)} consumer groups stand as before: {count:,} positions, read back",
            bold=True,
            color="green",
        )
    return 0


def _consent_to(target: NamedTarget, consent: Consent, groups: int) -> None:
    confirm(target, consent, is_source=target.is_source, what="to move groups in it")
    if consent.yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError("this moves consumer groups: nothing was changed", hint="if it is meant: --yes")
    if click.prompt(f"Type the number of groups, {groups}, to move them", default="", err=True) != str(groups):
        raise RefusedError("the number was not typed: nothing was changed")


def _print(named: NamedRestore, target: NamedTarget, rollbacks: Sequence[GroupRollback]) -> None:
    print_line(
        f"groups of {named.restore_id} on {target.target_alias}: cluster {target.target_cluster_id} at {target.target_bootstrap}",
        bold=True,
    )
    if target.is_source:
        print_line("THIS IS THE SOURCE CLUSTER", bold=True, color="red")
    if not rollbacks:
        print_line("every group stands as before the restore, or was not put by it: nothing to do")
        return
    print_table(
        ("group", "members", "positions back", "forgotten", "moved since"),
        [
            (one.group, one.members, human_count(len(one.put_back)), human_count(len(one.forget)), len(one.moved))
            for one in rollbacks
        ],
        right=("members", "positions back", "forgotten", "moved since"),
    )
    for one in rollbacks:
        if one.gone:
            print_line(f"{one.group}: {len(one.gone)} positions were in topics that are gone", color="yellow")


def _as_json(one: GroupRollback) -> dict[str, object]:
    return {
        "group": one.group,
        "members": one.members,
        "put_back": [
            {"topic": tp.topic, "partition": tp.partition, "offset": position.offset}
            for tp, position in sorted(one.put_back.items())
        ],
        "forget": [{"topic": tp.topic, "partition": tp.partition} for tp in one.forget],
        "moved": list(one.moved),
        "gone": [{"topic": tp.topic, "partition": tp.partition} for tp in one.gone],
    }
