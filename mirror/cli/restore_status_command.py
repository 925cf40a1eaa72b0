"""``mirror restore status``: how a restore stands on its target now."""

import asyncio
from collections.abc import Sequence

import click
import msgspec

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, human_bytes, human_count, print_line, print_table, utc
from mirror.cli.restore_again import record_command
from mirror.cli.restore_named import NamedRestore, find_named, history_json, standings_of
from mirror.cli.restore_view import print_not_restored
from mirror.core.restore_plan import UnreadableRange
from mirror.core.restore_record import RestoreHistory
from mirror.core.state_undo import put_by
from mirror.service.restore.standing import Standing, TopicStanding

__all__ = ["print_standings", "status_command"]

_UNFINISHED_CODE = 3


@click.command(name="status")
@click.argument("restore", metavar="ID")
@click.option("--repository", default="", metavar="ALIAS", help="Another repository than the worker's.")
@json_option
@pass_cli
def status_command(cli: CliContext, restore: str, repository: str) -> int:
    """Show a restore: its runs, and what is on the target now, by topic. Changes nothing.

    ID is as `mirror restore list` shows it, its first letters, or the file of its plan. Exits 3 where something is still to be restored.
    """
    cli.command = "restore status"  # nothing to be resumed
    named = find_named(cli, repository, restore)
    if not cli.as_json:
        _print_record(named)
    standings = asyncio.run(standings_of(cli, named))
    is_complete = all(one.standing is Standing.COMPLETE for one in standings)
    if cli.as_json:
        record = None if named.history is None else history_json(named.history)
        emit_json(
            {
                "restore_id": named.restore_id,
                "complete": is_complete,
                "record": record,
                "topics": [
                    {
                        "topic": one.topic.topic,
                        "target_topic": one.topic.target_topic,
                        "standing": one.standing.value,
                        "there_offsets": one.there_offsets,
                        "wanted_offsets": one.wanted_offsets,
                        "later_offsets": one.later_offsets,
                    }
                    for one in standings
                ],
            }
        )
    else:
        print_standings(standings)
        _print_verdict(cli, named, standings, repository)
    return 0 if is_complete or _is_undone(named.history) else _UNFINISHED_CODE


def _is_undone(history: RestoreHistory | None) -> bool:
    return history is not None and history.state == "aborted"


def print_standings(standings: Sequence[TopicStanding]) -> None:
    """The topics of a restore on its target, as a table."""
    print_table(
        ("topic", "as", "on the target", "offsets there", "of", "written since"),
        [
            (
                one.topic.topic,
                one.topic.target_topic,
                f"being loaded: {one.other}" if one.other else one.standing.value,
                human_count(one.there_offsets),
                ("≤ " if one.topic.ends_are_bounds else "") + human_count(one.wanted_offsets),
                human_count(one.later_offsets) if one.later_offsets else "–",
            )
            for one in standings
        ],
        right=("offsets there", "of", "written since"),
    )


def _print_record(named: NamedRestore) -> None:
    planned, history = named.planned, named.history
    print_line(
        f"{named.restore_id}: {planned.selection.point.option} to {planned.target} (cluster {planned.target_cluster_id})",
        bold=True,
    )
    if history is None:
        print_line("no record of it is kept: this is what the marks and the logs on the target say", color="yellow")
        return
    ends = {end.started_at_ms: end for end in history.ends}
    rows = []
    for start in history.starts:
        end = ends.get(start.written_at_ms)
        rows.append(
            (
                utc(start.written_at_ms),
                start.verb,
                f"{start.user}@{start.host}",
                "no end: killed, or at work" if end is None else end.outcome,
                "" if end is None else human_count(end.loaded_records),
                "" if end is None else human_bytes(end.loaded_bytes),
                start.reason,
            )
        )
    if rows:
        print_table(
            ("run", "what", "by", "ended", "records", "loaded", "reason"),
            rows,
            right=("records", "loaded"),
            below=("reason",),
        )
    failed = [end.error for end in history.ends if end.error]
    if failed and history.state not in ("done", "aborted"):
        print_line(f"last error: {failed[-1]}", color="red")
    for note in _last_notes(history):
        print_line(note, color="yellow")
    lost = history.ends[-1].unreadable if history.ends else ()
    print_not_restored([UnreadableRange(**msgspec.structs.asdict(one)) for one in lost])
    put = put_by(history)
    if put.acls or put.quotas:
        print_line(
            f"it added {len(put.acls):,} ACLs and set {len(put.quotas):,} client quotas: an abort takes them back"
        )
    for proof in history.proofs[-1:]:
        print_line(
            f"compared at {utc(proof.written_at_ms)}: {'PROVED' if proof.proved else 'DIFFERENT'}",
            color="green" if proof.proved else "red",
        )


def _last_notes(history: RestoreHistory) -> list[str]:
    return history.ends[-1].notes if history.ends else []


def _print_verdict(cli: CliContext, named: NamedRestore, standings: Sequence[TopicStanding], repository: str) -> None:
    done = sum(one.standing is Standing.COMPLETE for one in standings)
    name = named.restore_id if named.history is not None else "FILE"
    if named.history is not None and _is_undone(named.history):
        but = ", but what is said above" if _last_notes(named.history) else ""
        print_line(f"aborted: everything was put back{but}", bold=True)
    elif done == len(standings):
        lacking = bool(named.history and named.history.ends and named.history.ends[-1].unreadable)
        but = ", but for what is named as not restored" if lacking else ""
        print_line(
            f"COMPLETE: {done} of {len(standings)} topics{but}", bold=True, color="yellow" if lacking else "green"
        )
        print_line(f"next: `{record_command(cli, repository, 'verify', 'restore', name)}` compares every record")
    else:
        print_line(f"UNFINISHED: {done} of {len(standings)} topics are complete", bold=True, color="yellow")
        resume = record_command(cli, repository, "restore", "resume", name)
        abort = record_command(cli, repository, "restore", "abort", name)
        if written := [one.topic.target_topic for one in standings if one.is_in_the_way]:
            print_line(
                f"others wrote into {len(written)} unfinished topics ({', '.join(written[:5])}): `{resume}` is refused",
                color="red",
            )
            print_line(
                f"next: stop those producers; `{abort} --foreign` puts everything back, and deletes their records"
            )
        else:
            print_line(f"next: `{resume}` goes on, `{abort}` puts everything back")
