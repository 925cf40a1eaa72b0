"""How a status is shown: the verdict in one line, then tables; and its JSON."""

from collections.abc import Iterable, Sequence
from typing import Any

from mirror.cli.human import human_bytes, human_count, human_duration, utc
from mirror.cli.output import print_line, print_table
from mirror.cli.status_deleted_view import unwatched_json, unwatched_lines
from mirror.cli.status_holds_view import holds_json, holds_lines
from mirror.core.objectives import monthly_price
from mirror.core.status import PartitionStatus, worst_first
from mirror.service.status import StatusReport
from mirror.service.status_groups import GroupsStatus

__all__ = ["as_json", "groups_line", "print_status", "verdict_line"]

_COLORS = {"SAFE": "green", "AT RISK": "yellow", "NOT PROTECTED": "red"}
_RIGHT = ("partitions", "parts", "partition", "age", "lag", "headroom", "gaps", "overlap", "raw", "stored")
_LEFT_OUT_SHOWN = 20
_LATE_WORD_MS = 15_000  # more than between two flushes


def verdict_line(report: StatusReport) -> str:
    """``SAFE prod-eu restorable to 02:41:07Z (4 s ago) · 312 partitions · 0 gaps · 14 topics not covered``."""
    found = report.verdict
    parts = [f"{found.word} {report.cluster}"]
    if found.restorable_to_ms is None:
        parts[0] += " restorable time not known" if found.word != "NOT PROTECTED" else ""
    else:
        ago = human_duration(report.at_ms - found.restorable_to_ms)
        about = "about " if found.is_estimate else ""
        parts[0] += f" restorable to {about}{_short_utc(found.restorable_to_ms, report.at_ms)} ({ago} ago)"
    parts.append(_counted(found.partition_count, "partition"))
    parts.append(_counted(found.gap_count, "gap"))
    if found.uncovered_topic_count:
        parts.append(f"{_counted(found.uncovered_topic_count, 'topic')} not covered")
    return " · ".join(parts)


def groups_line(report: StatusReport, groups: GroupsStatus) -> str:
    """``consumer groups: 14 captured, to 02:41:07Z``, or why they are not captured."""
    stored = "" if groups.group_count is None else f" ({human_count(groups.group_count)} stored)"
    if not groups.is_captured:
        return f"consumer groups: not captured, because {groups.reason}{stored}"
    count = "" if groups.group_count is None else f"{human_count(groups.group_count)} "
    about = "about " if groups.is_estimate else ""
    to = groups.captured_to_ms
    until = "until when is not known" if to is None else f"to {about}{_short_utc(to, report.at_ms)}"
    how = "polled" if groups.way == "poll" else "captured"
    return f"consumer groups: {count}{how}, {until}{'; ' if groups.reason else ''}{groups.reason}"


def print_status(report: StatusReport, *, by_partition: bool) -> None:
    """The verdict, what to do, and the tables."""
    found = report.verdict
    print_line(verdict_line(report), bold=True, color=_COLORS[found.word])
    if found.reason:
        print_line(f"  why:  {found.reason}")
    if found.next_step:
        print_line(f"  next: {found.next_step}")
    at_ms, newest_ms = found.restorable_to_ms, report.totals.newest_object_ms
    if at_ms is not None and newest_ms is not None and not found.is_estimate and at_ms - newest_ms > _LATE_WORD_MS:
        print_line(
            f"  `--at` reaches {_short_utc(newest_ms, report.at_ms)}; nothing came since: `--latest` brings the same"
        )
    for problem in report.problems:
        print_line(f"  not known: {problem}", color="yellow")
    columns: tuple[str, ...]
    if by_partition:
        columns = (
            "topic",
            "partition",
            "state",
            "covered",
            "age",
            "lag",
            "headroom",
            "gaps",
            "overlap",
            "raw",
            "stored",
            "remarks",
        )
        rows: list[Sequence[object]] = [_partition_row(report, p) for p in report.partitions]
    else:
        columns = (
            "topic",
            "parts",
            "state",
            "age",
            "lag",
            "headroom",
            "gaps",
            "overlap",
            "raw",
            "stored",
            "remarks",
        )
        rows = [_topic_row(report, topic, parts) for topic, parts in _by_topic(report.partitions)]
    if rows:
        fixed = ("state", "covered")
        print_table(columns, rows, right=_RIGHT, fixed=fixed, below=("remarks",), optional=("overlap", "raw", "gaps"))
    _print_others(report)
    for line in unwatched_lines(report.unwatched, now_ms=report.at_ms):
        print_line(line, color="yellow")
    if report.groups is not None:
        print_line(groups_line(report, report.groups), color="yellow" if report.groups.reason else None)
    for line in holds_lines(report.holds):
        print_line(line, color="yellow")
    _print_left_out(report)
    _print_totals(report)


