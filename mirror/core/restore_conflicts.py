"""What stands against a restore on its target, and what is done about each: told in the plan, or refused with the option that decides.

Retention that would delete is a *hold*, see `restore_configs`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from mirror.core.coverage import PartitionCoverage
from mirror.core.moments import format_moment
from mirror.core.not_empty import IfNotEmpty
from mirror.core.restore_plan import TargetCluster, TargetTopic
from mirror.core.restore_selection import RestoreSelection
from mirror.core.run_pieces import RunPieces
from mirror.core.segment.index import TopicObject
from mirror.errors import RefusedError, UsageError

__all__ = ["refuse_too_many_replicas", "replicas_of", "setting_notes"]

_NO_LIMIT_MS = 2**63 - 1
_MAX_MESSAGE_BYTES = 1_048_588
_SHOWN = 20


def refuse_too_many_replicas(
    selection: RestoreSelection, chosen: Mapping[str, str], topics: Sequence[TopicObject], target: TargetCluster
) -> None:
    """Fewer copies than at the source are a decision.

    Args:
        selection: whether a replication factor is given.
        chosen: topic → topic id.
        topics: the captures.
        target: its brokers, and which topics it has already.

    Raises:
        RefusedError: a topic that must be created wants more replicas than there are brokers.
    """
    if selection.replication_factor:
        return
    lines = [
        f"{topic.topic}: {topic.replication_factor}"
        for topic in topics
        if chosen.get(topic.topic) == topic.topic_id
        and topic.replication_factor > target.broker_count
        and not _stays(selection, target.topics.get(selection.target_name(topic.topic)))
    ]
    if not lines:
        return
    brokers = "1 broker" if target.broker_count == 1 else f"{target.broker_count} brokers"
    count = "1 topic has" if len(lines) == 1 else f"{len(lines)} topics have"
    more = [f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
    listed = "".join(f"\n  {line}" for line in [*lines[:_SHOWN], *more])
    raise RefusedError(
        f"{target.alias} has {brokers}, {count} more replicas than that at the source:{listed}",
        hint=f"--replication-factor {target.broker_count} creates them with so many; or start the other brokers",
    )


def replicas_of(
    selection: RestoreSelection, captured: TopicObject | None, target: TargetCluster, present: TargetTopic | None
) -> tuple[int, list[str]]:
    """How many replicas a topic will have, and what to tell of it.

    Args:
        selection: what is asked for.
        captured: of the topic; None where nothing is known.
        target: how many brokers there are.
        present: the topic as it is on the target.

    Raises:
        UsageError: a topic that must be created shall have more replicas than there are brokers.
    """
    at_source = captured.replication_factor if captured else 1
    factor = selection.replication_factor or min(at_source, target.broker_count)
    why = "--replication-factor"
    if present is not None and _stays(selection, present):
        factor, why = present.replication_factor or factor, "as it is there now"
    elif factor > target.broker_count:
        raise UsageError(
            f"replication factor {factor} is more than the {target.broker_count} brokers of {target.alias}"
        )
    return factor, [f"{factor} instead of {at_source} replicas: {why}"] if factor < at_source else []


def _stays(selection: RestoreSelection, present: TargetTopic | None) -> bool:
    """Whether a topic of the target is loaded as it is: else it is made, or made again."""
    return present is not None and (present.is_empty or selection.if_not_empty is not IfNotEmpty.REPLACE)


def setting_notes(
    final: Mapping[str, str],
    coverages: Sequence[PartitionCoverage],
    *,
    default_configs: Mapping[str, str],
    now_ms: int,
) -> list[str]:
    """Settings that would refuse, restamp or remove restored records, and what is done about each.

    Args:
        final: the topic's settings afterwards.
        coverages: of its partitions.
        default_configs: of the target, by the names of topic configs.
        now_ms: the caller's clock.
    """
    effective = {**default_configs, **final}
    runs = [RunPieces.of(coverage.runs) for coverage in coverages]
    notes: list[str] = []
    if effective.get("message.timestamp.type") == "LogAppendTime":
        notes.append(
            "message.timestamp.type LogAppendTime: CreateTime while it is loaded, so that records keep the times that consumers saw; "
            "put back for new records"
        )
    else:
        notes += _time_notes(effective, runs, now_ms)
    notes += _size_notes(effective, runs)
    if "compact" in effective.get("cleanup.policy", "delete"):
        whose = "" if "cleanup.policy" in final else "the target's default "
        notes.append(
            f"{whose}cleanup.policy {effective['cleanup.policy']}: nothing is compacted while it is loaded; once it is complete, the "
            "brokers remove older values of a key"
        )
    return notes


def _time_notes(effective: Mapping[str, str], runs: Sequence[RunPieces], now_ms: int) -> list[str]:
    oldest = (pieces.oldest_ms("min_base_timestamp_ms") for pieces in runs)
    oldest_ms = min((one for one in oldest if one is not None), default=None)
    newest = (pieces.newest_ms() for pieces in runs)
    newest_ms = max((one for one in newest if one is not None), default=None)
    notes: list[str] = []
    for name, record_ms, distance_ms in (
        ("message.timestamp.before.max.ms", oldest_ms, now_ms - (oldest_ms or now_ms)),
        ("message.timestamp.after.max.ms", newest_ms, (newest_ms or now_ms) - now_ms),
    ):
        limit = effective.get(name, effective.get("message.timestamp.difference.max.ms"))
        if record_ms is not None and int(limit or _NO_LIMIT_MS) < distance_ms:
            notes.append(
                f"{name} {limit} would refuse a record of {format_moment(record_ms)}: lifted while it is loaded, put back for new records"
            )
    return notes


def _size_notes(effective: Mapping[str, str], runs: Sequence[RunPieces]) -> list[str]:
    """Of a run the mean size of its batches is known: one of them is at least as large."""
    means = (-(-pieces.column("fetched_bytes") // np.maximum(pieces.column("batch_count"), 1)) for pieces in runs)
    largest = max((int(mean.max(initial=0)) for mean in means), default=0)
    limit = int(effective.get("max.message.bytes", _MAX_MESSAGE_BYTES))
    notes: list[str] = []
    if largest > limit:
        notes.append(
            f"max.message.bytes {limit:,} would refuse batches of {largest:,} bytes or more: raised while it is loaded, then put back"
        )
    request = effective.get("socket.request.max.bytes")
    if request is not None and largest > int(request):
        notes.append(
            f"the brokers take no request of more than {int(request):,} bytes (socket.request.max.bytes), batches have {largest:,} or "
            "more: raise it on the target's brokers first"
        )
    return notes
