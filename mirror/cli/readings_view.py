"""Both readings of a plan's moment, where they differ, for people and as JSON."""

from typing import Any

from mirror.cli.output import human_count, print_line, print_table
from mirror.core.moments import format_moment
from mirror.core.readings import PartitionReadings
from mirror.core.recovery_point import PointKind, RecoveryPoint
from mirror.service.restore.readings import Readings

__all__ = ["print_readings", "readings_json"]

_SHOWN = 20


def print_readings(point: RecoveryPoint, found: Readings | None) -> None:
    """A table of the partitions of which the other reading of the moment would bring something else, and once what that means."""
    if found is None:
        return
    moment = format_moment(point.time_ms or 0)
    if found.at_is_refused:
        print_line(f"--at {moment} cannot be had: {found.at_is_refused}")
        return
    if found.differing:
        count = len(found.differing)
        where = "1 partition" if count == 1 else f"{human_count(count)} partitions"
        print_line(f"--at and --until {moment} differ in {where}; this plan takes {_taken(point)}:", color="yellow")
        print_table(
            ("partition", "--at", "--until", "only --at", "only --until"),
            [_row(one) for one in found.differing[:_SHOWN]],
            right=("--at", "--until", "only --at", "only --until"),
        )
        if count > _SHOWN:
            print_line(f"  … and {human_count(count - _SHOWN)} more (--json has all)")
        if any(one.only_until for one in found.differing):
            print_line(
                "  only --until: stamped up to then, but written, or first seen by a worker, later: late records, a replay, "
                "or a worker that stood still"
            )
        if any(one.only_at for one in found.differing):
            print_line("  only --at: written by then, but stamped later: a producer's clock ran ahead")
    if found.unsure:
        print_line(
            f"in {human_count(len(found.unsure))} partitions more they may differ: too much would have to be opened to tell",
            color="yellow",
        )


def _taken(point: RecoveryPoint) -> str:
    return f"--{point.kind.name.lower()}"


def _row(one: PartitionReadings) -> tuple[str, ...]:
    about, least = ("", "") if one.is_exact else ("about ", "≥ ")
    return (
        str(one.name),
        about + human_count(one.at_records),
        least + human_count(one.until_records),
        least + human_count(one.only_at),
        least + human_count(one.only_until),
    )


def readings_json(point: RecoveryPoint, found: Readings | None) -> dict[str, Any] | None:
    """The same, of all partitions that differ; null where the recovery point is no moment."""
    if found is None:
        return None
    return {
        "moment": format_moment(point.time_ms or 0),
        "taken": "at" if point.kind is PointKind.AT else "until",
        "at_is_refused": found.at_is_refused or None,
        "opened_runs": found.opened_runs,
        "differing": [
            {
                "topic": one.name.topic,
                "partition": one.name.partition,
                "at_records": one.at_records,
                "until_records": one.until_records,
                "only_at_records": one.only_at,
                "only_until_records": one.only_until,
                "is_exact": one.is_exact,
            }
            for one in found.differing
        ],
        "unsure": [{"topic": name.topic, "partition": name.partition} for name in found.unsure],
    }