def _print_others(report: StatusReport) -> None:
    if report.others:
        columns = ("also stored: deleted, made anew, or no longer selected", "topic id", "partitions", "raw", "stored")
        rows = []
        for (topic, topic_id), parts in _grouped(report.others):
            raw, stored = sum(p.facts.fetched_bytes for p in parts), sum(p.facts.stored_bytes for p in parts)
            rows.append((topic, topic_id, len(parts), human_bytes(raw), human_bytes(stored)))
        print_table(columns, rows, right=_RIGHT, below=("topic id",), optional=("raw",))


def _print_left_out(report: StatusReport) -> None:
    ordinary = {topic: report.left_out[topic] for topic in report.uncovered}
    # What a rule excludes comes before what no rule selects, of which there may be hundreds.
    excluded_first = sorted(ordinary.items(), key=lambda item: not item[1].startswith("excluded"))
    for topic, rule in excluded_first[:_LEFT_OUT_SHOWN]:
        print_line(f"not covered: {topic} ({rule})")
    if len(ordinary) > _LEFT_OUT_SHOWN:
        print_line(f"not covered: {len(ordinary) - _LEFT_OUT_SHOWN} more, see --json")


def _print_totals(report: StatusReport) -> None:
    totals = report.totals
    per_day = totals.puts_per_day if totals.puts_per_day is not None else totals.predicted_puts_per_day
    puts, kept = monthly_price(report.prices, puts_per_day=per_day, stored_bytes=totals.stored_bytes)
    measured = "at the pace of the last day" if totals.puts_per_day is not None else "predicted"
    print_line(
        f"{report.repository}: {_counted(totals.objects, 'object')}, {human_bytes(totals.stored_bytes)} stored, "
        f"newest {utc(totals.newest_object_ms)}"
    )
    print_line(
        f"{human_count(round(per_day))} puts a day {measured} (with every flush by age: "
        f"{human_count(round(totals.predicted_puts_per_day))}) · {report.prices.currency} {puts:.2f} for puts and "
        f"{kept:.2f} for storage a month"
    )
    if totals.damaged:
        print_line(f"{_counted(totals.damaged, 'object')} cannot be read: `mirror verify`", color="red")


def _topic_row(report: StatusReport, topic: str, parts: list[PartitionStatus]) -> tuple[object, ...]:
    worst = worst_first(parts)[0]
    ages = [p.recovery_point_age_ms for p in parts]
    lags = [p.lag_offsets for p in parts if p.lag_offsets is not None]
    headrooms = [p.retention_headroom_ms for p in parts if p.retention_headroom_ms is not None]
    remarks = dict.fromkeys(remark for p in worst_first(parts) for remark in _remarks(report, p))
    return (
        topic,
        len(parts),
        worst.state,
        "–" if None in ages else _age(max(age for age in ages if age is not None), parts),
        human_count(sum(lags)) if lags else "–",
        human_duration(min(headrooms)) if headrooms else "–",
        human_count(sum(p.facts.gap_offsets for p in parts)),
        human_count(sum(p.facts.overlap_offsets for p in parts)),
        human_bytes(sum(p.facts.fetched_bytes for p in parts)),
        human_bytes(sum(p.facts.stored_bytes for p in parts)),
        "; ".join(list(remarks)[:3]),
    )


