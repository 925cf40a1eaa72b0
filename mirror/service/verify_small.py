"""Snapshots, captures of the cluster's state, checkpoints of groups, records of restores: each is read, and must be what was written."""

from mirror.core.keys import (
    GROUPS_PREFIX,
    RESTORES_PREFIX,
    SNAPSHOTS_PREFIX,
    STATE_PREFIX,
    parse_group_checkpoint_key,
    parse_restore_key,
    parse_snapshot_key,
    parse_state_key,
)
from mirror.errors import DamageError, ObjectNotFoundError, UnsupportedFormatError
from mirror.service.cluster_states import read_state
from mirror.service.group_checkpoints import read_group_checkpoint
from mirror.service.restore.records import read_record
from mirror.service.snapshots import read_snapshot
from mirror.service.verify_findings import Finding, FindingKind, VerifyReport
from mirror.service.verify_threads import bounded_map
from mirror.storage.repository import Repository

__all__ = ["SMALL_PREFIXES", "check_small_name", "check_small_objects"]

SMALL_PREFIXES = (SNAPSHOTS_PREFIX, STATE_PREFIX, GROUPS_PREFIX, RESTORES_PREFIX)

_KINDS: dict[str, FindingKind] = {
    SNAPSHOTS_PREFIX: "snapshot_damaged",
    STATE_PREFIX: "state_damaged",
    GROUPS_PREFIX: "checkpoint_damaged",
    RESTORES_PREFIX: "restore_damaged",
}


def check_small_name(key: str) -> None:
    """Whether an object below `SMALL_PREFIXES` is named as mirror names it.

    Raises:
        DamageError: it is not.
    """
    if key.startswith(STATE_PREFIX):
        parse_state_key(key)
    elif key.startswith(GROUPS_PREFIX):
        parse_group_checkpoint_key(key)
    elif key.startswith(RESTORES_PREFIX):
        parse_restore_key(key)
    else:
        parse_snapshot_key(key)


def check_small_objects(repository: Repository, keys: list[str], report: VerifyReport) -> None:
    """Read them all; one that was deleted since it was listed is no finding: people delete snapshots."""
    for key, error in bounded_map(lambda name: _problem(repository, name), keys):
        kind = _KINDS[next(prefix for prefix in SMALL_PREFIXES if key.startswith(prefix))]
        if error is None:
            report.counts.states += kind == "state_damaged"
            report.counts.snapshots += kind == "snapshot_damaged"
            report.counts.group_checkpoints += kind == "checkpoint_damaged"
            report.counts.restore_records += kind == "restore_damaged"
        elif not isinstance(error, ObjectNotFoundError):
            is_cache = kind == "checkpoint_damaged"
            message = f"{error}; nothing is lost, checkpoints are caches: delete it" if is_cache else str(error)
            report.findings.append(Finding(kind=kind, object_key=key, message=message))


def _problem(repository: Repository, key: str) -> Exception | None:
    try:
        if key.startswith(STATE_PREFIX):
            read_state(repository, parse_state_key(key))
        elif key.startswith(GROUPS_PREFIX):
            read_group_checkpoint(repository, parse_group_checkpoint_key(key))
        elif key.startswith(RESTORES_PREFIX):
            read_record(repository, key)
        else:
            read_snapshot(repository, parse_snapshot_key(key))
    except (DamageError, UnsupportedFormatError, ObjectNotFoundError) as error:
        return error
    return None
