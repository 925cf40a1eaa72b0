"""The settings of a restored topic: while it is loaded, and afterwards.

While loading, nothing may delete, compact, restamp or refuse a record. Afterwards the source's settings are put back exactly, except where
that would delete what was just restored: then retention stays lifted, and says so (a *hold*).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mirror.core.coverage import PartitionCoverage
from mirror.core.restore_mark import MARK_NAMES, RestoreMark
from mirror.core.run_pieces import RunPieces

__all__ = ["LONGEST_MS", "HeldConfig", "final_configs", "load_configs", "without_new_names"]

LONGEST_MS = 2**63 - 1
_DEFAULT_MAX_MESSAGE_BYTES = 1_048_588
_LARGEST_REQUEST_BYTES = 100 << 20
_RETENTION_MS = 7 * 24 * 3600 * 1000
_NOT_COPIED = ("leader.replication.throttled.replicas", "follower.replication.throttled.replicas")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldConfig:
    """A setting that is left lifted. ``wanted`` is the source's value, None where the target's default would apply."""

    name: str
    wanted: str | None
    why: str

    def release_command(self, bootstrap: str, topic: str) -> str:
        """The command that ends the hold."""
        change = f"--delete-config {self.name}" if self.wanted is None else f"--add-config {self.name}={self.wanted}"
        return f"kafka-configs.sh --bootstrap-server {bootstrap} --alter --entity-type topics --entity-name {topic} {change}"


def load_configs(final: Mapping[str, str], coverages: Sequence[PartitionCoverage], mark: RestoreMark) -> dict[str, str]:
    """The settings while the topic is loaded.

    Args:
        final: the settings afterwards.
        coverages: of its partitions: how large a batch may be.
        mark: that it is being loaded, and by which restore.
    """
    largest = max((_largest_batch_bytes(c) for c in coverages), default=0)
    wanted = max(int(final.get("max.message.bytes", _DEFAULT_MAX_MESSAGE_BYTES)), min(largest, _LARGEST_REQUEST_BYTES))
    load = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "compression.type": "producer",
        "message.timestamp.type": "CreateTime",
        MARK_NAMES[0]: mark.value,
        "message.timestamp.after.max.ms": str(LONGEST_MS),
        "max.message.bytes": str(max(wanted, _DEFAULT_MAX_MESSAGE_BYTES)),
    }
    if "min.insync.replicas" in final:
        load["min.insync.replicas"] = final["min.insync.replicas"]
    return load


def without_new_names(configs: Mapping[str, str]) -> dict[str, str]:
    """The settings for loading as brokers before 3.6 know them."""
    older = {name: value for name, value in configs.items() if not name.startswith("message.timestamp.after")}
    mark = older.pop(MARK_NAMES[0])
    return {**older, MARK_NAMES[1]: mark}


def _largest_batch_bytes(coverage: PartitionCoverage) -> int:
    """No batch of the partition is larger, with room for one that must be packed again."""
    pieces = RunPieces.of(coverage.runs)
    largest = max(int(pieces.column(name).max(initial=0)) for name in ("fetched_bytes", "raw_bytes"))
    return largest + largest // 4 + 1024


def final_configs(
    source: Mapping[str, str],
    coverages: Sequence[PartitionCoverage],
    *,
    replication_factor: int,
    default_configs: Mapping[str, str],
    now_ms: int,
) -> tuple[dict[str, str], tuple[HeldConfig, ...], tuple[str, ...]]:
    """The settings after loading, what is held back of them, and notes for a person.

    Args:
        source: the non-default settings as captured.
        coverages: of the partitions that hold data.
        replication_factor: on the target.
        default_configs: of the target.
        now_ms: the caller's clock.
    """
    final = dict(source)
    dropped = [name for name in _NOT_COPIED if final.pop(name, None) is not None]
    notes = [f"{name} is not put back: it names brokers of the source" for name in dropped]
    replicas = final.get("min.insync.replicas", default_configs.get("min.insync.replicas"))
    if replicas is not None and int(replicas) > replication_factor:
        final["min.insync.replicas"] = str(replication_factor)
        notes.append(f"min.insync.replicas {replication_factor} instead of {replicas}: so many replicas there are")
    held = _holds(final, coverages, default_configs, now_ms)
    for hold in held:
        final[hold.name] = "-1"
    return final, held, tuple(notes)


def _holds(
    final: Mapping[str, str],
    coverages: Sequence[PartitionCoverage],
    default_configs: Mapping[str, str],
    now_ms: int,
) -> tuple[HeldConfig, ...]:
    policy = final.get("cleanup.policy", default_configs.get("cleanup.policy", "delete"))
    if "delete" not in policy:
        return ()
    held: list[HeldConfig] = []
    retention_ms = int(final.get("retention.ms", default_configs.get("retention.ms", str(_RETENTION_MS))))
    has_append_times = final.get("message.timestamp.type") == "LogAppendTime"
    # As far as the entries tell: a broker may put a run's oldest batch into a log segment of its own.
    names = ("max_timestamp_ms",) if has_append_times else ("min_base_timestamp_ms", "max_timestamp_ms")
    times = (RunPieces.of(coverage.runs).oldest_ms(*names) for coverage in coverages)
    oldest_ms = min((time_ms for time_ms in times if time_ms is not None), default=None)
    if retention_ms >= 0 and oldest_ms is not None and oldest_ms < now_ms - retention_ms:
        held.append(
            HeldConfig(
                name="retention.ms",
                wanted=final.get("retention.ms"),
                why=f"records are older than the {_days(retention_ms)} that would apply: they would be deleted at once",
            )
        )
    retention_bytes = int(final.get("retention.bytes", default_configs.get("retention.bytes", "-1")))
    largest = max((c.fetched_bytes for c in coverages), default=0)
    if 0 <= retention_bytes < largest:
        held.append(
            HeldConfig(
                name="retention.bytes",
                wanted=final.get("retention.bytes"),
                why=f"a partition has about {largest:,} bytes, {retention_bytes:,} would be kept",
            )
        )
    return tuple(held)


def _days(duration_ms: int) -> str:
    days = duration_ms / 86_400_000
    return f"{days:.1f} days" if days >= 1 else f"{duration_ms / 3_600_000:.2f} hours"