def _partition_row(report: StatusReport, p: PartitionStatus) -> tuple[object, ...]:
    facts = p.facts
    return (
        facts.topic,
        facts.partition,
        p.state,
        f"[{facts.start_offset}, {facts.position})" if facts.is_covered else "–",
        "–" if p.recovery_point_age_ms is None else _age(p.recovery_point_age_ms, [p]),
        "–" if p.lag_offsets is None else human_count(p.lag_offsets),
        human_duration(p.retention_headroom_ms),
        human_count(facts.gap_offsets),
        human_count(facts.overlap_offsets),
        human_bytes(facts.fetched_bytes),
        human_bytes(facts.stored_bytes),
        "; ".join(_remarks(report, p)),
    )


def _remarks(report: StatusReport, p: PartitionStatus) -> list[str]:
    remarks = [p.reason] if p.reason and p.state != "safe" else []
    if p.is_loading:
        remarks.append(f"about {human_duration(p.time_left_ms)} left")
    if p.blocked_since_ms is not None and p.state != "safe":
        remarks.append(f"open transaction since {utc(p.blocked_since_ms)}")
    if p.state == "unknown" and p.facts.last_sealed_ms is not None:
        remarks.append(f"last stored {human_duration(report.at_ms - p.facts.last_sealed_ms)} ago")
    return remarks


def _age(age_ms: int, parts: Iterable[PartitionStatus]) -> str:
    return ("~" if any(p.is_approximate for p in parts) else "") + human_duration(age_ms)


def _by_topic(partitions: Iterable[PartitionStatus]) -> list[tuple[str, list[PartitionStatus]]]:
    grouped: dict[str, list[PartitionStatus]] = {}
    for p in partitions:
        grouped.setdefault(p.facts.topic, []).append(p)
    return sorted(grouped.items(), key=lambda item: (-max(p.severity for p in item[1]), item[0]))


def _grouped(partitions: Iterable[PartitionStatus]) -> list[tuple[tuple[str, str], list[PartitionStatus]]]:
    grouped: dict[tuple[str, str], list[PartitionStatus]] = {}
    for p in partitions:
        grouped.setdefault((p.facts.topic, p.facts.topic_id), []).append(p)
    return sorted(grouped.items())


def _counted(count: int, noun: str) -> str:
    return f"{human_count(count)} {noun}{'' if count == 1 else 's'}"


def _short_utc(time_ms: int, now_ms: int) -> str:
    """The time of day, on another day with the date."""
    text = utc(time_ms)
    return text[11:] if text[:10] == utc(now_ms)[:10] else text


def as_json(report: StatusReport) -> dict[str, Any]:
    """The stable JSON of ``mirror status --json``: times as ISO-8601 UTC beside milliseconds."""
    found = report.verdict
    per_day = report.totals.puts_per_day
    puts, kept = monthly_price(
        report.prices,
        puts_per_day=per_day if per_day is not None else report.totals.predicted_puts_per_day,
        stored_bytes=report.totals.stored_bytes,
    )
    return {
        "at": utc(report.at_ms),
        "at_ms": report.at_ms,
        "verdict": found.word,
        "exit_code": found.exit_code,
        "line": verdict_line(report),
        "reason": found.reason,
        "next_step": found.next_step,
        "cluster": report.cluster,
        "repository": report.repository,
        "restorable_to": None if found.restorable_to_ms is None else utc(found.restorable_to_ms, with_ms=True),
        "restorable_to_ms": found.restorable_to_ms,
        "restorable_to_is_estimate": found.is_estimate,
        "at_reaches": None
        if report.totals.newest_object_ms is None
        else utc(report.totals.newest_object_ms, with_ms=True),
        "partition_count": found.partition_count,
        "gap_count": found.gap_count,
        "uncovered_topic_count": found.uncovered_topic_count,
        "partitions_by_state": found.by_state,
        "objectives": report.objectives,
        "totals": report.totals,
        "price_per_month": {"puts": round(puts, 4), "storage": round(kept, 4), "currency": report.prices.currency},
        "not_covered": report.left_out,
        "uncovered_topics": report.uncovered,
        "problems": report.problems,
        "partitions": report.partitions,
        "others": report.others,
        "groups": report.groups,
        "holds": holds_json(report.holds),
        "deleted_unwatched": unwatched_json(report.unwatched),
    }
