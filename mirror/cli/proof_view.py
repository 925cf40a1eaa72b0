"""The report of a proof: as JSON, and from that for people, also long after it was made."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from mirror.cli.output import human_count, human_duration, print_line, print_table
from mirror.cli.restore_state_view import state_plan_json
from mirror.core.moments import format_moment
from mirror.core.restore_plan import RestorePlan
from mirror.service.restore.proof import RestoreProof

__all__ = ["print_report", "proof_report"]

_SHOWN = 50


def proof_report(
    plan: RestorePlan,
    proof: RestoreProof,
    lacking: Sequence[str],
    repository_id: str,
    restore_id: str,
    elapsed_s: float,
) -> dict[str, Any]:
    """What was compared and what differs.

    Args:
        plan: what was restored.
        proof: what was found.
        lacking: what the repository itself does not have of it, as text.
        repository_id: of the repository.
        restore_id: of the restore.
        elapsed_s: how long it took.
    """
    return {
        "proved": not proof.differences and not lacking,
        "at": format_moment(time.time_ns() // 1_000_000),
        "seconds": round(elapsed_s, 3),
        "restore_id": restore_id,
        "repository_id": repository_id,
        "target": plan.target_alias,
        "target_cluster_id": plan.target_cluster_id,
        "recovery_point": plan.point.option,
        "offsets": plan.offsets.name.lower(),
        "groups": proof.groups,
        "differences": proof.differences,
        "lacking": list(lacking),
        "state": state_plan_json(plan),
        "topics": [
            {
                "topic": topic.topic,
                "target_topic": topic.target_topic,
                "differences": topic.found,
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


def print_report(report: Mapping[str, Any]) -> None:
    """The report as a table and a verdict."""
    counts = [sum(partition["records"] for partition in topic["partitions"]) for topic in report["topics"]]
    print_table(
        ("topic", "as", "records equal", "differences"),
        [
            (topic["topic"], topic["target_topic"], human_count(count), len(topic["differences"]))
            for topic, count in zip(report["topics"], counts, strict=True)
        ],
        right=("records equal", "differences"),
    )
    records, point, differences = sum(counts), report["recovery_point"], report["differences"]
    _print_some(differences or report["lacking"])
    if differences:
        print_line(f"DIFFERENT: {len(differences)} differences from {point}", bold=True, color="red")
    elif report["lacking"]:
        print_line(
            f"INCOMPLETE: all that the repository has is there, {human_count(records)} records, but it lacks a part of {point}",
            bold=True,
            color="red",
        )
    else:
        print_line(
            f"PROVED: {report['target']} (cluster {report['target_cluster_id']}) holds {point}: {human_count(records)} records, "
            f"{report['groups']} consumer groups, no difference, in {human_duration(report['seconds'] * 1000)}",
            bold=True,
            color="green",
        )


def _print_some(texts: Sequence[str]) -> None:
    for text in texts[:_SHOWN]:
        print_line(text, color="red")
    if len(texts) > _SHOWN:
        print_line(f"… and {len(texts) - _SHOWN} more (--json has all)")
