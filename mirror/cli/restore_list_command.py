"""``mirror restore list``: the restores that the repository has a record of."""

import click

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.opening import open_for, waiting_for
from mirror.cli.output import emit_json, human_count, print_line, print_table
from mirror.cli.restore_named import history_json, when_ran
from mirror.core.restore_record import RestoreHistory
from mirror.errors import DamageError, UnsupportedFormatError, UsageError
from mirror.service.restore.plan_file import decode_plan
from mirror.service.restore.records import list_restores, read_history

__all__ = ["list_command"]

_DAMAGE_CODE = 5


@click.command(name="list")
@click.option("--repository", default="", metavar="ALIAS", help="Another repository than the worker's.")
@json_option
@pass_cli
def list_command(cli: CliContext, repository: str) -> int:
    """List the restores from this repository, the first one first: what, where to, how it ended, why. Needs the repository only.

    Exits 5 where a record cannot be read.
    """
    cli.command = "restore list"  # nothing to be resumed
    source = open_for(cli, repository)
    found: list[RestoreHistory] = []
    problems: list[str] = []
    with waiting_for(cli, source):
        for restore_id in list_restores(source):
            try:
                history = read_history(source, restore_id)
                decode_plan(history.planned.plan, f"the plan in the record of {restore_id}")
                found.append(history)
            except (DamageError, UnsupportedFormatError, UsageError) as error:
                problems.append(error.message)
    if cli.as_json:
        emit_json({"restores": [history_json(one) for one in found], "problems": problems})
        return _DAMAGE_CODE if problems else 0
    if found:
        print_table(
            ("restore", "began", "to", "recovery point", "topics", "state", "proved", "reason"),
            [_row(one) for one in found],
            right=("topics",),
            fixed=("restore",),
            below=("reason",),
            optional=("topics",),
        )
    for problem in problems:
        print_line(problem, color="red", err=True)
    print_line(f"{human_count(len(found))} {'restore' if len(found) == 1 else 'restores'}", bold=True)
    if found:
        print_line("next: `mirror restore status ID` shows how one stands on its target now")
    return _DAMAGE_CODE if problems else 0


def _row(history: RestoreHistory) -> tuple[object, ...]:
    point = decode_plan(history.planned.plan, history.restore_id).selection.point
    proofs = history.proofs
    return (
        history.restore_id,
        when_ran(history),
        history.planned.target,
        point.option,
        len(history.planned.topics),
        history.state,
        "–" if not proofs else "yes" if proofs[-1].proved else "NO",
        history.reason,
    )
