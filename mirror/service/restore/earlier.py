"""What the records of earlier restores say of a target: how fast it was loaded, and which topics were restored under another name."""

from collections.abc import Iterator

from mirror.core.keys import RESTORES_PREFIX, format_restore_key, parse_restore_key
from mirror.core.restore_estimate import MeasuredRate
from mirror.core.restore_record import RestoreEnd, RestorePlanned
from mirror.errors import DamageError, MirrorError
from mirror.service.restore.records import list_restores, read_record
from mirror.storage.repository import Repository

__all__ = ["earlier_rate", "restored_topics"]

_LOOKED_AT = 20
_LEAST_BYTES = 16 << 20
_LEAST_S = 1.0


def earlier_rate(repository: Repository, target_cluster_id: str) -> MeasuredRate | None:
    """How fast the last restores to a cluster were, all in all; None where too little was loaded, or the records cannot be read.

    Args:
        repository: opened.
        target_cluster_id: of the target.
    """
    loaded_bytes = runs = 0
    elapsed_s = 0.0
    try:
        for _, ends in _of_cluster(repository, target_cluster_id):
            for end in ends:
                took_s = (end.written_at_ms - end.started_at_ms) / 1000
                if end.outcome == "done" and end.loaded_bytes >= _LEAST_BYTES and took_s >= _LEAST_S:
                    loaded_bytes += end.loaded_bytes
                    elapsed_s += took_s
                    runs += 1
    except MirrorError:
        return None
    if not runs:
        return None
    source = "the last restore to this cluster" if runs == 1 else f"the last {runs} restores to this cluster"
    return MeasuredRate(bytes_per_s=loaded_bytes / elapsed_s, size_bytes=loaded_bytes, source=source)


def restored_topics(repository: Repository, target_cluster_id: str) -> dict[str, str]:
    """Topic of the target → topic of the repository, of the last restores to a cluster.

    Raises:
        DamageError, AccessError, UnreachableError, StoreError: the records cannot be read.
    """
    found: dict[str, str] = {}
    for planned, _ in _of_cluster(repository, target_cluster_id):
        for topic in planned.topics:
            found.setdefault(topic.target_topic, topic.topic)  # the newest restore comes first
    return found


def _of_cluster(repository: Repository, cluster_id: str) -> Iterator[tuple[RestorePlanned, list[RestoreEnd]]]:
    """The plans and ends of the last restores, the newest first."""
    for restore_id in reversed(list_restores(repository)[-_LOOKED_AT:]):
        keys = []
        for info in repository.store.list(f"{RESTORES_PREFIX}{restore_id}/"):
            try:
                keys.append(parse_restore_key(info.key))
            except DamageError:  # foreign: `mirror verify` names it
                continue
        plans = [key for key in keys if key.kind == "plan"]
        if not plans:
            continue
        planned = read_record(repository, format_restore_key(plans[-1]))
        if not isinstance(planned, RestorePlanned) or planned.target_cluster_id != cluster_id:
            continue
        read = (read_record(repository, format_restore_key(key)) for key in keys if key.kind == "end")
        yield planned, [end for end in read if isinstance(end, RestoreEnd)]
