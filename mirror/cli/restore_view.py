"""A restore's plan and result, for people and as JSON."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from mirror.cli.output import human_bytes, human_count, human_duration, print_line, print_table
from mirror.cli.plan_topics import offsets_text
from mirror.cli.restore_state_view import print_state_plan, print_state_result, state_plan_json
from mirror.cli.restore_there import append_lines, doomed_json, doomed_lines, there_now
from mirror.cli.transactions_view import transaction_lines
from mirror.core.moments import format_moment
from mirror.core.positions import TopicPartition
from mirror.core.recovery_point import OffsetMode, PointKind
from mirror.core.restore_plan import PartitionPlan, RestorePlan, TopicPlan, UnreadableRange
from mirror.core.restore_scope import RestoreScope
from mirror.kafka.group_admin import GroupPosition
from mirror.service.restore.boundaries import Boundary, RecordAt
from mirror.service.restore.execute import RestoreResult

__all__ = ["boundaries_json", "plan_json", "print_boundaries", "print_plan", "print_result", "result_json"]

_SHOWN_PARTITIONS = 20
_LOOKED_AT_EVERY_MS = 5_000


def print_plan(plan: RestorePlan) -> None:
    """Which cluster, which moment, then the topics and what a person should know of them."""
    print_line(
        f"restore to {plan.target_alias}: cluster {plan.target_cluster_id} at {plan.target_bootstrap}", bold=True
    )
    if plan.target_is_source:
        print_line("THIS IS THE SOURCE CLUSTER", bold=True, color="red")
    print_line(f"recovery point: {plan.point.option} · offsets {_mode(plan)}")
    rows = [
        (
            topic.topic,
            topic.topic_id,
            topic.target_topic,
            there_now(topic),
            len(topic.partitions),
            topic.replication_factor,
            ("" if all(p.is_exact for p in topic.partitions) else "≤ ") + human_count(topic.records),
            human_bytes(topic.stored_bytes),
            offsets_text(plan, topic),
        )
        for topic in plan.topics
    ]
    print_table(
        ("topic", "incarnation", "as", "there now", "partitions", "replicas", "records", "stored", "offsets"),
        rows,
        right=("partitions", "replicas", "records", "stored"),
        below=("incarnation", "offsets"),
        optional=("replicas",),
    )
    _print_groups(plan)
    print_state_plan(plan)
    for line in [
        *(f"NOT RESTORED  {text}" for text in plan.left_out),
        *_accuracy(plan),
        *transaction_lines(plan),
        *plan.in_use,
    ]:
        print_line(line, color="yellow")
    print_not_restored(plan.unreadable)
    for line in (line for topic in plan.topics for line in doomed_lines(topic)):
        print_line(line, bold=True, color="red")
    for topic in plan.topics:
        for line in _remarks(plan, topic):
            print_line(line, color="yellow")


def print_not_restored(ranges: Sequence[UnreadableRange]) -> None:
    """What was stored and does not come back."""
    for lost in ranges[:_SHOWN_PARTITIONS]:
        print_line(f"NOT RESTORED  {lost}", bold=True, color="red")
    if len(ranges) > _SHOWN_PARTITIONS:
        print_line(f"… and {len(ranges) - _SHOWN_PARTITIONS} more (--json has all)", bold=True, color="red")


def _print_groups(plan: RestorePlan) -> None:
    rows = [
        (group.group, group.target_group, len({p.target.topic for p in group.positions}), len(group.positions))
        for group in plan.groups
    ]
    if rows:
        print_table(("group", "as", "topics", "positions"), rows, right=("topics", "positions"))
    for note in plan.group_notes:
        print_line(f"consumer groups: {note}", color="yellow")


def _mode(plan: RestorePlan) -> str:
    if plan.offsets is OffsetMode.EXACT:
        return "as in the source"
    follows = {bool(p.base_offset) for topic in plan.topics for p in topic.partitions if p.coverage is not None}
    begin = "from 0" if True not in follows else "behind what is there"
    return f"translated: {begin}{', else from 0' if len(follows) > 1 else ''}, without holes"


def _accuracy(plan: RestorePlan) -> list[str]:
    """How well the moment is known."""
    if plan.point.kind is not PointKind.AT or plan.scope is RestoreScope.STATE:
        return []
    at_ms = plan.point.time_ms or 0
    lines: list[str] = []
    doubts: list[str] = []
    for topic in plan.topics:
        for partition in topic.partitions:
            doubt = partition.cut.doubt if partition.cut else None
            if doubt is not None and doubt.until_ms - doubt.since_ms > _LOOKED_AT_EVERY_MS:
                doubts.append(
                    f"{topic.topic}-{partition.partition}: offsets [{doubt.start_offset:,}, {doubt.next_offset:,}) are left out; they were "
                    f"written between {format_moment(doubt.since_ms)} and {format_moment(doubt.until_ms)}"
                )
    worst_ms = max((p.cut.accuracy_ms for t in plan.topics for p in t.partitions if p.cut), default=0)
    ago = f"{math.ceil(worst_ms / 100) / 10:.1f} s" if worst_ms < 60_000 else human_duration(worst_ms)
    lines.append(f"accuracy: every partition as the backup saw it at most {ago} before that moment")
    if doubts:
        lines.append(f"{len(doubts)} partitions were not looked at right before {format_moment(at_ms)}:")
        lines += [f"  {text}" for text in doubts[:_SHOWN_PARTITIONS]]
        if len(doubts) > _SHOWN_PARTITIONS:
            lines.append(f"  … and {len(doubts) - _SHOWN_PARTITIONS} more (--json has all)")
    return lines


def _remarks(plan: RestorePlan, topic: TopicPlan) -> list[str]:
    lines = [*append_lines(topic), *(f"{topic.target_topic}: {note}" for note in topic.notes)]
    lines += _hold_lines(plan, topic)
    for partition in topic.partitions:
        name = f"{topic.topic}-{partition.partition}"
        cut = partition.cut
        if cut is not None and cut.is_short:
            lines.append(f"{name}: SHORT, stored to offset {cut.next_offset:,} of {cut.wanted_next_offset:,}")
        if partition.fill_s >= 1:
            lines.append(f"{name}: about {human_duration(partition.fill_s * 1000)} to fill offsets without records")
        if partition.coverage is not None:
            lines += [f"{name}: [{g.start_offset}, {g.next_offset}) lost: {g.reason}" for g in partition.coverage.gaps]
            lines += [
                f"{name}: [{lost.start_offset}, {lost.next_offset}) MISSING from the repository"
                for lost in partition.coverage.missing
            ]
    return lines


def _hold_lines(plan: RestorePlan, topic: TopicPlan) -> list[str]:
    lines: list[str] = []
    for hold in topic.held:
        wanted = "the cluster's default" if hold.wanted is None else hold.wanted
        lines += [
            f"RETENTION HOLD on {topic.target_topic}: {hold.name} stays -1 instead of {wanted}: {hold.why}",
            f"  to end it: {hold.release_command(plan.target_bootstrap, topic.target_topic)}",
        ]
    return lines


def print_boundaries(edges: Mapping[TopicPartition, Boundary]) -> None:
    """The last record that comes back and the first that does not, of the first partitions."""
    rows = [
        (str(name), *_edge(edge.last_kept), *_edge(edge.first_dropped))
        for name, edge in edges.items()
        if edge.first_dropped is not None
    ]
    if rows:
        print_table(
            ("partition", "last kept", "its time", "first left out", "time of that"),
            rows[:_SHOWN_PARTITIONS],
            right=("last kept", "first left out"),
        )
    if len(rows) > _SHOWN_PARTITIONS:
        print_line(
            f"… and {len(rows) - _SHOWN_PARTITIONS} partitions more of which something is left out (--json has them)"
        )


def _edge(record: RecordAt | None) -> tuple[str, str]:
    return ("–", "") if record is None else (f"{record.offset:,}", format_moment(record.timestamp_ms))


def boundaries_json(edges: Mapping[TopicPartition, Boundary]) -> list[dict[str, Any]]:
    """The same, of all that were looked up."""

    def edge(record: RecordAt | None) -> dict[str, Any] | None:
        return record and {"offset": record.offset, "time": format_moment(record.timestamp_ms)}

    return [
        {
            "topic": name.topic,
            "partition": name.partition,
            "last_kept": edge(found.last_kept),
            "first_dropped": edge(found.first_dropped),
        }
        for name, found in edges.items()
    ]


def print_result(plan: RestorePlan, result: RestoreResult, elapsed_s: float) -> None:
    """What was done, and what is left to a person."""
    records = sum(topic.records for topic in result.topics)
    rate = result.loaded_bytes / elapsed_s / 1e6 if elapsed_s > 0 else 0.0
    print_line(
        f"restored {len(result.topics)} topics, {human_count(records)} records "
        f"({human_count(result.loaded_records)} by this run, {human_bytes(result.loaded_bytes)}, {rate:,.1f} MB/s) "
        f"in {human_duration(elapsed_s * 1000)}",
        bold=True,
        color="green",
    )
    if result.groups:
        count = sum(len(group.positions) for group in result.groups)
        groups = "1 consumer group stands" if len(result.groups) == 1 else f"{len(result.groups)} consumer groups stand"
        print_line(f"{groups} as at that moment: {count:,} positions, read back", bold=True, color="green")
        if plan.allow_missing and plan.group_notes:
            print_line("  as far as it is stored: see the notes on groups above", color="yellow")
        for text in (text for group in result.groups for text in group.moved):
            print_line(f"  moved to the edge of what was restored: group {text}", color="yellow")
        for text in (text for group in result.groups for text in group.left):
            print_line(f"  left where it is, in a topic that was complete already: group {text}", color="yellow")
    print_state_result(plan, result)
    print_not_restored(plan.not_restored)
    for topic in plan.topics:
        for line in _hold_lines(plan, topic):
            print_line(line, bold=True, color="yellow")


def plan_json(plan: RestorePlan) -> dict[str, Any]:
    """The whole plan."""
    return {
        "target": plan.target_alias,
        "target_cluster_id": plan.target_cluster_id,
        "target_bootstrap": plan.target_bootstrap,
        "target_is_source": plan.target_is_source,
        "recovery_point": plan.point.option,
        "offsets": plan.offsets.name.lower(),
        "left_out": list(plan.left_out),
        "in_use": list(plan.in_use),
        "transaction_doubts": list(plan.transaction_doubts),
        "unreadable": [asdict(lost) for lost in plan.unreadable],
        "groups": [
            {
                "group": group.group,
                "target_group": group.target_group,
                "elsewhere": group.elsewhere,
                "positions": [
                    {
                        "topic": position.source.topic,
                        "partition": position.source.partition,
                        "target_topic": position.target.topic,
                        "committed_offset": position.source_offset,
                        "metadata": position.metadata,
                    }
                    for position in group.positions
                ],
            }
            for group in plan.groups
        ],
        "group_notes": list(plan.group_notes),
        "scope": plan.scope.value,
        "state": state_plan_json(plan),
        "topics": [
            {
                "topic": topic.topic,
                "topic_id": topic.topic_id,
                "target_topic": topic.target_topic,
                "state": topic.state.value,
                "destroyed": doomed_json(topic),
                "replication_factor": topic.replication_factor,
                "load_configs": dict(topic.load_configs),
                "final_configs": dict(topic.final_configs),
                "notes": list(topic.notes),
                "holds": [
                    {
                        "config": hold.name,
                        "wanted": hold.wanted,
                        "why": hold.why,
                        "release_command": hold.release_command(plan.target_bootstrap, topic.target_topic),
                    }
                    for hold in topic.held
                ],
                "partitions": [
                    {
                        "partition": p.partition,
                        "records": p.records,
                        "records_are_exact": p.is_exact,
                        "done_records": p.done_records,
                        "there_next_offset": p.there_next_offset,
                        "base_offset": p.base_offset,
                        "stored_bytes": p.stored_bytes,
                        "start_offset": p.coverage.start_offset if p.coverage else None,
                        "next_offset": p.coverage.next_offset if p.coverage else None,
                        "hole_offsets": p.hole_offsets,
                        "cut": _cut_json(p),
                        "gaps": [
                            {"start_offset": g.start_offset, "next_offset": g.next_offset, "reason": g.reason}
                            for g in (p.coverage.gaps if p.coverage else ())
                        ],
                        "missing": [
                            {"start_offset": m.start_offset, "next_offset": m.next_offset}
                            for m in (p.coverage.missing if p.coverage else ())
                        ],
                    }
                    for p in topic.partitions
                ],
            }
            for topic in plan.topics
        ],
    }


def result_json(result: RestoreResult, elapsed_s: float) -> dict[str, Any]:
    """What was done."""
    return {
        "seconds": round(elapsed_s, 3),
        "loaded_records": result.loaded_records,
        "loaded_bytes": result.loaded_bytes,
        "state": result.state and {"added_acls": result.state.acls, "set_quotas": result.state.quotas},
        "groups": [
            {
                "group": group.group,
                "target_group": group.target_group,
                "positions": _positions_json(group.positions),
                "before": _positions_json(group.before),
                "moved": list(group.moved),
                "left": list(group.left),
            }
            for group in result.groups
        ],
        "topics": [
            {
                "topic": topic.topic,
                "topic_id": topic.topic_id,
                "target_topic": topic.target_topic,
                "records": topic.records,
                "loaded_records": topic.loaded_records,
                "release_commands": list(topic.held),
            }
            for topic in result.topics
        ],
    }


def _positions_json(positions: Mapping[TopicPartition, GroupPosition]) -> list[dict[str, Any]]:
    return [
        {"topic": tp.topic, "partition": tp.partition, "offset": position.offset, "metadata": position.metadata}
        for tp, position in sorted(positions.items())
    ]


def _cut_json(partition: PartitionPlan) -> dict[str, Any] | None:
    cut = partition.cut
    if cut is None:
        return None
    doubt = cut.doubt
    return {
        "wanted_next_offset": cut.wanted_next_offset,
        "accuracy_ms": cut.accuracy_ms,
        "moved_from_offset": cut.moved_from_offset,
        "moved_because": cut.moved_because,
        "observed_at": None if cut.observed_at_ms is None else format_moment(cut.observed_at_ms),
        "doubt": doubt
        and {
            "start_offset": doubt.start_offset,
            "next_offset": doubt.next_offset,
            "since": format_moment(doubt.since_ms),
            "until": format_moment(doubt.until_ms),
        },
    }
