"""``mirror prove``: is everything that a restore wanted on the target, and nothing else?"""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec

from mirror.cli.context import CliContext, json_option, pass_cli
from mirror.cli.output import emit_json, human_count, human_duration, print_line, print_table
from mirror.cli.progress import waiting
from mirror.cli.restore_command import chosen_restore, open_session
from mirror.cli.restore_options import selection_options
from mirror.cli.restore_state_view import state_plan_json
from mirror.core.moments import format_moment
from mirror.core.restore_plan import RestorePlan
from mirror.core.restore_selection import RestoreSelection
from mirror.errors import UsageError
from mirror.service.restore.plan_file import PlanFile
from mirror.service.restore.proof import RestoreProof
from mirror.service.restore.run import Inventory, RestoreSession
from mirror.storage.repository import Repository

__all__ = ["command"]

_DIFFERENCE_CODE = 5
_SHOWN = 50


@click.command(name="prove")
@click.option("--target", metavar="ALIAS", help="The cluster that was loaded, an alias of [clusters].")
@click.option("--repository", metavar="ALIAS", help="Where from.  [default: the worker's]")
@selection_options
@click.option(
    "--plan",
    "plan_path",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    metavar="FILE",
    help="The plan that was run; takes the place of all options above.",
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
    return asyncio.run(_prove(cli, opened, target, chosen, planned, output))


async def _prove(
    cli: CliContext,
    opened: tuple[Repository, Inventory, RestoreSession],
    target: str,
    selection: RestoreSelection,
    planned: PlanFile | None,
    output: Path | None,
) -> int:
    source, inventory, opening = opened
    began_s = time.monotonic()

    def show(topic: str, records: int) -> None:
        if not cli.as_json and records:
            print_line(f"  {topic}: {human_count(records)} records of a partition compared", err=True)

    async with opening as session:
        with waiting(f"the cluster {target}", quiet=cli.as_json):
            plan, proof = await session.prove(selection, now_ms=time.time_ns() // 1_000_000, on_progress=show)
    if planned is not None:
        planned.require_same(plan, source.identity.repository_id)
    lacking = [*proof.lacking, *(f"NOT READABLE: {line}" for line in inventory.unreadable)]
    report = _report(plan, proof, lacking, source.identity.repository_id)
    if output is not None:
        _write(output, report)
    if cli.as_json:
        emit_json(report)
    else:
        _print(plan, proof, lacking, time.monotonic() - began_s)
    return _DIFFERENCE_CODE if proof.differences or lacking else 0


def _print(plan: RestorePlan, proof: RestoreProof, lacking: Sequence[str], elapsed_s: float) -> None:
    print_table(
        ("topic", "as", "records equal", "differences"),
        [(t.topic, t.target_topic, human_count(t.records), len(t.found)) for t in proof.topics],
        right=("records equal", "differences"),
    )
    records = sum(topic.records for topic in proof.topics)
    if proof.differences:
        for text in proof.differences[:_SHOWN]:
            print_line(text, color="red")
        if len(proof.differences) > _SHOWN:
            print_line(f"… and {len(proof.differences) - _SHOWN} more (--json has all)")
        print_line(f"DIFFERENT: {len(proof.differences)} differences from {plan.point.option}", bold=True, color="red")
        return
    if lacking:
        for text in lacking[:_SHOWN]:
            print_line(text, color="red")
        print_line(
            f"INCOMPLETE: all that the repository has is there, {human_count(records)} records, but it lacks a part of {plan.point.option}",
            bold=True,
            color="red",
        )
        return
    print_line(
        f"PROVED: {plan.target_alias} (cluster {plan.target_cluster_id}) holds {plan.point.option}: {human_count(records)} records, "
        f"{proof.groups} consumer groups, no difference, in {human_duration(elapsed_s * 1000)}",
        bold=True,
        color="green",
    )


def _report(plan: RestorePlan, proof: RestoreProof, lacking: Sequence[str], repository_id: str) -> dict[str, Any]:
    return {
        "proved": not proof.differences and not lacking,
        "at": format_moment(time.time_ns() // 1_000_000),
        "repository_id": repository_id,
        "target": plan.target_alias,
        "target_cluster_id": plan.target_cluster_id,
        "recovery_point": plan.point.option,
        "offsets": plan.offsets.name.lower(),
        "groups": proof.groups,
        "state": state_plan_json(plan),
        "differences": proof.differences,
        "lacking": list(lacking),
        "topics": [
            {
                "topic": topic.topic,
                "target_topic": topic.target_topic,
                "partitions": [
                    {
                        "partition": number,
                        "records": partition.records,
                        "sha256": partition.digest,
                        "difference": partition.difference or None,
                    }
                    for number, partition in enumerate(topic.partitions)
                ],
            }
            for topic in proof.topics
        ],
    }


def _write(path: Path, report: dict[str, Any]) -> None:
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")
    except OSError as error:
        raise UsageError(f"-o {path}: {error.strerror}") from None
