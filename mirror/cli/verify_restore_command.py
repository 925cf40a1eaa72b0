"""``mirror verify restore``: compare what a restore brought with the repository, by its id; the report is kept."""

import asyncio
from pathlib import Path

import click
import msgspec

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, print_line
from mirror.cli.proof_view import print_report
from mirror.cli.prove_command import DIFFERENCE_CODE, run_proof
from mirror.cli.restore_command import open_session
from mirror.cli.restore_named import NamedRestore, find_named, standings_of
from mirror.core.restore_record import RestoreHistory
from mirror.errors import NoMatchError, RefusedError
from mirror.service.restore.records import list_restores, read_history
from mirror.service.restore.standing import Standing

__all__ = ["restore_command"]


@click.command(name="restore")
@click.argument("restore", metavar="ID")
@click.option("--repository", default="", metavar="ALIAS", help="Another repository than the worker's.")
@click.option("--allow-missing", is_flag=True, help="Compare the rest where the repository cannot be read.")
@click.option("--kept", is_flag=True, help="Print the last report that is kept; compare nothing.")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the report as JSON."
)
@json_option
@pass_cli
def restore_command(
    cli: CliContext, restore: str, repository: str, allow_missing: bool, kept: bool, output: Path | None
) -> int:
    """Compare what a restore brought with the repository: every record with its offset, time, key, value and headers, where logs
    begin and end, settings, and consumer groups. Changes nothing on the target; the report is kept in the repository. Exits 5 where
    something differs.

    ID is as `mirror restore list` shows it, its first letters, or the file of its plan.
    """
    named = find_named(cli, repository, restore)
    if not kept:
        later = _loaded_later(named)
        _require_finished(cli, named)
        planned = named.planned.as_found()
        if allow_missing:
            planned = msgspec.structs.replace(planned, allow_missing=True)
        opened = open_session(cli, repository, planned.target)
        return asyncio.run(
            run_proof(
                cli,
                opened,
                planned.target,
                planned.selection,
                planned,
                output,
                restore_id=named.restore_id,
                later=later,
            )
        )
    if named.history is None or not named.history.proofs:
        raise NoMatchError(
            f"no report on restore {named.restore_id} is kept",
            hint=f"`mirror verify restore {restore}` compares, and keeps one",
        )
    report = named.history.proofs[-1].report
    if cli.as_json:
        emit_json(report)
    else:
        print_line(f"{named.restore_id}, compared at {report['at']}", bold=True)
        print_report(report)
    return 0 if report["proved"] else DIFFERENCE_CODE


def _require_finished(cli: CliContext, named: NamedRestore) -> None:
    """Where no run of it ended well, look at the target: the proof would take a topic that is not complete for another restore's.

    Raises:
        RefusedError: something is still to be loaded.
        AccessError, UnreachableError, ClusterError: the target.
    """
    if named.history is None or named.history.state == "done":
        return
    waiting = [
        one.topic.target_topic for one in asyncio.run(standings_of(cli, named)) if one.standing is Standing.UNFINISHED
    ]
    if waiting:
        raise RefusedError(
            f"restore {named.restore_id} is not finished: {', '.join(waiting[:5])}",
            hint=f"`mirror restore resume {named.restore_id}` goes on, `mirror restore status {named.restore_id}` shows how far it is",
        )


def _loaded_later(named: NamedRestore) -> list[str]:
    """The ids of restores that loaded some of the same topics since this one began.

    Raises:
        RefusedError: this one was aborted.
        DamageError, UnreachableError, AccessError, StoreError: the records.
    """
    history = named.history
    if history is None:
        return []
    if history.state == "aborted":
        raise RefusedError(
            f"restore {history.restore_id} was aborted: nothing of it is left that could be compared",
            hint=f"`mirror restore status {history.restore_id}` shows what is on the target, --kept an earlier report",
        )
    known = list_restores(named.repository)
    since = known[known.index(history.restore_id) + 1 :]
    others = (read_history(named.repository, restore_id) for restore_id in since)
    return [other.restore_id for other in others if _loads_the_same(other, history)]


def _loads_the_same(other: RestoreHistory, history: RestoreHistory) -> bool:
    names = {topic.target_topic for topic in history.planned.topics}
    return (
        bool(other.starts)
        and other.state != "aborted"
        and other.planned.target_cluster_id == history.planned.target_cluster_id
        and any(topic.target_topic in names for topic in other.planned.topics)
    )
